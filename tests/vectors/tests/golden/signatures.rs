//! Golden messages are signed by whom they say, and by nobody once an octet of them changes.

use wire::{Body, Decode, Message, MessageContents, StoredData, StoredDataValue};

use crate::sample::{NODE, NOW_MS, OVERLAY, alice, verifier};
use identity::{Use, bucket, verify_message, verify_value};
use p2psip_vectors::{Golden, alone};

/// Bare signed messages.
fn signed() -> Vec<(String, Message)> {
    let bare = alone()
        .into_iter()
        .filter(|Golden { name, .. }| !name.contains("hand_") && !name.starts_with("framed_"));
    bare.map(|Golden { name, octets }| (name, Message::from_bytes(&octets).expect("golden")))
        .collect()
}

#[test]
fn messages_are_signed_over_all_of_their_contents() {
    let verifier = verifier();
    let verify = |message: &Message, contents: &[u8]| {
        let transaction = message.header.transaction_id;
        verify_message(
            &verifier,
            OVERLAY,
            transaction,
            contents,
            &message.security,
            NOW_MS,
            Use::Node,
        )
    };
    for (name, message) in signed() {
        let signer = verify(&message, &message.signed_contents).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(signer.node_id(), NODE, "{name}");
        for place in [0, message.signed_contents.len() / 2, message.signed_contents.len() - 1] {
            let mut changed = message.signed_contents.to_vec();
            changed[place] ^= 1;
            assert!(verify(&message, &changed).is_err(), "{name} with octet {place} changed");
        }
    }
}

#[test]
fn messages_are_signed_over_overlay_and_transaction() {
    let verifier = verifier();
    for (name, message) in signed() {
        let mut other = message.header.transaction_id;
        other.0 ^= 1;
        let Message {
            signed_contents,
            security,
            ..
        } = &message;
        assert!(
            verify_message(&verifier, OVERLAY, other, signed_contents, security, NOW_MS, Use::Node).is_err(),
            "{name}"
        );
        let transaction = message.header.transaction_id;
        let elsewhere = "other.example.org";
        assert!(
            verify_message(
                &verifier,
                elsewhere,
                transaction,
                signed_contents,
                security,
                NOW_MS,
                Use::Node
            )
            .is_err(),
            "{name}"
        );
    }
}

#[test]
fn values_are_signed_by_their_owner() {
    let verifier = verifier();
    let mut count = 0;
    for (name, message) in signed() {
        for (kind, mut data) in values(&message.contents) {
            if data.signature.value.is_empty() {
                continue;
            }
            count += 1;
            let bucket = bucket(&message.security);
            let owner = verify_value(&verifier, alice(), kind, &data, &bucket, NOW_MS, Use::UserNodeStore)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(owner.user.as_deref(), Some("alice@dht.example.org"), "{name}");
            if let StoredDataValue::Array { index, .. } = &mut data.value {
                *index = 77;
                let moved = verify_value(&verifier, alice(), kind, &data, &bucket, NOW_MS, Use::UserNodeStore);
                assert!(
                    moved.is_ok(),
                    "{name}: the index of an array is not signed (RFC 6940 §7.4.2.2)"
                );
            }
            data.storage_time += 1;
            let changed = verify_value(&verifier, alice(), kind, &data, &bucket, NOW_MS, Use::UserNodeStore);
            assert!(changed.is_err(), "{name} with another storage time");
        }
    }
    assert!(count > 10, "only {count} values");
}

fn values(contents: &MessageContents) -> Vec<(wire::KindId, StoredData)> {
    match contents.body().expect("golden") {
        Body::StoreReq(request) => {
            let kinds = request.kind_data.into_iter();
            kinds
                .flat_map(|kind| kind.values.into_iter().map(move |value| (kind.kind, value)))
                .collect()
        }
        Body::FetchAns(answer) => {
            let kinds = answer.kind_responses.into_iter();
            kinds
                .flat_map(|kind| kind.values.into_iter().map(move |value| (kind.kind, value)))
                .collect()
        }
        _ => Vec::new(),
    }
}
