//! What a new configuration document does to a few nodes: they obey it as a whole, or have no part in the overlay.

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

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use net::values::{at, body, fetch, fetched_time, owner, store};
use net::{Net, Node};
use overlay_config::{Demand, Document, SignedDocument};
use p2psip_overlay_core::{CallResult, Output, Reason};
use wire::framing::Decoder;
use wire::{
    Body, ConfigUpdateReq, Decode, Destination, ErrorCode, FramedMessage, MessageCode, NodeId, Packet, PingReq,
};

const NAMES: u64 = 24;
const SECONDS: u64 = 30;

/// A ring of three with values, and which of them owns the most.
fn ring_with_values() -> (Net, usize) {
    let mut net = Net::ring(3);
    for n in 0..NAMES {
        net.ask(0, at(&name(n)), &store(&name(n), 3));
    }
    let owned = |index: usize| (0..NAMES).filter(|n| owner(&net, &name(*n)) == index).count();
    let victim = (0..3).max_by_key(|index| owned(*index)).unwrap();
    (net, victim)
}

fn name(n: u64) -> String {
    format!("value {n}")
}

/// The next document with a change, signed; the one after it is without.
fn changed(net: &mut Net, change: impl FnOnce(&mut Document)) -> Arc<SignedDocument> {
    let before = net.world.draft.clone();
    change(&mut net.world.draft);
    let document = net.world.next_document();
    net.world.draft = Document {
        sequence: net.world.draft.sequence,
        ..before
    };
    document
}

fn with_extension(document: &mut Document) {
    document.mandatory_extensions.insert("urn:example:later".to_owned());
}

/// The other two are of a later version, which obeys everything: what they are given was never read.
fn give_to_others(net: &mut Net, victim: usize, document: &Arc<SignedDocument>) {
    for index in (0..3).filter(|index| *index != victim) {
        net.with(index, |core, now| core.handle_document(now, Arc::clone(document)));
    }
}

fn config_update(net: &mut Net, victim: usize, document: &SignedDocument) {
    let update: Body = ConfigUpdateReq::Config(document.xml().clone()).into();
    let to = vec![Destination::Node(net.nodes[victim].id())];
    net.call((victim + 1) % 3, to, &update);
    net.run(Duration::from_millis(100));
}

/// How many of all values a reader cannot read.
fn unread(net: &mut Net, reader: usize) -> usize {
    let mut is_read = |n: &u64| {
        let read = net.ask(reader, at(&name(*n)), &fetch(&name(*n)));
        matches!(read, CallResult::Answered { .. }) && fetched_time(&read) == Some(3)
    };
    (0..NAMES).filter(|n| !is_read(n)).count()
}

fn is_whole(net: &Net) -> bool {
    let is_in_place = |node: &Node| node.status().ready && node.status().successors.len() == 2;
    net.nodes.iter().all(is_in_place)
}

#[test]
fn a_member_that_cannot_obey_leaves_no_hole_in_the_ring() {
    let (mut net, victim) = ring_with_values();
    let document = changed(&mut net, with_extension);
    give_to_others(&mut net, victim, &document);
    config_update(&mut net, victim, &document);
    let unread: usize = (0..3)
        .filter(|index| *index != victim)
        .map(|reader| unread(&mut net, reader))
        .sum();
    assert_eq!(unread, 0, "of {}", 2 * NAMES);
    let status = net.nodes[victim].status();
    assert_eq!(
        (status.joined, status.serving, status.links),
        (false, false, Vec::new())
    );
}

