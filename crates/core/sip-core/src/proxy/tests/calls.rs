use super::scene::*;
use crate::message::{Edit, Message, Name, ack_for, cancel_for};

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
const CAROL: Phone = Phone {
    user: "carol",
    number: 3,
    edge: 0,
};

#[test]
fn a_call_across_two_edges_is_set_up_and_ended_by_either_side() {
    for is_caller in [true, false] {
        let mut scene = Scene::new(2, &[ALICE, BOB]);
        let (invite, success) = answered(&mut scene, ALICE, BOB);
        let bye = in_dialog("BYE", 2, &invite, &success, is_caller);
        let (ends, hears) = if is_caller { (ALICE, BOB) } else { (BOB, ALICE) };
        scene.say(ends, &bye);
        scene.run(100);
        let heard = scene.heard(hears);
        assert_eq!(name_of(&heard[0]), "BYE");
        assert_eq!(heard[0].request_uri().unwrap(), hears.contact());
        assert!(!heard[0].has(Name::Route));
        scene.answer(hears, &heard[0], 200);
        scene.run(100);
        assert_eq!(scene.names(ends), ["200"]);
        scene.run(40_000);
        assert!(scene.is_forgotten());
    }
}

#[test]
fn a_call_on_one_edge_needs_no_other() {
    let mut scene = Scene::new(1, &[ALICE, CAROL]);
    let (invite, success) = answered(&mut scene, ALICE, CAROL);
    assert!(scene.between.is_empty());
    scene.say(CAROL, &in_dialog("BYE", 2, &invite, &success, false));
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["BYE"]);
}

#[test]
fn the_callees_edge_puts_the_contact_into_the_request_uri_and_hides_the_trace() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(100);
    let between = scene.between.first().unwrap();
    assert_eq!(between.request_uri(), Some("sip:bob@example.org"));
    assert!(between.has(Name::Traceparent));
    let asserted = "\"The \\\"Name\\\"\" <sip:alice@example.org>";
    assert_eq!(between.header(Name::PAssertedIdentity), Some(asserted));
    let heard = scene.heard(BOB);
    assert_eq!(heard[0].request_uri(), Some("sip:bob@192.0.2.2:5060"));
    assert!(!heard[0].has(Name::Traceparent));
    assert_eq!(heard[0].header(Name::PAssertedIdentity), Some(asserted));
    assert_eq!(heard[0].max_forwards(), Some(68));
    assert_eq!(heard[0].values(Name::RecordRoute).count(), 4);
    let added = heard[0].bytes().len() - invite(ALICE, "bob").bytes().len();
    // What both edges add, for an overlay with a name of thirty characters.
    assert!(added <= 700, "{added}");
}

#[test]
fn credentials_for_this_realm_go_no_further() {
    let mut scene = Scene::new(1, &[ALICE, CAROL]);
    let foreign = "Digest username=\"a\", realm=\"other.example\", nonce=\"1\", uri=\"sip:x\", response=\"00000000000000000000000000000000\", qop=auth, nc=00000001, cnonce=\"1\"";
    let own = foreign.replace("other.example", DOMAIN);
    let request = Edit::new(&invite(ALICE, "carol"))
        .add(Name::ProxyAuthorization, own)
        .add(Name::ProxyAuthorization, foreign)
        .apply();
    scene.say(ALICE, &request);
    scene.run(100);
    let heard = scene.heard(CAROL);
    let left: Vec<&str> = heard[0].lines(Name::ProxyAuthorization).collect();
    assert_eq!(left, ["alice", foreign]);
}

#[test]
fn a_busy_callee_ends_the_call() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    let invite = invite(ALICE, "bob");
    scene.say(ALICE, &invite);
    scene.run(100);
    let ringing = scene.heard(BOB);
    scene.answer(BOB, &ringing[0], 486);
    scene.run(100);
    let heard = scene.heard(ALICE);
    assert_eq!(heard.iter().map(name_of).collect::<Vec<_>>(), ["100", "486"]);
    assert_eq!(scene.names(BOB), ["ACK"]);
    scene.say(ALICE, &ack_for(&invite, &heard[1]));
    scene.run(40_000);
    assert_eq!(scene.names(ALICE), [""; 0]);
    assert!(scene.is_forgotten());
}

