use super::*;
use crate::flow::{FlowKind, Transport};
use crate::message::{Message, Method, Reply, Request};

/// On the edge's own clock.
const NOW: u64 = 1_000_000;
/// In the calendar.
const UNIX: u64 = 1_800_000_000_000;

fn alice() -> Aor {
    Aor::parse("alice@example.org").unwrap()
}

fn udp(remote: &str) -> Flow {
    let local = "192.0.2.1:5060".parse().unwrap();
    Flow {
        transport: Transport::Udp,
        local,
        remote: remote.parse().unwrap(),
        connection: None,
        kind: FlowKind::Phone,
    }
}

fn tcp(connection: u64) -> Flow {
    Flow {
        transport: Transport::Tcp,
        connection: Some(ConnectionId(connection)),
        ..udp("192.0.2.4:40000")
    }
}

fn register(call_id: &str, cseq: u32, headers: &[(Name<'_>, &str)]) -> Message {
    let request = Request::new(&Method::Register, "sip:example.org")
        .header(Name::Via, "SIP/2.0/UDP 192.0.2.4;branch=z9hG4bK1")
        .header(Name::From, "<sip:alice@example.org>;tag=1")
        .header(Name::To, "<sip:alice@example.org>")
        .header(Name::CallId, call_id)
        .header(Name::CSeq, &format!("{cseq} REGISTER"));
    headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, value))
        .build()
}

/// Registers and returns the status code with the remaining seconds of each Contact.
fn run(table: &mut Table, now_ms: u64, request: &Message, flow: &Flow) -> (u16, Vec<String>) {
    let response = match table.register(now_ms, &alice(), request, flow) {
        Ok(_) => table
            .listing(now_ms, UNIX, &alice())
            .iter()
            .fold(Reply::new(request, 200), |reply, (name, value)| {
                reply.header(*name, value)
            })
            .build(),
        Err(refusal) => refusal.to_response(request),
    };
    (
        response.status().unwrap(),
        response.values(Name::Contact).map(str::to_owned).collect(),
    )
}

fn contact(call_id: &str, cseq: u32, value: &str) -> Message {
    register(call_id, cseq, &[(Name::Contact, value)])
}

#[test]
fn a_binding_is_made_refreshed_and_removed() {
    let mut table = Table::default();
    let flow = udp("192.0.2.4:5060");
    let change = table
        .register(NOW, &alice(), &contact("a", 1, "<sip:a@192.0.2.4>"), &flow)
        .unwrap();
    assert!(change.is_first && !change.is_last);
    let (code, contacts) = run(
        &mut table,
        NOW + 1000,
        &contact("a", 2, "<sip:a@192.0.2.4>;expires=600"),
        &flow,
    );
    assert_eq!(
        (code, contacts),
        (200, vec!["<sip:a@192.0.2.4>;expires=600".to_owned()])
    );
    let change = table
        .register(NOW, &alice(), &contact("a", 3, "<sip:a@192.0.2.4>;expires=0"), &flow)
        .unwrap();
    assert!(change.is_last && change.removed.len() == 1 && table.is_empty());
}

#[test]
fn a_query_changes_nothing() {
    let mut table = Table::default();
    let flow = udp("192.0.2.4:5060");
    run(&mut table, NOW, &contact("a", 1, "<sip:a@192.0.2.4>"), &flow);
    let change = table.register(NOW, &alice(), &register("b", 1, &[]), &flow).unwrap();
    assert!(!change.is_change());
    assert_eq!(run(&mut table, NOW, &register("b", 1, &[]), &flow).1.len(), 1);
}

