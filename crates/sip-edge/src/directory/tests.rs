use usage::user::{Hashes, Public, RecordKey, Secret, State};
use wire::NodeId;

use super::*;

const AOR: &str = "bob@example.org";
const ROUTES_NEEDED: Need = Need::Routes { are_found: true };

fn nothing() -> Found {
    Found::default()
}

fn record(version: u64) -> Found {
    let public = Public {
        state: State::Active,
        version,
        issued_ms: 0,
        allowed_edges: Vec::new(),
        record_key_version: 1,
    };
    let secret = Secret {
        user: AOR.to_owned(),
        realm: "example.org".to_owned(),
        display_name: String::new(),
        hashes: Hashes::new(AOR, "example.org", "secret"),
    };
    let key = RecordKey::new(1, [1; 32]);
    let place = ResourceId::of(AOR.as_bytes());
    let sealed = key.seal("example.org", place, public, &secret, [0; 12]);
    Found {
        record: sealed.ok(),
        ..Found::default()
    }
}

fn served_by(edge: u8) -> Found {
    let route = Route {
        edge: NodeId::from([edge; 16]),
        home: None,
        storage_time: 1,
        until_ms: u64::MAX,
    };
    Found {
        routes: vec![route],
        ..record(1)
    }
}

fn changed() -> Changed {
    Changed {
        resource: ResourceId::of(AOR.as_bytes()),
        kind: KindId::P2PSIP_USER,
        generation_counter: 0,
    }
}

/// The AORs whose Fetch is due.
fn sent<W>(directory: &mut Directory<W>, now: Instant) -> Vec<String> {
    std::iter::from_fn(|| directory.next_fetch(now).map(|(aor, _)| aor)).collect()
}

fn version(directory: &Directory<i32>, now: Instant) -> Option<u64> {
    directory.record(now, AOR).flatten().map(|it| it.public().version)
}

#[test]
fn questions_about_a_record_share_one_fetch() {
    let (mut directory, now) = (Directory::new(), Instant::now());
    assert_eq!(directory.ask(now, AOR, Need::Record, 1), Answer::Waits);
    assert_eq!(sent(&mut directory, now), [AOR]);
    assert_eq!(directory.ask(now, AOR, Need::Record, 2), Answer::Waits);
    assert_eq!(sent(&mut directory, now), [""; 0]);
    assert_eq!(directory.found(now, AOR, nothing()), [1, 2]);
    assert_eq!(directory.ask(now, AOR, Need::Record, 3), Answer::Known(3));
    assert_eq!(directory.record(now, AOR), Some(None));
    assert_eq!(directory.next_timeout(), None);
}

#[test]
fn a_call_joins_a_fetch_only_before_it_is_sent() {
    let (mut directory, now) = (Directory::new(), Instant::now());
    directory.ask(now, AOR, ROUTES_NEEDED, 1);
    directory.ask(now, AOR, ROUTES_NEEDED, 2);
    assert_eq!(sent(&mut directory, now), [AOR]);
    // It may have been answered before the phone registered that these two look for.
    for waiter in [3, 4] {
        assert_eq!(directory.ask(now, AOR, ROUTES_NEEDED, waiter), Answer::Waits);
    }
    assert_eq!(sent(&mut directory, now + APART), [""; 0], "one is under way");
    assert_eq!(directory.found(now + APART / 2, AOR, nothing()), [1, 2]);
    assert_eq!(sent(&mut directory, now + APART / 2), [""; 0], "too soon");
    assert_eq!(directory.next_timeout(), Some(now + APART));
    assert_eq!(sent(&mut directory, now + APART), [AOR]);
    assert_eq!(directory.found(now + APART, AOR, served_by(1)), [3, 4]);
}

#[test]
fn no_call_fails_by_what_was_known_before() {
    let (mut directory, now) = (Directory::new(), Instant::now());
    directory.ask(now, AOR, Need::Routes { are_found: false }, 1);
    sent(&mut directory, now);
    directory.found(now, AOR, nothing());
    let need = Need::Routes { are_found: false };
    assert_eq!(directory.ask(now, AOR, need, 2), Answer::Waits);
    assert_eq!(sent(&mut directory, now + APART), [AOR]);
}

