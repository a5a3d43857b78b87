//! What a peer makes of clocks that differ.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

#[allow(dead_code, reason = "a part of it is used here")]
mod net;

use std::time::Duration;

use net::Net;
use net::values::{at, fetch, fetched_time, owner, store};
use p2psip_overlay_core::Reason;

const DAY_MS: i64 = 24 * 3_600_000;

/// In this time the clocks have been heard and the time has been told again.
const ROUNDS: Duration = Duration::from_secs(1300);

/// How far the time that a peer's storage was told last is from the right one, in days.
fn days_off(net: &Net, index: usize) -> Option<i64> {
    let told = i64::try_from(net.nodes[index].storage.clock?.0).unwrap();
    let right = i64::try_from(net.now.unix_ms).unwrap();
    Some((told - right + DAY_MS / 2).div_euclid(DAY_MS))
}

#[test]
fn one_wrong_clock_of_three_misleads_nobody() {
    let mut net = Net::ring(3);
    net.nodes[1].ahead_ms = 10 * DAY_MS;
    net.run(ROUNDS);
    for index in 0..3 {
        assert_eq!(days_off(&net, index), Some(0), "peer {index}");
        assert!(
            matches!(net.nodes[index].storage.clock, Some((_, 3))),
            "three clocks stand behind it"
        );
        assert_eq!(net.nodes[index].status().reasons, []);
    }
}

#[test]
fn a_clock_counts_no_longer_than_its_link() {
    let mut net = Net::ring(3);
    net.nodes[1].ahead_ms = 10 * DAY_MS;
    net.nodes[2].ahead_ms = 10 * DAY_MS;
    net.run(ROUNDS);
    net.kill(1);
    net.kill(2);
    net.nodes[0].storage.clock = None;
    net.run(ROUNDS);
    assert_eq!(days_off(&net, 0), None, "there is nobody to ask");
}

#[test]
fn two_clocks_that_differ_decide_nothing_until_a_third_one_does() {
    let mut net = Net::ring(2);
    net.run(ROUNDS);
    net.nodes[1].ahead_ms = 10 * DAY_MS;
    // The word of the other one is over once its link is idle.
    net.eventually(30, "degraded peers", |net| {
        net.nodes
            .iter()
            .all(|node| node.status().reasons == [Reason::ClocksDiffer])
    });
    for node in &mut net.nodes {
        node.storage.clock = None;
        assert!(node.status().serving);
    }
    net.run(ROUNDS);
    assert_eq!((days_off(&net, 0), days_off(&net, 1)), (None, None));
    net.start();
    net.eventually(60, "three peers in order", |net| {
        (0..3).all(|index| net.nodes[index].status().ready && days_off(net, index) == Some(0))
    });
}

#[test]
fn after_a_gap_the_range_is_in_doubt_and_the_time_is_asked_for() {
    let mut net = Net::ring(3);
    net.run(ROUNDS);
    net.nodes[0].storage.clock = None;
    net.with(0, |core, now| core.handle_gap(now));
    let status = net.nodes[0].status();
    assert_eq!((status.range_confirmed, status.serving), (false, true));
    net.eventually(10, "peer that has the time and its range", |net| {
        days_off(net, 0) == Some(0) && net.nodes[0].status().ready
    });
}

#[test]
fn a_peer_that_was_paused_serves_nothing_old() {
    for minutes in [1, 10] {
        let mut net = Net::ring(4);
        net.ask(0, at("a"), &store("a", 1));
        let paused = owner(&net, "a");
        let other = (paused + 1) % 4;
        let missed = Duration::from_secs(60 * minutes);
        net.nodes[paused].is_frozen = true;
        net.eventually(30, "death of the paused peer", |net| {
            !net.nodes[other]
                .status()
                .links
                .contains(&net.nodes[paused].status().node_id)
        });
        net.ask(other, at("a"), &store("a", 2));
        net.pause(paused, missed);
        net.with(paused, |core, now| core.handle_gap(now));
        let read = net.ask(paused, at("a"), &fetch("a"));
        assert_eq!(fetched_time(&read), Some(2));
    }
}

/// Somebody sets the date of a running peer ten years ahead: by it all certificates have ended. Before, the peer kept its range
/// and answered nobody.
#[test]
fn a_peer_whose_date_is_years_off_leaves_its_range_to_others() {
    let mut net = Net::ring(4);
    let names: Vec<String> = (0..20).map(|n| format!("record {n}")).collect();
    for name in &names {
        net.ask(0, at(name), &store(name, 1));
    }
    net.nodes[1].ahead_ms = 3650 * DAY_MS;
    net.eventually(10, "a peer that knows", |net| {
        let status = net.nodes[1].status();
        !status.joined && status.reasons.contains(&Reason::CalendarWrong)
    });
    let read = |net: &mut Net| {
        names
            .iter()
            .filter(|name| fetched_time(&net.ask(0, at(name), &fetch(name))) == Some(1))
            .count()
    };
    net.run(Duration::from_secs(2));
    assert_eq!(read(&mut net), 20);
    net.nodes[1].ahead_ms = 0;
    net.eventually(60, "four peers in order", |net| {
        net.nodes.iter().all(|node| node.status().ready)
    });
    assert_eq!(read(&mut net), 20);
}
