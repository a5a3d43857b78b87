//! Forks that grow: targets join a response context while it stands, and no final answer comes before the look-up ends.

use super::scene::*;
use crate::message::{Message, cancel_for};
use crate::proxy::Outcome;

const ALICE: Phone = Phone {
    user: "alice",
    number: 1,
    edge: 0,
};
const MOBILE: Phone = Phone {
    user: "bob",
    number: 2,
    edge: 1,
};
const CABIN: Phone = Phone {
    user: "bob",
    number: 3,
    edge: 2,
};

const KNOWN: Outcome = Outcome::Complete { is_known: true };

#[test]
fn an_edge_that_is_found_later_joins_the_fork() {
    let (mut scene, mobile) = ringing();
    scene.bring(&[1, 2]);
    scene.run(100);
    let cabin = only(&mut scene, CABIN);
    assert_eq!(scene.names(MOBILE), [""; 0]);
    scene.end_look_up(KNOWN);
    scene.answer(CABIN, &cabin, 200);
    scene.run(100);
    assert_eq!(scene.names(MOBILE), ["CANCEL"]);
    scene.answer(MOBILE, &mobile, 487);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "180", "200"]);
}

#[test]
fn the_best_answer_waits_for_the_look_up() {
    let (mut scene, mobile) = ringing();
    scene.answer(MOBILE, &mobile, 486);
    scene.run(3000);
    assert_eq!(scene.names(ALICE), ["100", "180"]);
    scene.end_look_up(KNOWN);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["486"]);
}

#[test]
fn a_look_up_that_fails_leaves_the_best_answer_as_it_is() {
    let (mut scene, mobile) = ringing();
    scene.answer(MOBILE, &mobile, 486);
    scene.end_look_up(Outcome::Unavailable);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "180", "486"]);
}

#[test]
fn an_edge_that_is_found_after_all_others_refused_still_rings() {
    let (mut scene, mobile) = ringing();
    scene.answer(MOBILE, &mobile, 486);
    scene.run(100);
    scene.bring(&[2]);
    scene.end_look_up(KNOWN);
    scene.run(100);
    let cabin = only(&mut scene, CABIN);
    scene.answer(CABIN, &cabin, 200);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "180", "200"]);
}

#[test]
fn a_look_up_without_an_end_delays_the_answer_for_a_bounded_time() {
    let (mut scene, mobile) = ringing();
    scene.answer(MOBILE, &mobile, 486);
    scene.run(11_000);
    let at = scene.first(ALICE, "486");
    assert!((9_000..11_000).contains(&at), "{at}");

    let mut scene = held();
    scene.run(11_000);
    assert_eq!(scene.names(ALICE)[..2], ["100", "504"]);
}

#[test]
fn no_edge_joins_a_call_that_was_answered() {
    let (mut scene, mobile) = ringing();
    scene.answer(MOBILE, &mobile, 200);
    scene.run(100);
    never_rings(&mut scene, CABIN);
    assert_eq!(scene.names(ALICE), ["100", "180", "200"]);
}

#[test]
fn no_edge_joins_a_call_that_was_cancelled() {
    let (mut scene, mobile) = ringing();
    scene.say(ALICE, &cancel_for(&invite(ALICE, "bob")));
    scene.run(100);
    never_rings(&mut scene, CABIN);
    scene.answer(MOBILE, &mobile, 487);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "180", "200", "487"]);
}

#[test]
fn no_edge_joins_a_call_that_was_declined_everywhere() {
    let (mut scene, mobile) = ringing();
    scene.answer(MOBILE, &mobile, 603);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "180", "603"]);
    never_rings(&mut scene, CABIN);
}

#[test]
fn a_decline_everywhere_also_ends_the_second_look_up() {
    let mut scene = held();
    scene.bring(&[1, 2]);
    scene.run(100);
    let (mobile, cabin) = (only(&mut scene, MOBILE), only(&mut scene, CABIN));
    // The cabin's edge serves bob no more, which calls for a second look-up; the decline forbids it.
    scene.answer(CABIN, &cabin, 430);
    scene.run(100);
    scene.answer(MOBILE, &mobile, 603);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "603"]);
    assert_eq!(scene.held.len(), 1, "no second look-up");
}

/// Alice calls bob, and the look-up has brought nothing yet.
fn held() -> Scene {
    let mut scene = Scene::new(3, &[ALICE, MOBILE, CABIN]);
    scene.holds_look_ups = true;
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(100);
    scene
}

/// The look-up has brought one edge, whose phone rings, and is not at its end.
fn ringing() -> (Scene, Message) {
    let mut scene = held();
    scene.bring(&[1]);
    scene.run(100);
    let mobile = only(&mut scene, MOBILE);
    scene.answer(MOBILE, &mobile, 180);
    scene.run(100);
    (scene, mobile)
}

fn only(scene: &mut Scene, phone: Phone) -> Message {
    let mut heard = scene.heard(phone);
    assert_eq!(heard.len(), 1);
    heard.remove(0)
}

/// The look-up brings the edge of this phone too late.
fn never_rings(scene: &mut Scene, phone: Phone) {
    scene.bring(&[phone.edge]);
    scene.end_look_up(KNOWN);
    scene.run(100);
    assert_eq!(scene.names(phone), [""; 0]);
}
