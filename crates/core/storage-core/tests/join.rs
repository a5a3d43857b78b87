//! State is a join: copies may come in any order and any number of times.

#![allow(clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

mod rig;

use bytes::Bytes;
use proptest::prelude::*;

use p2psip_storage_core::{Answer, Command, ReplicaStore};
use wire::{
    DataValue, Decode, ErrorCode, KindId, MessageCode, NodeId, ResourceId, StoreReq, StoredData, StoredDataValue,
};

use rig::{
    Rig, World, apply, models, refusal, signed, store_body,
    world::{EPOCH, bucket, node_id, user_name},
};

/// A value: which edge, how late, what, and whether it is a tombstone.
type Value = (usize, u64, u8, bool);

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        left in values(), middle in values(), right in values(),
    ) {
        let mut setup = Setup::new();
        let (left, middle, right) = (setup.state(&left), setup.state(&middle), setup.state(&right));
        let both = setup.join(&[&left, &middle]);
        prop_assert_eq!(&both, &setup.join(&[&middle, &left]));
        prop_assert_eq!(&both, &setup.join(&[&left, &middle, &left, &middle]));
        let later = setup.join(&[&middle, &right]);
        prop_assert_eq!(setup.join(&[&both, &right]), setup.join(&[&left, &later]));
    }

    #[test]
    fn a_peer_with_something_newer_refuses_and_changes_nothing(held in values(), sent in values()) {
        let mut setup = Setup::new();
        let (held, sent) = (setup.state(&held), setup.state(&sent));
        let union = setup.join(&[&held, &sent]);
        let mut rig = setup.rig(&[&held]);
        let answer = setup.replica(&mut rig, &sent);
        let is_newer = held.iter().any(|held| sent.iter().any(|sent| is_beaten(sent, held)));
        if is_newer {
            prop_assert_eq!(refusal(&answer), Some(ErrorCode::DataTooOld));
            prop_assert_eq!(setup.values(&mut rig), held);
        } else {
            prop_assert_eq!(refusal(&answer), None);
            prop_assert_eq!(setup.values(&mut rig), union);
        }
    }
}

#[test]
fn the_counter_is_the_greater_one_and_one_more_for_a_new_union() {
    let mut setup = Setup::new();
    let (one, other) = (setup.state(&[(0, 1, 0, true)]), setup.state(&[(1, 1, 0, true)]));
    let mut rig = setup.rig(&[]);
    setup.send(&mut rig, &one, 7);
    assert_eq!(setup.generation(&mut rig), 7, "taken over");
    setup.send(&mut rig, &one, 3);
    assert_eq!(setup.generation(&mut rig), 7, "never lowered");
    setup.send(&mut rig, &other, 5);
    assert_eq!(setup.generation(&mut rig), 8, "a state that neither side had");
    setup.send(&mut rig, &other, 5);
    assert_eq!(setup.generation(&mut rig), 8, "nothing new");
}

#[test]
fn a_scan_in_batches_gives_every_record_once() {
    let mut setup = Setup::new();
    let mut rig = setup.rig(&[]);
    for user in 0..40 {
        let signer = setup.world.signer(&format!("minted:user{user}/edge0"));
        let resource = ResourceId::of(user_name(&format!("user{user}")).as_bytes());
        let value = StoredDataValue::Dictionary {
            key: key(0),
            value: DataValue::of(Bytes::from(vec![1; 500])),
        };
        let data = signed(&signer, resource, KIND, (EPOCH, 600), value);
        let body = store_body(resource, 0, KIND, 0, vec![data]);
        let answer = rig.run(apply(MessageCode::STORE_REQ, body, bucket(&[&signer]), Some(&signer)));
        assert_eq!(refusal(&answer), None);
    }
    for range in [(NodeId::ZERO, NodeId::ZERO), (node_id("x"), node_id("x"))] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let Answer::Scanned { stores, next } = rig.run(Command::Scan { after, range }) else {
                panic!("scanned")
            };
            assert!(stores.iter().map(|store| store.body.len()).sum::<usize>() <= 256 << 10);
            seen.extend(stores.iter().map(|store| store.resource));
            after = next;
            if after.is_none() {
                break;
            }
        }
        let from = |resource: &ResourceId| resource.to_u128().wrapping_sub(range.0.to_u128()).wrapping_sub(1);
        assert_eq!(seen.len(), 40);
        assert!(
            seen.windows(2).all(|pair| from(&pair[0]) < from(&pair[1])),
            "in the order of the ring"
        );
    }
    let half = rig.run(Command::Scan {
        after: None,
        range: (NodeId::ZERO, NodeId::from_u128(u128::MAX / 2)),
    });
    let other = rig.run(Command::Scan {
        after: None,
        range: (NodeId::from_u128(u128::MAX / 2), NodeId::ZERO),
    });
    let count = |answer: Answer| match answer {
        Answer::Scanned { stores, .. } => stores.len(),
        _ => 0,
    };
    assert_eq!(count(half) + count(other), 40);
}

#[test]
fn a_large_kind_goes_value_by_value_and_arrives_whole() {
    let mut setup = Setup::new();
    let edges: Vec<_> = (0..16).map(|edge| (edge, 1, 9, true)).collect();
    let state = setup.large(&edges);
    let mut rig = setup.rig(&[&state]);
    let stores = setup.scan(&mut rig);
    assert_eq!(stores.len(), 16, "more than 32 KiB");
    let mut other = setup.rig(&[]);
    for store in stores {
        let answer = other.run(replica_command(&store));
        assert_eq!(refusal(&answer), None);
    }
    assert_eq!(setup.values(&mut other), state);
}