#[test]
fn lifetimes_follow_contact_then_header_then_default() {
    let cases: [(&str, Option<&str>, u16, &str); 8] = [
        ("<sip:a@192.0.2.4>;expires=100", Some("200"), 200, ";expires=100"),
        ("<sip:a@192.0.2.4>", Some("200"), 200, ";expires=200"),
        ("<sip:a@192.0.2.4>", None, 200, ";expires=3600"),
        ("<sip:a@192.0.2.4>;expires=soon", None, 200, ";expires=3600"),
        ("<sip:a@192.0.2.4>", Some("4294967296"), 200, ";expires=3600"),
        ("<sip:a@192.0.2.4>;expires=86400", None, 200, ";expires=3600"),
        ("<sip:a@192.0.2.4>;expires=59", None, 423, ""),
        ("<sip:a@192.0.2.9>;expires=3600", None, 200, ";expires=300"),
    ];
    for (value, expires, code, end) in cases {
        let mut headers = vec![(Name::Contact, value)];
        headers.extend(expires.map(|expires| (Name::Expires, expires)));
        let (status, contacts) = run(
            &mut Table::default(),
            NOW,
            &register("a", 1, &headers),
            &udp("192.0.2.4:5060"),
        );
        assert_eq!(status, code, "{value}");
        assert!(contacts.iter().all(|contact| contact.ends_with(end)), "{contacts:?}");
    }
}

#[test]
fn a_stream_without_outbound_lives_300_seconds() {
    let plain = run(
        &mut Table::default(),
        NOW,
        &contact("a", 1, "<sip:a@192.0.2.4>"),
        &tcp(1),
    );
    assert_eq!(plain.1, ["<sip:a@192.0.2.4>;expires=300"]);
    let value = "<sip:a@192.0.2.4>;reg-id=1;+sip.instance=\"<urn:uuid:0>\"";
    let outbound = run(&mut Table::default(), NOW, &contact("a", 1, value), &tcp(1));
    assert_eq!(outbound.1, [format!("{value};expires=3600")]);
}

#[test]
fn too_brief_names_the_minimum() {
    let request = contact("a", 1, "<sip:a@192.0.2.4>;expires=1");
    let refusal = Table::default()
        .register(NOW, &alice(), &request, &udp("192.0.2.4:5060"))
        .unwrap_err();
    assert_eq!(refusal.to_response(&request).header(Name::MinExpires), Some("60"));
}

#[test]
fn an_instance_returns_on_another_address_and_keeps_its_id() {
    let mut table = Table::default();
    let of = |host: &str, reg_id: u32| format!("<sip:a@{host}>;+sip.instance=\"<urn:uuid:0>\";reg-id={reg_id}");
    let first = table
        .register(NOW, &alice(), &contact("a", 1, &of("192.0.2.4", 1)), &tcp(1))
        .unwrap();
    let again = table
        .register(NOW, &alice(), &contact("b", 1, &of("192.0.2.5", 1)), &tcp(2))
        .unwrap();
    assert_eq!(first.kept, again.kept);
    assert_eq!(table.bindings(NOW, &alice()).count(), 1);
    table
        .register(NOW, &alice(), &contact("b", 2, &of("192.0.2.5", 2)), &tcp(3))
        .unwrap();
    assert_eq!(table.bindings(NOW, &alice()).count(), 2);
    let (_, binding) = table.find(NOW, first.kept[0]).unwrap();
    assert_eq!(binding.flow().unwrap().connection, Some(ConnectionId(2)));
}

#[test]
fn contacts_are_matched_as_uris() {
    let mut table = Table::default();
    let flow = udp("192.0.2.4:5060");
    run(&mut table, NOW, &contact("a", 1, "<sip:%61@HOST.test;lr>"), &flow);
    assert_eq!(
        run(&mut table, NOW, &contact("a", 2, "<sip:a@host.test>"), &flow)
            .1
            .len(),
        1
    );
    assert_eq!(
        run(&mut table, NOW, &contact("a", 3, "<sip:A@host.test>"), &flow)
            .1
            .len(),
        2
    );
    assert_eq!(
        run(
            &mut table,
            NOW,
            &contact("a", 4, "<sip:a@host.test;transport=tcp>"),
            &flow
        )
        .1
        .len(),
        3
    );
}

#[test]
fn an_older_request_fails_as_a_whole() {
    let mut table = Table::default();
    let flow = udp("192.0.2.4:5060");
    run(&mut table, NOW, &contact("a", 5, "<sip:a@192.0.2.4>"), &flow);
    for cseq in [4, 5] {
        let request = contact("a", cseq, "<sip:new@192.0.2.4>, <sip:a@192.0.2.4>;expires=0");
        assert_eq!(run(&mut table, NOW, &request, &flow).0, 500);
    }
    assert_eq!(table.bindings(NOW, &alice()).count(), 1);
    assert_eq!(
        run(&mut table, NOW, &contact("another call", 1, "<sip:a@192.0.2.4>"), &flow).0,
        200
    );
}

