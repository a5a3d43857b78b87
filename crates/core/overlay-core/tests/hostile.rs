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

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use identity::Sign;
use net::Net;
use net::values::{at, fetch, fetched_time, owner, resource, store};
use p2psip_overlay_core::{CallResult, Status};
use wire::{
    AddressPort, AttachReq, Body, CandidateType, ChordUpdate, ChordUpdateKind, Encode, ErrorCode, Fragment,
    IceCandidate, JoinReq, LeaveReq, MessageCode, MessageContents, MessageExtension, NodeId, OverlayLink, PingReq,
    ResourceId,
};

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

/// A peer asks, with 256 notes a second to each, for parts of its range that it never takes. Before, each was a push
/// of its own, none ended, and the others refused every Join.
#[test]
fn joins_go_on_while_notes_arrive() {
    let mut net = Net::ring(3);
    for n in 0..30 {
        net.ask(0, at(&format!("record {n}")), &store(&format!("record {n}"), 1));
    }
    let hostile = 2;
    net.ignore(hostile, &[MessageCode::STORE_REQ]);
    let (mut id, mut octets) = (1 << 40, 0);
    let joining = start_before(&mut net, &[0, 1]);
    let mut seconds = 0;
    while !net.nodes[joining].status().joined && seconds < 60 {
        for victim in [0, 1].repeat(16) {
            id += 1;
            let update = MessageContents {
                extensions: vec![notes_of(&net, hostile, id)],
                ..MessageContents::of(&Body::UpdateReq(lists_of(&net, hostile)))
            };
            octets += net.say(hostile, victim, id, &update);
        }
        net.run(Duration::from_secs(1));
        seconds += 1;
    }
    assert!(octets / seconds < 40_000, "{octets} octets in {seconds} s");
    assert!(seconds <= 10, "joined after {seconds} s");
}

/// Starts a peer whose place is in the range of one of these.
fn start_before(net: &mut Net, admitting: &[usize]) -> usize {
    let next = |net: &Net, node: NodeId| {
        let distance = |index: &usize| net.nodes[*index].id().to_u128().wrapping_sub(node.to_u128());
        (0..net.nodes.len()).min_by_key(distance).unwrap()
    };
    let signers = (20..60).map(|index| net.world.signer(index));
    let signer = signers
        .into_iter()
        .find(|signer| admitting.contains(&next(net, signer.node_id())));
    net.start_as(signer.unwrap())
}

/// What a peer says of its neighbours.
fn lists_of(net: &Net, index: usize) -> ChordUpdate {
    let Status {
        predecessors,
        successors,
        ..
    } = net.nodes[index].status();
    ChordUpdate {
        uptime: 9,
        kind: ChordUpdateKind::Neighbors {
            predecessors,
            successors,
        },
    }
}

/// As many notes as are read, about parts of a peer's range, no two alike.
fn notes_of(net: &Net, index: usize, seed: u64) -> MessageExtension {
    let (after, until) = net.nodes[index].status().range.unwrap();
    let mut contents = Vec::new();
    for n in 0..16 {
        // Whatever was sent before does not count.
        contents.push(1);
        let after = after.to_u128().wrapping_add(u128::from(seed << 20 | n));
        contents.extend(after.to_be_bytes());
        contents.extend(until.to_u128().to_be_bytes());
    }
    MessageExtension {
        kind: MessageExtension::RANGE_COMPLETE,
        critical: false,
        contents: contents.into(),
    }
}

/// Before, 256 pieces of 300 octets, none of them followed by another, stopped every message in pieces for 15 s.
#[test]
fn messages_in_pieces_arrive_beside_some_that_never_end() {
    let mut net = Net::ring(3);
    let hostile = net.world.user(0);
    let link = net.intrude(2, &hostile);
    let victim = net.nodes[2].id();
    let mut octets = 0;
    for id in 0..512 {
        let mut packet = net.world.packet(&hostile, id, vec![victim.into()], &ping(300));
        packet.payload = packet.payload.slice(..300);
        packet.header.fragment = Fragment::new(0, false);
        octets += packet.to_bytes().len();
        net.inject(2, link, &packet);
    }
    assert!(octets < 200_000, "{octets} octets");
    for _ in 0..10 {
        let large = PingReq {
            padding: Bytes::from(vec![7; 50_000]),
        };
        let result = net.ask(0, vec![victim.into()], &large.into());
        assert_eq!(refusal(&result), None);
    }
}

fn ping(padding: usize) -> MessageContents {
    let padding = Bytes::from(vec![7; padding]);
    MessageContents::of(&PingReq { padding }.into())
}

