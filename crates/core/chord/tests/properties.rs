//! Whatever a node hears, its tables keep their form.

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test has an origin in time, and may index what it made"
)]

use std::time::{Duration, Instant};

use p2psip_chord::{Chord, Output, Place, Role, Route, Settings};
use proptest::prelude::*;
use wire::{ChordUpdate, ChordUpdateKind, NodeId, Now, ResourceId};

#[derive(Clone, Debug)]
enum Input {
    Up(u8),
    Down(u8),
    Suspect(u8, bool),
    Update(u8, Vec<u8>, Vec<u8>),
    Ready(u8),
    Leave(u8),
    Admit(u8),
    Join(u8),
    Wait(u16),
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let place = || 0u8..24;
    let list = || prop::collection::vec(0u8..24, 0..5);
    let input = prop_oneof![
        4 => place().prop_map(Input::Up),
        2 => place().prop_map(Input::Down),
        1 => (place(), any::<bool>()).prop_map(|(node, is_suspect)| Input::Suspect(node, is_suspect)),
        6 => (place(), list(), list()).prop_map(|(node, previous, next)| Input::Update(node, previous, next)),
        1 => place().prop_map(Input::Ready),
        1 => place().prop_map(Input::Leave),
        2 => place().prop_map(Input::Admit),
        1 => place().prop_map(Input::Join),
        1 => any::<u16>().prop_map(Input::Wait),
    ];
    prop::collection::vec(input, 0..60)
}

proptest! {
    #[test]
    fn tables_hold_only_confirmed_peers_in_order(inputs in inputs(), seed in any::<u64>()) {
        let mut now = Now { instant: Instant::now(), unix_ms: 0 };
        let mut node = Chord::new(now, id(OWN), Settings { list_length: 3, ..Settings::default() }, seed);
        node.form(now);
        for input in inputs {
            now = feed(&mut node, now, input);
            let deadline = drain(&mut node);
            prop_assert!(deadline >= now.instant || node.is_member(), "a node outside the ring has nothing overdue");
            check(&node)?;
        }
    }

    #[test]
    fn next_hop_is_no_suspect_and_not_where_the_message_was(inputs in inputs(), key in 0u8..24, been in 0u8..24) {
        let mut now = Now { instant: Instant::now(), unix_ms: 0 };
        let mut node = Chord::new(now, id(OWN), Settings::default(), 1);
        node.form(now);
        for input in inputs {
            now = feed(&mut node, now, input);
            drain(&mut node);
        }
        node.handle_suspect(now, id(7), true);
        for place in [Place::Node(id(key)), Place::Resource(id(key).into())] {
            if let Route::Next(next) = node.route(place, &[id(been)]) {
                prop_assert!(next != id(7) && next != id(OWN));
                prop_assert!(next != id(been) || next == id(key), "back only to the very node that it is for");
                prop_assert!(node.is_peer(next) || place == Place::Node(next), "only peers are routed through");
            }
        }
    }
}

fn check(node: &Chord) -> Result<(), TestCaseError> {
    let own = id(OWN).to_u128();
    let next: Vec<u128> = node
        .successors()
        .iter()
        .map(|peer| peer.to_u128().wrapping_sub(own))
        .collect();
    let previous: Vec<u128> = node
        .predecessors()
        .iter()
        .map(|peer| own.wrapping_sub(peer.to_u128()))
        .collect();
    for list in [&next, &previous] {
        prop_assert!(list.len() <= 3 && !list.contains(&0));
        prop_assert!(
            list.windows(2).all(|pair| pair[0] < pair[1]),
            "ordered, without doubles"
        );
    }
    prop_assert!(node.neighbors().all(|peer| node.is_peer(peer)));
    match node.own_range() {
        Some(range) => {
            prop_assert_eq!(range.until, id(OWN));
            prop_assert!(node.is_responsible(ResourceId::from(id(OWN))));
            if let Some(first) = node.predecessors().first() {
                prop_assert_eq!(range.after, *first);
            }
            prop_assert!(node.is_alone() || !node.successors().is_empty());
        }
        None => prop_assert!(next.is_empty() && previous.is_empty()),
    }
    Ok(())
}

fn feed(node: &mut Chord, now: Now, input: Input) -> Now {
    let ids = |places: Vec<u8>| places.into_iter().map(id).collect();
    match input {
        Input::Up(peer) => node.handle_link_up(now, id(peer), Role::Peer),
        Input::Down(peer) => node.handle_link_down(now, id(peer)),
        Input::Suspect(peer, is_suspect) => node.handle_suspect(now, id(peer), is_suspect),
        Input::Update(peer, previous, next) => {
            let kind = ChordUpdateKind::Neighbors {
                predecessors: ids(previous),
                successors: ids(next),
            };
            node.handle_update(now, id(peer), &ChordUpdate { uptime: 0, kind });
        }
        Input::Ready(peer) => {
            node.handle_update(
                now,
                id(peer),
                &ChordUpdate {
                    uptime: 0,
                    kind: ChordUpdateKind::PeerReady,
                },
            );
        }
        Input::Leave(peer) => node.handle_leave(now, id(peer)),
        // Whether it is refused does not matter here.
        Input::Admit(peer) => drop(node.admit(now, id(peer))),
        Input::Join(peer) => {
            node.begin_join(now);
            node.choose_admitting_peer(now, id(peer));
        }
        Input::Wait(millis) => {
            let now = now.plus(Duration::from_millis(millis.into()));
            node.handle_timeout(now);
            return now;
        }
    }
    now
}

fn drain(node: &mut Chord) -> Instant {
    loop {
        if let Output::Timeout(at) = node.poll_output() {
            return at;
        }
    }
}

fn id(place: u8) -> NodeId {
    NodeId::from_u128((u128::from(place) + 1) << 123)
}

const OWN: u8 = 11;