/// A peer with the new document refuses messages under the number of the old one, a Leave too.
#[test]
fn the_leave_goes_to_every_link_under_the_number_of_the_new_document() {
    let mut net = Net::ring(3);
    let demand = Demand {
        sequence: 2,
        needs: "urn:example:later".to_owned(),
    };
    let (now, core) = (net.now, &mut net.nodes[1].core);
    core.handle_demand(now, demand);
    let (mut left, mut closed) = (Vec::new(), Vec::new());
    loop {
        match core.poll_output() {
            Output::Send { link, bytes } => {
                let mut frames = Decoder::new(65_536);
                frames.push(&bytes);
                let Some(FramedMessage::Data { message, .. }) = frames.next_frame().unwrap() else {
                    continue;
                };
                let packet = Packet::from_bytes(&message).unwrap();
                // RFC 6940 §6.3.3: the contents begin with the code.
                let code = u16::from_be_bytes(*packet.payload.first_chunk().unwrap());
                assert!(!closed.contains(&link), "too late");
                if MessageCode(code) == MessageCode::LEAVE_REQ {
                    assert_eq!(packet.header.configuration_sequence, 2);
                    left.push(link);
                }
            }
            Output::Close { link } => closed.push(link),
            Output::Timeout(_) => break,
            _ => {}
        }
    }
    left.sort();
    closed.sort();
    assert_eq!((left.len(), &left), (2, &closed));
}

#[test]
fn whoever_has_not_got_the_document_yet_takes_the_range_too() {
    let (mut net, victim) = ring_with_values();
    let document = changed(&mut net, with_extension);
    config_update(&mut net, victim, &document);
    assert!(!net.nodes[victim].status().joined);
    for reader in (0..3).filter(|index| *index != victim) {
        assert_eq!(unread(&mut net, reader), 0, "of {NAMES}");
        assert_eq!(net.nodes[reader].status().document_sequence, 1, "nobody tells it");
    }
}

#[test]
fn a_peer_that_is_outside_says_why_and_takes_no_link() {
    let (mut net, victim) = ring_with_values();
    let document = changed(&mut net, with_extension);
    config_update(&mut net, victim, &document);
    net.run(Duration::from_secs(60));
    let status = net.nodes[victim].status();
    assert_eq!((status.joined, status.serving, status.ready), (false, false, false));
    assert_eq!((status.range, status.links), (None, Vec::new()));
    assert_eq!(status.document_sequence, 1, "what it could obey");
    let reasons: Vec<String> = status.reasons.iter().map(Reason::to_string).collect();
    assert_eq!(reasons, ["document 2 needs urn:example:later: upgrade"]);
    // It is in nobody's way.
    for index in (0..3).filter(|index| *index != victim) {
        assert!(net.nodes[index].status().ready);
    }
}

#[test]
fn it_is_back_with_the_next_document_that_it_can_obey() {
    let (mut net, victim) = ring_with_values();
    let document = changed(&mut net, with_extension);
    give_to_others(&mut net, victim, &document);
    config_update(&mut net, victim, &document);
    net.ask((victim + 1) % 3, at("meanwhile"), &store("meanwhile", 4));
    // Neither the one that it had, nor the one that it could not obey, nor one between brings it back.
    let in_force = Arc::clone(net.nodes[victim].core.document());
    for stale in [in_force, document] {
        net.with(victim, |core, now| core.handle_document(now, stale));
        assert!(!net.nodes[victim].status().joined);
    }
    let next = net.world.next_document();
    give_to_others(&mut net, victim, &next);
    net.with(victim, |core, now| core.handle_document(now, next));
    net.eventually(SECONDS, "ring of three", is_whole);
    assert_eq!(net.nodes[victim].status().document_sequence, 3);
    assert_eq!(unread(&mut net, victim), 0, "of {NAMES}");
    let read = net.ask(victim, at("meanwhile"), &fetch("meanwhile"));
    assert_eq!(fetched_time(&read), Some(4));
}