#[test]
fn found_routes_serve_a_second_from_when_they_were_asked_for() {
    let (mut directory, now) = (Directory::new(), Instant::now());
    directory.ask(now, AOR, ROUTES_NEEDED, 1);
    sent(&mut directory, now);
    directory.found(now + ROUTES / 2, AOR, served_by(1));
    let late = now + ROUTES - Duration::from_millis(1);
    assert_eq!(directory.ask(late, AOR, ROUTES_NEEDED, 2), Answer::Known(2));
    assert_eq!(directory.ask(now + ROUTES, AOR, ROUTES_NEEDED, 3), Answer::Waits);
    assert_eq!(directory.routes(0, AOR).count(), 1, "they ring meanwhile");
}

#[test]
fn that_there_is_no_such_user_is_believed_for_a_short_while() {
    let (mut directory, now) = (Directory::new(), Instant::now());
    directory.ask(now, AOR, Need::Record, 1);
    sent(&mut directory, now);
    directory.found(now, AOR, nothing());
    assert_eq!(directory.ask(now + NOBODY, AOR, Need::Record, 3), Answer::Waits);
    assert_eq!(directory.record(now + NOBODY, AOR), None);
    sent(&mut directory, now + NOBODY);
    assert_eq!(directory.failed(now + NOBODY, AOR), [3]);
}

#[test]
fn a_doubted_record_is_fetched_anew_and_stays_the_least_that_counts() {
    let (mut directory, now) = (Directory::new(), Instant::now());
    let later = now + APART;
    directory.ask(now, AOR, Need::Record, 1);
    sent(&mut directory, now);
    directory.found(now, AOR, record(2));
    directory.doubt_records(|record| record.public().version != 2);
    assert_eq!(directory.record(now, AOR), None);
    assert_eq!(directory.ask(later, AOR, Need::Record, 2), Answer::Waits);
    sent(&mut directory, later);
    directory.found(later, AOR, record(1));
    assert_eq!(version(&directory, later), Some(2));
    directory.doubt_record(AOR);
    directory.ask(later + APART, AOR, Need::Record, 3);
    sent(&mut directory, later + APART);
    directory.found(later + APART, AOR, record(3));
    assert_eq!(version(&directory, later + APART), Some(3));
}

#[test]
fn after_a_gap_in_time_a_record_is_fetched_anew_behind_the_answer() {
    let (mut directory, start) = (Directory::new(), Instant::now());
    let now = start + RECORD_FRESH;
    directory.ask(now, AOR, Need::Record, 1);
    sent(&mut directory, now);
    directory.found(now, AOR, record(2));
    let later = now + APART;
    assert_eq!(directory.ask(later, AOR, Need::Record, 2), Answer::Known(2));
    assert!(sent(&mut directory, later).is_empty(), "it is fresh");
    directory.grow_stale(later);
    assert_eq!(directory.ask(later, AOR, Need::Record, 3), Answer::Known(3));
    assert_eq!(sent(&mut directory, later), [AOR]);
}

#[test]
fn a_flood_of_names_stays_here_and_leaves_room_for_calls() {
    let (mut directory, now) = (Directory::new(), Instant::now());
    let names = (0..300).map(|n| format!("{n}@example.org"));
    let taken = names.filter(|name| directory.ask(now, name, Need::Record, 0) == Answer::Waits);
    assert_eq!(taken.count(), 192);
    assert_eq!(directory.ask(now, AOR, Need::Record, 1), Answer::Refused(1));
    assert_eq!(directory.ask(now, AOR, ROUTES_NEEDED, 1), Answer::Waits);
    sent(&mut directory, now);
    directory.failed(now, "0@example.org");
    assert_eq!(
        directory.ask(now, "0@example.org", Need::Record, 2),
        Answer::Waits,
        "its place is free again"
    );
}

