//! One signer that stores all it can, and the others, who still get in.

#![allow(clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

mod rig;

use bytes::Bytes;
use p2psip_storage_core::{Answer, Settings};
use wire::{DataValue, Decode as _, ErrorCode, KindId, MessageCode, ResourceId, StoreAns, StoredDataValue};

use rig::{
    Rig, World, apply, refusal, signed, store_body,
    world::{EPOCH, NOTE, OVERLAY, bucket, node_id, user_name},
};

const TOO_LARGE: Option<ErrorCode> = Some(ErrorCode::DataTooLarge);
const KIND: KindId = KindId::SIP_REGISTRATION;

#[test]
fn one_signer_is_at_its_quota_and_another_stores_on() {
    let mut peer = Peer::with(1 << 30, 10);
    assert_eq!(peer.register("greedy", 0..15), 10);
    assert_eq!(peer.register("honest", 0..10), 10, "of ten honest requests none fails");
    // A greedy edge cannot get round it with a new certificate for each user: all of them name it.
    assert_eq!(peer.store(0, "greedy", 20, EPOCH), TOO_LARGE);
    // Values that are there may be refreshed and removed.
    assert_eq!(peer.store(0, "greedy", 3, EPOCH + 1), None);
    assert_eq!(peer.remove("greedy", 3, EPOCH + 2), None);
}

#[test]
fn the_quota_is_counted_again_after_a_restart_and_ends_with_the_values() {
    let mut peer = Peer::with(1 << 30, 10);
    assert_eq!(peer.register("greedy", 0..10), 10);
    peer.rig.lose_power();
    assert_eq!(peer.store(0, "greedy", 11, EPOCH), TOO_LARGE);
    let (now, before) = (peer.rig.now.unix_ms, peer.rig.core.summary().bytes);
    assert_eq!(
        peer.rig.run(p2psip_storage_core::Command::Clock {
            unix_ms: now,
            voices: 3
        }),
        Answer::Done
    );
    peer.rig.wait(700);
    assert_eq!((peer.rig.core.summary().bytes, before > 0), (0, true));
    let later = peer.rig.now.unix_ms;
    assert_eq!(peer.store(0, "greedy", 11, later), None);
}

#[test]
fn octets_are_counted_with_their_certificates() {
    // A registration of these takes two hundred octets, its certificates some hundred more.
    let mut peer = Peer::with(200_000, 20_000);
    let taken = peer.register("greedy", 0..40);
    assert!((10..30).contains(&taken), "{taken}");
    assert!(
        peer.rig.core.summary().bytes <= 22_000,
        "{}",
        peer.rig.core.summary().bytes
    );
    assert_eq!(peer.register("honest", 0..5), 5);
}

#[test]
fn one_kind_leaves_room_for_the_others() {
    let mut peer = Peer::with(60_000, 20_000);
    // Ten nodes fill what one Kind may have.
    for edge in 0..10 {
        peer.register(&format!("edge{edge}"), 0..4);
    }
    let full = peer.rig.core.summary().bytes;
    assert!((25_000..32_000).contains(&full), "{full}");
    assert_eq!(peer.store(0, "another", 0, EPOCH), TOO_LARGE);
    assert_eq!(peer.note("alice"), None);
}

#[test]
fn copies_are_taken_when_originals_are_not_any_more_but_not_for_ever() {
    let mut peer = Peer::with(20_000, 20_000);
    let fill = |peer: &mut Peer, replica: u8| {
        let one = |edge| peer.store(replica, &format!("edge{edge}"), 100 + edge, EPOCH);
        (0..30_usize).map(one).filter(Option::is_none).count()
    };
    let originals = fill(&mut peer, 0);
    assert_eq!(peer.note("alice"), None);
    let copies = fill(&mut peer, 1);
    let full = peer.rig.core.summary().bytes;
    assert!(
        originals > 0 && copies > originals && copies < 30,
        "{originals}, {copies}"
    );
    assert!((18_000..=20_000).contains(&full), "{full}");
    assert_eq!(peer.note("bob"), TOO_LARGE);
}

#[test]
fn a_peer_takes_the_copies_of_three_owners() {
    let mut peer = Peer::with(1 << 30, 5);
    let taken = (0..20).filter(|user| peer.store(1, "greedy", *user, EPOCH).is_none());
    assert_eq!(taken.count(), 15);
}

#[test]
fn the_writer_that_the_document_names_has_no_quota() {
    let mut world = World::new();
    let kind = world
        .document
        .kinds
        .iter_mut()
        .find(|kind| kind.id == KIND)
        .expect("it is there");
    kind.writers = vec![node_id("service")];
    let rig = Rig::with(&world, settings(1 << 30, 3));
    let mut peer = Peer { world, rig };
    assert_eq!(peer.register("service", 0..10), 10);
}

