use super::scene::*;
use crate::message::{Edit, Message, Name, ack_for};

const ALICE: Phone = Phone {
    user: "alice",
    number: 1,
    edge: 0,
};
const CAROL: Phone = Phone {
    user: "carol",
    number: 3,
    edge: 0,
};

#[test]
fn without_credentials_a_caller_is_challenged() {
    let bare = Edit::new(&invite(ALICE, "carol"))
        .remove(Name::ProxyAuthorization)
        .apply();
    assert_eq!(answers(&bare), ["407"]);
}

#[test]
fn a_from_of_somebody_else_is_refused() {
    let foreign = Edit::new(&invite(ALICE, "carol"))
        .set(Name::From, "<sip:carol@example.org>;tag=1")
        .apply();
    assert_eq!(answers(&foreign), ["403"]);
}

#[test]
fn an_asserted_identity_of_a_phone_is_replaced() {
    let mut scene = Scene::new(1, &[ALICE, CAROL]);
    let lying = Edit::new(&invite(ALICE, "carol"))
        .set(Name::PAssertedIdentity, "<sip:boss@example.org>")
        .set(Name::PPreferredIdentity, "<sip:boss@example.org>")
        .apply();
    scene.say(ALICE, &lying);
    scene.run(100);
    let heard = scene.heard(CAROL);
    assert!(
        heard[0]
            .header(Name::PAssertedIdentity)
            .unwrap()
            .ends_with("<sip:alice@example.org>")
    );
    assert!(!heard[0].has(Name::PPreferredIdentity));
}

#[test]
fn a_route_that_this_edge_did_not_write_is_refused() {
    let routed = Edit::new(&invite(ALICE, "carol"))
        .set(Name::Route, "<sip:elsewhere.example;lr>")
        .apply();
    assert_eq!(answers(&routed), ["403"]);
    let outbound_proxy = Edit::new(&invite(ALICE, "carol"))
        .set(Name::Route, "<sip:198.51.100.1;lr>")
        .apply();
    assert_eq!(answers(&outbound_proxy), ["100"]);
}

#[test]
fn a_route_that_is_another_name_of_this_edge_is_dropped() {
    let routed = |route: &str| {
        let message = Edit::new(&invite(ALICE, "carol")).set(Name::Route, route).apply();
        let mut scene = Scene::new(1, &[ALICE, CAROL]);
        scene.say(ALICE, &message);
        scene.run(40);
        (scene.heard(CAROL), scene.names(ALICE), scene.looked_up)
    };
    let (heard, _, looked_up) = routed("<sip:Proxy.example.net;lr>");
    assert!(!heard[0].has(Name::Route));
    assert_eq!(looked_up, ["proxy.example.net"]);
    for route in [
        "<sip:proxy.example.net:7777;lr>",
        "<sip:proxy.example.net;lr>, <sip:elsewhere.example;lr>",
        "<sip:198.51.100.1;lr>, <sip:proxy.example.net;lr>",
        "<sip:203.0.113.77;lr>",
    ] {
        let (_, answers, looked_up) = routed(route);
        assert_eq!((answers, looked_up.len()), (vec!["403".to_owned()], 0), "{route}");
    }
}

#[test]
fn no_name_is_looked_up_for_a_stranger() {
    let bare = Edit::new(&invite(ALICE, "carol"))
        .remove(Name::ProxyAuthorization)
        .set(Name::Route, "<sip:proxy.example.net;lr>")
        .apply();
    let mut scene = Scene::new(1, &[ALICE, CAROL]);
    scene.say(ALICE, &bare);
    scene.run(40);
    assert_eq!(scene.names(ALICE), ["407"]);
    assert!(scene.looked_up.is_empty());
}

