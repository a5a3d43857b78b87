use super::scene::*;
use crate::message::{Edit, Message, Name, cancel_for, respond};
use crate::proxy::Outcome;

const ALICE: Phone = Phone {
    user: "alice",
    number: 1,
    edge: 0,
};
const DESK: Phone = Phone {
    user: "bob",
    number: 2,
    edge: 0,
};
const OFFICE: Phone = Phone {
    user: "bob",
    number: 4,
    edge: 0,
};
const GARAGE: Phone = Phone {
    user: "bob",
    number: 5,
    edge: 0,
};
const MOBILE: Phone = Phone {
    user: "bob",
    number: 3,
    edge: 1,
};

#[test]
fn phones_at_two_edges_ring_and_the_loser_is_cancelled() {
    let (mut scene, desk, mobile) = ringing();
    scene.answer(MOBILE, &mobile, 200);
    scene.run(100);
    let cancel = scene.heard(DESK);
    assert_eq!(name_of(&cancel[0]), "CANCEL");
    assert!(cancel[0].header(Name::Reason).unwrap().contains("cause=200"));
    scene.answer(DESK, &cancel[0], 200);
    scene.answer(DESK, &desk, 487);
    scene.run(100);
    assert_eq!(scene.names(DESK), ["ACK"]);
    assert_eq!(scene.names(ALICE), ["100", "180", "180", "200"]);
}

#[test]
fn a_loser_that_answered_too_late_is_heard_too() {
    let (mut scene, desk, mobile) = ringing();
    scene.answer(MOBILE, &mobile, 200);
    scene.answer(DESK, &desk, 200);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "180", "180", "200", "200"]);
}

#[test]
fn one_refusal_waits_for_the_other_phone() {
    let (mut scene, desk, mobile) = ringing();
    scene.answer(DESK, &desk, 486);
    scene.run(1000);
    assert_eq!(scene.names(ALICE), ["100", "180", "180"]);
    scene.answer(MOBILE, &mobile, 404);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["486"]);
}

#[test]
fn a_decline_everywhere_ends_all_branches() {
    let (mut scene, desk, mobile) = ringing();
    scene.answer(MOBILE, &mobile, 603);
    scene.run(100);
    let cancel = scene.heard(DESK);
    assert_eq!(name_of(&cancel[0]), "CANCEL");
    scene.answer(DESK, &cancel[0], 200);
    scene.answer(DESK, &desk, 487);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "180", "180", "603"]);
}

#[test]
fn a_ghost_does_not_delay_a_busy_phone_for_long() {
    let mut scene = Scene::new(2, &[ALICE, DESK, MOBILE]);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(100);
    let offered = scene.heard(DESK);
    scene.answer(DESK, &offered[0], 486);
    scene.run(7000);
    let at = scene.first(ALICE, "486");
    assert!(at < 6200, "{at}");
}

#[test]
fn a_phone_that_wakes_up_late_is_cancelled_or_answers_still() {
    let mut scene = Scene::new(1, &[ALICE, DESK]);
    scene.entries.clear();
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(6100);
    assert_eq!(scene.names(ALICE), ["100", "408"]);
    let offered = scene.heard(DESK);
    scene.answer(DESK, &offered[0], 180);
    scene.run(10);
    assert_eq!(scene.names(DESK), ["CANCEL"]);
    scene.answer(DESK, &offered[0], 200);
    scene.run(10);
    assert!(scene.names(ALICE).contains(&"200".to_owned()));
}

#[test]
fn challenges_of_all_phones_reach_the_caller_together() {
    let (mut scene, desk, mobile) = ringing();
    let challenge = |request: &Message, code, name, realm: &str| respond(request, code, "", &[(name, realm)]);
    scene.say(
        DESK,
        &challenge(&desk, 407, Name::ProxyAuthenticate, "Digest realm=\"desk\""),
    );
    scene.say(
        MOBILE,
        &challenge(&mobile, 401, Name::WwwAuthenticate, "Digest realm=\"mobile\""),
    );
    scene.run(100);
    let heard = scene.heard(ALICE);
    let last = heard.last().unwrap();
    assert_eq!(name_of(last), "407");
    assert_eq!(last.header(Name::ProxyAuthenticate), Some("Digest realm=\"desk\""));
    assert_eq!(last.header(Name::WwwAuthenticate), Some("Digest realm=\"mobile\""));
}