#[test]
fn a_record_that_did_not_fit_is_fetched_again_once_in_a_while() {
    let (mut directory, now) = (Directory::new(), Instant::now());
    assert_eq!(directory.ask_again(now, AOR, 0), Answer::Known(0));
    directory.ask(now, AOR, Need::Record, 1);
    sent(&mut directory, now);
    directory.found(now, AOR, nothing());

    assert_eq!(directory.ask_again(now, AOR, 2), Answer::Waits);
    assert_eq!(directory.ask_again(now, AOR, 3), Answer::Waits);
    sent(&mut directory, now + APART);
    assert_eq!(directory.failed(now + APART, AOR), [2, 3]);
    let soon = now + AGAIN / 2;
    assert_eq!(directory.ask_again(soon, AOR, 4), Answer::Known(4));
    assert_eq!(directory.ask_again(now + AGAIN, AOR, 5), Answer::Waits);
}

#[test]
fn a_changed_record_is_fetched_before_the_next_request_is_judged() {
    let (mut directory, now) = (Directory::new(), Instant::now());
    assert_eq!(directory.changed(now, &changed()), None, "it is not known here");
    directory.ask(now, AOR, Need::Record, 1);
    sent(&mut directory, now);
    directory.found(now, AOR, record(1));
    let told = now + Duration::from_secs(3);
    assert_eq!(directory.changed(told, &changed()), Some(AOR));
    assert_eq!(directory.ask(told, AOR, Need::Record, 2), Answer::Waits);
    assert_eq!(sent(&mut directory, told), [AOR], "without any request as well");
    assert_eq!(directory.found(told, AOR, record(2)), [2]);
    assert_eq!(version(&directory, told), Some(2));
    assert_eq!(directory.ask(told, AOR, Need::Record, 3), Answer::Known(3));
    assert_eq!(directory.next_timeout(), None);
}

#[test]
fn a_fetch_from_before_the_change_serves_no_later_question() {
    let (mut directory, now) = (Directory::new(), Instant::now());
    let told = now + Duration::from_millis(1);
    directory.ask(now, AOR, Need::Record, 1);
    sent(&mut directory, now);
    directory.changed(told, &changed());
    assert_eq!(directory.ask(told, AOR, Need::Record, 2), Answer::Waits);
    assert_eq!(directory.found(told, AOR, record(1)), [1]);
    assert_eq!(directory.ask(told, AOR, Need::Record, 3), Answer::Waits);
    assert_eq!(sent(&mut directory, now + APART), [AOR]);
    assert_eq!(directory.found(now + APART, AOR, record(2)), [2, 3]);
    assert_eq!(directory.ask(now + APART, AOR, Need::Record, 4), Answer::Known(4));
}

#[test]
fn words_of_changes_make_one_fetch_a_second() {
    let (mut directory, now) = (Directory::new(), Instant::now());
    directory.ask(now, AOR, Need::Record, 1);
    sent(&mut directory, now);
    directory.found(now, AOR, record(1));
    let begin = now + HINTED;
    let mut fetches = 0;
    for millis in 0..5000 {
        let now = begin + Duration::from_millis(millis);
        directory.changed(now, &changed());
        for aor in sent(&mut directory, now) {
            fetches += 1;
            directory.found(now, &aor, record(1));
        }
    }
    assert_eq!(fetches, 5);
}

#[test]
fn without_an_answer_after_a_change_the_known_record_serves() {
    let (mut directory, now) = (Directory::new(), Instant::now());
    directory.ask(now, AOR, Need::Record, 1);
    sent(&mut directory, now);
    directory.found(now, AOR, record(1));
    let told = now + HINTED;
    directory.changed(told, &changed());
    directory.ask(told, AOR, Need::Record, 2);
    sent(&mut directory, told);
    assert_eq!(directory.failed(told, AOR), [2]);
    assert_eq!(version(&directory, told), Some(1));
    assert_eq!(
        directory.ask(told + APART, AOR, Need::Record, 3),
        Answer::Waits,
        "it is tried again"
    );
    sent(&mut directory, told + APART);
    directory.failed(told + APART, AOR);
    assert_eq!(
        sent(&mut directory, told + APART + HINTED_AGAIN),
        [AOR],
        "also without a request"
    );
}