#[test]
fn targets_outside_are_not_found() {
    for uri in ["sip:bob@elsewhere.example", "sip:example.org"] {
        assert_eq!(
            answers(&Edit::new(&invite(ALICE, "x")).request_uri(uri).apply()),
            ["404"],
            "{uri}"
        );
    }
    assert_eq!(
        answers(
            &Edit::new(&invite(ALICE, "x"))
                .request_uri("sips:carol@example.org")
                .apply()
        ),
        ["480"]
    );
    for uri in ["urn:service:sos", "tel:+358-555-1234567", "http://example.org/"] {
        assert_eq!(
            answers(&Edit::new(&invite(ALICE, "x")).request_uri(uri).apply()),
            ["416"],
            "{uri}"
        );
    }
}

#[test]
fn the_edges_address_stands_for_the_domain() {
    let mut scene = Scene::new(1, &[ALICE, CAROL]);
    scene.say(
        ALICE,
        &Edit::new(&invite(ALICE, "x"))
            .request_uri("sip:carol@198.51.100.1")
            .apply(),
    );
    scene.run(100);
    assert_eq!(scene.names(CAROL), ["INVITE"]);
}

#[test]
fn options_to_the_edge_are_answered_without_credentials() {
    let mut scene = Scene::new(1, &[ALICE]);
    let options = Edit::new(&request("OPTIONS", ALICE, "x", ""))
        .request_uri("sip:example.org")
        .remove(Name::ProxyAuthorization)
        .apply();
    scene.say(ALICE, &options);
    scene.run(10);
    let heard = scene.heard(ALICE);
    assert_eq!(name_of(&heard[0]), "200");
    assert!(heard[0].header(Name::Allow).unwrap().contains("INVITE"));
}

#[test]
fn what_would_make_phones_ring_each_other_at_start_is_refused() {
    assert_eq!(
        answers(&request("PUBLISH", ALICE, "alice", "Event: presence\r\n")),
        ["405"]
    );
    assert_eq!(
        answers(&request("SUBSCRIBE", ALICE, "alice", "Event: message-summary\r\n")),
        ["489"]
    );
    assert_eq!(
        answers(&request("SUBSCRIBE", ALICE, "alice", "Event: reg;x=y\r\n")),
        ["489"]
    );
}

#[test]
fn an_unknown_method_is_forwarded() {
    let mut scene = Scene::new(1, &[ALICE, CAROL]);
    scene.say(ALICE, &request("FROBNICATE", ALICE, "carol", ""));
    scene.run(100);
    let heard = scene.heard(CAROL);
    assert_eq!(name_of(&heard[0]), "FROBNICATE");
    scene.answer(CAROL, &heard[0], 501);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["501"]);
}

#[test]
fn malformed_requests_are_answered_with_the_header_at_fault() {
    let mut scene = Scene::new(1, &[ALICE]);
    let bad = Edit::new(&invite(ALICE, "carol")).set(Name::CSeq, "one INVITE").apply();
    scene.say(ALICE, &bad);
    scene.run(10);
    let heard = scene.heard(ALICE);
    assert_eq!(heard[0].reason(), Some("Malformed CSeq"));
    scene.run(10_000);
    assert_eq!(scene.names(ALICE), [""; 0]);
    assert!(scene.is_forgotten());
}

#[test]
fn what_is_answered_to_a_sender_nobody_knows_is_answered_once_and_forgotten() {
    let bare = |request: Message| Edit::new(&request).remove(Name::ProxyAuthorization).apply();
    let more = |method: &str, more: &str| bare(request(method, ALICE, "carol", more));
    let to_edge = |request: Message| Edit::new(&request).request_uri("sip:example.org").apply();
    let routed = "Route: <sip:203.0.113.77;lr>\r\n";
    let cases = [
        (bare(invite(ALICE, "carol")), "407"),
        (more("MESSAGE", ""), "407"),
        (more("INVITE", "Proxy-Require: magic\r\n"), "420"),
        (more("INVITE", routed), "403"),
        (more("PUBLISH", ""), "405"),
        (more("SUBSCRIBE", "Event: message-summary\r\n"), "489"),
        (to_edge(more("OPTIONS", "")), "200"),
        (to_edge(more("REGISTER", "Require: magic\r\n")), "420"),
        (
            bare(Edit::new(&invite(ALICE, "x")).request_uri("tel:+1").apply()),
            "416",
        ),
        (more("CANCEL", ""), "481"),
    ];
    for (request, code) in cases {
        let mut scene = Scene::new(1, &[ALICE, CAROL]);
        scene.say(ALICE, &request);
        scene.run(2);
        assert!(scene.is_forgotten(), "{code}");
        let first = scene.heard(ALICE);
        assert_eq!(first.iter().map(name_of).collect::<Vec<_>>(), [code]);
        // Nothing is repeated; a repeated request is answered anew and alike.
        scene.run(40_000);
        assert_eq!(scene.names(ALICE), [""; 0], "{code}");
        scene.say(ALICE, &request);
        scene.run(40_000);
        let second = scene.heard(ALICE);
        assert_eq!(second.len(), 1, "{code}");
        assert_eq!(second[0].to_tag(), first[0].to_tag(), "{code}");
        assert_eq!(scene.open.len(), 0, "{code}");
    }
}

