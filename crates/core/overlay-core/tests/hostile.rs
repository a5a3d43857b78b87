//! Nodes with valid certificates that break the protocol, against honest ones.

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

use bytes::Bytes;
use net::Net;
use net::values::{resource, store};
use p2psip_overlay_core::{CallResult, Status};
use wire::{Body, ChordUpdate, ChordUpdateKind, ErrorCode, JoinReq, LeaveReq, NodeId};

/// What a node thinks of the ring.
#[derive(Debug, PartialEq)]
struct Tables {
    peers: [Vec<NodeId>; 3],
    range: Option<(NodeId, NodeId)>,
}

fn tables(net: &Net, honest: usize) -> Vec<Tables> {
    let of = |status: Status| Tables {
        peers: [status.predecessors, status.successors, status.fingers],
        range: status.range,
    };
    net.nodes[..honest].iter().map(|node| of(node.status())).collect()
}

fn refusal(result: &CallResult) -> Option<ErrorCode> {
    match result {
        CallResult::Refused(refusal) => Some(refusal.code),
        CallResult::Answered { .. } => None,
    }
}

/// A user's own node that runs the program of a peer: it asks for a place as a peer would, again and again.
#[test]
fn a_users_node_never_gets_a_place_on_the_ring() {
    let mut net = Net::ring(4);
    let before = tables(&net, 4);
    let user = net.world.user(0);
    let user = net.start_as(user);
    net.run(Duration::from_secs(60));
    assert!(!net.nodes[user].status().joined);
    assert_eq!(tables(&net, 4), before);
    assert!(net.nodes[..4].iter().all(|node| node.status().ready));
    // It may still use the overlay, through whom it is connected to.
    let through = vec![net.nodes[0].id().into(), resource("a").into()];
    assert_eq!(refusal(&net.ask(user, through, &store("a", 1))), None);
}

/// The same node says straight out that it is a peer, and the victim's only neighbour.
#[test]
fn what_a_users_node_says_of_the_ring_is_refused() {
    let mut net = Net::ring(4);
    let before = tables(&net, 4);
    let user = net.world.user(0);
    let user = net.start_as(user);
    net.run(Duration::from_secs(1));
    let (own, victim) = (net.nodes[user].id(), net.nodes[0].id());
    let lie = |kind| Body::UpdateReq(ChordUpdate { uptime: 9, kind });
    let just_us = ChordUpdateKind::Neighbors {
        predecessors: vec![victim],
        successors: vec![victim],
    };
    let mut copy = store("a", 1);
    if let Body::StoreReq(copy) = &mut copy {
        copy.replica_number = 1;
    }
    let lies = [
        lie(ChordUpdateKind::PeerReady),
        lie(just_us),
        Body::JoinReq(JoinReq {
            joining_peer_id: own,
            overlay_specific_data: Bytes::new(),
        }),
        Body::LeaveReq(LeaveReq {
            leaving_peer_id: own,
            overlay_specific_data: wire::ChordLeave::FromSuccessor { successors: Vec::new() },
        }),
        copy,
    ];
    for lie in lies {
        let result = net.ask(user, vec![victim.into()], &lie);
        assert_eq!(refusal(&result), Some(ErrorCode::Forbidden), "{lie:?}");
    }
    net.run(Duration::from_secs(5));
    assert_eq!(tables(&net, 4), before);
}