#[test]
fn a_branch_out_of_service_does_not_make_the_caller_leave() {
    let (mut scene, desk, mobile) = ringing();
    scene.answer(DESK, &desk, 503);
    scene.answer(MOBILE, &mobile, 503);
    scene.run(100);
    assert_eq!(scene.names(ALICE).last().unwrap(), "500");
}

#[test]
fn a_message_is_answered_by_the_first_that_takes_it() {
    let mut scene = Scene::new(2, &[ALICE, DESK, MOBILE]);
    scene.say(ALICE, &request("MESSAGE", ALICE, "bob", ""));
    scene.run(100);
    let (desk, mobile) = (scene.heard(DESK), scene.heard(MOBILE));
    assert!(!desk[0].has(Name::RecordRoute));
    scene.answer(DESK, &desk[0], 486);
    scene.answer(MOBILE, &mobile[0], 202);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["202"]);
}

#[test]
fn a_message_that_nobody_answers_gets_a_100_and_never_a_408() {
    let mut scene = Scene::new(1, &[ALICE, DESK]);
    scene.say(ALICE, &request("MESSAGE", ALICE, "bob", ""));
    scene.run(60_000);
    let log = scene.log(ALICE);
    assert_eq!(log.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["100"]);
    assert_eq!(log[0].0, 3502);
    assert!(scene.is_forgotten());
}

#[test]
fn breadth_is_shared_and_its_end_is_told() {
    let mut scene = Scene::new(2, &[ALICE, DESK, MOBILE]);
    scene.say(ALICE, &request("INVITE", ALICE, "bob", "Max-Breadth: 8\r\n"));
    scene.run(100);
    let (desk, mobile) = (scene.heard(DESK), scene.heard(MOBILE));
    let breadth = |message: &Message| message.header(Name::MaxBreadth).unwrap().parse::<u32>().unwrap();
    assert_eq!((breadth(&desk[0]), breadth(&mobile[0])), (4, 1));

    let mut scene = Scene::new(2, &[ALICE, DESK]);
    scene.say(ALICE, &request("INVITE", ALICE, "bob", "Max-Breadth: 0\r\n"));
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "440"]);
}

#[test]
fn breadth_that_a_phone_has_given_back_serves_the_next() {
    let mut scene = Scene::new(1, &[ALICE, DESK, OFFICE]);
    scene.say(ALICE, &request("INVITE", ALICE, "bob", "Max-Breadth: 1\r\n"));
    scene.run(100);
    let desk = scene.heard(DESK);
    assert_eq!(scene.names(OFFICE), [""; 0]);
    scene.answer(DESK, &desk[0], 486);
    scene.run(100);
    let office = scene.heard(OFFICE);
    assert_eq!(office[0].header(Name::MaxBreadth), Some("1"));
    scene.answer(OFFICE, &office[0], 200);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "200"]);
}

#[test]
fn another_flow_of_a_phone_is_tried_when_one_is_gone_or_silent() {
    let mut scene = Scene::new(1, &[ALICE, DESK, OFFICE, GARAGE]);
    scene.flows.extend([DESK, OFFICE, GARAGE]);
    scene.gone.insert(DESK);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(5900);
    assert_eq!(scene.first(OFFICE, "INVITE"), 2);
    assert_eq!(scene.names(GARAGE), [""; 0]);
    scene.run(200);
    assert_eq!(scene.names(GARAGE), ["INVITE"]);
}