#[test]
fn the_ack_to_a_forgotten_answer_ends_here() {
    let mut scene = Scene::new(1, &[ALICE, CAROL]);
    let bare = Edit::new(&invite(ALICE, "carol"))
        .remove(Name::ProxyAuthorization)
        .apply();
    scene.say(ALICE, &bare);
    scene.run(10);
    let challenge = scene.heard(ALICE).remove(0);
    scene.say(ALICE, &ack_for(&bare, &challenge));
    scene.run(10);
    assert_eq!(scene.dropped, [""; 0]);
    assert_eq!((scene.names(ALICE), scene.names(CAROL)), (Vec::new(), Vec::new()));
}

#[test]
fn what_is_answered_to_a_user_is_repeated_until_it_is_acknowledged() {
    let mut scene = Scene::new(1, &[ALICE, CAROL]);
    let unknown = invite(ALICE, "nobody");
    scene.say(ALICE, &unknown);
    scene.run(1000);
    let heard = scene.heard(ALICE);
    let names: Vec<String> = heard.iter().map(name_of).collect();
    assert_eq!(names, ["100", "404", "404"]);
    scene.say(ALICE, &ack_for(&unknown, &heard[1]));
    scene.run(60_000);
    assert_eq!(scene.names(ALICE), [""; 0]);
}

#[test]
fn a_phone_is_not_sent_its_own_request() {
    let own_other = Phone {
        user: "alice",
        number: 2,
        edge: 0,
    };
    // Only its own phone is there, another one of the user, and another user's line of the same phone.
    let alone = |method: &str, more: &str| {
        let mut scene = Scene::new(1, &[ALICE]);
        scene.say(ALICE, &request(method, ALICE, "alice", more));
        scene.run(200);
        scene.names(ALICE)
    };
    assert_eq!(alone("INVITE", ""), ["100", "480"]);
    assert_eq!(alone("MESSAGE", ""), ["480"]);
    assert_eq!(alone("SUBSCRIBE", "Event: presence\r\n"), ["489"]);
    let mut scene = Scene::new(1, &[ALICE, own_other]);
    scene.say(ALICE, &request("SUBSCRIBE", ALICE, "alice", "Event: presence\r\n"));
    scene.run(200);
    assert_eq!((scene.names(ALICE), scene.names(own_other).len()), (Vec::new(), 1));
    let same_phone = Phone { user: "carol", ..ALICE };
    let mut scene = Scene::new(1, &[ALICE, same_phone]);
    scene.say(ALICE, &invite(ALICE, "carol"));
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "INVITE"]);
}

#[test]
fn a_refused_subscription_names_the_packages() {
    let mut scene = Scene::new(1, &[ALICE]);
    scene.say(ALICE, &request("SUBSCRIBE", ALICE, "alice", "Event: presence\r\n"));
    scene.run(200);
    assert!(scene.heard(ALICE)[0].has(Name::AllowEvents));
}

