use bytes::Bytes;
use identity::issue::{Authority, Profile, Serial, Subject, enrollment_ca};
use identity::{Key, Sign, Signer, Trust, Use, Verifier, verify_message};
use proptest::prelude::*;
use wire::{
    Decode, Destination, Encode, FetchAns, FetchKindResponse, FetchReq, KindId, MessageContents, NodeId, ResourceId,
    StoreReq, TransactionId,
};

use super::*;
use crate::Signed;
use crate::user::{self, Hashes, Public, RecordKey, Secret, State};

const OVERLAY: &str = "example.org";
const ALICE: &str = "alice@example.org";
const NOW: u64 = 1_800_000_000_000;
const DAY: u64 = 86_400_000;

#[test]
fn a_route_has_the_octets_of_the_standard() {
    let route = SipRegistration::Route {
        contact_prefs: Bytes::from_static(b"ab"),
        destination_list: vec![Destination::Node(node(1)), Destination::Node(node(2))],
    };
    let mut expected = vec![2, 0, 42, 0, 2, b'a', b'b', 0, 36, 1, 16];
    expected.extend([1; 16]);
    expected.extend([1, 16]);
    expected.extend([2; 16]);
    assert_eq!(route.to_bytes(), expected);
    assert_eq!(SipRegistration::from_bytes(&route.to_bytes()).unwrap(), route);
}

#[test]
fn wrong_lengths_are_refused() {
    let uri = SipRegistration::Uri(Bytes::from_static(b"sam@example.org")).to_bytes();
    let longer: Bytes = [uri.as_ref(), b"x"].concat().into();
    assert!(SipRegistration::from_bytes(&longer).is_err());
    assert!(SipRegistration::from_bytes(&uri.slice(..uri.len() - 1)).is_err());
    let slack: &[u8] = &[1, 0, 4, 0, 1, b'a', b'b'];
    assert!(SipRegistration::from_bytes(&Bytes::from_static(slack)).is_err());
    let no_list: &[u8] = &[2, 0, 4, 0, 0, 0, 0];
    assert!(SipRegistration::from_bytes(&Bytes::from_static(no_list)).is_err());
    let unknown: &[u8] = &[9, 0, 1, 7];
    let other = SipRegistration::Other {
        kind: 9,
        data: Bytes::from_static(&[7]),
    };
    assert_eq!(
        SipRegistration::from_bytes(&Bytes::from_static(unknown)).unwrap(),
        other
    );
}

#[test]
fn a_certificate_signs_while_it_outlives_what_it_signs_by_three_days() {
    assert!(is_reusable(NOW, NOW + 3 * DAY + 3_600_000, SIGNS_REGISTRATION));
    assert!(!is_reusable(NOW, NOW + 3 * DAY + 3_599_999, SIGNS_REGISTRATION));
    assert!(is_reusable(NOW, NOW + 8 * DAY + 3_600_000, SIGNS_TOMBSTONE));
    assert!(!is_reusable(NOW, NOW - 1, SIGNS_TOMBSTONE));
}

#[test]
fn a_registration_is_found_where_it_was_stored() {
    let world = World::new();
    let stored = world.registered(node(1), ALICE);
    let found = world.read(&[&stored, &world.record(State::Active, &[])]);
    let route = Route {
        edge: node(1),
        home: Some(node(9)),
        storage_time: NOW,
        until_ms: NOW + 3_600_000,
    };
    assert_eq!(found.routes, [route]);
    assert_eq!(found.record.unwrap().public().version, 3);
    assert_eq!(
        found.own,
        Some(OwnEntry {
            storage_time: NOW,
            exists: true
        })
    );
    assert_eq!(found.refused, 0);
}

#[test]
fn the_request_is_signed_by_the_minted_certificate() {
    let world = World::new();
    let signed = world.registered(node(1), ALICE);
    let (id, contents, block) = (signed.transaction_id, &signed.contents, &signed.security);
    let verified = verify_message(&world.verifier, OVERLAY, id, contents, block, NOW, Use::UserNodeStore);
    assert_eq!(verified.unwrap().user.as_deref(), Some(ALICE));
    assert!(verify_message(&world.verifier, OVERLAY, id, contents, block, NOW, Use::Node).is_err());
}

#[test]
fn an_entry_without_a_record_or_of_an_edge_not_allowed_does_not_count() {
    let world = World::new();
    let stored = world.registered(node(1), ALICE);
    assert!(world.read(&[&stored]).routes.is_empty());
    let found = world.read(&[&stored, &world.record(State::Active, &[node(2)])]);
    assert!(found.routes.is_empty());
    assert!(found.own.is_some());
}