#[test]
fn contacts_are_compared_with_what_was_stored_before_the_request() {
    const FLOW: &str = ";+sip.instance=\"<urn:uuid:0>\";reg-id=1";
    let (old, new) = ("<sip:a@192.0.2.4>", "<sip:b@192.0.2.4>");
    let with = |contact: &str, more: &str| format!("{contact}{more}");
    let gone = |contact: &str| with(contact, ";expires=0");
    let flow = |contact: &str| with(contact, FLOW);
    let [left, arrived] = ["sip:a@192.0.2.4", "sip:b@192.0.2.4"];
    // What is bound first, what one REGISTER then asks for, and what is bound after it.
    let cases: [(String, Vec<String>, &[&str]); 14] = [
        // A phone moves: with a flow of its own, without one, and with one only now or no more.
        (flow(old), vec![flow(new), gone(&flow(old))], &[arrived]),
        (old.into(), vec![new.into(), gone(old)], &[arrived]),
        (flow(old), vec![flow(new), gone(old)], &[arrived]),
        (old.into(), vec![flow(new), gone(old)], &[arrived]),
        // The same Contact comes and goes.
        (old.into(), vec![old.into(), gone(old)], &[left]),
        (flow(old), vec![flow(old), gone(&flow(old))], &[left]),
        (flow(old), vec![flow(old), gone(old)], &[left]),
        // Repetitions.
        (old.into(), vec![gone(old), gone(old)], &[]),
        (old.into(), vec![new.into(), new.into()], &[left, arrived]),
        (flow(old), vec![flow(new), flow(new)], &[arrived]),
        (
            old.into(),
            vec![new.into(), gone(old), new.into(), gone(old)],
            &[arrived],
        ),
        (
            flow(old),
            vec![flow(new), gone(&flow(old)), gone(&flow(new))],
            &[arrived],
        ),
        // What is not there can be taken back.
        (old.into(), vec![gone(new)], &[left]),
        (old.into(), vec![gone(new), new.into()], &[left, arrived]),
    ];
    let source = udp("192.0.2.4:5060");
    for (first, contacts, after) in cases {
        let mut turned = contacts.clone();
        turned.reverse();
        for contacts in [contacts, turned] {
            let mut table = Table::default();
            run(&mut table, NOW, &contact("a", 1, &first), &source);
            let (code, _) = run(&mut table, NOW, &contact("a", 2, &contacts.join(", ")), &source);
            let alice = alice();
            let mut bound: Vec<&str> = table.bindings(NOW, &alice).map(|binding| &*binding.contact).collect();
            bound.sort_unstable();
            assert_eq!((code, bound.as_slice()), (200, after), "{first} {contacts:?}");
        }
    }
}

#[test]
fn of_equal_contacts_the_last_one_counts() {
    let mut table = Table::default();
    let value = "<sip:a@192.0.2.4>;expires=100, <sip:A@192.0.2.4>, <sip:%61@192.0.2.4>;expires=200";
    let bound = run(&mut table, NOW, &contact("a", 1, value), &udp("192.0.2.4:5060")).1;
    assert_eq!(
        bound,
        ["<sip:A@192.0.2.4>;expires=3600", "<sip:%61@192.0.2.4>;expires=200"]
    );
}

#[test]
fn a_change_names_what_came_and_what_went() {
    let mut table = Table::default();
    let source = udp("192.0.2.4:5060");
    let mut register = |cseq, value: &str| {
        table
            .register(NOW, &alice(), &contact("a", cseq, value), &source)
            .unwrap()
    };
    let first = register(1, "<sip:a@192.0.2.4>");
    let moved = register(2, "<sip:b@192.0.2.4>, <sip:a@192.0.2.4>;expires=0");
    assert_eq!(moved.removed, first.kept);
    assert!(!moved.is_first && !moved.is_last);
    let refreshed = register(3, "<sip:b@192.0.2.4>, <sip:b@192.0.2.4>;expires=0");
    assert_eq!((&refreshed.kept, refreshed.removed.len()), (&moved.kept, 0));
}

