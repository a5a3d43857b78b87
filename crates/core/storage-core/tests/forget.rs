//! A record is dropped on the word of its owner alone, and only where it need not be kept.

#![allow(clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

mod rig;

use bytes::Bytes;

use p2psip_storage_core::{Answer, Command, Tree};
use wire::{
    DataValue, Encode, ErrorCode, KindId, MessageCode, ModelSpecifier, NodeId, ResourceId, StatReq,
    StoredDataSpecifier, StoredDataValue,
};

use rig::{
    Rig, World, apply, refusal, signed, store_body,
    world::{EPOCH, bucket, node_id, user_name},
};

/// A value of one edge: at which time, and what; nothing is a tombstone.
type Value = (&'static str, u64, Option<&'static str>);

const A1: Value = ("e1", 1, Some("a"));
const A2: Value = ("e1", 2, Some("b"));
const B1: Value = ("e2", 1, Some("c"));

#[test]
fn what_the_owner_has_is_dropped_with_its_certificates() {
    for owner in [vec![A1, B1], vec![A2, B1], vec![("e1", 1, None), B1]] {
        let mut pair = Pair::new(&[A1, B1], &owner);
        assert_eq!(pair.forget(), Ok(()), "{owner:?}");
        assert_eq!(pair.held(), 0);
        pair.holder.lose_power();
        assert_eq!(pair.held(), 0, "after a restart");
        let trees: Vec<Tree> = pair.holder.disk.keys().map(|(tree, _)| *tree).collect();
        assert!(trees.iter().all(|tree| *tree == Tree::Meta), "{trees:?}");
    }
}

#[test]
fn what_the_owner_lacks_keeps_the_whole_record() {
    let others = ("e1", 1, Some("another"));
    for owner in [
        vec![],
        vec![A1],
        vec![("e1", 1, Some("a")), ("e2", 0, Some("c"))],
        vec![others, B1],
    ] {
        let mut pair = Pair::new(&[A1, B1], &owner);
        assert_eq!(pair.forget(), Err(ErrorCode::DataTooOld), "{owner:?}");
        assert_eq!(pair.held(), 1);
    }
    let mut pair = Pair::new(&[("e1", 1, None)], &[A1]);
    assert_eq!(
        pair.forget(),
        Err(ErrorCode::DataTooOld),
        "a tombstone wins over a value of its time"
    );
}

#[test]
fn what_came_after_the_owners_word_is_kept() {
    let mut pair = Pair::new(&[A1], &[A1]);
    let stat = pair.stat();
    store(&mut pair.world, &mut pair.holder, A2);
    assert_eq!(pair.forget_on(stat), Err(ErrorCode::DataTooOld));
    assert_eq!(pair.held(), 1);
}

#[test]
fn own_records_and_replicas_are_kept_whatever_the_owner_says() {
    let place = NodeId::from(resource());
    let before = NodeId::from_u128(place.to_u128() - 1);
    let elsewhere = (place, before);
    for (own, replica) in [
        ((before, place), elsewhere),
        (elsewhere, (before, place)),
        ((place, place), elsewhere),
    ] {
        let mut pair = Pair::new(&[A1], &[A1]);
        assert_eq!(pair.holder.run(Command::Keep { own, replica }), Answer::Done);
        assert_eq!(pair.forget(), Err(ErrorCode::Forbidden));
    }
    let mut pair = Pair::new(&[A1], &[A1]);
    pair.holder.lose_power();
    assert_eq!(pair.forget(), Err(ErrorCode::Forbidden), "not yet told what to keep");
    assert_eq!(pair.held(), 1);
}

#[test]
fn a_comparison_drops_nothing() {
    for (held, owned, expected) in [
        (vec![A1, B1], vec![A1, B1], Ok(())),
        (vec![A1, B1], vec![A1], Err(ErrorCode::DataTooOld)),
    ] {
        let mut pair = Pair::new(&held, &owned);
        assert_eq!(pair.compare(), expected);
        assert_eq!(pair.held(), 1);
    }
    let mut pair = Pair::new(&[A1], &[]);
    pair.holder.lose_power();
    assert_eq!(pair.compare(), Err(ErrorCode::DataTooOld), "whatever is to be kept");
}

#[test]
fn a_record_that_is_not_there_needs_no_word() {
    let mut pair = Pair::new(&[], &[]);
    assert_eq!(pair.forget(), Ok(()));
}

/// A peer that holds a record too many, and its owner.
struct Pair {
    world: World,
    holder: Rig,
    owner: Rig,
}

impl Pair {
    fn new(held: &[Value], owned: &[Value]) -> Self {
        let mut world = World::new();
        let mut with = |values: &[Value]| {
            let mut rig = Rig::new(&world);
            values.iter().for_each(|value| store(&mut world, &mut rig, *value));
            rig
        };
        let (mut holder, owner) = (with(held), with(owned));
        let place = NodeId::from(resource());
        let keep = Command::Keep {
            own: (place, node_id("own")),
            replica: (place, node_id("own")),
        };
        assert_eq!(holder.run(keep), Answer::Done);
        Self { world, holder, owner }
    }

    /// What the owner says of the record.
    fn stat(&mut self) -> Bytes {
        let specifiers = vec![StoredDataSpecifier {
            kind: KindId::SIP_REGISTRATION,
            generation: 0,
            model: ModelSpecifier::Dictionary(Vec::new()),
        }];
        let resource = resource();
        let body = StatReq { resource, specifiers }.to_bytes();
        match self.owner.run(apply(MessageCode::STAT_REQ, body, Vec::new(), None)) {
            Answer::Applied { body, .. } => body,
            other => panic!("{other:?}"),
        }
    }

    fn forget(&mut self) -> Result<(), ErrorCode> {
        let stat = self.stat();
        self.forget_on(stat)
    }

    fn forget_on(&mut self, stat: Bytes) -> Result<(), ErrorCode> {
        let resource = resource();
        let answer = self.holder.run(Command::Forget {
            resource,
            stat,
            compare_only: false,
        });
        refusal(&answer).map_or(Ok(()), Err)
    }

    fn compare(&mut self) -> Result<(), ErrorCode> {
        let (resource, stat) = (resource(), self.stat());
        let answer = self.holder.run(Command::Forget {
            resource,
            stat,
            compare_only: true,
        });
        refusal(&answer).map_or(Ok(()), Err)
    }

    fn held(&mut self) -> u64 {
        match self.holder.run(Command::Count) {
            Answer::Counted { records } => records,
            other => panic!("{other:?}"),
        }
    }
}

fn store(world: &mut World, rig: &mut Rig, (edge, time, text): Value) {
    let signer = world.signer(&format!("minted:alice/{edge}"));
    let value = StoredDataValue::Dictionary {
        key: Bytes::copy_from_slice(node_id(edge).as_bytes()),
        value: text.map_or_else(DataValue::none, |text| {
            DataValue::of(Bytes::from_static(text.as_bytes()))
        }),
    };
    let data = signed(
        &signer,
        resource(),
        KindId::SIP_REGISTRATION,
        (EPOCH + time, 600),
        value,
    );
    let body = store_body(resource(), 0, KindId::SIP_REGISTRATION, 0, vec![data]);
    let answer = rig.run(apply(MessageCode::STORE_REQ, body, bucket(&[&signer]), Some(&signer)));
    assert_eq!(refusal(&answer), None);
}

fn resource() -> ResourceId {
    ResourceId::of(user_name("alice").as_bytes())
}