#[test]
fn a_document_that_needs_something_else_takes_its_place() {
    let (mut net, victim) = ring_with_values();
    let first = changed(&mut net, with_extension);
    let second = changed(&mut net, |document| document.no_ice = false);
    for document in [&second, &first] {
        let basis = overlay_config::Basis::Previous(net.nodes[victim].core.document().document());
        let read = SignedDocument::parse_and_verify(document.xml().clone(), basis, net.now.unix_ms);
        let Err(overlay_config::Error::CannotObey(demand)) = read else {
            panic!("{read:?}")
        };
        net.with(victim, |core, now| core.handle_demand(now, demand));
    }
    let reasons: Vec<String> = net.nodes[victim]
        .status()
        .reasons
        .iter()
        .map(Reason::to_string)
        .collect();
    assert_eq!(reasons, ["document 3 needs no-ice false: upgrade"]);
}

#[test]
fn whoever_was_told_to_leave_stays_out_with_a_document_that_it_can_obey() {
    let (mut net, victim) = ring_with_values();
    net.with(victim, |core, now| core.leave(now));
    net.eventually(SECONDS, "leave", |net| !net.nodes[victim].status().joined);
    let document = changed(&mut net, with_extension);
    config_update(&mut net, victim, &document);
    let next = net.world.next_document();
    net.with(victim, |core, now| core.handle_document(now, next));
    net.run(Duration::from_secs(SECONDS));
    assert_eq!(net.nodes[victim].status().reasons, [Reason::Left]);
}

#[test]
fn all_that_cannot_be_obeyed_takes_a_member_out() {
    type Change = fn(&mut Document);
    let changes: [(&str, Change); 5] = [
        ("no-ice false", |document| document.no_ice = false),
        ("overlay-link-protocol EXP-PROTOCOL", |document| {
            document.link_protocols = vec!["EXP-PROTOCOL".to_owned()];
        }),
        ("instance-name other.p2psip.test", |document| {
            document.overlay = "other.p2psip.test".to_owned();
        }),
        ("max-message-size 33554432", |document| {
            document.max_message_size = 32 * 1024 * 1024;
        }),
        ("chord-ping-interval 172800", |document| {
            document.chord.ping_interval = Duration::from_secs(2 * 24 * 3600);
        }),
    ];
    for (needs, change) in changes {
        let mut net = Net::ring(3);
        let document = changed(&mut net, change);
        config_update(&mut net, 1, &document);
        let status = net.nodes[1].status();
        let reasons: Vec<String> = status.reasons.iter().map(Reason::to_string).collect();
        assert_eq!(reasons, [format!("document 2 needs {needs}: upgrade")]);
        assert_eq!((status.joined, status.links), (false, Vec::new()));
    }
}

#[test]
fn another_name_cannot_be_taken_in_place() {
    let mut net = Net::ring(3);
    let document = changed(&mut net, |document| document.overlay = "other.p2psip.test".to_owned());
    net.with(1, |core, now| core.handle_document(now, document));
    let status = net.nodes[1].status();
    assert_eq!((status.joined, status.document_sequence), (false, 1));
}

#[test]
fn a_users_node_has_no_link_where_clients_are_not_permitted() {
    let mut net = Net::ring(3);
    let user = net.world.user(0);
    let user = net.start_as(user);
    let is_held = |net: &Net| (0..3).any(|peer| net.nodes[peer].status().links.contains(&net.nodes[user].id()));
    net.eventually(SECONDS, "a link", is_held);
    net.with(0, |core, now| core.attach_client(now, NodeId::new([9; 16])));
    let strict = changed(&mut net, |document| document.clients_permitted = false);
    for peer in 0..3 {
        net.with(peer, |core, now| core.handle_document(now, Arc::clone(&strict)));
    }
    assert!(!is_held(&net));
    for _ in 0..20 {
        net.run(Duration::from_secs(1));
        assert!(!is_held(&net), "it comes again and again");
    }
    assert_eq!(
        net.nodes[0].status().clients,
        [NodeId::new([9; 16])],
        "an edge has no link, and stays"
    );
    let relaxed = net.world.next_document();
    for peer in 0..3 {
        net.with(peer, |core, now| core.handle_document(now, Arc::clone(&relaxed)));
    }
    net.eventually(SECONDS, "a link", is_held);
}