#[test]
fn a_caller_may_hide_in_two_ways() {
    let call = |from: &str, privacy: &str| {
        let mut scene = Scene::new(1, &[ALICE, CAROL]);
        let invite = Edit::new(&invite(ALICE, "carol"))
            .set(Name::From, format!("<{from}>;tag=1"))
            .set(Name::Privacy, privacy.to_owned())
            .apply();
        scene.say(ALICE, &invite);
        scene.run(100);
        let heard = scene.heard(CAROL);
        let identity = heard.first().map(|invite| invite.has(Name::PAssertedIdentity));
        (scene.names(ALICE).pop().unwrap_or_default(), identity)
    };
    let hidden = ("100".to_owned(), Some(false));
    assert_eq!(call("sip:anonymous@anonymous.invalid", "id"), hidden);
    assert_eq!(call("sip:anonymous@example.org", "id"), hidden);
    assert_eq!(call("sip:Anonymous@198.51.100.1", "header; id"), hidden);
    let refused = ("403".to_owned(), None);
    assert_eq!(call("sip:anonymous@example.org", "none"), refused);
    assert_eq!(call("sip:carol@example.org", "id"), refused);
    assert_eq!(call("sip:anonymous@elsewhere.example", "id"), refused);
}

#[test]
fn hops_and_extensions_are_judged() {
    assert_eq!(
        answers(&Edit::new(&invite(ALICE, "carol")).max_forwards(0).apply()),
        ["483"]
    );
    assert_eq!(
        answers(&request("INVITE", ALICE, "carol", "Proxy-Require: magic\r\n")),
        ["420"]
    );
}

#[test]
fn a_draining_edge_takes_no_new_work_and_finishes_the_old() {
    let mut scene = Scene::new(1, &[ALICE, CAROL]);
    scene.say(ALICE, &invite(ALICE, "carol"));
    scene.run(100);
    scene.edges[0].set_draining(Some(10));
    assert_eq!(scene.edges[0].under_way(), 2, "the INVITE on both its sides");
    let offered = scene.heard(CAROL);
    scene.answer(CAROL, &offered[0], 200);
    scene.run(100);
    assert_eq!(scene.edges[0].under_way(), 0);
    let heard = scene.heard(ALICE);
    let success = heard.last().unwrap();
    assert_eq!(name_of(success), "200");
    scene.say(ALICE, &in_dialog("ACK", 1, &offered[0], success, true));
    scene.say(ALICE, &in_dialog("BYE", 2, &offered[0], success, true));
    scene.run(100);
    assert_eq!(scene.names(CAROL), ["ACK", "BYE"]);

    scene.say(CAROL, &invite(CAROL, "alice"));
    scene.say(CAROL, &request("REGISTER", CAROL, "carol", ""));
    scene.run(10);
    let refused = scene.heard(CAROL);
    assert_eq!(refused.iter().map(name_of).collect::<Vec<_>>(), ["503", "503"]);
    assert_eq!(refused[0].header(Name::RetryAfter), Some("10"));
    assert_ne!(scene.edges[0].under_way(), 0, "the BYE is not answered yet");
}

#[test]
fn a_register_goes_to_the_registrar_of_own_domains_only() {
    assert_eq!(answers(&request("REGISTER", ALICE, "alice", "")), ["200"]);
    let foreign = Edit::new(&request("REGISTER", ALICE, "alice", ""))
        .request_uri("sip:elsewhere.example")
        .apply();
    assert_eq!(answers(&foreign), ["403"]);
}

#[test]
fn stray_messages_are_dropped() {
    let mut scene = Scene::new(1, &[ALICE]);
    let invite = invite(ALICE, "carol");
    scene.say(ALICE, &crate::message::respond(&invite, 200, "", &[]));
    scene.say(
        ALICE,
        &ack_for(&invite, &crate::message::Reply::new(&invite, 200).tag("callee").build()),
    );
    scene.run(100);
    assert_eq!(scene.names(ALICE), [""; 0]);
    assert_eq!(scene.dropped, ["response to nothing", "ACK without a token"]);
}

/// Returns what alice hears at once when she sends this.
fn answers(message: &Message) -> Vec<String> {
    let mut scene = Scene::new(1, &[ALICE, CAROL]);
    scene.say(ALICE, message);
    scene.run(40);
    scene.names(ALICE)
}
