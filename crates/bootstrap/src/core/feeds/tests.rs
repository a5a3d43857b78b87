use std::time::{Duration, Instant};

use wire::NodeId;

use super::{Attached, Change, Feeds, MAX_FEEDS, SILENCE, Verdict, WINDOW};

const RETRY: Duration = Duration::from_secs(5);

fn node(octet: u8) -> NodeId {
    NodeId::from([octet; 16])
}

/// Feeds with two overlays, and their numbers.
fn two(now: Instant) -> (Feeds, u64, u64) {
    let mut feeds = Feeds::new(RETRY);
    let first = feeds.attach(now, node(1)).unwrap().number;
    let second = feeds.attach(now, node(2)).unwrap().number;
    (feeds, first, second)
}

/// Those of the items that are sent.
fn pump(feeds: &mut Feeds, now: Instant, items: &[u64]) -> Vec<u64> {
    let mut sent = Vec::new();
    while let Some(after) = feeds.sent_up_to() {
        let Some(id) = items.iter().find(|id| **id > after) else {
            break;
        };
        if feeds.send(now, *id) {
            sent.push(*id);
        }
    }
    sent
}

#[test]
fn one_is_fed_and_what_it_leaves_open_goes_through_the_next() {
    let now = Instant::now();
    let (mut feeds, first, second) = two(now);
    assert_eq!(feeds.active(), Some(first));
    assert_eq!(pump(&mut feeds, now, &[1, 2, 3]), [1, 2, 3]);
    assert!(feeds.acknowledged(now, first, (2, Verdict::Stored)));
    assert_eq!(feeds.detach(now, second), Change::None);
    let second = feeds.attach(now, node(2)).unwrap().number;
    assert_eq!(feeds.detach(now, first), Change::Over);
    assert_eq!(
        (feeds.active(), pump(&mut feeds, now, &[1, 3])),
        (Some(second), vec![1, 3])
    );
    assert_eq!(feeds.detach(now, second), Change::Lost);
    assert_eq!((feeds.active(), feeds.sent_up_to()), (None, None));
}

#[test]
fn an_overlay_that_comes_again_replaces_itself_and_nobody_else() {
    let now = Instant::now();
    let (mut feeds, first, second) = two(now);
    let again = feeds.attach(now, node(1)).unwrap();
    assert_eq!((again.replaced, again.change), (Some(first), Change::Over));
    assert_eq!(feeds.active(), Some(second));
    assert!(!feeds.acknowledged(now, first, (1, Verdict::Stored)));
    // Alone, it is active again.
    let mut feeds = Feeds::new(RETRY);
    let first = feeds.attach(now, node(1)).unwrap();
    assert_eq!((first.replaced, first.change), (None, Change::Over));
    let again = feeds.attach(now, node(1)).unwrap();
    let expected = Attached {
        number: 2,
        replaced: Some(1),
        change: Change::Over,
    };
    assert_eq!((again, feeds.active()), (expected, Some(2)));
}

#[test]
fn who_acknowledges_nothing_gives_way_to_who_stands_by() {
    let now = Instant::now();
    let (mut feeds, first, second) = two(now);
    assert_eq!(feeds.next_timeout(), None);
    pump(&mut feeds, now, &[1, 2]);
    let half = now + SILENCE / 2;
    feeds.acknowledged(half, first, (1, Verdict::Stored));
    assert_eq!(feeds.next_timeout(), Some(half + SILENCE));
    assert_eq!(feeds.judge(now + SILENCE), Change::None);
    assert_eq!(feeds.judge(half + SILENCE), Change::Over);
    assert_eq!(feeds.active(), Some(second));
    assert_eq!(pump(&mut feeds, half + SILENCE, &[2]), [2]);
    // The first one's word is late, and counts.
    assert!(feeds.acknowledged(half + SILENCE, first, (2, Verdict::Stored)));
    // Nobody stands by: it is waited for.
    feeds.detach(now, first);
    assert_eq!(
        (feeds.judge(now + SILENCE * 9), feeds.next_timeout()),
        (Change::None, None)
    );
}

#[test]
fn who_comes_to_its_turn_again_gets_nothing_twice() {
    let now = Instant::now();
    let (mut feeds, first, _) = two(now);
    pump(&mut feeds, now, &[1]);
    assert_eq!(feeds.judge(now + SILENCE), Change::Over);
    pump(&mut feeds, now + SILENCE, &[1]);
    let later = now + SILENCE * 2;
    assert_eq!(feeds.judge(later), Change::Over);
    assert_eq!(
        (feeds.active(), pump(&mut feeds, later, &[1, 2])),
        (Some(first), vec![2])
    );
}

#[test]
fn who_refuses_everything_gives_way_but_not_who_has_something_newer() {
    let now = Instant::now();
    for (verdict, expected) in [(Verdict::Refused, Change::Over), (Verdict::Outdated, Change::None)] {
        let (mut feeds, first, _) = two(now);
        for id in [1, 2, 3] {
            pump(&mut feeds, now, &[1, 2, 3]);
            assert_eq!(feeds.judge(now), Change::None);
            feeds.acknowledged(now, first, (id, verdict));
        }
        assert_eq!(feeds.judge(now), expected);
        let again = if expected == Change::Over {
            vec![1, 2, 3]
        } else {
            vec![]
        };
        assert_eq!(pump(&mut feeds, now, &[1, 2, 3]), again);
    }
}

#[test]
fn what_is_refused_is_sent_again_later_or_signed_anew() {
    let now = Instant::now();
    let mut feeds = Feeds::new(RETRY);
    let number = feeds.attach(now, node(1)).unwrap().number;
    pump(&mut feeds, now, &[1, 2, 3]);
    feeds.acknowledged(now, number, (1, Verdict::Refused));
    feeds.acknowledged(now, number, (2, Verdict::Outdated));
    assert_eq!(feeds.next_timeout(), Some(now + RETRY));
    assert_eq!((feeds.due(now), pump(&mut feeds, now, &[1, 2, 3])), (vec![], vec![]));
    assert_eq!(feeds.due(now + RETRY), [2]);
    assert_eq!(pump(&mut feeds, now, &[1, 3, 4]), [1, 4]);
}

#[test]
fn streams_and_windows_are_bounded() {
    let now = Instant::now();
    let mut feeds = Feeds::new(RETRY);
    for octet in 0..MAX_FEEDS {
        assert!(feeds.attach(now, node(u8::try_from(octet).unwrap())).is_some());
    }
    assert_eq!(feeds.attach(now, node(0xff)), None);
    assert!(feeds.attach(now, node(0)).is_some());
    let items: Vec<u64> = (1..100).collect();
    assert_eq!(pump(&mut feeds, now, &items).len(), WINDOW);
}
