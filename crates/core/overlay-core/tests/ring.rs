//! What a few nodes do together: form, join, route, store, survive.

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

use identity::{Sign as _, Signer, sign_message};
use net::Net;
use net::values::{at, body, fetch, fetched_time, owner, replicas, resource, store};
use net::world::OVERLAY;
use p2psip_overlay_core::{Call, CallId, CallResult, Ending, Reason, Traced};
use wire::{
    AppAttachAns, AppAttachReq, Body, Destination, Encode, ErrorCode, FindReq, KindId, MessageContents, NodeId,
    PingReq, ProbeInformation, ProbeReq, ResourceId, Signature, SignatureAndHash, SignerIdentity, StoreKindData,
    StoreReq, StoredData, StoredDataValue, TraceContext, TransactionId,
};

#[test]
fn a_founder_is_alone_and_serves() {
    let mut net = Net::ring(1);
    let result = net.ask(0, at("a"), &store("a", 1));
    assert_eq!(replicas(&result), []);
    let read = net.ask(0, at("a"), &fetch("a"));
    assert_eq!(fetched_time(&read), Some(1));
}

#[test]
fn five_peers_form_one_ordered_ring() {
    let net = Net::ring(5);
    let mut ids: Vec<NodeId> = net.nodes.iter().map(net::Node::id).collect();
    ids.sort_unstable();
    for node in &net.nodes {
        let place = ids.iter().position(|id| *id == node.id()).unwrap();
        let status = node.status();
        assert_eq!(status.successors.first(), Some(&ids[(place + 1) % 5]));
        assert_eq!(status.predecessors.first(), Some(&ids[(place + 4) % 5]));
        assert_eq!(status.range, Some((ids[(place + 4) % 5], node.id())));
    }
}

#[test]
fn a_ping_reaches_any_node_and_any_place() {
    let mut net = Net::ring(4);
    for target in 0..4 {
        let id = net.nodes[target].id();
        let result = net.ask(0, vec![id.into()], &PingReq::default().into());
        assert!(matches!(result, CallResult::Answered { responder, .. } if responder == id));
    }
    let result = net.ask(1, at("somewhere"), &PingReq::default().into());
    let responsible = net.nodes[owner(&net, "somewhere")].id();
    assert!(matches!(result, CallResult::Answered { responder, .. } if responder == responsible));
}

#[test]
fn a_store_is_acknowledged_by_two_replicas_and_read_everywhere() {
    let mut net = Net::ring(5);
    let result = net.ask(2, at("a"), &store("a", 10));
    let owner = owner(&net, "a");
    assert_eq!(replicas(&result), net.nodes[owner].status().successors[..2]);
    let holders = net
        .nodes
        .iter()
        .filter(|node| node.storage.time_of(resource("a")) == Some(10))
        .count();
    assert_eq!(holders, 3);
    for index in 0..5 {
        let read = net.ask(index, at("a"), &fetch("a"));
        assert_eq!(fetched_time(&read), Some(10));
    }
}

#[test]
fn values_survive_a_join_and_the_owners_crash() {
    let mut net = Net::ring(4);
    for n in 0..20 {
        let name = format!("value {n}");
        net.ask(n % 4, at(&name), &store(&name, 5));
    }
    net.start();
    net.eventually(20, "join", |net| net.nodes[4].status().ready);
    let victim = owner(&net, "value 7");
    net.kill(victim);
    net.run(Duration::from_secs(1));
    for n in 0..20 {
        let name = format!("value {n}");
        let reader = (0..5).find(|index| *index != victim).unwrap();
        let read = net.ask(reader, at(&name), &fetch(&name));
        assert_eq!(fetched_time(&read), Some(5), "{name}");
    }
}

#[test]
fn a_silent_peer_is_found_dead_and_its_range_taken() {
    let mut net = Net::ring(4);
    net.ask(0, at("a"), &store("a", 1));
    let victim = owner(&net, "a");
    let reader = (0..4).find(|index| *index != victim).unwrap();
    net.nodes[victim].is_frozen = true;
    let read = net.ask(reader, at("a"), &fetch("a"));
    assert_eq!(fetched_time(&read), Some(1));
    let result = net.ask(reader, at("a"), &store("a", 2));
    assert_eq!(replicas(&result).len(), 2);
    assert!(!replicas(&result).contains(&net.nodes[victim].id()));
}