/// RFC 6940 §13.6.5.
#[test]
fn a_list_that_leads_around_is_refused() {
    let mut net = Net::ring(3);
    let [a, b, c] = [0, 1, 2].map(|index| net.nodes[index].id());
    let circle = vec![a.into(), b.into(), c.into(), a.into(), b.into(), c.into()];
    let ping = Body::PingReq(PingReq::default());
    let hostile = net.world.user(0);
    let hostile = net.start_as(hostile);
    net.run(Duration::from_secs(1));
    let result = net.ask(hostile, circle, &ping);
    assert_eq!(refusal(&result), Some(ErrorCode::InvalidMessage));
    let too_long = (0..33).map(|n| NodeId::from_u128(n + 7).into()).collect();
    let result = net.ask(hostile, [vec![a.into()], too_long].concat(), &ping);
    assert_eq!(refusal(&result), Some(ErrorCode::InvalidMessage));
}

/// A peer takes part in the ring, acknowledges every frame and answers no Store of a copy. Before, each Store that it was to
/// hold a copy of waited for it until its sender had given up.
#[test]
fn stores_succeed_beside_a_replica_that_answers_none() {
    let mut net = Net::ring(5);
    let hostile = 2;
    net.ignore(hostile, &[MessageCode::STORE_REQ]);
    let names: Vec<String> = (0..40).map(|n| format!("record {n}")).collect();
    let order = |net: &Net, name: &str| {
        let mut order: Vec<usize> = (0..5).collect();
        order.sort_by_key(|index| net.nodes[*index].id().to_u128().wrapping_sub(resource(name).to_u128()));
        order
    };
    let is_held = |net: &Net, name: &&String| order(net, name)[1..3].contains(&hostile);
    let held: Vec<&String> = names.iter().filter(|name| is_held(&net, name)).take(19).collect();
    let failed = held
        .iter()
        .filter(|name| refusal(&net.ask(0, at(name), &store(name, 1))).is_some())
        .count();
    assert_eq!((failed, held.len()), (0, 19));
    // Three have each record, and the hostile peer still stands where it stood.
    for name in held {
        let order = order(&net, name);
        let has = |index: &&usize| net.nodes[**index].storage.time_of(resource(name)) == Some(1);
        assert_eq!(order.iter().filter(has).count(), 3);
    }
    assert!(net.nodes.iter().all(|node| node.status().successors.len() == 3));
    let links: usize = net.nodes.iter().map(|node| node.status().links.len()).sum();
    assert_eq!(links, 20);
}

/// The same for what a new owner asks the holders before it serves its range: before, it waited for the silent one longer than
/// anybody waits for an answer.
#[test]
fn a_new_owner_reads_beside_a_holder_that_answers_nothing() {
    let mut net = Net::ring(5);
    net.ask(0, at("a"), &store("a", 1));
    let mut order: Vec<usize> = (0..5).collect();
    order.sort_by_key(|index| net.nodes[*index].id().to_u128().wrapping_sub(resource("a").to_u128()));
    let [owner, next, hostile, other] = order[..4] else {
        panic!("five peers")
    };
    net.ignore(
        hostile,
        &[MessageCode::STORE_REQ, MessageCode::FETCH_REQ, MessageCode::UPDATE_REQ],
    );
    net.kill(owner);
    net.eventually(5, "a new owner", |net| !net.nodes[next].status().range_confirmed);
    let failed = (0..10)
        .filter(|_| fetched_time(&net.ask(other, at("a"), &fetch("a"))) != Some(1))
        .count();
    assert_eq!(failed, 0);
}

/// Requests for an attached edge are verified before they wait for it. Before, they filled its queue, and it was detached.
#[test]
fn an_edge_is_reached_beside_a_flood_of_requests_for_it() {
    let mut net = Net::ring(3);
    let (edge, hostile) = (net.world.client(0), net.world.user(0));
    net.with(0, |core, now| core.attach_client(now, edge.node_id()));
    let link = net.intrude(0, &hostile);
    let to = vec![net.nodes[0].id().into(), edge.node_id().into()];
    for id in 0..300 {
        let mut unsigned = net.world.packet(&hostile, id, to.clone(), &ping(9));
        // As if somebody else had sent it here, so that it is not held against the link.
        unsigned.header.via_list.push(NodeId::new([9; 16]).into());
        let mut payload = unsigned.payload.to_vec();
        *payload.last_mut().unwrap() ^= 1;
        unsigned.payload = payload.into();
        net.inject(0, link, &unsigned);
    }
    assert_eq!(net.nodes[0].incoming.len(), 0);
    for id in 1000..3000 {
        let signed = net.world.packet(&hostile, id, to.clone(), &ping(9));
        net.inject(0, link, &signed);
    }
    assert_eq!(net.nodes[0].incoming.len(), 128);
    let honest = net.call(2, to, &Body::PingReq(PingReq::default()));
    net.eventually(1, "the honest request", |net| net.nodes[0].incoming.len() == 129);
    assert!(net.nodes[0].status().clients.contains(&edge.node_id()));
    assert!(!net.nodes[2].results.contains_key(&honest), "the edge has to answer");
}

