//! The torture messages of RFC 4475 and RFC 5118: verdicts, byte-exact round trips, streams, and rsip as an oracle.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail by panicking too"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use bytes::Bytes;
use p2psip_sip_core::message::{
    Acting, Address, Edit, Fault, Frame, Framer, Message, Method, Name, ParseError, Via, typed,
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn read(name: &str) -> Bytes {
    std::fs::read(folder().join(format!("{name}.dat"))).unwrap().into()
}

/// Yields name, proxy verdict and server verdict of each line of the table.
fn table() -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(folder().join("verdicts.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let column = |from: usize, to: usize| line[from..to.min(line.len())].trim().to_owned();
            (column(0, 40), column(40, 84), column(84, line.len()))
        })
        .collect()
}

fn readable() -> impl Iterator<Item = (String, Bytes, Message)> {
    table().into_iter().filter_map(|(name, ..)| {
        let bytes = read(&name);
        Message::parse_datagram(bytes.clone())
            .ok()
            .map(|message| (name, bytes, message))
    })
}

fn verdict(message: &Message, acting: Acting<'_>) -> String {
    match message.validate(acting) {
        Ok(()) => "ok".to_owned(),
        Err(Fault::Refuse(refusal)) => refusal.to_string(),
        Err(Fault::Silence(_)) => "silence".to_owned(),
    }
}

#[test]
fn each_message_gets_its_verdict() {
    for (name, proxy, server) in table() {
        let (got_proxy, got_server) = match Message::parse_datagram(read(&name)) {
            Ok(message) => (
                verdict(&message, Acting::Proxy(&[])),
                verdict(&message, Acting::Server(&[])),
            ),
            Err(_) => ("unreadable".to_owned(), "unreadable".to_owned()),
        };
        assert_eq!((name.as_str(), got_proxy, got_server), (name.as_str(), proxy, server));
    }
}

#[test]
fn commas_in_a_bare_display_name_are_refused() {
    let whole = [read("rfc4475/baddn").as_ref(), b"\r\n"].concat();
    let message = Message::parse_datagram(whole.into()).unwrap();
    assert_eq!(verdict(&message, Acting::Proxy(&[])), "400 Malformed From");
}

#[test]
fn the_table_names_each_message() {
    let named: BTreeSet<String> = table().into_iter().map(|(name, ..)| name).collect();
    let mut found = BTreeSet::new();
    for rfc in ["rfc4475", "rfc5118"] {
        for entry in std::fs::read_dir(folder().join(rfc)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            found.insert(format!("{rfc}/{}", name.trim_end_matches(".dat")));
        }
    }
    assert_eq!(named, found);
}

#[test]
fn what_is_not_edited_stays_byte_for_byte() {
    // The length that a stream needs is added where it is missing, and nothing else.
    for (name, bytes, message) in readable().filter(|(_, _, message)| message.has(Name::ContentLength)) {
        let edited = Edit::new(&message).to_bytes();
        assert_eq!(edited, message.bytes(), "{name}");
        assert!(bytes.starts_with(&edited), "{name}");
        let head_less = message.body();
        assert!(edited.ends_with(&head_less), "{name}");
    }
}

