//! Golden messages must be read, and written back octet for octet.

use std::collections::BTreeSet;

use wire::{Decode, ErrorCode, MessageCode, Packet, WellKnown, inspect};

use crate::sample::{Signers, bodies};
use p2psip_vectors::{Golden, alone, fragments, link};

fn all() -> Vec<Golden> {
    [alone(), link(), fragments()].concat()
}

#[test]
fn golden_messages_are_written_back_as_they_were() {
    for Golden { name, octets } in all() {
        match inspect::inspect(&octets, &WellKnown) {
            Ok((_, again)) => assert_eq!(again, octets, "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn golden_messages_are_refused_when_an_octet_is_missing_or_added() {
    for Golden { name, octets } in all() {
        let short = octets.slice(..octets.len() - 1);
        assert!(
            inspect::inspect(&short, &WellKnown).is_err(),
            "{name} without its last octet"
        );
        let long = [&octets[..], &[0]].concat();
        assert!(
            inspect::inspect(&long.into(), &WellKnown).is_err(),
            "{name} with an octet added"
        );
    }
}

#[test]
fn every_code_has_a_golden_message() {
    let experiments = [
        MessageCode::EXP_A_REQ,
        MessageCode::EXP_A_ANS,
        MessageCode::EXP_B_REQ,
        MessageCode::EXP_B_ANS,
    ];
    let mut codes: BTreeSet<_> = MessageCode::ALL
        .iter()
        .filter(|code| !experiments.contains(code))
        .collect();
    let mut errors: BTreeSet<_> = ErrorCode::ALL.iter().collect();
    for Golden { octets, .. } in alone() {
        let Ok((seen, _)) = inspect::inspect(&octets, &WellKnown) else {
            continue;
        };
        codes.retain(|code| seen.code != Some(**code));
        if let Some(wire::Body::Error(error)) = seen.body {
            errors.remove(&error.code);
        }
    }
    assert!(codes.is_empty(), "no golden message of {codes:?}");
    assert!(errors.is_empty(), "no golden message of {errors:?}");
}

#[test]
fn golden_bodies_are_those_that_made_them() {
    let golden = alone();
    for (name, body) in bodies(&Signers::new()) {
        if name.starts_with("store_req") || name.starts_with("fetch_ans") {
            // They contain certificates, whose fields the identity crate may change.
            continue;
        }
        let Some(Golden { octets, .. }) = golden.iter().find(|golden| golden.name == name) else {
            panic!("{name} is missing: run make");
        };
        let message = Packet::from_bytes(octets).and_then(|packet| packet.open()).unwrap();
        assert_eq!(message.contents.body(), Ok(body), "{name}");
    }
}

#[test]
fn golden_headers_carry_the_hashes_of_the_rfc() {
    for Golden { name, octets } in alone().iter().filter(|golden| golden.octets.starts_with(&[0xd2])) {
        assert_eq!(
            octets[4..8],
            [0x9a, 0xa3, 0x2b, 0x8d],
            "{name}: hash of overlay.example.org"
        );
    }
    let alice = wire::hex::decode("90966b01081c98be2c7e87a0b9a016ac").unwrap();
    let find = alone().into_iter().find(|golden| golden.name == "find_req").unwrap();
    let message = Packet::from_bytes(&find.octets).unwrap().open().unwrap();
    assert_eq!(
        message.contents.body[1..17],
        alice,
        "H(alice@dht.example.org) behind its length octet"
    );
}