/// A node that signs wrongly loses its link; one that passes on what others signed wrongly does not.
#[test]
fn a_link_with_wrong_signatures_of_its_own_is_closed() {
    for is_passed_on in [false, true] {
        let mut net = Net::ring(3);
        let hostile = net.world.user(0);
        let link = net.intrude(0, &hostile);
        let victim = net.nodes[0].id();
        for id in 0..30 {
            let mut unsigned = net.world.packet(&hostile, id, vec![victim.into()], &ping(9));
            let mut payload = unsigned.payload.to_vec();
            *payload.last_mut().unwrap() ^= 1;
            unsigned.payload = payload.into();
            if is_passed_on {
                unsigned.header.via_list.push(NodeId::new([9; 16]).into());
            }
            net.inject(0, link, &unsigned);
        }
        let is_linked = |net: &Net| net.nodes[0].status().links.contains(&hostile.node_id());
        assert_eq!(is_linked(&net), is_passed_on);
        net.intrude(0, &hostile);
        assert_eq!(is_linked(&net), is_passed_on, "nor does it get another one");
    }
}

/// A node that attaches says where it listens. Before, each Attach dialed whatever address it named.
#[test]
fn attaches_turn_no_peer_against_strangers_addresses() {
    let mut net = Net::ring(3);
    let stranger = SocketAddr::from(([192, 0, 2, 1], 443));
    let users: Vec<_> = (0..20).map(|index| net.world.user(index)).collect();
    let carrier = net.world.user(30);
    let link = net.intrude(0, &carrier);
    let place = ResourceId::from(net.nodes[0].id());
    let mut octets = 0;
    for second in 0..10 {
        for (index, user) in users.iter().enumerate() {
            let id = second * 100 + u64::try_from(index).unwrap();
            let attach = MessageContents::of(&attach_from(&[stranger; 8]));
            let mut packet = net.world.packet(user, id, vec![place.into()], &attach);
            // It came another way than over a link of its sender.
            packet.header.via_list.push(user.node_id().into());
            octets += packet.to_bytes().len();
            net.inject(0, link, &packet);
        }
        net.run(Duration::from_secs(1));
    }
    let dialed = net.dialed.get(&stranger).copied().unwrap_or_default();
    assert!((1..=10).contains(&dialed), "{dialed} times in 10 s for {octets} octets");
}

fn attach_from(addresses: &[SocketAddr]) -> Body {
    let candidate = |address: &SocketAddr| IceCandidate {
        address: AddressPort::from(*address),
        overlay_link: OverlayLink::TLS_TCP_FH_NO_ICE,
        foundation: Bytes::from_static(b"1"),
        priority: 1,
        candidate_type: CandidateType::Host,
        extensions: Vec::new(),
    };
    Body::AttachReq(AttachReq {
        ufrag: Bytes::new(),
        password: Bytes::new(),
        role: Bytes::from_static(b"passive"),
        candidates: addresses.iter().map(candidate).collect(),
        send_update: false,
    })
}

/// One node asks for more than storage can read at a time. Before, it had all places, and nobody else was answered.
#[test]
fn storage_that_is_slow_still_serves_others_beside_a_flood() {
    let mut net = Net::ring(3);
    net.ask(0, at("a"), &store("a", 1));
    let owner = owner(&net, "a");
    let hostile = net.world.user(0);
    let link = net.intrude(owner, &hostile);
    net.hang_storage(owner, true);
    for id in 0..5000 {
        let read = MessageContents::of(&fetch("a"));
        let packet = net.world.packet(&hostile, id, at("a"), &read);
        net.inject(owner, link, &packet);
    }
    let honest = net.call((owner + 1) % 3, at("a"), &fetch("a"));
    net.run(Duration::from_millis(100));
    net.hang_storage(owner, false);
    net.run(Duration::from_millis(100));
    let result = net.nodes[(owner + 1) % 3].results.get(&honest).cloned();
    assert_eq!(result.as_ref().and_then(fetched_time), Some(1));
}
