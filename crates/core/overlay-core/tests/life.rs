//! What happens to a few nodes when their storage, or all of them, go away and come back.

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

use net::values::{at, fetch, fetched_time, owner, replicas, resource, store};
use net::{Net, Node};
use p2psip_overlay_core::{LinkId, Membership, Reason, SessionEvent};
use wire::{Body, NodeId};

/// How long a ring may take to be in order again.
const SECONDS: u64 = 30;

const SAME_DISK: SessionEvent = SessionEvent::Up {
    session: 2,
    store_id: [1; 16],
};
const OTHER_DISK: SessionEvent = SessionEvent::Up {
    session: 2,
    store_id: [2; 16],
};

fn is_whole(net: &Net) -> bool {
    let count = net.nodes.iter().filter(|node| !node.is_dead).count();
    let is_in_place = |node: &Node| node.status().ready && node.status().successors.len() == (count - 1).min(3);
    net.nodes.iter().filter(|node| !node.is_dead).all(is_in_place)
}

fn kill_all(net: &mut Net) {
    (0..net.nodes.len()).for_each(|index| net.kill(index));
}

#[test]
fn reads_of_the_own_range_are_answered_while_storage_is_away() {
    let mut net = Net::ring(4);
    net.ask(0, at("a"), &store("a", 1));
    let owner = owner(&net, "a");
    net.session(owner, SessionEvent::Down);
    for reader in 0..4 {
        let read = net.ask(reader, at("a"), &fetch("a"));
        assert_eq!(fetched_time(&read), Some(1));
    }
    assert!(net.nodes[owner].status().joined, "it took less than a second");
}

#[test]
fn a_peer_without_storage_leaves_serves_its_clients_and_joins_again() {
    let mut net = Net::ring(4);
    net.ask(0, at("a"), &store("a", 1));
    let victim = owner(&net, "a");
    net.session(victim, SessionEvent::Down);
    net.eventually(3, "leave", |net| !net.nodes[victim].status().joined);
    let status = net.nodes[victim].status();
    assert!(status.serving && status.reasons.contains(&Reason::StorageDown));
    let stored = net.ask(victim, at("a"), &store("a", 2));
    assert!(!replicas(&stored).contains(&net.nodes[victim].id()));
    net.session(victim, SAME_DISK);
    net.eventually(SECONDS, "ring of four", is_whole);
    let read = net.ask(victim, at("a"), &fetch("a"));
    assert_eq!(fetched_time(&read), Some(2));
}

#[test]
fn a_peer_whose_storage_ends_while_it_leaves_waits_for_no_hand_over() {
    let mut net = Net::ring(4);
    net.ask(0, at("a"), &store("a", 1));
    let leaver = owner(&net, "a");
    net.hang_storage(leaver, true);
    net.with(leaver, |core, now| core.leave(now));
    assert!(net.nodes[leaver].status().joined, "the hand-over goes on");
    net.session(leaver, SessionEvent::Down);
    assert!(!net.nodes[leaver].status().joined);
    let reader = (leaver + 1) % 4;
    let read = net.ask(reader, at("a"), &fetch("a"));
    assert_eq!(fetched_time(&read), Some(1));
}

#[test]
fn storage_that_hangs_is_away_once_a_command_waits() {
    let mut net = Net::ring(4);
    let victim = owner(&net, "a");
    net.hang_storage(victim, true);
    let sender = (victim + 1) % 4;
    let stored = net.ask(sender, at("a"), &store("a", 1));
    assert!(!replicas(&stored).contains(&net.nodes[victim].id()));
    assert!(!net.nodes[victim].status().joined);
    net.hang_storage(victim, false);
    net.eventually(SECONDS, "ring of four", is_whole);
    assert_eq!(net.nodes[victim].storage.time_of(resource("a")), Some(1));
}

#[test]
fn another_disk_is_filled_before_anything_is_read_from_it() {
    let mut net = Net::ring(4);
    net.ask(0, at("a"), &store("a", 1));
    let owner = owner(&net, "a");
    net.session(owner, SessionEvent::Down);
    net.nodes[owner].storage.values.clear();
    net.session(owner, OTHER_DISK);
    let reader = (owner + 1) % 4;
    let read = net.ask(reader, at("a"), &fetch("a"));
    assert_eq!(fetched_time(&read), Some(1));
    net.eventually(SECONDS, "ring of four", is_whole);
    assert_eq!(net.nodes[owner].storage.time_of(resource("a")), Some(1));
}