#[test]
fn a_user_who_is_not_active_has_no_routes() {
    let world = World::new();
    for state in [State::Suspended, State::Removed] {
        let stored = [world.registered(node(1), ALICE), world.record(state, &[])];
        let found = world.read(&[&stored[0], &stored[1]]);
        assert!(found.routes.is_empty() && found.record.is_some());
        // The edge is told of the change all the same.
        let (body, bucket) = answer(&[&stored[0], &stored[1]]);
        let serving = world.judge().serving(ALICE, &body, &bucket).unwrap();
        let edges: Vec<NodeId> = serving.routes.iter().map(|route| route.edge).collect();
        assert_eq!((edges, serving.generation), (vec![node(1)], 1));
    }
}

#[test]
fn a_tombstone_is_no_route() {
    let world = World::new();
    let signer = world.minted(node(1), ALICE);
    let stored = registrant().unregister(&signer, ALICE, NOW, TransactionId(1));
    let found = world.read(&[&stored, &world.record(State::Active, &[])]);
    assert!(found.routes.is_empty());
    assert_eq!(
        found.own,
        Some(OwnEntry {
            storage_time: NOW,
            exists: false
        })
    );
}

#[test]
fn a_delegated_signer_cannot_route_to_another_node() {
    let world = World::new();
    let thief = AtAnotherNode(world.minted(node(1), ALICE), node(2));
    let stored = registrant().register(&thief, ALICE, NOW, TransactionId(1));
    let found = world.read(&[&stored, &world.record(State::Active, &[])]);
    assert_eq!((found.routes.len(), found.refused), (0, 1));
}

#[test]
fn an_entry_for_another_user_is_refused() {
    let world = World::new();
    let signer = world.minted(node(1), "mallory@example.org");
    let stored = registrant().register(&signer, ALICE, NOW, TransactionId(1));
    assert_eq!(world.read(&[&stored, &world.record(State::Active, &[])]).refused, 1);
}

#[test]
fn an_edge_cannot_write_a_record() {
    let world = World::new();
    let edge = world.minted(node(7), ALICE);
    let record = world.sealed(State::Active, &[]);
    let stored = user::store(&edge, OVERLAY, ALICE, &record, (NOW, TransactionId(1)));
    let found = world.read(&[&stored]);
    assert_eq!((found.record, found.refused), (None, 1));
}

#[test]
fn a_fetch_asks_for_both_kinds() {
    let request = fetch(ALICE);
    assert_eq!(FetchReq::from_bytes(&request.to_bytes()).unwrap(), request);
    assert_eq!(request.resource, ResourceId::of(ALICE.as_bytes()));
    let kinds: Vec<KindId> = request.specifiers.iter().map(|specifier| specifier.kind).collect();
    assert_eq!(kinds, [KindId::SIP_REGISTRATION, KindId::P2PSIP_USER]);
}

proptest! {
    #[test]
    fn no_octets_make_reading_panic_and_what_is_read_is_written_alike(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
        let octets = Bytes::from(octets);
        if let Ok(registration) = SipRegistration::from_bytes(&octets) {
            prop_assert_eq!(registration.to_bytes(), octets);
        }
    }

    #[test]
    fn every_route_survives_the_wire(prefs in proptest::collection::vec(any::<u8>(), 0..40), nodes in proptest::collection::vec(any::<[u8; 16]>(), 1..5)) {
        let destination_list = nodes.into_iter().map(|node| Destination::Node(node.into())).collect();
        let route = SipRegistration::Route { contact_prefs: prefs.into(), destination_list };
        prop_assert_eq!(SipRegistration::from_bytes(&route.to_bytes()).unwrap(), route);
    }
}

/// Keys and certificates of a small overlay whose user signer is node 7.
struct World {
    verifier: Verifier,
    enrollment: Authority,
}

impl World {
    fn new() -> Self {
        let key = Key::ed25519_from_seed([1; 32]);
        let enrollment = enrollment_ca(&key, NOW, Serial::new([1; 9])).unwrap();
        let trust = Trust {
            overlay: OVERLAY.into(),
            anchors: vec![enrollment.certificate().clone()],
            delegated_signers: true,
            private_namespace: true,
            ..Trust::default()
        };
        Self {
            verifier: Verifier::new(trust),
            enrollment,
        }
    }

    fn minted(&self, edge: NodeId, aor: &str) -> Signer {
        let authority_key = Key::ed25519_from_seed([2; 32]);
        let public = authority_key.public();
        let subject = Subject {
            key: &public,
            node_id: edge,
            overlay: OVERLAY,
            user: None,
        };
        let certificate = self
            .enrollment
            .issue(Profile::DelegatedSigner, &subject, NOW, Serial::new([2; 9]))
            .unwrap();
        let delegated = Authority::new(authority_key, certificate.clone()).unwrap();
        let key = Key::ed25519_from_seed([3; 32]);
        let public = key.public();
        let subject = Subject {
            key: &public,
            node_id: edge,
            overlay: OVERLAY,
            user: Some(aor),
        };
        let leaf = delegated
            .issue(Profile::Minted, &subject, NOW, Serial::new([3; 9]))
            .unwrap();
        Signer::new(key, &leaf, &[certificate.der().clone()]).unwrap()
    }