#[test]
fn a_via_that_was_put_on_top_can_be_taken_off_again() {
    for (name, _, message) in readable() {
        let message = Edit::new(&message).apply();
        let one = Edit::new(&message)
            .prepend(Name::Via, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx")
            .apply();
        assert_eq!(one.branch(), Some("z9hG4bKx"), "{name}");
        let two = Edit::new(&one).pop(Name::Via, 1).apply();
        assert_eq!(two.bytes(), message.bytes(), "{name}");
    }
}

#[test]
fn on_a_stream_each_valid_message_comes_out_whole_however_it_is_cut() {
    for (name, bytes, message) in readable().filter(|(_, _, message)| message.validate(Acting::Server(&[])).is_ok()) {
        if !message.has(Name::ContentLength) {
            continue;
        }
        for step in [1, 7, bytes.len()] {
            let mut framer = Framer::new();
            let mut frames = Vec::new();
            for piece in bytes.chunks(step) {
                framer.push(piece);
                while let Ok(Some(frame)) = framer.next() {
                    // A line end between two messages looks like a keep-alive.
                    if matches!(frame, Frame::Message(_)) {
                        frames.push(frame);
                    }
                }
            }
            let Some(Frame::Message(first)) = frames.first() else {
                panic!("{name}: nothing came out")
            };
            assert_eq!(first.bytes(), message.bytes(), "{name}");
            assert_eq!(frames.len(), if name.ends_with("dblreq") { 2 } else { 1 }, "{name}");
        }
    }
}

#[test]
fn details_are_read_through_folds_and_odd_signs() {
    let message = |name: &str| Message::parse_datagram(read(name)).unwrap();

    let wsinv = message("rfc4475/wsinv");
    let vias: Vec<Via<'_>> = wsinv.values(Name::Via).filter_map(Via::parse).collect();
    assert_eq!(
        vias.iter().map(|via| via.transport).collect::<Vec<_>>(),
        ["UDP", "TCP", "UDP"]
    );
    assert_eq!(vias[1].branch(), Some("z9hG4bK9ikj8"));
    assert_eq!(wsinv.cseq().unwrap().to_string(), "9 INVITE");
    assert_eq!(wsinv.max_forwards(), Some(68));
    assert_eq!(wsinv.to_tag(), Some("1918181833n"));
    assert_eq!(wsinv.from_tag(), Some("98asjd8"));
    assert_eq!(wsinv.header(Name::Subject), Some(""));

    let intmeth = message("rfc4475/intmeth");
    assert_eq!(
        intmeth.method(),
        Method::Other("!interesting-Method0123456789_*+`.%indeed'~".into())
    );
    assert!(intmeth.to().unwrap().display.starts_with("\"BEL:"));
    assert_eq!(intmeth.from_tag(), Some("_token~1'+`*%!-."));

    assert_eq!(message("rfc4475/noreason").reason(), Some(""));
    assert_eq!(message("rfc4475/esc02").method(), Method::Other("RE%47IST%45R".into()));
    assert_eq!(message("rfc4475/dblreq").method(), Method::Register);
    assert_eq!(message("rfc4475/transports").values(Name::Via).count(), 5);

    for name in [
        "rfc5118/via-received-param-with-delim",
        "rfc5118/via-received-param-no-delim",
    ] {
        assert_eq!(
            message(name).top_via().unwrap().received(),
            "2001:db8::9:255".parse().ok(),
            "{name}"
        );
    }
    let mapped = message("rfc5118/ipv4-mapped-ipv6");
    assert_eq!(
        mapped.top_via().unwrap().host.address(),
        "::ffff:192.0.2.10".parse().ok()
    );
    assert_eq!(mapped.top_via().unwrap().port, Some(19823));
}

#[test]
fn a_message_that_has_no_length_ends_its_stream() {
    for name in ["rfc4475/ncl", "rfc4475/mcl01", "rfc4475/inv2543"] {
        let mut framer = Framer::new();
        framer.push(&read(name));
        let Ok(Some(Frame::Message(message))) = framer.next() else {
            panic!("{name}: not even the head")
        };
        assert!(verdict(&message, Acting::Proxy(&[])).starts_with("400 "), "{name}");
        assert!(framer.next().is_err(), "{name}");
    }
}

#[test]
fn nothing_but_line_ends_is_a_keep_alive() {
    assert_eq!(
        Message::parse_datagram(Bytes::from_static(b"\r\n\r\n")).err(),
        Some(ParseError::KeepAlive)
    );
}

#[test]
fn what_rsip_accepts_is_read_the_same() {
    let mut compared = 0;
    for (name, bytes, message) in readable().filter(|(_, _, message)| message.validate(Acting::Server(&[])).is_ok()) {
        let Ok(theirs) = std::panic::catch_unwind(|| rsip::SipMessage::try_from(bytes.as_ref())) else {
            continue;
        };
        let Ok(theirs) = theirs else { continue };
        compared += compare(&name, &theirs, &message);
    }
    assert!(compared >= 25, "only {compared} values were compared");
}

/// Compares what rsip reads of the first Via, From, To and Contact; returns how many values it could read.
fn compare(name: &str, theirs: &rsip::SipMessage, ours: &Message) -> usize {
    use rsip::headers::ToTypedHeader;
    use rsip::prelude::HeadersExt;

    let mut compared = 0;
    let is_single = |header: Name<'static>| ours.values(header).count() == 1;
    // rsip takes the user part of an address without brackets for a part of the host; other schemes stay ours.
    let is_bracketed = |header: Name<'static>| ours.header(header).is_some_and(|value| value.contains("<sip"));
    if let Ok(Ok(via)) = theirs.via_header().map(|via| via.typed())
        && is_single(Name::Via)
    {
        assert_eq!(typed::via(&ours.top_via().unwrap()), Some(via), "{name}");
        compared += 1;
    }
    if let Ok(Ok(from)) = theirs.from_header().map(|from| from.typed())
        && is_bracketed(Name::From)
    {
        assert_eq!(typed::from(&ours.from().unwrap()), Some(from), "{name}");
        compared += 1;
    }
    if let Ok(Ok(to)) = theirs.to_header().map(|to| to.typed())
        && is_bracketed(Name::To)
    {
        assert_eq!(typed::to(&ours.to().unwrap()), Some(to), "{name}");
        compared += 1;
    }
    if let Ok(Ok(contact)) = theirs.contact_header().map(|contact| contact.typed())
        && is_single(Name::Contact)
        && is_bracketed(Name::Contact)
    {
        let value = ours.values(Name::Contact).next().unwrap();
        assert_eq!(typed::contact(&Address::parse(value).unwrap()), Some(contact), "{name}");
        compared += 1;
    }
    compared
}