#[test]
fn several_flows_in_one_request_are_refused() {
    const FLOW: &str = "+sip.instance=\"<urn:uuid:0>\";reg-id";
    for value in [
        format!("<sip:a@192.0.2.4>;{FLOW}=1, <sip:a@192.0.2.4>;{FLOW}=2"),
        format!("<sip:a@192.0.2.4>;{FLOW}=1, <sip:b@192.0.2.4>;{FLOW}=1"),
        format!("<sip:a@192.0.2.4>;{FLOW}=1, <sip:b@192.0.2.4>"),
    ] {
        let (code, _) = run(
            &mut Table::default(),
            NOW,
            &contact("a", 1, &value),
            &udp("192.0.2.4:5060"),
        );
        assert_eq!(code, 400, "{value}");
    }
}

#[test]
fn a_star_clears_all_but_only_alone_with_expires_zero() {
    let flow = udp("192.0.2.4:5060");
    type Headers = &'static [(Name<'static>, &'static str)];
    let cases: [(Headers, u16, usize); 5] = [
        (&[(Name::Contact, "*")], 400, 1),
        (&[(Name::Contact, "*"), (Name::Expires, "1")], 400, 1),
        (&[(Name::Contact, "*, <sip:a@192.0.2.4>"), (Name::Expires, "0")], 400, 1),
        (
            &[(Name::Contact, "*"), (Name::Contact, "*"), (Name::Expires, "0")],
            400,
            1,
        ),
        (&[(Name::Contact, "*"), (Name::Expires, "0")], 200, 0),
    ];
    for (headers, code, left) in cases {
        let mut table = Table::default();
        run(&mut table, NOW, &contact("a", 1, "<sip:a@192.0.2.4>"), &flow);
        assert_eq!(
            run(&mut table, NOW, &register("a", 2, headers), &flow).0,
            code,
            "{headers:?}"
        );
        assert_eq!(table.bindings(NOW, &alice()).count(), left);
    }
}

#[test]
fn the_eleventh_binding_replaces_the_oldest() {
    let mut table = Table::default();
    let flow = udp("192.0.2.4:5060");
    for n in 0..11 {
        run(
            &mut table,
            NOW + n,
            &contact(&n.to_string(), 1, &format!("<sip:a{n}@192.0.2.4>")),
            &flow,
        );
    }
    let left: Vec<&str> = table.bindings(NOW, &alice()).map(|binding| &*binding.contact).collect();
    assert_eq!(left.len(), 10);
    assert!(!left.contains(&"sip:a0@192.0.2.4"));
    let many = (0..11)
        .map(|n| format!("<sip:b{n}@192.0.2.4>"))
        .collect::<Vec<_>>()
        .join(", ");
    assert_eq!(run(&mut table, NOW, &contact("x", 1, &many), &flow).0, 400);
}

#[test]
fn bindings_are_ordered_by_preference() {
    let mut table = Table::default();
    let value = "<sip:low@h.test>;q=0.1, <sip:high@h.test>;q=0.75, <sip:none@h.test>, <sip:bad@h.test>;q=7";
    run(&mut table, NOW, &contact("a", 1, value), &udp("192.0.2.4:5060"));
    let order: Vec<u16> = table.bindings(NOW, &alice()).map(|binding| binding.q).collect();
    assert_eq!(order, [1000, 1000, 750, 100]);
}

#[test]
fn a_request_goes_where_the_register_came_from() {
    let cases = [
        ("192.0.2.4:40000", "<sip:a@192.0.2.4:5080>", "192.0.2.4:5080"),
        ("192.0.2.4:40000", "<sip:a@192.0.2.4>", "192.0.2.4:5060"),
        ("192.0.2.4:40000", "<sip:a@198.51.100.7:5080>", "192.0.2.4:40000"),
        ("192.0.2.4:40000", "<sip:a@gateway.test:5080>", "192.0.2.4:40000"),
        (
            "[2001:db8::4]:40000",
            "<sip:a@[2001:DB8:0::4]:5080>",
            "[2001:db8::4]:5080",
        ),
    ];
    for (source, value, goal) in cases {
        let mut table = Table::default();
        run(&mut table, NOW, &contact("a", 1, value), &udp(source));
        let flow = table.bindings(NOW, &alice()).next().unwrap().flow().unwrap();
        assert_eq!(flow.remote, goal.parse().unwrap(), "{value}");
    }
}

