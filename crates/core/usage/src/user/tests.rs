use bytes::Bytes;
use proptest::prelude::*;
use wire::{NodeId, ResourceId};

use super::*;

const OVERLAY: &str = "example.org";

#[test]
fn a_record_opens_where_it_was_sealed() {
    let record = sealed(&[]);
    let read = Record::from_bytes(record.bytes()).unwrap();
    assert_eq!(read, record);
    assert_eq!(key().open(OVERLAY, place(), &read).unwrap(), secret());
    assert_eq!(read.public().version, 7);
    assert!(record.bytes().len() <= 256, "{}", record.bytes().len());
}

#[test]
fn a_record_with_all_its_edges_fits_the_kind() {
    let edges: Vec<NodeId> = (0..32).map(|n| NodeId::from([n; 16])).collect();
    let record = sealed(&edges);
    assert!(record.bytes().len() <= 1024, "{}", record.bytes().len());
    assert!(record.public().allows(edges[3]));
    assert!(!record.public().allows(NodeId::from([99; 16])));
}

#[test]
fn a_moved_record_does_not_open() {
    let record = sealed(&[]);
    let elsewhere = ResourceId::of(b"bob@example.org");
    assert_eq!(key().open(OVERLAY, elsewhere, &record), Err(SealError::NotAuthentic));
    assert_eq!(
        key().open("example.net", place(), &record),
        Err(SealError::NotAuthentic)
    );
}

#[test]
fn an_edited_record_does_not_open() {
    let record = sealed(&[]);
    for at in 2..record.bytes().len() {
        let mut edited = record.bytes().to_vec();
        edited[at] ^= 1;
        let opened = Record::from_bytes(&edited.into())
            .map_err(SealError::from)
            .and_then(|record| key().open(OVERLAY, place(), &record));
        assert!(opened.is_err(), "octet {at}");
    }
}

#[test]
fn another_key_version_is_named() {
    let newer = RecordKey::new(2, [7; 32]);
    assert_eq!(
        newer.open(OVERLAY, place(), &sealed(&[])),
        Err(SealError::KeyVersion { found: 1, own: 2 })
    );
}

#[test]
fn hashes_are_those_of_the_digest_standard() {
    // RFC 7616 §3.9.1: its user, realm and password; the hashes computed with md5sum and sha256sum.
    let ha1 = Ha1::new("Mufasa", "http-auth@example.org", "Circle of Life");
    assert_eq!(wire::hex::encode(ha1.md5()), "3d78807defe7de2157e2b0b6573a855f");
    assert_eq!(
        wire::hex::encode(ha1.sha256()),
        "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232"
    );
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?} {:?}", key(), secret().hashes);
    assert_eq!(
        shown,
        "RecordKey(version 1) Hashes { user: Ha1(..), user_at_domain: Ha1(..) }"
    );
}

proptest! {
    #[test]
    fn no_octets_make_reading_panic(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(record) = Record::from_bytes(&Bytes::from(octets)) {
            prop_assert!(key().open(OVERLAY, place(), &record).is_err());
        }
    }
}

fn sealed(edges: &[NodeId]) -> Record {
    let public = Public {
        state: State::Active,
        version: 7,
        issued_ms: 1_700_000_000_000,
        allowed_edges: edges.to_vec(),
        record_key_version: 0,
    };
    key().seal(OVERLAY, place(), public, &secret(), [9; 12]).unwrap()
}

fn secret() -> Secret {
    Secret {
        user: "alice@example.org".into(),
        realm: "example.org".into(),
        display_name: "Alice".into(),
        hashes: Hashes::new("alice@example.org", "example.org", "secret"),
    }
}

fn key() -> RecordKey {
    RecordKey::new(1, [7; 32])
}

fn place() -> ResourceId {
    ResourceId::of(b"alice@example.org")
}
