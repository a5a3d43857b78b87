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
fn targets_outside_are_not_found() {
    for uri in ["sip:bob@elsewhere.example", "tel:+358-555-1234567", "sip:example.org"] {
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
    assert_eq!(
        answers(&Edit::new(&invite(ALICE, "x")).request_uri("urn:service:sos").apply()),
        ["416"]
    );
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
    // A refusal is a final response like any other: repeated until its ACK.
    scene.run(600);
    assert_eq!(scene.names(ALICE), ["400"]);
    scene.say(ALICE, &ack_for(&invite(ALICE, "carol"), &heard[0]));
    scene.run(10_000);
    assert_eq!(scene.names(ALICE), [""; 0]);
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
    // The refused INVITE waits for its ACK.
    assert_ne!(scene.edges[0].under_way(), 0);
    scene.say(CAROL, &ack_for(&invite(CAROL, "alice"), &refused[0]));
    scene.run(10);
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
        &ack_for(&invite, &crate::message::respond(&invite, 200, "", &[])),
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
