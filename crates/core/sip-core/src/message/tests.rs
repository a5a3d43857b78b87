use super::*;

const INVITE: &str = "INVITE sip:bob@example.org SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.4:5060;branch=z9hG4bK1;rport, SIP/2.0/TCP 192.0.2.5;branch=z9hG4bK0\r\n\
    v: SIP/2.0/UDP far.test;branch=z9hG4bKa\r\n\
    Route: <sip:one@192.0.2.1;lr>, <sip:two@192.0.2.1;lr>,\r\n <sip:three@192.0.2.2;lr>\r\n\
    Max-Forwards: 70\r\n\
    f: Alice <sip:alice@example.org>;tag=a\r\n\
    To: <sip:bob@example.org>\r\n\
    i: call-1\r\n\
    CSeq: 7 INVITE\r\n\
    X-Odd:    kept  as   it\tis  \r\n\
    l: 4\r\n\r\n\x01\x02\x03\x04";

fn message(text: &str) -> Message {
    Message::parse_datagram(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn text(message: &Message) -> String {
    String::from_utf8(message.bytes().to_vec()).unwrap()
}

#[test]
fn values_run_through_lines_commas_and_compact_forms() {
    let invite = message(INVITE);
    let branches: Vec<&str> = invite
        .values(Name::Via)
        .filter_map(Via::parse)
        .filter_map(Via::branch)
        .collect();
    assert_eq!(branches, ["z9hG4bK1", "z9hG4bK0", "z9hG4bKa"]);
    assert_eq!(invite.values(Name::Route).count(), 3);
    assert_eq!(invite.call_id(), Some("call-1"));
    assert_eq!(invite.header(Name::Other("x-odd")), Some("kept  as   it\tis"));
    assert_eq!((invite.from_tag(), invite.to_tag()), (Some("a"), None));
    assert_eq!(invite.body().as_ref(), [1, 2, 3, 4]);
}

#[test]
fn an_edit_changes_what_it_names_and_nothing_else() {
    let invite = message(INVITE);
    let edited = Edit::new(&invite)
        .request_uri("sip:bob@192.0.2.9:5070;ob")
        .prepend(Name::Via, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKnew")
        .prepend(Name::RecordRoute, "<sip:edge>")
        .prepend(Name::RecordRoute, "<sip:phone>")
        .pop(Name::Route, 2)
        .max_forwards(69)
        .add(Name::Other("X-New"), "1")
        .apply();
    let goal = INVITE
        .replacen("sip:bob@example.org", "sip:bob@192.0.2.9:5070;ob", 1)
        .replace(
            "Via: SIP",
            "Record-Route: <sip:phone>\r\nRecord-Route: <sip:edge>\r\n\
             Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKnew\r\nVia: SIP",
        )
        .replace("<sip:one@192.0.2.1;lr>, <sip:two@192.0.2.1;lr>,\r\n ", "")
        .replace("Max-Forwards: 70", "Max-Forwards: 69")
        .replace("l: 4\r\n", "l: 4\r\nX-New: 1\r\n");
    assert_eq!(text(&edited), goal);
}

#[test]
fn pop_counts_values_and_drops_emptied_lines() {
    let invite = message(INVITE);
    for (count, left) in [(0, 3), (1, 2), (2, 1), (3, 0), (4, 0)] {
        let edited = Edit::new(&invite).pop(Name::Via, count).apply();
        assert_eq!(edited.values(Name::Via).count(), left, "{count}");
    }
    let edited = Edit::new(&invite).pop(Name::Via, 1).apply();
    assert!(text(&edited).contains("\r\nVia: SIP/2.0/TCP 192.0.2.5;branch=z9hG4bK0\r\nv: "));
}

#[test]
fn the_first_value_is_replaced_in_place() {
    let invite = message(INVITE);
    let stamped = invite.top_via().unwrap().stamped("198.51.100.7:1024".parse().unwrap());
    assert_eq!(
        stamped,
        "SIP/2.0/UDP 192.0.2.4:5060;branch=z9hG4bK1;received=198.51.100.7;rport=1024"
    );
    let edited = Edit::new(&invite).replace_first(Name::Via, stamped.clone()).apply();
    assert_eq!(
        text(&edited),
        INVITE.replace("SIP/2.0/UDP 192.0.2.4:5060;branch=z9hG4bK1;rport", &stamped)
    );
}

#[test]
fn set_leaves_one_line_and_remove_none() {
    let invite = message(&INVITE.replace("Max-Forwards: 70", "Privacy: id\r\nMax-Forwards: 70\r\nprivacy: none"));
    let edited = Edit::new(&invite).set(Name::Privacy, "critical").apply();
    assert_eq!(edited.values(Name::Privacy).collect::<Vec<_>>(), ["critical"]);
    assert!(
        !Edit::new(&invite)
            .remove(Name::Other("PRIVACY"))
            .apply()
            .has(Name::Privacy)
    );
    assert_eq!(
        Edit::new(&invite).set(Name::Expires, "9").apply().header(Name::Expires),
        Some("9")
    );
}

#[test]
fn line_ends_in_values_make_no_headers() {
    let invite = message(INVITE);
    let edited = Edit::new(&invite)
        .add(Name::Subject, "a\r\nEvil: b")
        .request_uri("sip:a\r\nEvil: b")
        .apply();
    assert!(!edited.has(Name::Other("Evil")));
    let reply = Reply::new(&invite, 400)
        .reason("x\r\nEvil: b")
        .header(Name::Warning, "\nEvil: b")
        .build();
    assert!(!reply.has(Name::Other("Evil")));
}

#[test]
fn sources_are_stamped_as_the_rfcs_say() {
    let cases = [
        (
            "SIP/2.0/UDP 192.0.2.4;branch=b",
            "192.0.2.4:9",
            "SIP/2.0/UDP 192.0.2.4;branch=b",
        ),
        (
            "SIP/2.0/UDP host.test;branch=b",
            "192.0.2.4:9",
            "SIP/2.0/UDP host.test;branch=b;received=192.0.2.4",
        ),
        (
            "SIP/2.0/UDP 192.0.2.4;rport;branch=b",
            "192.0.2.4:9",
            "SIP/2.0/UDP 192.0.2.4;branch=b;received=192.0.2.4;rport=9",
        ),
        (
            "SIP/2.0/UDP 192.0.2.4;received=10.0.0.1",
            "192.0.2.4:9",
            "SIP/2.0/UDP 192.0.2.4",
        ),
        (
            "SIP/2.0/UDP [2001:DB8::4];branch=b",
            "[2001:db8::4]:9",
            "SIP/2.0/UDP [2001:DB8::4];branch=b",
        ),
        (
            "SIP/2.0/UDP a.test;rport",
            "[2001:db8::4]:9",
            "SIP/2.0/UDP a.test;received=2001:db8::4;rport=9",
        ),
        ("SIP/2.0/UDP 192.0.2.4", "[::ffff:192.0.2.4]:9", "SIP/2.0/UDP 192.0.2.4"),
    ];
    for (via, source, goal) in cases {
        assert_eq!(Via::parse(via).unwrap().stamped(source.parse().unwrap()), goal);
    }
}

#[test]
fn responses_go_where_the_via_says() {
    let to = |via: &str| Via::parse(via).unwrap().reply_target();
    let address = |text: &str| ReplyTarget::Address(text.parse().unwrap());
    assert_eq!(
        to("SIP/2.0/UDP 192.0.2.4:5070;received=198.51.100.7;rport=9"),
        address("198.51.100.7:9")
    );
    assert_eq!(
        to("SIP/2.0/UDP 192.0.2.4:5070;received=198.51.100.7"),
        address("198.51.100.7:5070")
    );
    assert_eq!(to("SIP/2.0/TLS [2001:db8::4]"), address("[2001:db8::4]:5061"));
    assert_eq!(to("SIP/2.0/UDP 192.0.2.4;maddr=224.0.1.75"), address("192.0.2.4:5060"));
    assert_eq!(
        to("SIP / 2.0 / UDP\thost.test : 5070 ; branch = b"),
        ReplyTarget::Name("host.test".into(), 5070)
    );
}

#[test]
fn a_response_carries_what_the_request_has() {
    let invite = message(INVITE);
    let ringing = Reply::new(&invite, 180).tag("b").copy(Name::RecordRoute).build();
    assert_eq!(
        text(&ringing),
        "SIP/2.0 180 Ringing\r\n\
         Via: SIP/2.0/UDP 192.0.2.4:5060;branch=z9hG4bK1;rport, SIP/2.0/TCP 192.0.2.5;branch=z9hG4bK0\r\n\
         Via: SIP/2.0/UDP far.test;branch=z9hG4bKa\r\n\
         From: Alice <sip:alice@example.org>;tag=a\r\n\
         To: <sip:bob@example.org>;tag=b\r\n\
         Call-ID: call-1\r\n\
         CSeq: 7 INVITE\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert_eq!(respond(&invite, 100, "", &[]).to_tag(), None);
    let refused = respond(&invite, 480, "Gone Fishing", &[(Name::RetryAfter, "5")]);
    assert_eq!((refused.status(), refused.reason()), (Some(480), Some("Gone Fishing")));
    assert_eq!(
        refused.to_tag(),
        respond(&invite, 486, "", &[]).to_tag(),
        "stateless tags do not change"
    );
    assert_eq!(refused.method(), Method::Invite);
}

#[test]
fn ack_and_cancel_belong_to_their_invite() {
    let invite = message(INVITE);
    let busy = Reply::new(&invite, 486).tag("b").build();
    let ack = ack_for(&invite, &busy);
    assert_eq!(
        (ack.method(), ack.request_uri()),
        (Method::Ack, Some("sip:bob@example.org"))
    );
    assert_eq!(
        ack.values(Name::Via).collect::<Vec<_>>(),
        ["SIP/2.0/UDP 192.0.2.4:5060;branch=z9hG4bK1;rport"]
    );
    assert_eq!((ack.to_tag(), ack.from_tag()), (Some("b"), Some("a")));
    assert_eq!(ack.header(Name::CSeq), Some("7 ACK"));
    assert_eq!(ack.values(Name::Route).count(), 3);
    let cancel = cancel_for(&invite);
    assert_eq!((cancel.header(Name::CSeq), cancel.to_tag()), (Some("7 CANCEL"), None));
    assert_eq!(cancel.branch(), invite.branch());
    assert_eq!(cancel.validate(Acting::Proxy(&[])), Ok(()));
}

#[test]
fn a_stream_yields_messages_and_keep_alives() {
    let mut framer = Framer::new();
    framer.push(format!("\r\n\r\n{INVITE}\r\n").as_bytes());
    assert!(matches!(framer.next(), Ok(Some(Frame::Ping))));
    let Ok(Some(Frame::Message(invite))) = framer.next() else {
        panic!("no message")
    };
    assert_eq!(text(&invite), INVITE);
    assert!(matches!(framer.next(), Ok(Some(Frame::Pong))));
    assert!(matches!(framer.next(), Ok(None)));
    assert_eq!(framer.buffered(), 0);
}

#[test]
fn a_stream_is_bounded() {
    let mut framer = Framer::new();
    framer.push(&INVITE.replace("l: 4", "l: 70000").into_bytes());
    let Ok(Some(Frame::Message(invite))) = framer.next() else {
        panic!("no message")
    };
    let Err(Fault::Refuse(refusal)) = invite.validate(Acting::Proxy(&[])) else {
        panic!("not refused")
    };
    assert_eq!(refusal.code, 513);
    assert_eq!(framer.next().err(), Some(FrameError::Lost));

    let mut framer = Framer::new();
    framer.push("A: b\r\n".repeat(11_000).as_bytes());
    assert_eq!(framer.next().err(), Some(FrameError::Head(ParseError::TooLarge)));
    assert!(framer.next().is_err());

    let mut framer = Framer::new();
    framer.push(&[b'x'; MAX_HEADER + 1]);
    assert_eq!(framer.next().err(), Some(FrameError::Head(ParseError::HeaderTooLong)));
}

#[test]
fn limits_hold_in_datagrams() {
    let with = |extra: &str| {
        let text = INVITE.replace("X-Odd: ", &format!("{extra}X-Odd: "));
        Message::parse_datagram(Bytes::from(text)).err()
    };
    assert_eq!(with(&"A: b\r\n".repeat(MAX_HEADERS - 10)), None);
    assert_eq!(
        with(&"A: b\r\n".repeat(MAX_HEADERS - 9)),
        Some(ParseError::TooManyHeaders)
    );
    assert_eq!(with(&format!("A: {}\r\n", "b".repeat(MAX_HEADER - 3))), None);
    assert_eq!(
        with(&format!("A: {}\r\n", "b".repeat(MAX_HEADER - 2))),
        Some(ParseError::HeaderTooLong)
    );
    assert_eq!(with(&format!("A: b{}\r\n", "\r\n c".repeat(MAX_FOLDS))), None);
    assert_eq!(
        with(&format!("A: b{}\r\n", "\r\n c".repeat(MAX_FOLDS + 1))),
        Some(ParseError::TooManyFolds)
    );
    let large = Bytes::from(vec![b'a'; MAX_MESSAGE + 1]);
    assert_eq!(Message::parse_datagram(large).err(), Some(ParseError::TooLarge));
}

#[test]
fn lone_line_ends_are_refused() {
    for bad in ["X-Odd: a\nEvil: b", "X-Odd: a\rEvil: b", "X-Odd a", "X Odd: a", ": a"] {
        let verdict = message(&INVITE.replace("X-Odd:", bad)).validate(Acting::Proxy(&[]));
        assert_eq!(
            verdict,
            Err(Fault::Refuse(Refusal::new(400, "Malformed header line"))),
            "{bad:?}"
        );
    }
}

#[test]
fn acks_and_responses_are_never_answered() {
    let ack = INVITE.replace("INVITE", "ACK").replace("call-1", "");
    assert!(matches!(
        message(&ack).validate(Acting::Proxy(&[])),
        Err(Fault::Silence(_))
    ));
    let response = INVITE
        .replace("INVITE sip:bob@example.org SIP/2.0", "SIP/2.0 200 OK")
        .replace("call-1", "");
    assert!(matches!(
        message(&response).validate(Acting::Proxy(&[])),
        Err(Fault::Silence(_))
    ));
    let no_via = INVITE.replace("Via: ", "No: ").replace("v: ", "n: ");
    assert!(matches!(
        message(&no_via).validate(Acting::Proxy(&[])),
        Err(Fault::Silence(_))
    ));
}

#[test]
fn unknown_extensions_are_named() {
    let invite = message(&INVITE.replace("X-Odd:", "Proxy-Require: known, a, b\r\nX-Odd:"));
    let Err(Fault::Refuse(refusal)) = invite.validate(Acting::Proxy(&["known"])) else {
        panic!("not refused")
    };
    assert_eq!(refusal.to_response(&invite).header(Name::Unsupported), Some("a, b"));
    assert_eq!(invite.validate(Acting::Server(&[])), Ok(()));
}

#[test]
fn an_edit_tells_the_length_that_a_stream_needs() {
    let bare = "MESSAGE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nCall-ID: 1\r\n\r\nhello";
    let message = Message::parse_datagram(Bytes::from_static(bare.as_bytes())).unwrap();
    let forwarded = Edit::new(&message)
        .prepend(Name::Via, "SIP/2.0/TCP d;branch=z9hG4bK2")
        .to_bytes();
    let mut framer = Framer::new();
    framer.push(&forwarded);
    let Ok(Some(Frame::Message(whole))) = framer.next() else {
        panic!("no message")
    };
    assert_eq!(whole.body(), "hello");
    assert!(matches!(framer.next(), Ok(None)));
}