#[test]
fn the_request_uri_is_the_contact_without_what_may_not_stand_there() {
    let cases = [
        ("sip:a@h.test;x=1;transport=TCP", "sip:a@h.test;x=1;transport=TCP"),
        (
            "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
            "sip:user@example.com",
        ),
        ("sip:a?b@h.test;method=INVITE;ob?Subject=x", "sip:a?b@h.test;ob"),
    ];
    for (registered, goal) in cases {
        let mut table = Table::default();
        run(
            &mut table,
            NOW,
            &contact("a", 1, &format!("<{registered}>")),
            &udp("192.0.2.4:5060"),
        );
        let binding = table.bindings(NOW, &alice()).next().unwrap();
        assert_eq!((&*binding.contact, binding.request_uri().as_str()), (registered, goal));
    }
}

#[test]
fn bindings_expire_on_time() {
    let mut table = Table::default();
    let flow = udp("192.0.2.4:5060");
    run(
        &mut table,
        NOW,
        &contact("a", 1, "<sip:a@192.0.2.4>;expires=60, <sip:b@192.0.2.4>;expires=120"),
        &flow,
    );
    assert_eq!(table.next_expiry(), Some(NOW + 60_000));
    assert!(table.expire(NOW + 59_999).is_empty());
    assert_eq!(table.bindings(NOW + 60_000, &alice()).count(), 1);
    let changes = table.expire(NOW + 60_000);
    assert!(changes.len() == 1 && !changes[0].1.is_last && changes[0].1.removed.len() == 1);
    assert!(table.expire(NOW + 120_000)[0].1.is_last);
    assert_eq!(table.next_expiry(), None);
}

#[test]
fn a_closed_connection_leaves_bindings_without_flow() {
    let mut table = Table::default();
    run(&mut table, NOW, &contact("a", 1, "<sip:a@192.0.2.4>"), &tcp(7));
    assert!(table.is_registered_on(NOW, &alice(), ConnectionId(7)));
    assert_eq!(table.close(ConnectionId(7)), [alice()]);
    assert!(table.close(ConnectionId(7)).is_empty());
    assert!(!table.is_registered_on(NOW, &alice(), ConnectionId(7)));
    assert_eq!(table.bindings(NOW, &alice()).next().unwrap().flow(), None);
    run(&mut table, NOW, &contact("a", 2, "<sip:a@192.0.2.4>"), &tcp(8));
    assert!(table.bindings(NOW, &alice()).next().unwrap().flow().is_some());
}

#[test]
fn a_binding_is_found_by_the_flow_that_made_it() {
    let mut table = Table::default();
    run(
        &mut table,
        NOW,
        &contact("a", 1, "<sip:a@192.0.2.4:5080>"),
        &udp("192.0.2.4:40000"),
    );
    run(&mut table, NOW, &contact("b", 1, "<sip:b@192.0.2.4>"), &tcp(1));
    let found = |flow: &Flow| {
        table
            .on_flow(NOW, &alice(), flow)
            .map(|binding| binding.contact.to_string())
    };
    assert_eq!(found(&udp("192.0.2.4:40000")).as_deref(), Some("sip:a@192.0.2.4:5080"));
    assert_eq!(found(&udp("192.0.2.4:5080")).as_deref(), Some("sip:a@192.0.2.4:5080"));
    assert_eq!(found(&tcp(1)).as_deref(), Some("sip:b@192.0.2.4"));
    assert_eq!(found(&udp("192.0.2.5:40000")), None);
    assert_eq!(found(&tcp(2)), None);
}

