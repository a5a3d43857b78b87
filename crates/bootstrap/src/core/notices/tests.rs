use usage::sip::Route;
use wire::PingAns;

use super::*;

const ALICE: &str = "alice@overlay.example.org";
const HOME: NodeId = NodeId::WILDCARD;

fn edge(number: u8) -> NodeId {
    NodeId::from([number; 16])
}

fn octets(number: u8) -> Bytes {
    vec![number; 16].into()
}

/// The answer of the overlay that names these edges.
fn naming(edges: &[u8]) -> impl FnOnce(&str, &Answer) -> Option<Serving> {
    let route = |number: &u8| Route {
        edge: edge(*number),
        home: Some(HOME),
        storage_time: 1,
        until_ms: u64::MAX,
    };
    let serving = Serving {
        routes: edges.iter().map(route).collect(),
        generation: 7,
    };
    move |_, _| Some(serving)
}

fn none(_: &str, _: &Answer) -> Option<Serving> {
    None
}

fn answer() -> Answer {
    let pong = PingAns {
        response_id: 1,
        time: 1,
    };
    Answer {
        contents: MessageContents::of(&pong.into()).to_bytes(),
        certificates: Vec::new(),
    }
}

/// Alice has changed, and the overlay has it; this is what it is asked.
fn changed(notices: &mut Notices, now: Instant, version: u64) -> (u64, Ask) {
    notices.want(ALICE);
    notices.published(ALICE, version);
    notices.next(now).expect("the overlay is asked which edges serve her")
}

#[test]
fn each_edge_that_serves_the_user_is_told() {
    let (mut notices, now) = (Notices::default(), Instant::now());
    let (fetch, ask) = changed(&mut notices, now, 3);
    assert_eq!(
        ask.destinations,
        [Destination::Resource(ResourceId::of(ALICE.as_bytes()))]
    );
    notices.answered(fetch, Some(&answer()), naming(&[1, 2]));
    let (first, ping) = notices.next(now).unwrap();
    assert_eq!(ping.destinations, [Destination::Node(HOME), Destination::Node(edge(1))]);
    let contents = MessageContents::from_bytes(&ping.contents).unwrap();
    let told = Changed::from_extension(&contents.extensions[0]).unwrap().unwrap();
    assert_eq!(
        (told.resource, told.kind, told.generation_counter),
        (ResourceId::of(ALICE.as_bytes()), KindId::P2PSIP_USER, 7)
    );
    let (second, _) = notices.next(now).unwrap();
    notices.answered(first, Some(&answer()), none);
    assert_eq!(notices.of(ALICE, 3), None, "one has not answered");
    notices.answered(second, None, none);
    let outcome = proto::Notice {
        told: vec![octets(1)],
        untold: vec![octets(2)],
        is_complete: true,
    };
    assert_eq!(notices.of(ALICE, 3), Some(outcome));
    assert_eq!(notices.next_timeout(), None);
}

#[test]
fn what_has_no_answer_in_time_is_untold() {
    let (mut notices, now) = (Notices::default(), Instant::now());
    let (fetch, _) = changed(&mut notices, now, 1);
    notices.answered(fetch, Some(&answer()), naming(&[1]));
    notices.next(now).unwrap();
    let due = notices.next_timeout().unwrap();
    assert_eq!(due, now + PATIENCE);
    notices.expire(due);
    assert_eq!(notices.of(ALICE, 1).unwrap().untold, [octets(1)]);
}

#[test]
fn without_the_overlay_nobody_knows_which_edges_there_are() {
    let (mut notices, now) = (Notices::default(), Instant::now());
    changed(&mut notices, now, 1);
    notices.cut_off();
    assert_eq!(notices.of(ALICE, 1), Some(proto::Notice::default()));
}

#[test]
fn a_record_that_is_only_signed_again_is_no_news() {
    let (mut notices, now) = (Notices::default(), Instant::now());
    notices.published(ALICE, 1);
    assert_eq!(notices.next(now), None);
}

#[test]
fn a_newer_change_replaces_one_that_is_being_told() {
    let (mut notices, now) = (Notices::default(), Instant::now());
    let (old, _) = changed(&mut notices, now, 1);
    let (new, _) = changed(&mut notices, now, 2);
    notices.answered(old, Some(&answer()), naming(&[1]));
    assert_eq!(notices.next(now), None);
    notices.answered(new, Some(&answer()), naming(&[]));
    assert_eq!((notices.of(ALICE, 1), notices.of(ALICE, 2).is_some()), (None, true));
}

#[test]
fn many_changes_wait_for_their_turn_and_outcomes_are_forgotten_in_the_end() {
    let (mut notices, now) = (Notices::default(), Instant::now());
    let user = |number: usize| format!("{number}@overlay.example.org");
    for number in 0..=QUEUE {
        notices.want(&user(number));
        notices.published(&user(number), 1);
    }
    assert_eq!(
        notices.of(&user(QUEUE), 1),
        Some(proto::Notice::default()),
        "there was no room for the last"
    );
    let asked: Vec<u64> = std::iter::from_fn(|| notices.next(now)).map(|(id, _)| id).collect();
    assert_eq!(asked.len(), ASKS);
    let mut open = asked;
    while let Some(id) = open.pop() {
        notices.answered(id, Some(&answer()), naming(&[]));
        open.extend(notices.next(now).map(|(id, _)| id));
    }
    let kept = (0..=QUEUE).filter(|number| notices.of(&user(*number), 1).is_some());
    assert_eq!(kept.count(), KEPT);
}

#[test]
fn what_one_overlay_has_not_answered_another_is_asked_first() {
    let (mut notices, now) = (Notices::default(), Instant::now());
    let (first, ask) = changed(&mut notices, now, 3);
    notices.ask_again();
    let (second, again) = notices.next(now).unwrap();
    assert_eq!((again, second > first), (ask, true));
    // The word of the first comes too late.
    notices.answered(first, Some(&answer()), naming(&[1]));
    assert_eq!(notices.of(ALICE, 3), None);
    notices.answered(second, Some(&answer()), naming(&[]));
    assert!(notices.of(ALICE, 3).unwrap().is_complete);
}