#[test]
fn a_peer_that_slept_comes_back() {
    let mut net = Net::ring(4);
    net.nodes[2].is_frozen = true;
    net.run(Duration::from_secs(5));
    net.nodes[2].is_frozen = false;
    net.eventually(30, "ring of four", |net| {
        net.nodes
            .iter()
            .all(|node| node.status().ready && node.status().successors.len() == 3)
    });
}

#[test]
fn the_last_of_a_larger_ring_does_not_acknowledge() {
    let mut net = Net::ring(3);
    net.kill(1);
    net.kill(2);
    net.run(Duration::from_secs(2));
    let result = net.ask(0, at("a"), &store("a", 1));
    assert!(matches!(result, CallResult::Refused(refusal) if refusal.code == ErrorCode::RequestTimeout));
    assert!(net.nodes[0].status().reasons.contains(&Reason::Isolated));
}

#[test]
fn a_large_message_travels_in_pieces() {
    let mut net = Net::ring(3);
    let id = net.nodes[2].id();
    let ping = PingReq {
        padding: Bytes::from(vec![7; 50_000]),
    };
    let result = net.ask(0, vec![id.into()], &ping.into());
    assert!(matches!(body(&result), Body::PingAns(_)));
    let ping = PingReq {
        padding: Bytes::from(vec![7; 65_000]),
    };
    let result = net.ask(0, vec![id.into()], &ping.into());
    assert!(matches!(result, CallResult::Refused(refusal) if refusal.code == ErrorCode::MessageTooLarge));
}

#[test]
fn a_node_that_nobody_is_gets_no_answer() {
    let mut net = Net::ring(3);
    let result = net.ask(0, vec![NodeId::new([3; 16]).into()], &PingReq::default().into());
    assert!(matches!(result, CallResult::Refused(refusal) if refusal.code == ErrorCode::RequestTimeout));
}

#[test]
fn a_newer_document_spreads_to_who_speaks_with_an_older_one() {
    let mut net = Net::ring(3);
    let document = net.world.next_document();
    net.with(1, |core, now| core.handle_document(now, document));
    let id = net.nodes[1].id();
    let result = net.ask(0, vec![id.into()], &PingReq::default().into());
    assert!(matches!(body(&result), Body::PingAns(_)));
    assert_eq!(net.nodes[0].status().document_sequence, 2);
}

#[test]
fn a_document_that_expires_is_told_and_the_ring_goes_on() {
    let mut net = Net::new();
    net.world.draft.expiration_ms = Some(net.now.unix_ms + 30_000);
    net.start();
    net.start();
    net.eventually(20, "a ring", |net| net.nodes.iter().all(|node| node.status().ready));
    let reasons = |net: &Net| net.nodes[0].status().reasons;
    net.eventually(30, "end of the document", |net| {
        reasons(net) == [Reason::DocumentExpired]
    });
    assert!(net.nodes[0].status().serving);
    assert_eq!(replicas(&net.ask(0, at("a"), &store("a", 1))).len(), 1);
    net.world.draft.expiration_ms = None;
    let document = net.world.next_document();
    net.with(0, |core, now| core.handle_document(now, document));
    assert_eq!(reasons(&net), []);
}

#[test]
fn a_peer_that_leaves_hands_its_values_over() {
    let mut net = Net::ring(4);
    net.ask(0, at("a"), &store("a", 1));
    let leaver = owner(&net, "a");
    net.with(leaver, |core, now| core.leave(now));
    net.eventually(5, "leave", |net| !net.nodes[leaver].status().joined);
    let reader = (0..4).find(|index| *index != leaver).unwrap();
    let read = net.ask(reader, at("a"), &fetch("a"));
    assert_eq!(fetched_time(&read), Some(1));
}

#[test]
fn a_record_too_many_goes_and_what_its_owner_lacks_reaches_it() {
    let (mut net, holders, stranger) = ring_with_a_stranger();
    for time in [5, 6] {
        plant(&mut net, holders[0], stranger, time);
        net.eventually(150, "end of the surplus record", |net| {
            net.nodes[stranger].storage.time_of(resource("a")).is_none()
        });
        for holder in holders {
            assert_eq!(net.nodes[holder].storage.time_of(resource("a")), Some(time));
        }
    }
}