#[test]
fn a_cancelled_call_stops_ringing() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    let invite = invite(ALICE, "bob");
    scene.say(ALICE, &invite);
    scene.run(100);
    let ringing = scene.heard(BOB);
    scene.answer(BOB, &ringing[0], 180);
    scene.run(100);
    scene.say(
        ALICE,
        &Edit::new(&cancel_for(&invite))
            .set(Name::Reason, "SIP;cause=600")
            .apply(),
    );
    scene.run(100);
    let cancel = scene.heard(BOB);
    assert_eq!(name_of(&cancel[0]), "CANCEL");
    assert_eq!(cancel[0].header(Name::Reason), Some("SIP;cause=600"));
    assert_eq!(cancel[0].branch(), ringing[0].branch());
    scene.answer(BOB, &cancel[0], 200);
    scene.answer(BOB, &ringing[0], 487);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "180", "200", "487"]);
    assert_eq!(scene.names(BOB), ["ACK"]);
}

#[test]
fn a_cancel_before_any_ringing_waits_for_it() {
    let mut scene = Scene::new(1, &[ALICE, CAROL]);
    let invite = invite(ALICE, "carol");
    scene.say(ALICE, &invite);
    scene.run(100);
    let offered = scene.heard(CAROL);
    scene.say(ALICE, &cancel_for(&invite));
    scene.run(100);
    assert_eq!(scene.names(CAROL), [""; 0]);
    scene.answer(CAROL, &offered[0], 180);
    scene.run(100);
    assert_eq!(scene.names(CAROL), ["CANCEL"]);
}

#[test]
fn a_cancel_during_the_look_up_ends_at_once() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    let invite = invite(ALICE, "bob");
    scene.say(ALICE, &invite);
    scene.run(10);
    scene.say(ALICE, &cancel_for(&invite));
    scene.run(200);
    assert_eq!(scene.names(ALICE), ["100", "200", "487"]);
    assert!(scene.between.is_empty());
}

#[test]
fn a_cancel_of_nothing_is_answered_481() {
    let mut scene = Scene::new(1, &[ALICE]);
    scene.say(ALICE, &cancel_for(&invite(ALICE, "bob")));
    scene.run(10);
    assert_eq!(scene.names(ALICE), ["481"]);
}

#[test]
fn a_silent_phone_is_given_up_after_six_seconds() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(7000);
    let at = scene.first(ALICE, "408");
    assert!((6000..6200).contains(&at), "{at}");
}

#[test]
fn a_phone_that_rings_on_and_on_is_cancelled_by_timer_c() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(100);
    let ringing = scene.heard(BOB);
    scene.answer(BOB, &ringing[0], 180);
    scene.run(150_000);
    scene.answer(BOB, &ringing[0], 180);
    scene.run(190_000);
    assert_eq!(scene.names(BOB), [""; 0]);
    scene.run(11_000);
    let cancel = scene.heard(BOB);
    assert_eq!(name_of(&cancel[0]), "CANCEL");
    scene.answer(BOB, &cancel[0], 200);
    scene.answer(BOB, &ringing[0], 487);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "180", "180", "487"]);
}

#[test]
fn a_response_that_names_another_sender_is_dropped() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(100);
    let offered = scene.heard(BOB);
    let via = offered[0].values(Name::Via).next().unwrap();
    let response = crate::message::respond(&offered[0], 180, "", &[]);
    let with = |via: String| Edit::new(&response).replace_first(Name::Via, via).apply();
    let (foreign, bare) = (via.replace("198.51.100.2", "198.51.100.9"), via.replace(":5060", ""));
    scene.say(BOB, &with(foreign));
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100"]);
    assert_eq!(scene.dropped, ["response for somebody else"]);
    scene.say(BOB, &with(bare));
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["180"]);
}

#[test]
fn a_phone_that_only_tries_is_cancelled_by_timer_c() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    scene.say(ALICE, &invite(ALICE, "bob"));
    scene.run(100);
    let ringing = scene.heard(BOB);
    scene.answer(BOB, &ringing[0], 180);
    scene.run(150_000);
    scene.answer(BOB, &ringing[0], 100);
    scene.run(51_000);
    assert_eq!(scene.names(BOB).first().map(String::as_str), Some("CANCEL"));
}