#[test]
fn records_survive_a_restart() {
    let mut table = Table::default();
    run(
        &mut table,
        NOW,
        &register(
            "a",
            1,
            &[
                (Name::Contact, "<sip:a@192.0.2.4>;q=0.5;x=\"y\""),
                (Name::Path, "<sip:p@192.0.2.4;lr>"),
            ],
        ),
        &udp("192.0.2.4:5060"),
    );
    let value = "<sip:b@[2001:db8::4]>;+sip.instance=\"<urn:uuid:0>\";reg-id=3";
    run(&mut table, NOW, &contact("b", 1, value), &tcp(1));
    let record = table.encode(NOW, &alice()).unwrap();
    let mut restarted = Table::default();
    restarted.restore(NOW, &alice(), &record).unwrap();
    table.close(ConnectionId(1));
    let before: Vec<Binding> = table.bindings(NOW, &alice()).cloned().collect();
    let after: Vec<Binding> = restarted.bindings(NOW, &alice()).cloned().collect();
    assert_eq!(before, after);
    assert_eq!(restarted.next_expiry(), table.next_expiry());
    // Nobody has refreshed them for four lifetimes.
    restarted.restore(NOW + 4 * 3_600_000, &alice(), &record).unwrap();
    assert!(restarted.is_empty() && restarted.encode(NOW, &alice()).is_none());
}

#[test]
fn damaged_records_are_refused() {
    let mut table = Table::default();
    run(
        &mut table,
        NOW,
        &contact("a", 1, "<sip:a@192.0.2.4>"),
        &udp("192.0.2.4:5060"),
    );
    let record = table.encode(NOW, &alice()).unwrap();
    for end in 0..record.len() {
        assert!(Table::default().restore(NOW, &alice(), &record[..end]).is_err());
    }
    let mut longer = record.clone();
    longer.push(0);
    assert_eq!(
        Table::default().restore(NOW, &alice(), &longer),
        Err(DecodeError::Damaged(record.len()))
    );
    longer[0] = 4;
    assert_eq!(
        Table::default().restore(NOW, &alice(), &longer),
        Err(DecodeError::Version(4))
    );
}

#[test]
fn a_removed_user_leaves_nothing() {
    let mut table = Table::default();
    let change = table
        .register(
            NOW,
            &alice(),
            &contact("a", 1, "<sip:a@192.0.2.4>"),
            &udp("192.0.2.4:5060"),
        )
        .unwrap();
    assert!(table.remove(&alice()).is_last);
    assert!(table.find(NOW, change.kept[0]).is_none() && table.next_expiry().is_none());
}

#[test]
fn a_listing_tells_the_time() {
    let listing = Table::new(Limits::default()).listing(NOW, 1_289_690_940_000, &alice());
    assert_eq!(listing, [(Name::Date, "Sat, 13 Nov 2010 23:29:00 GMT".to_owned())]);
}

/// Which of the calls wants what written, of a phone that registers for an hour.
#[test]
fn a_refresh_is_seldom_written() {
    const HOUR: u64 = 3_600_000;
    let mut table = Table::default();
    let flow = udp("192.0.2.4:5060");
    let mut cseq = 0;
    let mut register = |table: &mut Table, now_ms: u64, value: &str, flow: &Flow| {
        cseq += 1;
        let change = table
            .register(now_ms, &alice(), &contact("a", cseq, value), flow)
            .unwrap();
        let is_written = change.recording != Recording::Unneeded;
        let _ = is_written.then(|| table.encode(now_ms, &alice()));
        change.recording
    };
    let same = "<sip:a@192.0.2.4>";
    assert_eq!(register(&mut table, NOW, same, &flow), Recording::First);
    for half_hours in 1..=4 {
        let now_ms = NOW + half_hours * HOUR / 2;
        assert_eq!(
            register(&mut table, now_ms, same, &flow),
            Recording::Unneeded,
            "{half_hours}"
        );
    }
    let later = NOW + 5 * HOUR / 2;
    assert_eq!(
        register(&mut table, later, same, &flow),
        Recording::Soon,
        "less than two lifetimes are left"
    );
    assert_eq!(register(&mut table, later + 1, same, &flow), Recording::Unneeded);
    let moved = udp("192.0.2.5:5060");
    for (value, flow) in [
        (same, &moved),
        ("<sip:a@192.0.2.4>;q=0.5", &moved),
        ("<sip:b@192.0.2.4>", &moved),
        ("<sip:b@192.0.2.4>;expires=0", &moved),
    ] {
        assert_eq!(
            register(&mut table, later + 2, value, flow),
            Recording::First,
            "{value}"
        );
    }
}

