use std::net::{IpAddr, Ipv4Addr};

use identity::issue::{Authority, Profile, Serial, Subject, enrollment_ca};
use identity::{Key, PublicKey};
use proptest::prelude::*;
use usage::user::{Hashes, Public, Record, RecordKey, Secret, State};
use wire::{NodeId, ResourceId};

use super::{Join, joined};
use crate::state::{Credential, EdgeKeysRecord, NodeClass, NodeRecord, Octets, SharedRecord, TokenRecord, UserRecord};

/// The property that makes the order of news irrelevant.
fn is_a_join<T: Join + std::fmt::Debug>(a: &T, b: &T, c: &T) {
    let of = |one: &T, other: &T| {
        let mut both = one.clone();
        both.join(other);
        both
    };
    assert!(of(a, b) == of(b, a), "commutative");
    assert!(of(&of(a, b), c) == of(a, &of(b, c)), "associative");
    assert!(of(a, a) == *a && of(&of(a, b), b) == of(a, b), "idempotent");
    assert!(joined(Some(&of(a, b)), b.clone()).is_none(), "nothing new is no change");
}

fn octets() -> impl Strategy<Value = Octets> {
    (0_u8..3).prop_map(|octet| Octets(vec![octet; 2]))
}

fn sealed(version: u64, salt: u8) -> Octets {
    let record: Record = RecordKey::new(1, [7; 32])
        .seal(
            "overlay.example.org",
            ResourceId::of(b"alice"),
            Public {
                state: State::Active,
                version,
                issued_ms: 1,
                allowed_edges: Vec::new(),
                record_key_version: 0,
            },
            &Secret {
                user: "alice".to_owned(),
                realm: "overlay.example.org".to_owned(),
                display_name: String::new(),
                hashes: Hashes::new("alice", "overlay.example.org", "secret"),
            },
            [salt; 12],
        )
        .unwrap();
    Octets::of(record.bytes())
}

fn users() -> impl Strategy<Value = UserRecord> {
    let record = (1_u64..3, 0_u8..2).prop_map(|(version, salt)| sealed(version, salt));
    (
        record,
        0_u64..3,
        0_u32..3,
        0_u64..3,
        0_u64..3,
        prop::option::of(octets()),
    )
        .prop_map(
            |(record, published, published_key, storage_time, signed_ms, writer)| UserRecord {
                record,
                published,
                published_key,
                storage_time,
                signed_ms,
                writer,
            },
        )
}

fn tokens() -> impl Strategy<Value = TokenRecord> {
    (
        octets(),
        0_u64..2,
        0_u64..2,
        0_u32..2,
        prop::option::of(1_u32..3),
        any::<bool>(),
    )
        .prop_map(
            |(secret_hash, created_ms, expires_ms, edges, uses, revoked)| TokenRecord {
                secret_hash,
                lifetime_seconds: 1,
                created_ms,
                expires_ms,
                peer: edges == 0,
                edges,
                user: None,
                uses,
                configured: false,
                dropped: false,
                revoked,
            },
        )
}

/// Certificates of one node, the later ones made later.
fn certificates() -> Vec<Octets> {
    let (authority, key) = (authority(), Key::generate().unwrap().public());
    (0..3)
        .map(|day| certificate(&authority, &key, START_MS + day * 86_400_000))
        .collect()
}

fn authority() -> Authority {
    enrollment_ca(&Key::generate().unwrap(), START_MS, Serial::generate().unwrap()).unwrap()
}

fn certificate(authority: &Authority, key: &PublicKey, now_ms: u64) -> Octets {
    let subject = Subject {
        key,
        node_id: NodeId::from([1; 16]),
        overlay: "overlay.example.org",
        user: None,
    };
    let issued = authority.issue(Profile::Node, &subject, now_ms, Serial::generate().unwrap());
    Octets::of(issued.unwrap().der())
}

fn nodes(certificates: Vec<Octets>) -> impl Strategy<Value = NodeRecord> + Clone {
    let one = prop::sample::select(certificates);
    let times = prop::option::of(0_u64..2);
    (one.clone(), prop::option::of(one), times, 0_u8..2, any::<bool>()).prop_map(
        |(certificate, signer, at_ms, from, retired)| NodeRecord {
            by: Credential::Token("token".to_owned()),
            class: NodeClass::Edge,
            certificate,
            signer,
            from: Some(IpAddr::from(Ipv4Addr::new(127, 0, 0, from))),
            at_ms,
            retired,
        },
    )
}

fn edge_keys() -> impl Strategy<Value = EdgeKeysRecord> {
    (prop::collection::vec(0_u32..3, 0..2), any::<bool>(), 0_u64..3)
        .prop_map(|(held, left_out, at_ms)| EdgeKeysRecord { held, left_out, at_ms })
}

fn shared() -> impl Strategy<Value = SharedRecord> {
    (
        prop::collection::vec((1_u32..3, octets()), 0..3),
        any::<bool>(),
        prop::option::of(octets()),
        prop::option::of(octets()),
    )
        .prop_map(|(record_keys, resealing, token_key, backup_key)| SharedRecord {
            record_keys,
            resealing,
            token_key: token_key.unwrap_or_default(),
            backup_key,
        })
}

proptest! {
    #[test]
    fn users_join((a, b, c) in (users(), users(), users())) {
        is_a_join(&a, &b, &c);
    }

    #[test]
    fn tokens_join((a, b, c) in (tokens(), tokens(), tokens())) {
        is_a_join(&a, &b, &c);
    }

    #[test]
    fn edge_keys_join((a, b, c) in (edge_keys(), edge_keys(), edge_keys())) {
        is_a_join(&a, &b, &c);
    }

    #[test]
    fn what_is_shared_joins((a, b, c) in (shared(), shared(), shared())) {
        is_a_join(&a, &b, &c);
    }
}

#[test]
fn nodes_join() {
    let nodes = nodes(certificates());
    proptest!(|((a, b, c) in (nodes.clone(), nodes.clone(), nodes))| is_a_join(&a, &b, &c));
}

#[test]
fn the_later_certificate_and_the_first_enrollment_count() {
    let certificates = certificates();
    let node = |certificate: usize, at_ms| NodeRecord {
        by: Credential::Token("token".to_owned()),
        class: NodeClass::Peer,
        certificate: certificates[certificate].clone(),
        signer: None,
        from: None,
        at_ms: Some(at_ms),
        retired: false,
    };
    let both = joined(Some(&node(2, 1)), node(1, 0)).unwrap();
    assert!(both == node(2, 0));
}

#[test]
fn revoked_is_final() {
    let token = |revoked, expires_ms| TokenRecord {
        secret_hash: Octets(vec![1]),
        lifetime_seconds: 1,
        created_ms: 1,
        expires_ms,
        peer: true,
        edges: 0,
        user: None,
        uses: Some(1),
        configured: false,
        dropped: false,
        revoked,
    };
    assert!(joined(Some(&token(true, 1)), token(false, 2)).unwrap() == token(true, 2));
    assert!(joined(Some(&token(true, 2)), token(false, 1)).is_none());
    // Another one of the same id is another.
    let later = TokenRecord {
        created_ms: 2,
        ..token(false, 3)
    };
    assert!(joined(Some(&token(true, 1)), later.clone()).unwrap() == later);
}

const START_MS: u64 = 1_800_000_000_000;