#[test]
fn a_phone_that_has_refused_is_not_asked_over_another_flow() {
    let mut scene = Scene::new(1, &[ALICE, DESK, OFFICE]);
    scene.flows.extend([DESK, OFFICE]);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(100);
    let offered = scene.heard(DESK);
    scene.answer(DESK, &offered[0], 486);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "486"]);
    assert_eq!(scene.names(OFFICE), [""; 0]);
}

#[test]
fn what_the_look_up_says_decides_when_there_is_nobody() {
    let cases = [
        (Outcome::Complete { is_known: false }, "404"),
        (Outcome::Complete { is_known: true }, "480"),
        (Outcome::TimedOut, "504"),
        (Outcome::Unavailable, "503"),
    ];
    for (outcome, expected) in cases {
        let mut scene = Scene::new(1, &[ALICE]);
        scene.overlay_fails = Some(outcome);
        scene.say(ALICE, &invite(ALICE, "bob"));
        scene.run(100);
        assert_eq!(scene.names(ALICE), ["100", expected]);
    }
}

#[test]
fn a_local_phone_is_called_though_the_overlay_is_away() {
    let mut scene = Scene::new(1, &[ALICE, DESK]);
    scene.overlay_fails = Some(Outcome::Unavailable);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(100);
    let offered = scene.heard(DESK);
    scene.answer(DESK, &offered[0], 486);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "486"]);
}

#[test]
fn a_caller_who_hides_is_hidden_from_the_phone() {
    let mut scene = Scene::new(2, &[ALICE, DESK, MOBILE]);
    let hidden = Edit::new(&invite(ALICE, "bob"))
        .set(Name::From, "\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1")
        .set(Name::Privacy, "id;critical")
        .apply();
    scene.say(ALICE, &hidden);
    scene.run(100);
    assert!(scene.between[0].has(Name::PAssertedIdentity));
    assert!(!scene.heard(DESK)[0].has(Name::PAssertedIdentity));
    assert!(!scene.heard(MOBILE)[0].has(Name::PAssertedIdentity));
}

/// Alice calls bob, and both of his phones ring.
fn ringing() -> (Scene, Message, Message) {
    let mut scene = Scene::new(2, &[ALICE, DESK, MOBILE]);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(100);
    let (desk, mobile) = (scene.heard(DESK), scene.heard(MOBILE));
    assert_eq!((desk.len(), mobile.len()), (1, 1));
    scene.answer(DESK, &desk[0], 180);
    scene.answer(MOBILE, &mobile[0], 180);
    scene.run(100);
    let first = |mut messages: Vec<Message>| messages.remove(0);
    (scene, first(desk), first(mobile))
}

/// Phones of one user that are preferred in the order of their numbers.
fn ranked(count: u8) -> (Scene, Vec<Phone>) {
    let phones: Vec<Phone> = (0..count)
        .map(|number| Phone {
            user: "bob",
            number: 20 + number,
            edge: 0,
        })
        .collect();
    let mut scene = Scene::new(1, &phones);
    scene.bindings.push(ALICE);
    for (phone, q) in phones.iter().zip([1000, 700, 700, 200]) {
        scene.preference.insert(*phone, q);
    }
    (scene, phones)
}

#[test]
fn preferred_phones_ring_first_and_equal_ones_together() {
    let (mut scene, phones) = ranked(4);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(200);
    let offered = scene.heard(phones[0]);
    assert_eq!(offered.iter().map(name_of).collect::<Vec<_>>(), ["INVITE"]);
    for phone in &phones[1..] {
        assert_eq!(scene.names(*phone), [""; 0]);
    }
    scene.answer(phones[0], &offered[0], 486);
    scene.run(200);
    let second = [1, 2].map(|number| scene.heard(phones[number]).remove(0));
    assert_eq!(scene.names(phones[3]), [""; 0]);
    scene.answer(phones[1], &second[0], 480);
    scene.run(200);
    assert_eq!(scene.names(phones[3]), [""; 0], "one of equals still rings");
    scene.answer(phones[2], &second[1], 480);
    scene.run(200);
    let last = scene.heard(phones[3]);
    scene.answer(phones[3], &last[0], 200);
    scene.run(200);
    assert_eq!(scene.names(ALICE), ["100", "200"]);
}