#[test]
fn a_counter_that_no_owner_could_have_reached_is_cut() {
    let mut peer = Peer::with(1 << 30, 100);
    let hour = 3_600_000;
    for (user, sent, kept) in [
        (0, EPOCH + 48 * hour, EPOCH + 48 * hour),
        (1, EPOCH + 50 * hour, EPOCH),
        (2, u64::MAX, EPOCH),
    ] {
        let request = peer.request(&Registration {
            replica: 1,
            generation: sent,
            edge: "edge",
            user,
            time: EPOCH,
            exists: true,
        });
        let answer = peer.send(request, "peer:hostile");
        let Answer::Applied { body, .. } = answer else {
            panic!("{answer:?}")
        };
        let answer = StoreAns::from_bytes(&body).expect("a good answer");
        assert_eq!(answer.kind_responses[0].generation_counter, kept);
    }
}

fn settings(capacity: u64, signer_slots: u64) -> Settings {
    Settings {
        capacity,
        signer_slots,
        ..Settings::default()
    }
}

/// A user's registration, under a certificate of its own.
struct Registration<'a> {
    replica: u8,
    generation: u64,
    edge: &'a str,
    user: usize,
    time: u64,
    exists: bool,
}

/// A Store as it comes.
struct Request {
    body: Bytes,
    certificates: Vec<Bytes>,
}

/// A peer's storage, and all who could store there.
struct Peer {
    world: World,
    rig: Rig,
}

impl Peer {
    fn with(capacity: u64, signer_slots: u64) -> Self {
        let world = World::new();
        let rig = Rig::with(&world, settings(capacity, signer_slots));
        Self { world, rig }
    }

    /// An edge registers so many of its users, one after the other. Gives how many were taken.
    fn register(&mut self, edge: &str, users: std::ops::Range<usize>) -> usize {
        users.filter(|user| self.store(0, edge, *user, EPOCH).is_none()).count()
    }

    fn store(&mut self, replica: u8, edge: &str, user: usize, time: u64) -> Option<ErrorCode> {
        self.register_one(&Registration {
            replica,
            generation: replica.into(),
            edge,
            user,
            time,
            exists: true,
        })
    }

    fn remove(&mut self, edge: &str, user: usize, time: u64) -> Option<ErrorCode> {
        self.register_one(&Registration {
            replica: 0,
            generation: 0,
            edge,
            user,
            time,
            exists: false,
        })
    }

    fn register_one(&mut self, registration: &Registration<'_>) -> Option<ErrorCode> {
        let Registration { user, edge, .. } = registration;
        let request = self.request(registration);
        refusal(&self.send(request, &format!("minted:user{user}/{edge}")))
    }

    fn send(&mut self, request: Request, signer: &str) -> Answer {
        let signer = self.world.signer(signer);
        let Request { body, certificates } = request;
        let store = apply(MessageCode::STORE_REQ, body, certificates, Some(&signer));
        self.rig.run(store)
    }

    fn request(&mut self, registration: &Registration<'_>) -> Request {
        let &Registration {
            replica,
            generation,
            edge,
            user,
            time,
            exists,
        } = registration;
        let signer = self.world.signer(&format!("minted:user{user}/{edge}"));
        let resource = ResourceId::of(user_name(&format!("user{user}")).as_bytes());
        let value = if exists {
            DataValue::of(Bytes::from_static(b"sip:here"))
        } else {
            DataValue::none()
        };
        let value = StoredDataValue::Dictionary {
            key: Bytes::copy_from_slice(node_id(edge).as_bytes()),
            value,
        };
        let data = signed(&signer, resource, KIND, (time, 600), value);
        Request {
            body: store_body(resource, replica, KIND, generation, vec![data]),
            certificates: bucket(&[&signer]),
        }
    }

    /// A user's note: a value of another Kind.
    fn note(&mut self, user: &str) -> Option<ErrorCode> {
        let name = format!("node:{user}/own");
        let signer = self.world.signer(&name);
        let resource = ResourceId::of(format!("{user}@{OVERLAY}").as_bytes());
        let value = StoredDataValue::Single(DataValue::of(Bytes::from_static(b"note")));
        let data = signed(&signer, resource, NOTE, (EPOCH, 600), value);
        let request = Request {
            body: store_body(resource, 0, NOTE, 0, vec![data]),
            certificates: bucket(&[&signer]),
        };
        refusal(&self.send(request, &name))
    }
}