#[test]
fn dropping_without_the_owners_word_is_noticed() {
    let (mut net, holders, stranger) = ring_with_a_stranger();
    net.nodes[stranger].storage.forgets_blindly = true;
    plant(&mut net, holders[0], stranger, 6);
    net.eventually(150, "end of the surplus record", |net| {
        net.nodes[stranger].storage.time_of(resource("a")).is_none()
    });
    let is_lost = |holder: usize| net.nodes[holder].storage.time_of(resource("a")) == Some(5);
    assert!(holders.into_iter().all(is_lost), "the only newer value is gone");
}

/// A ring with a value; its three holders, and the third peer behind its owner, which is none of them.
fn ring_with_a_stranger() -> (Net, [usize; 3], usize) {
    let mut net = Net::ring(6);
    net.ask(0, at("a"), &store("a", 5));
    let mut order: Vec<usize> = (0..6).collect();
    order.sort_by_key(|index| net.nodes[*index].id());
    let first = order.iter().position(|index| *index == owner(&net, "a")).unwrap();
    let nth = |after: usize| order[(first + after) % 6];
    (net, [nth(0), nth(1), nth(2)], nth(3))
}

/// Gives a stranger the record of the owner, as of another time.
fn plant(net: &mut Net, owner: usize, stranger: usize, time: u64) {
    let mut record = net.nodes[owner].storage.values[&resource("a")].clone();
    record.values[0].storage_time = time;
    net.nodes[stranger].storage.values.insert(resource("a"), record);
}

#[test]
fn a_replica_keeps_its_records_and_a_probe_counts_them() {
    let mut net = Net::ring(4);
    net.ask(0, at("a"), &store("a", 5));
    net.run(Duration::from_secs(200));
    let holders: Vec<u32> = (0..4).map(|index| probed_records(&mut net, index)).collect();
    assert_eq!(holders.iter().sum::<u32>(), 3, "{holders:?}");
}

/// The number of resources that a peer says it holds.
fn probed_records(net: &mut Net, index: usize) -> u32 {
    let id = net.nodes[index].id();
    let probe = ProbeReq {
        requested_info: vec![ProbeInformation::UPTIME, ProbeInformation::NUM_RESOURCES],
    };
    let Body::ProbeAns(answer) = body(&net.ask(0, vec![id.into()], &probe.into())) else {
        panic!("a ProbeAns")
    };
    match answer.probe_info[..] {
        [ProbeInformation::Uptime(_), ProbeInformation::NumResources(records)] => records,
        ref other => panic!("{other:?}"),
    }
}

fn app_attach() -> Body {
    AppAttachReq {
        ufrag: Bytes::new(),
        password: Bytes::new(),
        application: 5060,
        role: Bytes::from_static(b"passive"),
        candidates: Vec::new(),
    }
    .into()
}

/// A request that a client at a peer has signed itself.
fn client_call(net: &mut Net, at: usize, client: &Signer, destination: Vec<Destination>, id: u64) -> CallId {
    let contents = MessageContents::of(&app_attach()).to_bytes();
    let security = sign_message(client, OVERLAY, TransactionId(id), &contents);
    let deadline = net.now.instant + Duration::from_secs(8);
    let signed = Some((TransactionId(id), security));
    let from_client = Some(client.node_id());
    let call = Call {
        destination,
        contents,
        signed,
        from_client,
        deadline,
        trace: None,
    };
    net.with(at, |core, now| core.call(now, call))
}

fn answer_as(net: &mut Net, at: usize, client: &Signer, signer: &Signer) {
    net.eventually(5, "a request for the client", |net| !net.nodes[at].incoming.is_empty());
    let incoming = net.nodes[at].incoming.remove(0);
    assert_eq!(incoming.client, client.node_id());
    let answer = AppAttachAns {
        ufrag: Bytes::new(),
        password: Bytes::new(),
        application: 5060,
        role: Bytes::from_static(b"active"),
        candidates: Vec::new(),
    };
    let contents = MessageContents::of(&answer.into()).to_bytes();
    let security = sign_message(signer, OVERLAY, incoming.transaction_id, &contents);
    net.with(at, |core, now| core.reply(now, incoming.id, contents, security));
}