    fn registered(&self, edge: NodeId, aor: &str) -> Signed {
        registrant().register(&self.minted(edge, aor), aor, NOW, TransactionId(1))
    }

    fn sealed(&self, state: State, allowed: &[NodeId]) -> user::Record {
        self.sealed_as(3, state, allowed)
    }

    fn sealed_as(&self, version: u64, state: State, allowed: &[NodeId]) -> user::Record {
        let public = Public {
            state,
            version,
            issued_ms: NOW,
            allowed_edges: allowed.to_vec(),
            record_key_version: 1,
        };
        let secret = Secret {
            user: ALICE.into(),
            realm: OVERLAY.into(),
            display_name: "Alice".into(),
            hashes: Hashes::new(ALICE, OVERLAY, "secret"),
        };
        let key = RecordKey::new(1, [5; 32]);
        key.seal(OVERLAY, ResourceId::of(ALICE.as_bytes()), public, &secret, [0; 12])
            .unwrap()
    }

    fn record(&self, state: State, allowed: &[NodeId]) -> Signed {
        self.written(node(7), &self.sealed(state, allowed), NOW)
    }

    /// A record as one of the services signs it.
    fn written(&self, writer: NodeId, record: &user::Record, storage_time: u64) -> Signed {
        let key = Key::ed25519_from_seed([4; 32]);
        let public = key.public();
        let subject = Subject {
            key: &public,
            node_id: writer,
            overlay: OVERLAY,
            user: Some(ALICE),
        };
        let leaf = self
            .enrollment
            .issue(Profile::UserRecord, &subject, NOW, Serial::new([4; 9]))
            .unwrap();
        let signer = Signer::new(key, &leaf, &[]).unwrap();
        user::store(&signer, OVERLAY, ALICE, record, (storage_time, TransactionId(2)))
    }

    /// Reads a Fetch answer with what these requests store.
    fn read(&self, stored: &[&Signed]) -> Found {
        let (body, bucket) = answer(stored);
        self.judge().read(ALICE, &body, &bucket).unwrap()
    }

    fn judge(&self) -> Judge<'_> {
        Judge {
            verifier: &self.verifier,
            writers: WRITERS,
            own: node(1),
            now_ms: NOW,
        }
    }
}

/// The writers that the document names.
const WRITERS: &[NodeId] = &[NodeId::new([7; 16]), NodeId::new([8; 16])];

/// Answers a Fetch with what these requests store.
fn answer(stored: &[&Signed]) -> (Bytes, Vec<Bytes>) {
    let mut kind_responses = Vec::new();
    let mut bucket = Vec::new();
    for signed in stored {
        let contents = MessageContents::from_bytes(&signed.contents).unwrap();
        let request = StoreReq::from_bytes(&contents.body).unwrap();
        for data in request.kind_data {
            kind_responses.push(FetchKindResponse {
                kind: data.kind,
                generation: 1,
                values: data.values,
            });
        }
        let certificates = signed.security.certificates.iter();
        bucket.extend(certificates.map(|certificate| certificate.certificate.clone()));
    }
    (FetchAns { kind_responses }.to_bytes(), bucket)
}

/// Claims another Node-ID than its certificate has.
struct AtAnotherNode(Signer, NodeId);

impl Sign for AtAnotherNode {
    fn sign(&self, input: &[u8]) -> Vec<u8> {
        self.0.sign(input)
    }

    fn algorithm(&self) -> wire::SignatureAndHash {
        self.0.algorithm()
    }

    fn identity(&self) -> &wire::SignerIdentity {
        self.0.identity()
    }

    fn certificates(&self) -> &[Bytes] {
        self.0.certificates()
    }

    fn node_id(&self) -> NodeId {
        self.1
    }
}

fn registrant() -> Registrant {
    Registrant {
        overlay: OVERLAY.into(),
        home: node(9),
    }
}

fn node(number: u8) -> NodeId {
    NodeId::from([number; 16])
}

#[test]
fn of_several_services_the_newest_record_counts() {
    let world = World::new();
    let written = |writer: u8, version, state, storage_time| {
        world.written(node(writer), &world.sealed_as(version, state, &[]), storage_time)
    };
    let state = |stored: &[&Signed]| world.read(stored).record.map(|record| record.public().state);
    let old = written(7, 3, State::Active, NOW + 5);
    // The version goes before the time at which it was signed, and that before the order of the document.
    let newer = written(8, 4, State::Suspended, NOW);
    assert_eq!(state(&[&old, &newer]), Some(State::Suspended));
    assert_eq!(state(&[&newer, &old]), Some(State::Suspended));
    let again = written(8, 3, State::Suspended, NOW + 6);
    assert_eq!(state(&[&old, &again]), Some(State::Suspended));
    let same = written(8, 3, State::Suspended, NOW + 5);
    assert_eq!(state(&[&same, &old]), Some(State::Active));
    // A writer that the document does not name writes nothing.
    let stranger = written(9, 9, State::Suspended, NOW + 9);
    assert_eq!(state(&[&old, &stranger]), Some(State::Active));
}