struct Setup {
    world: World,
}

impl Setup {
    fn new() -> Self {
        let mut world = World::new();
        for kind in &mut world.document.kinds {
            kind.max_size = 4096;
        }
        Self { world }
    }

    /// The values of a peer, one for each edge.
    fn state(&mut self, values: &[Value]) -> Vec<StoredData> {
        self.signed(values, 4)
    }

    fn large(&mut self, values: &[Value]) -> Vec<StoredData> {
        let mut state = self.signed(values, 2500);
        sort(&mut state);
        state
    }

    fn signed(&mut self, values: &[Value], size: usize) -> Vec<StoredData> {
        let mut state: Vec<StoredData> = Vec::new();
        for (edge, time, octet, exists) in values {
            let signer = self.world.signer(&format!("minted:alice/edge{edge}"));
            let value = if *exists {
                DataValue::of(Bytes::from(vec![*octet; size]))
            } else {
                DataValue::none()
            };
            let value = StoredDataValue::Dictionary { key: key(*edge), value };
            if !state.iter().any(|data| key_of(data) == key(*edge)) {
                state.push(signed(&signer, resource(), KIND, (EPOCH + time, 600), value));
            }
        }
        sort(&mut state);
        state
    }

    fn rig(&mut self, states: &[&Vec<StoredData>]) -> Rig {
        let mut rig = Rig::new(&self.world);
        for state in states {
            self.send(&mut rig, state, 1);
        }
        rig
    }

    /// Merges the states into an empty store.
    fn join(&mut self, states: &[&Vec<StoredData>]) -> Vec<StoredData> {
        let mut rig = self.rig(states);
        self.values(&mut rig)
    }

    /// Merges as the peer itself.
    fn send(&mut self, rig: &mut Rig, state: &[StoredData], generation: u64) {
        let body = store_body(resource(), 1, KIND, generation, state.to_vec());
        let answer = rig.run(apply(MessageCode::STORE_REQ, body, self.bucket(), None));
        assert_eq!(refusal(&answer), None);
    }

    /// Merges as another peer asks for it.
    fn replica(&mut self, rig: &mut Rig, state: &[StoredData]) -> Answer {
        let peer = self.world.signer("peer:p1");
        let body = store_body(resource(), 1, KIND, 1, state.to_vec());
        rig.run(apply(MessageCode::STORE_REQ, body, self.bucket(), Some(&peer)))
    }

    fn bucket(&mut self) -> Vec<Bytes> {
        let signers: Vec<_> = (0..16)
            .map(|edge| self.world.signer(&format!("minted:alice/edge{edge}")))
            .collect();
        bucket(&signers.iter().collect::<Vec<_>>())
    }

    fn scan(&self, rig: &mut Rig) -> Vec<ReplicaStore> {
        match rig.run(Command::Scan {
            after: None,
            range: (NodeId::ZERO, NodeId::ZERO),
        }) {
            Answer::Scanned { stores, .. } => stores,
            other => panic!("{other:?}"),
        }
    }

    fn requests(&self, rig: &mut Rig) -> Vec<StoreReq> {
        let stores = self.scan(rig);
        let decode = |store: &ReplicaStore| StoreReq::from_bytes_with(&store.body, &models(&self.world));
        stores
            .iter()
            .map(|store| decode(store).expect("a good request"))
            .collect()
    }

    fn values(&self, rig: &mut Rig) -> Vec<StoredData> {
        let mut values: Vec<_> = self
            .requests(rig)
            .into_iter()
            .flat_map(|request| request.kind_data)
            .flat_map(|data| data.values)
            .collect();
        sort(&mut values);
        values
    }

    fn generation(&self, rig: &mut Rig) -> u64 {
        self.requests(rig)[0].kind_data[0].generation_counter
    }
}

fn replica_command(store: &ReplicaStore) -> Command {
    apply(
        MessageCode::STORE_REQ,
        store.body.clone(),
        store.certificates.clone(),
        None,
    )
}

/// Tells whether a value loses against another of the same place.
fn is_beaten(loser: &StoredData, winner: &StoredData) -> bool {
    let rank = |data: &StoredData| {
        let exists = data.value.value().is_some_and(|value| value.exists);
        let octets = [
            wire::Encode::to_bytes(&data.value),
            wire::Encode::to_bytes(&data.signature),
        ]
        .concat();
        (data.storage_time, !exists, octets)
    };
    key_of(loser) == key_of(winner) && rank(loser) < rank(winner)
}

fn values() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec((0..3_usize, 0..3_u64, 0..2_u8, any::<bool>()), 0..4)
}

fn sort(values: &mut [StoredData]) {
    values.sort_by_key(key_of);
}

fn key_of(data: &StoredData) -> Bytes {
    match &data.value {
        StoredDataValue::Dictionary { key, .. } => key.clone(),
        _ => Bytes::new(),
    }
}

fn key(edge: usize) -> Bytes {
    Bytes::copy_from_slice(node_id(&format!("edge{edge}")).as_bytes())
}

fn resource() -> ResourceId {
    ResourceId::of(user_name("alice").as_bytes())
}

const KIND: KindId = KindId::SIP_REGISTRATION;