#[test]
fn repeats_of_a_request_and_its_success_are_dealt_with() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    let invite = invite(ALICE, "bob");
    scene.say(ALICE, &invite);
    scene.run(100);
    scene.say(ALICE, &invite);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["100", "100"]);
    let offered = scene.heard(BOB);
    assert_eq!(offered.len(), 1);
    scene.answer(BOB, &offered[0], 200);
    scene.run(500);
    scene.answer(BOB, &offered[0], 200);
    scene.run(100);
    // The callee repeats its 2xx until the ACK arrives, through both edges.
    assert_eq!(scene.names(ALICE), ["200", "200"]);
    scene.say(ALICE, &invite);
    scene.run(100);
    assert_eq!((scene.names(ALICE), scene.names(BOB)), (vec![], vec![]));
}

#[test]
fn an_unanswered_phone_is_sent_the_invite_again() {
    let mut scene = Scene::new(1, &[ALICE, CAROL]);
    scene.say(ALICE, &invite(ALICE, "carol"));
    scene.run(4000);
    let times: Vec<u64> = scene.log(CAROL).into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [2, 502, 1502, 3502]);
}

#[test]
fn a_reinvite_follows_the_route_and_adds_none() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    let (invite, success) = answered(&mut scene, ALICE, BOB);
    let again = in_dialog("INVITE", 2, &invite, &success, false);
    scene.say(BOB, &again);
    scene.run(100);
    let heard = scene.heard(ALICE);
    assert_eq!(name_of(&heard[0]), "INVITE");
    assert!(!heard[0].has(Name::RecordRoute) && !heard[0].has(Name::PAssertedIdentity));
    scene.answer(ALICE, &heard[0], 200);
    scene.run(100);
    assert_eq!(scene.names(BOB), ["100", "200"]);
    scene.say(BOB, &in_dialog("ACK", 2, &invite, &success, false));
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["ACK"]);
}

#[test]
fn a_caller_whose_edge_restarted_can_still_hang_up() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    let (invite, success) = answered(&mut scene, ALICE, BOB);
    scene.restart(0);
    scene.restart(1);
    scene.say(ALICE, &in_dialog("BYE", 2, &invite, &success, true));
    scene.run(100);
    let bye = scene.heard(BOB);
    assert_eq!(name_of(&bye[0]), "BYE");
    scene.answer(BOB, &bye[0], 200);
    scene.run(100);
    assert_eq!(scene.names(ALICE), ["200"]);
}

#[test]
fn a_tag_without_a_token_proves_nothing() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    let (invite, success) = answered(&mut scene, ALICE, BOB);
    let bye = in_dialog("BYE", 2, &invite, &success, true);
    let bare = Edit::new(&bye).remove(Name::Route).apply();
    scene.say(ALICE, &bare);
    let via = "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKstolen;rport";
    let stolen = Edit::new(&bye)
        .set(Name::CallId, "another-call")
        .set(Name::Via, via)
        .apply();
    scene.say(ALICE, &stolen);
    scene.run(100);
    assert_eq!(scene.names(BOB), [""; 0]);
    // Without the call's own tokens the Route is a stranger's, or there is none.
    assert_eq!(scene.names(ALICE), ["407", "403"]);
}

#[test]
fn a_token_without_a_tag_proves_nothing() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    let (invite, success) = answered(&mut scene, ALICE, BOB);
    let bye = in_dialog("BYE", 2, &invite, &success, true);
    let via = |branch| format!("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{branch};rport");
    // The tokens of an own call, in a request that opens another under a foreign name.
    let fresh = Edit::new(&bye)
        .set(Name::To, "<sip:bob@example.org>")
        .set(Name::From, "<sip:boss@example.org>;tag=7");
    let own_route = bye.values(Name::Route).next().unwrap().to_owned();
    scene.say(ALICE, &fresh.set(Name::Via, via("far")).apply());
    let near = Edit::new(&bye)
        .set(Name::To, "<sip:bob@example.org>")
        .set(Name::Route, own_route);
    scene.say(ALICE, &near.set(Name::Via, via("near")).apply());
    scene.run(100);
    assert_eq!(scene.names(BOB), [""; 0]);
    assert_eq!(scene.names(ALICE), ["403", "407"]);
}

