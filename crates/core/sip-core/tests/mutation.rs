//! Damaged torture messages: nothing panics, limits hold, and edits keep their promises.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail by panicking too"
)]

use bytes::Bytes;
use p2psip_sip_core::aor::Domains;
use p2psip_sip_core::digest::Credentials;
use p2psip_sip_core::message::{
    Acting, Edit, Fault, Frame, Framer, Message, Name, ack_for, cancel_for, respond, typed,
};
use p2psip_sip_core::uri::{Uri, is_equivalent};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::sample::Index;

fn corpus() -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for rfc in ["rfc4475", "rfc5118"] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("testdata")
            .join(rfc);
        let mut paths: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        messages.extend(paths.iter().map(|path| std::fs::read(path).unwrap()));
    }
    messages
}

#[derive(Clone, Debug)]
enum Damage {
    Replace(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index, Index),
    Repeat(Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\r\n ".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"<".to_vec()),
        Just(b",".to_vec()),
        Just(b";".to_vec()),
        Just(b"[::1]".to_vec()),
        Just(b"%".to_vec()),
        Just(b"\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKq, SIP/2.0/TCP i\r\n".to_vec()),
        vec(any::<u8>(), 1..8),
    ];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        (any::<Index>(), piece).prop_map(|(at, piece)| Damage::Insert(at, piece)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Cut(from, to)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Repeat(from, to)),
    ]
}

fn apply(message: &mut Vec<u8>, damage: &Damage) {
    if message.is_empty() {
        return;
    }
    let range = |from: &Index, to: &Index, len: usize| {
        let (from, to) = (from.index(len), to.index(len));
        // Short pieces leave more of the message to read.
        from.min(to)..from.max(to).min(from.min(to) + 16)
    };
    match damage {
        Damage::Replace(at, byte) => {
            let at = at.index(message.len());
            message[at] = *byte;
        }
        Damage::Insert(at, piece) => {
            let at = at.index(message.len());
            message.splice(at..at, piece.iter().copied());
        }
        Damage::Cut(from, to) => {
            message.drain(range(from, to, message.len()));
        }
        Damage::Repeat(from, to) => {
            let piece = message[range(from, to, message.len())].to_vec();
            message.extend(piece);
        }
    }
}

/// Reads everything that can be read of a message.
fn exercise(message: &Message) {
    let verdicts = [
        message.validate(Acting::Proxy(&[])),
        message.validate(Acting::Server(&[])),
    ];
    for (_, value) in message.headers() {
        let _ = (
            Uri::parse(value),
            Credentials::parse(value),
            is_equivalent(value, "sip:a@b"),
        );
    }
    let domains = Domains::new(["example.com".to_owned()]);
    for address in [message.from(), message.to()].into_iter().flatten() {
        let _ = (domains.aor(address.uri), typed::contact(&address));
    }
    if let Some(via) = message.top_via() {
        let stamped = via.stamped("192.0.2.7:5060".parse().unwrap());
        let replaced = Edit::new(message).replace_first(Name::Via, stamped).apply();
        assert_eq!(replaced.branch(), message.branch());
        assert_eq!(replaced.values(Name::Via).count(), message.values(Name::Via).count());
    }
    for verdict in verdicts {
        if let Err(Fault::Refuse(refusal)) = verdict {
            let response = refusal.to_response(message);
            assert_eq!(response.status(), Some(refusal.code));
            assert_eq!(
                Message::parse_datagram(response.bytes().clone()).unwrap().bytes(),
                response.bytes()
            );
        }
    }
    if message.is_request() {
        for built in [
            respond(message, 200, "", &[]),
            ack_for(message, message),
            cancel_for(message),
        ] {
            Message::parse_datagram(built.bytes().clone()).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_messages_do_no_harm(which in any::<Index>(), damages in vec(damage(), 1..6)) {
        let corpus = corpus_once();
        let mut bytes = corpus[which.index(corpus.len())].clone();
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        if let Ok(message) = Message::parse_datagram(Bytes::from(bytes.clone())) {
            exercise(&message);
            // An edit adds the length that a stream needs, and nothing else.
            let message = Edit::new(&message).apply();
            assert_eq!(Edit::new(&message).to_bytes(), message.bytes());
            let values = message.values(Name::Via).count();
            let more = Edit::new(&message).prepend(Name::Via, "SIP/2.0/UDP h;branch=z9hG4bKnew").apply();
            assert_eq!(more.values(Name::Via).count(), values + 1);
            assert_eq!(Edit::new(&more).pop(Name::Via, 1).apply().bytes(), message.bytes());
            let fewer = Edit::new(&message).pop(Name::Via, 1).apply();
            assert_eq!(fewer.values(Name::Via).count(), values.saturating_sub(1));
        }
        let mut framer = Framer::new();
        for piece in bytes.chunks(100) {
            framer.push(piece);
            while let Ok(Some(frame)) = framer.next() {
                if let Frame::Message(message) = frame {
                    exercise(&message);
                }
            }
        }
    }

    #[test]
    fn noise_does_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Message::parse_datagram(Bytes::from(bytes));
    }
}

fn corpus_once() -> &'static [Vec<u8>] {
    static CORPUS: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    CORPUS.get_or_init(corpus)
}