#[test]
fn the_best_answer_of_all_turns_goes_back() {
    let (mut scene, phones) = ranked(2);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(200);
    let offered = scene.heard(phones[0]);
    scene.answer(phones[0], &offered[0], 486);
    scene.run(200);
    let offered = scene.heard(phones[1]);
    scene.answer(phones[1], &offered[0], 480);
    scene.run(200);
    assert_eq!(scene.names(ALICE), ["100", "486"]);
    let (mut scene, phones) = ranked(2);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(200);
    let offered = scene.heard(phones[0]);
    scene.answer(phones[0], &offered[0], 603);
    scene.run(200);
    assert_eq!(
        (scene.names(ALICE), scene.names(phones[1])),
        (vec!["100".into(), "603".into()], Vec::new())
    );
}

#[test]
fn a_phone_that_only_rings_gives_its_turn_away() {
    let (mut scene, phones) = ranked(4);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(100);
    let first = scene.heard(phones[0]).remove(0);
    scene.answer(phones[0], &first, 180);
    scene.run(19_800);
    assert_eq!(scene.names(phones[0]), [""; 0]);
    scene.run(200);
    let heard = scene.heard(phones[0]);
    assert_eq!(heard.iter().map(name_of).collect::<Vec<_>>(), ["CANCEL"]);
    scene.answer(phones[0], &heard[0], 200);
    // It says yes a moment too late, or just in time: the call is its, and the others are told.
    scene.run(100);
    let second = [1, 2].map(|number| scene.heard(phones[number]).remove(0));
    second
        .iter()
        .zip([1, 2])
        .for_each(|(invite, number)| drop(scene.answer(phones[number], invite, 180)));
    scene.run(100);
    scene.answer(phones[0], &first, 200);
    scene.run(100);
    assert_eq!(scene.names(ALICE).last().map(String::as_str), Some("200"));
    for number in [1, 2] {
        assert_eq!(scene.names(phones[number]), ["CANCEL"]);
    }
    assert_eq!(scene.names(phones[3]), [""; 0]);
}

#[test]
fn a_message_that_is_not_answered_goes_on_without_a_cancel() {
    let (mut scene, phones) = ranked(2);
    scene.say(ALICE, &request("MESSAGE", ALICE, "bob", ""));
    scene.run(3500);
    assert!(scene.names(phones[0]).iter().all(|name| name == "MESSAGE"));
    assert_eq!(scene.names(phones[1]), [""; 0]);
    scene.run(1000);
    let offered = scene.heard(phones[1]);
    scene.answer(phones[1], &offered[0], 200);
    scene.run(60_000);
    assert_eq!(scene.names(ALICE), ["100", "200"]);
    assert!(scene.names(phones[0]).iter().all(|name| name == "MESSAGE"));
    assert!(scene.is_forgotten());
}

#[test]
fn a_caller_who_gives_up_ends_all_turns() {
    let (mut scene, phones) = ranked(2);
    let call = invite(ALICE, "bob");
    scene.say(ALICE, &call);
    scene.run(100);
    let first = scene.heard(phones[0]).remove(0);
    scene.answer(phones[0], &first, 180);
    scene.run(100);
    scene.say(ALICE, &cancel_for(&call));
    scene.run(100);
    let heard = scene.heard(phones[0]);
    scene.answer(phones[0], &heard[0], 200);
    scene.answer(phones[0], &first, 487);
    scene.run(60_000);
    assert_eq!(scene.names(phones[1]), [""; 0]);
}

#[test]
fn phones_at_other_edges_are_not_ranked_with_those_here() {
    let (near, far) = (DESK, MOBILE);
    let mut scene = Scene::new(2, &[near, far, ALICE]);
    scene.preference.insert(near, 300);
    scene.preference.insert(far, 900);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(200);
    assert_eq!((scene.names(near).len(), scene.names(far).len()), (1, 1));
}