#[test]
fn a_clients_request_reaches_a_client_elsewhere_and_at_the_same_peer() {
    let mut net = Net::ring(3);
    let (caller, callee) = (net.world.client(0), net.world.client(1));
    net.with(0, |core, now| core.attach_client(now, caller.node_id()));
    for home in [2, 0] {
        net.with(home, |core, now| core.attach_client(now, callee.node_id()));
        let route = vec![net.nodes[home].id().into(), callee.node_id().into()];
        let call = client_call(&mut net, 0, &caller, route, 40 + home as u64);
        answer_as(&mut net, home, &callee, &callee);
        net.eventually(5, "a result", |net| net.nodes[0].results.contains_key(&call));
        let result = net.nodes[0].results[&call].clone();
        assert!(matches!(result, CallResult::Answered { responder, .. } if responder == callee.node_id()));
        net.with(home, |core, now| core.detach_client(now, callee.node_id()));
    }
}

#[test]
fn an_answer_that_somebody_else_signed_is_not_believed() {
    let mut net = Net::ring(2);
    let (caller, callee, thief) = (net.world.client(0), net.world.client(1), net.world.client(2));
    net.with(0, |core, now| core.attach_client(now, caller.node_id()));
    net.with(1, |core, now| core.attach_client(now, callee.node_id()));
    let route = vec![net.nodes[1].id().into(), callee.node_id().into()];
    let call = client_call(&mut net, 0, &caller, route, 50);
    answer_as(&mut net, 1, &callee, &thief);
    net.eventually(9, "a result", |net| net.nodes[0].results.contains_key(&call));
    let result = &net.nodes[0].results[&call];
    assert!(matches!(result, CallResult::Refused(refusal) if refusal.code == ErrorCode::RequestTimeout));
    assert!(net.nodes[0].core.counters().unverified > 0);
}

#[test]
fn a_client_that_is_gone_is_not_found() {
    let mut net = Net::ring(2);
    let (caller, callee) = (net.world.client(0), net.world.client(1));
    net.with(0, |core, now| core.attach_client(now, caller.node_id()));
    let route = vec![net.nodes[1].id().into(), callee.node_id().into()];
    let call = client_call(&mut net, 0, &caller, route, 60);
    net.eventually(1, "a result", |net| net.nodes[0].results.contains_key(&call));
    let result = &net.nodes[0].results[&call];
    assert!(matches!(result, CallResult::Refused(refusal) if refusal.code == ErrorCode::NotFound));
}

#[test]
fn a_client_gets_a_repeated_request_once() {
    let mut net = Net::ring(2);
    let (caller, callee) = (net.world.client(0), net.world.client(1));
    net.with(0, |core, now| core.attach_client(now, caller.node_id()));
    net.with(1, |core, now| core.attach_client(now, callee.node_id()));
    let route = vec![net.nodes[1].id().into(), callee.node_id().into()];
    client_call(&mut net, 0, &caller, route, 70);
    net.run(Duration::from_secs(2));
    assert!(net.nodes[0].core.counters().retransmitted >= 3);
    assert_eq!(net.nodes[1].incoming.len(), 1);
}

#[test]
fn a_store_that_is_repeated_is_carried_out_once() {
    let mut net = Net::ring(3);
    let contents = MessageContents::of(&store("a", 7)).to_bytes();
    let owner = owner(&net, "a");
    let writer = net.world.client(0);
    let sender = (owner + 1) % 3;
    net.with(sender, |core, now| core.attach_client(now, writer.node_id()));
    for _ in 0..3 {
        let security = sign_message(writer.as_ref(), OVERLAY, TransactionId(9), &contents);
        let call = Call {
            destination: at("a"),
            contents: contents.clone(),
            signed: Some((TransactionId(9), security)),
            from_client: Some(writer.node_id()),
            deadline: net.now.instant + Duration::from_secs(5),
            trace: None,
        };
        let call = net.with(sender, |core, now| core.call(now, call));
        net.eventually(5, "a result", |net| net.nodes[sender].results.contains_key(&call));
        assert_eq!(replicas(&net.nodes[sender].results[&call]).len(), 2);
    }
    assert_eq!(net.nodes[owner].storage.originals, 1);
}