#[test]
fn a_strict_router_is_understood() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    let (invite, success) = answered(&mut scene, ALICE, BOB);
    let bye = in_dialog("BYE", 2, &invite, &success, true);
    let routes: Vec<&str> = bye.values(Name::Route).collect();
    let first = routes[0].trim_matches(['<', '>']);
    let target = format!("<{}>", bye.request_uri().unwrap());
    let others = [&routes[1..], &[target.as_str()]].concat().join(", ");
    let strict = Edit::new(&bye).request_uri(first).set(Name::Route, others).apply();
    scene.say(ALICE, &strict);
    scene.run(100);
    let heard = scene.heard(BOB);
    assert_eq!(name_of(&heard[0]), "BYE");
    assert_eq!(heard[0].request_uri().unwrap(), BOB.contact());
}

#[test]
fn a_call_is_told_by_its_first_invite_at_each_edge() {
    let mut scene = Scene::new(2, &[ALICE, BOB]);
    let (invite, success) = answered(&mut scene, ALICE, BOB);
    let call = ["alice", "bob"].map(|user| format!("{user}@{DOMAIN}"));
    assert_eq!(scene.calls, [call.clone(), call.clone()]);
    scene.say(ALICE, &in_dialog("INVITE", 2, &invite, &success, true));
    scene.run(100);
    assert_eq!(scene.names(BOB), ["INVITE"]);
    assert_eq!(scene.calls, [call.clone(), call]);
}

/// Sets up a call and returns the INVITE as sent and the 200 as received.
fn answered(scene: &mut Scene, caller: Phone, callee: Phone) -> (Message, Message) {
    let invite = invite(caller, callee.user);
    scene.say(caller, &invite);
    scene.run(100);
    let offered = scene.heard(callee);
    scene.answer(callee, &offered[0], 180);
    scene.run(100);
    scene.answer(callee, &offered[0], 200);
    scene.run(100);
    let mut heard = scene.heard(caller);
    assert_eq!(heard.iter().map(name_of).collect::<Vec<_>>(), ["100", "180", "200"]);
    let success = heard.pop().unwrap();
    scene.say(caller, &in_dialog("ACK", 1, &invite, &success, true));
    scene.run(100);
    assert_eq!(scene.names(callee), ["ACK"]);
    (invite, success)
}

/// Where a proxy in front of carol's phone has bob registered.
const PATH: &str = "<sip:192.0.2.3;lr;ob>";

#[test]
fn a_phone_behind_a_proxy_is_reached_through_its_path() {
    let mut scene = Scene::new(1, &[ALICE, CAROL]);
    scene.paths.insert(CAROL, PATH.to_owned());
    scene.say(ALICE, &invite(ALICE, "carol"));
    scene.run(100);
    let offered = scene.heard(CAROL).remove(0);
    assert_eq!(offered.values(Name::Route).collect::<Vec<_>>(), [PATH]);
    assert_eq!(offered.request_uri(), Some(CAROL.contact().as_str()));
    // The proxy stays on the way.
    let proxied = Edit::new(&offered)
        .prepend(Name::RecordRoute, "<sip:192.0.2.3;lr>")
        .apply();
    scene.answer(CAROL, &proxied, 200);
    scene.run(100);
    let success = scene.heard(ALICE).pop().unwrap();
    scene.say(ALICE, &in_dialog("ACK", 1, &proxied, &success, true));
    scene.say(ALICE, &in_dialog("BYE", 2, &proxied, &success, true));
    scene.run(100);
    let heard = scene.heard(CAROL);
    assert_eq!(heard.iter().map(name_of).collect::<Vec<_>>(), ["ACK", "BYE"]);
    for request in heard {
        assert_eq!(request.values(Name::Route).collect::<Vec<_>>(), ["<sip:192.0.2.3;lr>"]);
    }
    // Without a Path nothing is forwarded along a route that leads out.
    scene.paths.clear();
    scene.say(ALICE, &in_dialog("INFO", 3, &proxied, &success, true));
    scene.run(100);
    assert_eq!(
        (scene.names(CAROL), scene.names(ALICE)),
        (Vec::new(), vec!["480".to_owned()])
    );
}
