//! A disk that forgets what was not flushed: whatever was acknowledged is there after a restart.

#![allow(clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

mod rig;

use std::collections::BTreeMap;

use proptest::prelude::*;

use bytes::Bytes;
use identity::Signer;
use p2psip_storage_core::{Answer, Command, CommandId, Tree};
use wire::{
    DataValue, Encode, FetchAns, FetchReq, KindId, MessageCode, ModelSpecifier, ResourceId, StoredDataSpecifier,
    StoredDataValue,
};

use rig::{
    Rig, World, apply, decode, signed, store_body,
    world::{EPOCH, bucket, user_name},
};

#[derive(Clone, Debug)]
enum Step {
    /// Edge 0 or 1 stores for a user, or deletes; not yet flushed.
    Store {
        user: usize,
        edge: usize,
        exists: bool,
    },
    Fetch {
        user: usize,
    },
    Flush,
    LosePower,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_survives_the_loss_of_power(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        let mut rig = Rig::new(&world);
        // What is known to be kept, by place, and what may or may not be.
        let mut kept: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        let mut pending: BTreeMap<CommandId, ((usize, usize), u64)> = BTreeMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            let time = EPOCH + u64::try_from(number).unwrap();
            match step {
                Step::Store { user, edge, exists } => {
                    let id = rig.give(store(&world.signer(&name(user, edge)), user, edge, time, exists));
                    pending.insert(id, ((user, edge), time));
                }
                Step::Fetch { user } => {
                    // What a reader has been told may not be taken back, either.
                    let id = rig.give(fetch(user));
                    while !rig.answers.iter().any(|(of, _)| *of == id) {
                        rig.flush_one();
                    }
                }
                Step::Flush => rig.flush_one(),
                Step::LosePower => {
                    rig.lose_power();
                    pending.clear();
                }
            }
            while let Some((id, answer)) = rig.answers.pop_front() {
                if let (Some((place, time)), Answer::Applied { .. }) = (pending.remove(&id), &answer) {
                    kept.insert(place, time);
                }
            }
        }
        rig.lose_power();
        for ((user, edge), time) in kept {
            let Answer::Applied { body, certificates, .. } = rig.run(fetch(user)) else { panic!("fetched") };
            let answer: FetchAns = decode(&body, &world);
            let key = key(edge);
            let is_it = |value: &StoredDataValue| matches!(value, StoredDataValue::Dictionary { key: own, .. } if *own == key);
            let value = answer.kind_responses[0].values.iter().find(|data| is_it(&data.value));
            prop_assert!(value.is_some_and(|data| data.storage_time >= time), "{user} {edge} is lost");
            prop_assert!(!certificates.is_empty());
        }
    }
}

#[test]
fn an_answer_waits_for_the_flush_of_what_it_tells() {
    let mut world = World::new();
    let mut rig = Rig::new(&world);
    let first = rig.give(store(&world.signer(&name(0, 0)), 0, 0, EPOCH, true));
    let second = rig.give(fetch(0));
    assert!(rig.answers.is_empty());
    rig.flush_one();
    assert_eq!(
        rig.answers.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [first, second]
    );
}

#[test]
fn a_damaged_record_is_left_alone_and_the_others_are_served() {
    let mut world = World::new();
    let mut rig = Rig::new(&world);
    for user in 0..2 {
        rig.run(store(&world.signer(&name(user, 0)), user, 0, EPOCH, true));
    }
    let (records, certificates) = (Tree::Records, Tree::Certificates);
    let spoiled = Bytes::copy_from_slice(resource(0).as_bytes());
    let octets = rig.disk.get_mut(&(records, spoiled.clone())).expect("it is stored");
    *octets = octets.slice(..octets.len() - 1);
    rig.lose_power();
    assert_eq!((rig.core.summary().damaged, rig.core.summary().records), (1, 1));
    rig.run(fetch(1));
    assert!(rig.disk.contains_key(&(records, spoiled)));
    assert_eq!(
        rig.disk.keys().filter(|(tree, _)| *tree == certificates).count(),
        4,
        "nothing of it is cleared away"
    );
}

#[test]
fn certificates_go_with_the_last_value_that_needs_them() {
    let mut world = World::new();
    let mut rig = Rig::new(&world);
    let count = |rig: &Rig| rig.disk.keys().filter(|(tree, _)| *tree == Tree::Certificates).count();
    rig.run(store(&world.signer(&name(0, 0)), 0, 0, EPOCH, true));
    rig.run(store(&world.signer(&name(0, 1)), 0, 1, EPOCH, true));
    assert_eq!(count(&rig), 4, "a leaf and a delegated signer each");
    rig.wait(601);
    rig.run(fetch(0));
    assert_eq!(count(&rig), 0);
}

fn step() -> impl Strategy<Value = Step> {
    let store = (0..2_usize, 0..2_usize, any::<bool>());
    prop_oneof![
        6 => store.prop_map(|(user, edge, exists)| Step::Store { user, edge, exists }),
        1 => (0..2_usize).prop_map(|user| Step::Fetch { user }),
        4 => Just(Step::Flush),
        1 => Just(Step::LosePower),
    ]
}

fn store(signer: &Signer, user: usize, edge: usize, time: u64, exists: bool) -> Command {
    let value = if exists {
        DataValue::of(Bytes::from_static(b"x"))
    } else {
        DataValue::none()
    };
    let value = StoredDataValue::Dictionary { key: key(edge), value };
    let data = signed(signer, resource(user), KindId::SIP_REGISTRATION, (time, 600), value);
    let body = store_body(resource(user), 0, KindId::SIP_REGISTRATION, 0, vec![data]);
    apply(MessageCode::STORE_REQ, body, bucket(&[signer]), Some(signer))
}

fn fetch(user: usize) -> Command {
    let specifier = StoredDataSpecifier {
        kind: KindId::SIP_REGISTRATION,
        generation: 0,
        model: ModelSpecifier::Dictionary(Vec::new()),
    };
    let body = FetchReq {
        resource: resource(user),
        specifiers: vec![specifier],
    }
    .to_bytes();
    apply(MessageCode::FETCH_REQ, body, Vec::new(), None)
}

fn name(user: usize, edge: usize) -> String {
    format!("minted:user{user}/edge{edge}")
}

fn resource(user: usize) -> ResourceId {
    ResourceId::of(user_name(&format!("user{user}")).as_bytes())
}

fn key(edge: usize) -> Bytes {
    Bytes::copy_from_slice(rig::world::node_id(&format!("edge{edge}")).as_bytes())
}