#[test]
fn a_caller_hears_before_its_deadline() {
    let mut net = Net::ring(2);
    net.nodes[1].is_frozen = true;
    let deadline = net.now.instant + Duration::from_millis(300);
    let contents = MessageContents::of(&PingReq::default().into()).to_bytes();
    let destination = vec![net.nodes[1].id().into()];
    let call = Call {
        destination,
        contents,
        signed: None,
        from_client: None,
        deadline,
        trace: None,
    };
    let call = net.with(0, |core, now| core.call(now, call));
    net.eventually(1, "a result", |net| net.nodes[0].results.contains_key(&call));
    assert!(net.now.instant < deadline);
}

#[test]
fn a_cancelled_call_has_no_result() {
    let mut net = Net::ring(2);
    let id = net.nodes[1].id();
    let call = net.call(0, vec![id.into()], &PingReq::default().into());
    net.with(0, |core, now| core.cancel(now, call));
    net.run(Duration::from_secs(1));
    assert!(net.nodes[0].results.is_empty());
}

#[test]
fn each_hop_of_a_traced_request_is_seen_with_a_span_of_its_own() {
    let mut net = Net::ring(3);
    let trace = TraceContext {
        trace_id: [5; 16],
        span_id: [6; 8],
        flags: 1,
    };
    let contents = MessageContents::of(&PingReq::default().into()).to_bytes();
    let destination = vec![net.nodes[1].id().into(), net.nodes[2].id().into()];
    let deadline = net.now.instant + Duration::from_secs(5);
    let call = Call {
        destination,
        contents,
        signed: None,
        from_client: None,
        deadline,
        trace: Some(trace),
    };
    let call = net.with(0, |core, now| core.call(now, call));
    net.eventually(5, "a result", |net| net.nodes[0].results.contains_key(&call));
    assert!(matches!(net.nodes[0].traced[..], [Traced::Called(called, _)] if called == call));
    let [Traced::Forwarded(forwarded, next)] = &net.nodes[1].traced[..] else {
        panic!("{:?}", net.nodes[1].traced)
    };
    assert_eq!((forwarded.context.trace_id, forwarded.parent), ([5; 16], [6; 8]));
    assert_eq!(*next, net.nodes[2].id());
    let [Traced::Arrived(arrived, kinds), Traced::Ended(ended, Ending::Answered)] = &net.nodes[2].traced[..] else {
        panic!("{:?}", net.nodes[2].traced)
    };
    assert_eq!(
        (arrived.parent, arrived.context.span_id),
        (forwarded.context.span_id, *ended)
    );
    assert!(kinds.is_empty(), "a Ping names none");
    assert!(matches!(
        net.nodes[0].results[&call],
        CallResult::Answered { hops: 2, .. }
    ));
}

#[test]
fn a_trace_that_nobody_records_is_not_followed() {
    let mut net = Net::ring(2);
    let trace = TraceContext {
        trace_id: [5; 16],
        span_id: [6; 8],
        flags: 0,
    };
    let call = Call {
        destination: vec![net.nodes[1].id().into()],
        contents: MessageContents::of(&PingReq::default().into()).to_bytes(),
        signed: None,
        from_client: None,
        deadline: net.now.instant + Duration::from_secs(5),
        trace: Some(trace),
    };
    let call = net.with(0, |core, now| core.call(now, call));
    net.eventually(5, "a result", |net| net.nodes[0].results.contains_key(&call));
    assert!(net.nodes[1].traced.is_empty(), "{:?}", net.nodes[1].traced);
}