#[test]
fn a_binding_has_its_whole_lifetime_after_a_restart_and_ends_if_nobody_refreshes_it() {
    const HOUR: u64 = 3_600_000;
    let mut table = Table::default();
    run(
        &mut table,
        NOW,
        &contact("a", 1, "<sip:a@192.0.2.4>"),
        &udp("192.0.2.4:5060"),
    );
    let record = table.encode(NOW, &alice()).unwrap();
    let ends_at = |now_ms: u64| {
        let mut restarted = Table::default();
        restarted.restore(now_ms, &alice(), &record).unwrap();
        restarted.next_expiry()
    };
    // It was refreshed since, which is not on the disk.
    assert_eq!(ends_at(NOW + 2 * HOUR), Some(NOW + 3 * HOUR));
    assert_eq!(ends_at(NOW + 4 * HOUR - 1), Some(NOW + 4 * HOUR));
    assert_eq!(ends_at(NOW + 4 * HOUR), None);
}

#[test]
fn records_of_versions_1_and_2_give_what_their_times_granted() {
    for version in [1, 2] {
        // As those versions wrote it: ended long ago, by today's calendar.
        let mut record = vec![version, 0, 1];
        record.extend_from_slice(&(UNIX - 86_400_000).to_be_bytes());
        record.extend_from_slice(&(UNIX - 86_400_000 - 300_000).to_be_bytes());
        record.extend_from_slice(&[0, 0, 0, 7, 3, 232, 0, 0, 0, 0, 0]);
        for address in [[192, 0, 2, 1], [192, 0, 2, 4], [192, 0, 2, 4]] {
            record.push(4);
            record.extend_from_slice(&address);
            record.extend_from_slice(&5060_u16.to_be_bytes());
        }
        let texts = ["sip:a@192.0.2.4", "", "call", "", "<sip:p.test;lr>"];
        for text in &texts[..3 + usize::from(version)] {
            record.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
            record.extend_from_slice(text.as_bytes());
        }
        let mut table = Table::default();
        table.restore(NOW, &alice(), &record).unwrap();
        let alice = alice();
        let binding = table.bindings(NOW, &alice).next().unwrap();
        assert_eq!((binding.granted, binding.expires_ms), (300, NOW + 300_000));
        assert_eq!(
            (&*binding.contact, binding.cseq, &*binding.call_id),
            ("sip:a@192.0.2.4", 7, "call")
        );
        assert_eq!(binding.path.is_empty(), version == 1);
    }
}

#[test]
fn a_change_that_cannot_be_kept_is_taken_back() {
    let mut table = Table::default();
    let flow = udp("192.0.2.4:5060");
    run(&mut table, NOW, &contact("a", 1, "<sip:a@192.0.2.4>"), &flow);
    let before = table.copy(&alice());
    run(&mut table, NOW + 1, &contact("a", 2, "<sip:b@192.0.2.4>"), &flow);
    assert_eq!(table.bindings_len(), 2);
    table.put_back(&alice(), before.clone());
    assert_eq!((table.copy(&alice()), table.bindings_len()), (before, 1));
    table.put_back(&alice(), Vec::new());
    assert!(table.is_empty());
}

const FLOW: &str = "<sip:a@192.0.2.7>;+sip.instance=\"<urn:uuid:0>\";reg-id=1";

#[test]
fn a_path_is_kept_with_the_binding() {
    let source = udp("192.0.2.4:40000");
    let cases: [(&[&str], &str, &str, &str); 4] = [
        (&[], "", "192.0.2.4:40000", ";expires=300"),
        (
            &["<sip:192.0.2.4:5070;lr>"],
            "<sip:192.0.2.4:5070;lr>",
            "192.0.2.4:5070",
            ";expires=3600",
        ),
        (
            &["<sip:t@192.0.2.4;lr;ob>, <sip:inner.test;lr>", "<sip:inmost.test;lr>"],
            "<sip:t@192.0.2.4;lr;ob>, <sip:inner.test;lr>, <sip:inmost.test;lr>",
            "192.0.2.4:5060",
            ";expires=3600",
        ),
        (
            &["<sip:p.test;lr>"],
            "<sip:p.test;lr>",
            "192.0.2.4:40000",
            ";expires=3600",
        ),
    ];
    for (paths, kept, goal, end) in cases {
        let paths = paths.iter().map(|path| (Name::Path, *path));
        let headers: Vec<_> = [(Name::Contact, "<sip:a@192.0.2.7>")]
            .into_iter()
            .chain(paths)
            .collect();
        let mut table = Table::default();
        let (code, contacts) = run(&mut table, NOW, &register("a", 1, &headers), &source);
        assert!(code == 200 && contacts[0].ends_with(end), "{kept} {contacts:?}");
        let alice = alice();
        let binding = table.bindings(NOW, &alice).next().unwrap();
        assert_eq!((&*binding.path, binding.remote), (kept, goal.parse().unwrap()));
    }
}