#[test]
fn a_peer_that_starts_on_an_empty_disk_is_filled_before_it_is_ready() {
    let mut net = Net::ring(4);
    net.ask(0, at("a"), &store("a", 1));
    let owner = owner(&net, "a");
    net.kill(owner);
    net.nodes[owner].storage.values.clear();
    net.restart(owner);
    net.eventually(SECONDS, "ready peer", |net| {
        let is_ready = net.nodes[owner].status().ready;
        let is_filled = net.nodes[owner].storage.time_of(resource("a")) == Some(1);
        assert!(is_filled || !is_ready, "ready with an empty disk");
        is_ready
    });
    net.eventually(SECONDS, "ring of four", is_whole);
}

#[test]
fn a_founder_that_lost_what_it_knew_finds_its_ring() {
    let mut net = Net::ring(4);
    net.ask(1, at("a"), &store("a", 1));
    net.kill(0);
    net.nodes[0].membership = Some(Membership {
        peers: Vec::new(),
        ring_size: 1,
    });
    net.restart(0);
    net.eventually(120, "ring of four", is_whole);
    let read = net.ask(0, at("a"), &fetch("a"));
    assert_eq!(fetched_time(&read), Some(1));
}

#[test]
fn a_fenced_peer_leaves_closes_its_links_and_stays_out() {
    let mut net = Net::ring(4);
    net.session(2, SessionEvent::Refused);
    net.eventually(5, "three peers", |net| net.nodes[0].status().successors.len() == 2);
    net.run(Duration::from_secs(20));
    let status = net.nodes[2].status();
    assert_eq!((status.joined, status.links), (false, Vec::new()));
    assert_eq!(status.reasons, [Reason::StorageRefused]);
}

#[test]
fn the_restart_of_all_forms_one_ring_that_has_everything() {
    let mut net = Net::ring(5);
    for n in 0..20 {
        let name = format!("value {n}");
        net.ask(n % 5, at(&name), &store(&name, 3));
    }
    kill_all(&mut net);
    net.run(Duration::from_secs(3));
    (0..5).for_each(|index| net.restart(index));
    net.eventually(SECONDS, "ring of five", is_whole);
    for n in 0..20 {
        let name = format!("value {n}");
        let read = net.ask((n + 1) % 5, at(&name), &fetch(&name));
        assert_eq!(fetched_time(&read), Some(3), "{name}");
    }
}

#[test]
fn the_smallest_of_those_that_are_there_forms_the_ring() {
    let mut net = Net::ring(5);
    kill_all(&mut net);
    let mut order: Vec<usize> = (0..5).collect();
    order.sort_by_key(|index| net.nodes[*index].id());
    let [_, second, third, ..] = order[..] else {
        unreachable!()
    };
    net.restart(third);
    net.run(Duration::from_secs(12));
    let status = net.nodes[third].status();
    assert!(
        !status.joined && status.reasons.contains(&Reason::Seeking),
        "alone it serves nobody"
    );
    net.restart(second);
    net.eventually(2, "a word of the other", |net| {
        let awaited = Reason::Awaiting(net.nodes[second].id());
        net.nodes[third].status().reasons.contains(&awaited)
    });
    net.eventually(SECONDS, "ring of two", is_whole);
}

#[test]
fn a_founder_that_was_a_member_joins_what_is_there() {
    let mut net = Net::ring(4);
    net.kill(0);
    net.run(Duration::from_secs(2));
    net.restart(0);
    net.eventually(SECONDS, "ring of four", is_whole);
}

#[test]
fn a_peer_that_was_rightly_alone_forms_its_ring_again() {
    let mut net = Net::ring(1);
    net.ask(0, at("a"), &store("a", 1));
    net.kill(0);
    net.restart(0);
    net.eventually(1, "ring of one", is_whole);
    assert_eq!(fetched_time(&net.ask(0, at("a"), &fetch("a"))), Some(1));
}