#[test]
fn a_large_answer_comes_back_over_two_links() {
    let mut net = Net::ring(3);
    let large = StoreReq {
        resource: resource("large"),
        replica_number: 0,
        kind_data: vec![StoreKindData {
            kind: KindId::P2PSIP_PROBE,
            generation_counter: 1,
            values: vec![StoredData {
                storage_time: 1,
                lifetime: 3600,
                value: StoredDataValue::Single(wire::DataValue::of(Bytes::from(vec![1; 40_000]))),
                signature: Signature {
                    algorithm: SignatureAndHash::ED25519,
                    identity: SignerIdentity::CertHash {
                        hash_alg: SignerIdentity::SHA256,
                        hash: Bytes::from(vec![1; 32]),
                    },
                    value: Bytes::from_static(b"believed"),
                },
            }],
        }],
    };
    net.ask(0, at("large"), &large.into());
    let owner = owner(&net, "large");
    let (reader, middle) = ((owner + 1) % 3, (owner + 2) % 3);
    let route = vec![net.nodes[middle].id().into(), net.nodes[owner].id().into()];
    let read = net.ask(reader, route, &fetch("large"));
    assert_eq!(fetched_time(&read), Some(1));
    assert!(matches!(read, CallResult::Answered { hops: 2, .. }));
}

#[test]
fn a_request_with_a_wrong_signature_is_dropped() {
    let mut net = Net::ring(2);
    let writer = net.world.client(0);
    let sender = (owner(&net, "a") + 1) % 2;
    net.with(sender, |core, now| core.attach_client(now, writer.node_id()));
    let contents = MessageContents::of(&store("a", 7)).to_bytes();
    let security = sign_message(writer.as_ref(), "another.overlay", TransactionId(9), &contents);
    let call = Call {
        destination: at("a"),
        contents,
        signed: Some((TransactionId(9), security)),
        from_client: Some(writer.node_id()),
        deadline: net.now.instant + Duration::from_secs(5),
        trace: None,
    };
    let call = net.with(sender, |core, now| core.call(now, call));
    net.eventually(5, "a result", |net| net.nodes[sender].results.contains_key(&call));
    let result = &net.nodes[sender].results[&call];
    assert!(matches!(result, CallResult::Refused(refusal) if refusal.code == ErrorCode::RequestTimeout));
    assert_eq!(net.nodes[1 - sender].core.counters().unverified, 5);
    assert_eq!(net.nodes[1 - sender].storage.originals, 0);
}

#[test]
fn find_is_for_the_own_part_of_the_ring() {
    let mut net = Net::ring(2);
    let elsewhere = (owner(&net, "a") + 1) % 2;
    let place = ResourceId::from(net.nodes[elsewhere].id());
    let find: Body = FindReq {
        resource: resource("a"),
        kinds: vec![KindId::P2PSIP_PROBE],
    }
    .into();
    let result = net.ask(0, vec![place.into()], &find);
    assert!(matches!(result, CallResult::Refused(refusal) if refusal.code == ErrorCode::NotFound));
}

#[test]
fn a_newer_document_goes_to_who_is_asked_with_it() {
    let mut net = Net::ring(2);
    let document = net.world.next_document();
    net.with(0, |core, now| core.handle_document(now, document));
    let id = net.nodes[1].id();
    let result = net.ask(0, vec![id.into()], &PingReq::default().into());
    assert!(matches!(body(&result), Body::PingAns(_)));
    assert_eq!(net.nodes[1].status().document_sequence, 2);
}

#[test]
fn a_joining_node_takes_records_of_its_own_range_only() {
    let mut net = Net::ring(2);
    let joining = net.start();
    net.eventually(5, "links", |net| net.nodes[joining].status().links.len() == 2);
    assert!(!net.nodes[joining].status().joined);
    let id = net.nodes[joining].id().to_u128();
    let distance = |index: &usize| net.nodes[*index].id().to_u128().wrapping_sub(id);
    let admitting = (0..2).min_by_key(distance).unwrap();
    net.nodes[admitting].is_frozen = true;
    let other = 1 - admitting;
    let Body::StoreReq(foreign) = store("a", 1) else {
        unreachable!()
    };
    let foreign = StoreReq {
        resource: net.nodes[other].id().into(),
        replica_number: 1,
        ..foreign
    };
    let destination = vec![net.nodes[joining].id().into()];
    let result = net.ask(other, destination, &foreign.into());
    assert!(matches!(result, CallResult::Refused(refusal) if refusal.code == ErrorCode::Forbidden));
}