#[test]
fn a_path_that_is_no_route_is_refused() {
    let long = format!("<sip:{}@192.0.2.4;lr>", "a".repeat(1024));
    for path in ["<sip:192.0.2.4>", "<tel:+1>", "sip:", long.as_str()] {
        let request = register("a", 1, &[(Name::Contact, "<sip:a@192.0.2.7>"), (Name::Path, path)]);
        let (code, _) = run(&mut Table::default(), NOW, &request, &udp("192.0.2.4:5060"));
        assert_eq!(code, 400, "{path}");
    }
}

#[test]
fn a_flow_is_kept_where_the_first_hop_keeps_it() {
    let second = (Name::Via, "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK2");
    let [outbound, ob, path] = [
        (Name::Supported, "outbound, path"),
        (Name::Path, "<sip:192.0.2.4;lr;ob>"),
        (Name::Path, "<sip:192.0.2.4;lr>"),
    ];
    // Headers, the answer, whether it says that the flow is kept, and whether it is.
    type Headers = Vec<(Name<'static>, &'static str)>;
    let cases: [(Headers, u16, bool, bool); 7] = [
        (vec![outbound], 200, true, true),
        (vec![], 200, false, true),
        (vec![second], 200, false, false),
        (vec![second, path], 200, false, false),
        (vec![second, ob], 200, false, true),
        (vec![second, ob, outbound], 200, true, true),
        (vec![second, path, outbound], 439, false, false),
    ];
    for (mut headers, code, is_told, is_kept) in cases {
        headers.push((Name::Contact, FLOW));
        let request = register("a", 1, &headers);
        let mut table = Table::default();
        assert_eq!(
            run(&mut table, NOW, &request, &udp("192.0.2.4:5060")).0,
            code,
            "{headers:?}"
        );
        let told = echo(&request);
        assert_eq!(
            told.iter()
                .any(|(name, value)| *name == Name::Require && value == "outbound"),
            is_told,
            "{headers:?}"
        );
        let alice = alice();
        let has_flow = table.bindings(NOW, &alice).any(|binding| binding.instance.is_some());
        assert_eq!(has_flow, is_kept, "{headers:?}");
    }
    let plain = register("a", 1, &[(Name::Contact, "<sip:a@192.0.2.7>"), outbound, ob]);
    assert_eq!(echo(&plain), [(Name::Path, ob.1.to_owned())]);
}

#[test]
fn a_kept_flow_is_known_by_its_address_while_it_is_bound() {
    let [home, elsewhere] = ["192.0.2.4:40000", "192.0.2.4:40001"].map(udp);
    let mut table = Table::default();
    let flow = FLOW.replace("192.0.2.7", "192.0.2.4");
    let line = "<sip:b@192.0.2.4>;+sip.instance=\"<urn:uuid:0>\";reg-id=2";
    run(&mut table, NOW, &contact("a", 1, "<sip:a@192.0.2.4>"), &home);
    assert!(!table.keeps_flow(home.remote), "it does not say that it keeps it");
    run(&mut table, NOW, &contact("b", 1, &flow), &home);
    run(&mut table, NOW, &contact("c", 1, line), &home);
    run(&mut table, NOW, &contact("b", 2, &flow), &elsewhere);
    assert!(table.keeps_flow(home.remote) && table.keeps_flow(elsewhere.remote));
    run(&mut table, NOW, &contact("c", 2, &format!("{line};expires=0")), &home);
    assert!(!table.keeps_flow(home.remote) && table.keeps_flow(elsewhere.remote));
    let record = table.encode(NOW, &alice()).unwrap();
    table.remove(&alice());
    assert!(!table.keeps_flow(elsewhere.remote));
    table.restore(NOW, &alice(), &record).unwrap();
    assert!(table.keeps_flow(elsewhere.remote));
}
