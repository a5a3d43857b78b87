use std::sync::Arc;

use super::scene::*;
use crate::flow::{FlowKind, Hop};
use crate::message::{Edit, Name};

const ALICE: Phone = Phone {
    user: "alice",
    number: 1,
    edge: 0,
};
const BOB: Phone = Phone {
    user: "bob",
    number: 2,
    edge: 1,
};
const HERE: Phone = Phone {
    user: "bob",
    number: 3,
    edge: 0,
};

#[test]
fn a_silent_edge_is_given_up_after_three_seconds() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    scene.deaf.insert(1);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(4000);
    let at = scene.first(ALICE, "480");
    assert!((3000..3200).contains(&at), "{at}");
    assert_eq!(scene.silent, [node_of(1)]);
}

#[test]
fn silence_begins_when_the_connection_stands() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    scene.deaf.insert(1);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(2000);
    let now = scene.now;
    scene.edges[0].handle_edge_connected(now, node_of(1));
    scene.run(4000);
    let at = scene.first(ALICE, "480");
    assert!((5000..5100).contains(&at), "{at}");
}

#[test]
fn an_edge_that_cannot_be_reached_fails_at_once() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    scene.deaf.insert(1);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(100);
    let now = scene.now;
    scene.edges[0].handle_unreachable(
        now,
        &Hop::Edge {
            node: node_of(1),
            home: None,
        },
    );
    scene.run(10);
    assert_eq!(scene.names(ALICE), ["100", "480"]);
}

#[test]
fn a_lost_connection_repeats_what_had_no_response() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    scene.deaf.insert(1);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(100);
    scene.deaf.clear();
    let now = scene.now;
    scene.edges[0].handle_edge_lost(now, node_of(1));
    scene.run(100);
    assert_eq!(scene.between[0].bytes(), scene.between[1].bytes());
    let offered = scene.heard(BOB);
    scene.answer(BOB, &offered[0], 180);
    scene.run(10);
    let now = scene.now;
    scene.edges[0].handle_edge_lost(now, node_of(1));
    scene.answer(BOB, &offered[0], 200);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "180", "200"]);
}

#[test]
fn a_wrong_entry_is_forgotten_and_looked_up_once_more() {
    let mut scene = Scene::new(2, &[ALICE]);
    scene.entries = vec![("bob", 1)];
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(200);
    // The other edge holds no binding: 430 between the edges, which a phone never sees.
    assert!(scene.between.iter().any(|message| message.status() == Some(430)));
    assert_eq!(scene.names(ALICE), ["100", "480"]);
    assert_eq!(scene.forgotten, [(aor("bob"), node_of(1))]);
}

#[test]
fn the_second_look_up_adds_an_edge_that_is_new() {
    let mut scene = Scene::new(3, &[ALICE]);
    scene.entries = vec![("bob", 1)];
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(30);
    let moved = Phone {
        user: "bob",
        number: 9,
        edge: 2,
    };
    scene.bindings.push(moved);
    scene.entries = vec![("bob", 1), ("bob", 2)];
    scene.run(200);
    assert_eq!(scene.names(moved), ["INVITE"]);
}

#[test]
fn a_binding_without_a_connection_fails_at_once() {
    let mut scene = Scene::new(1, &[ALICE, HERE]);
    scene.gone.insert(HERE);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "480"]);
}

#[test]
fn an_edge_serves_another_from_its_own_bindings_only() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    // Edge 1 asks edge 0 for bob, who is at edge 1: no second look-up.
    let asked = Edit::new(&invite(BOB, "bob"))
        .prepend(Name::Via, "SIP/2.0/TLS other;branch=z9hG4bKx")
        .apply();
    scene.say_on(edge_flow(1, 0), &asked);
    scene.run(100);
    assert_eq!(scene.between.iter().map(name_of).collect::<Vec<_>>(), ["100", "430"]);
}

#[test]
fn a_request_that_comes_back_unchanged_is_a_loop() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(100);
    let looped = Edit::new(&scene.between[0])
        .prepend(Name::Via, "SIP/2.0/TLS other;branch=z9hG4bKloop")
        .apply();
    scene.between.clear();
    scene.say_on(edge_flow(1, 0), &looped);
    scene.run(10);
    assert_eq!(scene.between.iter().map(name_of).collect::<Vec<_>>(), ["482"]);
    // With another target it is a spiral, which may pass.
    let spiral = Edit::new(&looped).request_uri("sip:alice@example.org").apply();
    let spiral = Edit::new(&spiral)
        .replace_first(Name::Via, "SIP/2.0/TLS other;branch=z9hG4bKspiral")
        .apply();
    scene.say_on(edge_flow(1, 0), &spiral);
    scene.run(10);
    assert!(scene.names(ALICE).contains(&"INVITE".to_owned()));
}

#[test]
fn an_edge_may_assert_any_user_and_a_stranger_only_its_own() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    let asserting = Edit::new(&invite(ALICE, "bob"))
        .set(Name::PAssertedIdentity, "<sip:boss@example.org>")
        .apply();
    let via = |message, branch: &'static str| {
        Edit::new(message)
            .replace_first(Name::Via, format!("SIP/2.0/TLS other;branch={branch}"))
            .apply()
    };
    scene.say_on(edge_flow(0, 1), &via(&asserting, "z9hG4bKone"));
    scene.run(10);
    let heard = scene.heard(BOB);
    assert_eq!(heard[0].header(Name::PAssertedIdentity), Some("<sip:boss@example.org>"));

    let stranger = |user: &str| {
        let users: Arc<[Arc<str>]> = Arc::new([Arc::from(user)]);
        let mut flow = edge_flow(0, 1);
        flow.kind = FlowKind::Stranger {
            node: node_of(8),
            users,
        };
        flow.remote = "192.0.2.77:5".parse().unwrap();
        flow
    };
    scene.say_on(stranger("alice@example.org"), &via(&asserting, "z9hG4bKtwo"));
    scene.run(10);
    let heard = scene.heard(BOB);
    assert_eq!(
        heard[0].header(Name::PAssertedIdentity),
        Some("<sip:alice@example.org>")
    );

    scene.say_on(stranger("mallory@example.org"), &via(&asserting, "z9hG4bKthree"));
    scene.run(10);
    assert_eq!(scene.names(BOB), [""; 0]);
}