#[test]
fn two_rings_become_one_and_keep_what_each_has_acknowledged() {
    let mut net = Net::ring(6);
    let (left, right) = ([0, 1, 2], [3, 4, 5]);
    net.cut(&left, &right);
    let size = |net: &Net, index: usize| net.nodes[index].status().successors.len();
    net.eventually(SECONDS, "two rings", |net| {
        (0..6).all(|index| size(net, index) == 2 && net.nodes[index].status().ready)
    });
    for n in 0..12 {
        let name = format!("value {n}");
        net.ask(n % 6, at(&name), &store(&name, 10 + n as u64));
    }
    net.heal();
    net.eventually(120, "one ring", is_whole);
    for n in 0..12 {
        let name = format!("value {n}");
        net.eventually(10, "the value at its owner", |net| {
            net.nodes[owner(net, &name)].storage.time_of(resource(&name)) == Some(10 + n as u64)
        });
    }
}

/// Puts a value on the disk of one peer, as a ring that is no more has left it.
fn leave_behind(net: &mut Net, holder: usize, name: &str) {
    let Body::StoreReq(store) = store(name, 7) else {
        unreachable!()
    };
    let kind = store.kind_data.into_iter().next().unwrap();
    net.nodes[holder].storage.values.insert(store.resource, kind);
}

/// The peers in the order of the ring, the owner of a value first.
fn order(net: &Net, name: &str) -> Vec<usize> {
    let first = owner(net, name);
    let place = |index: &usize| {
        let place = net.nodes[*index].id().to_u128();
        place.wrapping_sub(net.nodes[first].id().to_u128())
    };
    let mut order: Vec<usize> = (0..net.nodes.len()).collect();
    order.sort_by_key(place);
    order
}

#[test]
fn what_a_distant_peer_holds_finds_its_owner_soon_after_a_change() {
    let mut net = Net::ring(12);
    let order = order(&net, "a");
    leave_behind(&mut net, order[6], "a");
    net.kill(order[4]);
    net.eventually(30, "the value at its owner", |net| {
        net.nodes[order[0]].storage.time_of(resource("a")) == Some(7)
    });
}

#[test]
fn what_a_replica_holds_is_offered_to_its_owner_over_a_new_link() {
    let mut net = Net::ring(5);
    let order = order(&net, "a");
    leave_behind(&mut net, order[2], "a");
    net.disconnect(order[0], order[2]);
    net.eventually(30, "the value at its owner", |net| {
        net.nodes[order[0]].storage.time_of(resource("a")) == Some(7)
    });
}

/// Both ends of two links have to keep the same one, and may see them come up in another order each.
#[test]
fn of_two_links_that_a_node_began_the_far_end_keeps_both_until_one_is_closed() {
    let mut net = Net::ring(2);
    let has_accepted = |net: &Net, at: usize, from: usize| net.links_between(at, from)[0].0 % 2 == 1;
    let (begins, accepts) = if has_accepted(&net, 0, 1) { (1, 0) } else { (0, 1) };
    let (peer, remote) = (net.nodes[begins].identity.clone(), net.nodes[begins].address);
    let (first, second) = (net.links_between(accepts, begins)[0], LinkId(9_999));
    net.with(accepts, |core, now| {
        core.handle_connected(now, second, &peer, remote, false)
    });
    net.run(Duration::from_secs(2));
    net.with(accepts, |core, now| {
        core.handle_disconnected(now, first);
        let is_linked = core.status().links.contains(&peer.node_id());
        assert!(is_linked, "it had chosen for itself, and closed the other one");
    });
}

#[test]
fn a_peer_remembers_its_neighbors_and_where_they_listen() {
    let net = Net::ring(4);
    for node in &net.nodes {
        let membership = node.membership.as_ref().unwrap();
        assert_eq!(membership.ring_size, 4);
        let mut known: Vec<NodeId> = membership.peers.iter().map(|peer| peer.node_id).collect();
        let mut others: Vec<NodeId> = net.nodes.iter().map(Node::id).filter(|id| *id != node.id()).collect();
        known.sort_unstable();
        others.sort_unstable();
        assert_eq!(known, others);
        for peer in &membership.peers {
            let theirs = net.nodes.iter().find(|other| other.id() == peer.node_id).unwrap();
            assert_eq!(peer.address, theirs.address);
        }
    }
}