fn ping(octets: usize) -> Body {
    let padding = Bytes::from(vec![7; octets]);
    PingReq { padding }.into()
}

#[test]
fn a_document_that_one_peer_is_given_reaches_all_while_values_are_stored() {
    let mut net = Net::ring(8);
    let document = net.world.next_document();
    net.with(3, |core, now| core.handle_document(now, document));
    let mut stored = 0;
    while net.nodes.iter().any(|node| node.status().document_sequence == 1) {
        let (name, reader) = (name(stored), usize::try_from(stored % 8).unwrap());
        net.ask(reader, at(&name), &store(&name, 3));
        stored += 1;
        assert!(stored < NAMES, "some peers have still not heard of it");
    }
    for n in 0..stored {
        let read = net.ask(5, at(&name(n)), &fetch(&name(n)));
        assert_eq!(fetched_time(&read), Some(3));
    }
    assert!(net.nodes.iter().all(|node| node.status().joined));
    // And each sees it of its Neighbors.
    net.eventually(SECONDS, "what Neighbors have", |net| {
        let sees_it = |node: &Node| {
            let status = node.status();
            let mut neighbors = status.successors.iter().chain(&status.predecessors);
            neighbors.all(|neighbor| node.core.document_of(*neighbor) == Some(2))
        };
        net.nodes.iter().all(sees_it)
    });
}

#[test]
fn a_document_of_a_wrong_signer_reaches_nobody() {
    let mut net = Net::ring(3);
    let stranger = SignedDocument::sign(
        Document {
            sequence: 2,
            ..net.world.draft.clone()
        },
        net.world.signer(1).as_ref(),
    );
    let update: Body = ConfigUpdateReq::Config(stranger.xml().clone()).into();
    let to = vec![Destination::Node(net.nodes[0].id())];
    let CallResult::Refused(refusal) = net.ask(1, to, &update) else {
        panic!("it was taken")
    };
    let reason = String::from_utf8_lossy(&refusal.info).into_owned();
    assert!(reason.contains("configuration of dev.p2psip.test"), "{reason}");
    assert!(net.nodes.iter().all(|node| node.status().document_sequence == 1));
}

#[test]
fn open_links_take_the_message_size_of_a_new_document() {
    let mut net = Net::new();
    net.world.draft.max_message_size = 10_000;
    for _ in 0..2 {
        net.start();
    }
    net.eventually(SECONDS, "ring of two", |net| {
        net.nodes.iter().all(|node| node.status().ready)
    });
    let to = |net: &Net| vec![Destination::Node(net.nodes[1].id())];
    let links = net.links_between(0, 1);
    net.world.draft.max_message_size = 65_536;
    let larger = net.world.next_document();
    (0..2).for_each(|index| net.with(index, |core, now| core.handle_document(now, Arc::clone(&larger))));
    // In one frame, and in pieces.
    for octets in [15_000, 50_000] {
        let destination = to(&net);
        let result = net.ask(0, destination, &ping(octets));
        assert!(matches!(body(&result), Body::PingAns(_)), "{octets}");
    }
    let counters = net.nodes[1].core.counters();
    assert_eq!((counters.malformed, net.links_between(0, 1)), (0, links));
    net.world.draft.max_message_size = 10_000;
    let smaller = net.world.next_document();
    net.with(1, |core, now| core.handle_document(now, smaller));
    // The sender has not heard of it.
    let destination = to(&net);
    let call = net.call(0, destination, &ping(15_000));
    net.eventually(SECONDS, "refusal", |net| net.nodes[0].results.contains_key(&call));
    let result = &net.nodes[0].results[&call];
    assert!(
        matches!(result, CallResult::Refused(refusal) if refusal.code == ErrorCode::MessageTooLarge),
        "{result:?}"
    );
}
