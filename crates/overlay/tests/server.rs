//! Peers as real servers: TLS links over loopback, gRPC on direct channels, a stub of storage.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

#[allow(dead_code, reason = "a part of it is used here")]
mod peers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use identity::{Sign as _, Signer, Verifier, sign_message, sign_value};
use peers::world::{OVERLAY, node_id};
use peers::{PATIENCE, Peers, contents};
use rpc::proto::bootstrap::v1::{Ask, SignedStore, feed_response};
use rpc::proto::overlay::v1::{
    AttachRequest, AttachResponse, CallRequest, Hello, LeaveRequest, Reply, WatchRequest, attach_request,
    attach_response, call_response,
};
use rpc::{Duplex, Role};
use tonic::Code;
use wire::{
    AppAttachAns, AppAttachReq, Body, Changed, DataValue, Decode, Destination, Encode, ErrorCode, FetchReq, KindId,
    MessageCode, MessageContents, ModelSpecifier, PingAns, PingReq, ResourceId, StoreKindData, StoreReq, StoredData,
    StoredDataSpecifier, StoredDataValue, TransactionId,
};

type Attached = Duplex<AttachRequest, AttachResponse>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_join_and_reach_each_other() {
    let peers = Peers::start(3).await;
    for target in 0..3 {
        let id = node_id(&format!("peer {target}"));
        let response = peers.call(0, Destination::Node(id), &PingReq::default().into()).await;
        assert_eq!(response.responder, Bytes::copy_from_slice(id.as_bytes()));
        assert_eq!(response.hops, u32::from(target != 0));
        let answer = MessageContents::from_bytes(&contents(&response)).unwrap();
        assert_eq!(answer.code, MessageCode::PING_ANS);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_sees_the_ring_and_a_leave() {
    let peers = Peers::start(2).await;
    let mut watch = peers
        .client(0, Role::Operator)
        .watch(rpc::unbounded(WatchRequest {}))
        .await
        .unwrap()
        .into_inner();
    let state = watch.message().await.unwrap().unwrap();
    assert!(state.joined && state.serving);
    assert_eq!(state.overlay, OVERLAY);
    let left = peers.client(1, Role::Operator).leave(LeaveRequest {}).await;
    assert_eq!(left.unwrap().into_inner().records, 0);
    let alone = async {
        loop {
            let state = watch.message().await.unwrap().unwrap();
            if state.successors.is_empty() {
                return state;
            }
        }
    };
    let state = timeout(PATIENCE, alone).await.unwrap();
    assert_eq!(state.node_id, Bytes::copy_from_slice(node_id("peer 0").as_bytes()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_signs_from_then_on() {
    let peers = Peers::start(2).await;
    let renewed = peers.world.renewed("peer 1");
    let certificate = renewed.certificates()[0].clone();
    peers.servers[1].renewer().renew(renewed).await.unwrap();
    let response = peers
        .call(0, Destination::Node(node_id("peer 1")), &PingReq::default().into())
        .await;
    assert!(response.certificates.contains(&certificate));
}

async fn attach(peers: &Peers, index: usize, edge: &Signer) -> Attached {
    let mut client = peers.client(index, Role::SipEdge);
    let mut stream = Duplex::open(|request| client.attach(request)).await.unwrap();
    let Some(attach_response::Message::Challenge(challenge)) = stream.receive().await.unwrap().unwrap().message else {
        panic!("a challenge comes first");
    };
    let block = sign_message(edge, OVERLAY, TransactionId(0), &rpc::attach_contents(&challenge.nonce));
    let hello = Hello {
        security_block: block.to_bytes(),
    };
    stream
        .send(AttachRequest {
            message: Some(attach_request::Message::Hello(hello)),
        })
        .await
        .unwrap();
    let message = stream.receive().await.unwrap().unwrap().message;
    let home = Bytes::copy_from_slice(node_id(&format!("peer {index}")).as_bytes());
    assert!(matches!(message, Some(attach_response::Message::Attached(attached)) if attached.node_id == home));
    stream
}

fn app_attach_request(edge: &Signer, home: &str, callee: &Signer) -> CallRequest {
    let request = AppAttachReq {
        ufrag: Bytes::new(),
        password: Bytes::new(),
        application: 5060,
        role: Bytes::from_static(b"passive"),
        candidates: Vec::new(),
    };
    let contents = MessageContents::of(&request.into()).to_bytes();
    let id = TransactionId(0x1234_5678_9abc_def0);
    CallRequest {
        destinations: vec![
            Destination::Node(node_id(home)).to_bytes(),
            Destination::Node(callee.node_id()).to_bytes(),
        ],
        security_block: sign_message(edge, OVERLAY, id, &contents).to_bytes(),
        contents,
        transaction_id: Some(id.0),
        client: Bytes::copy_from_slice(edge.node_id().as_bytes()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_attach_reaches_an_edge_at_another_peer_and_its_answer_comes_back() {
    let peers = Peers::start(2).await;
    let (caller, callee) = (peers.world.edge("edge a"), peers.world.edge("edge b"));
    let _at_home = attach(&peers, 0, &caller).await;
    let mut at_callee = attach(&peers, 1, &callee).await;
    let answering = async {
        let Some(attach_response::Message::Incoming(incoming)) = at_callee.receive().await.unwrap().unwrap().message
        else {
            panic!("an Incoming");
        };
        let answer = AppAttachAns {
            ufrag: Bytes::new(),
            password: Bytes::new(),
            application: 5060,
            role: Bytes::from_static(b"active"),
            candidates: Vec::new(),
        };
        let contents = MessageContents::of(&answer.into()).to_bytes();
        let id = TransactionId(incoming.transaction_id);
        let security_block = sign_message(callee.as_ref(), OVERLAY, id, &contents).to_bytes();
        let reply = Reply {
            id: incoming.id,
            contents,
            security_block,
        };
        at_callee
            .send(AttachRequest {
                message: Some(attach_request::Message::Reply(reply)),
            })
            .await
            .unwrap();
        at_callee
    };
    let mut client = peers.client(0, Role::SipEdge);
    let calling = client.call(app_attach_request(&caller, "peer 1", &callee));
    let (response, at_callee) = timeout(PATIENCE, async { tokio::join!(calling, answering) })
        .await
        .unwrap();
    let response = response.unwrap().into_inner();
    assert_eq!(response.responder, Bytes::copy_from_slice(callee.node_id().as_bytes()));
    let answer = MessageContents::from_bytes(&contents(&response))
        .unwrap()
        .body()
        .unwrap();
    assert!(matches!(answer, Body::AppAttachAns(_)));

    drop(at_callee);
    let gone = async {
        loop {
            let request = app_attach_request(&caller, "peer 1", &callee);
            let request = CallRequest {
                ..resign(request, &caller)
            };
            let response = peers.client(0, Role::SipEdge).call(request).await.unwrap().into_inner();
            if let Some(call_response::Result::Refusal(refusal)) = response.result {
                return refusal.code;
            }
        }
    };
    assert_eq!(
        timeout(PATIENCE, gone).await.unwrap(),
        u32::from(ErrorCode::NotFound.number())
    );
}

/// The same request in another transaction.
fn resign(request: CallRequest, edge: &Signer) -> CallRequest {
    let id = TransactionId(0x0fed_cba9_8765_4321);
    let security_block = sign_message(edge, OVERLAY, id, &request.contents).to_bytes();
    CallRequest {
        transaction_id: Some(id.0),
        security_block,
        ..request
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_attachment_of_an_edge_wins() {
    let peers = Peers::start(1).await;
    let edge = peers.world.edge("edge a");
    let mut first = attach(&peers, 0, &edge).await;
    let _second = attach(&peers, 0, &edge).await;
    let ended = timeout(PATIENCE, first.receive()).await.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Aborted);
}

/// Before, an edge that was behind was taken for one that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_reads_slowly_stays_attached() {
    let peers = Peers::start(2).await;
    let edge = peers.world.edge("edge a");
    let mut attached = attach(&peers, 0, &edge).await;
    let ping = MessageContents::of(&Body::PingReq(PingReq {
        padding: Bytes::from(vec![7; 1000]),
    }));
    let request = CallRequest {
        destinations: [node_id("peer 0"), edge.node_id()]
            .map(|node| Destination::Node(node).to_bytes())
            .to_vec(),
        contents: ping.to_bytes(),
        ..CallRequest::default()
    };
    let mut asking = JoinSet::new();
    for _ in 0..1000 {
        let (mut client, request) = (peers.client(1, Role::Operator), request.clone());
        asking.spawn(async move { drop(client.call(request).await) });
    }
    asking.join_all().await;
    // The share of one node, and then whoever asks next.
    for _ in 0..128 {
        let message = attached.receive().await.unwrap().unwrap().message;
        assert!(matches!(message, Some(attach_response::Message::Incoming(_))));
    }
    let ping = PingReq::default().into();
    let asking = peers.call(0, Destination::Node(edge.node_id()), &ping);
    let (_, next) = tokio::join!(asking, attached.receive());
    assert!(matches!(
        next.unwrap().unwrap().message,
        Some(attach_response::Message::Incoming(_))
    ));
}

/// 200 strangers a second connect and say nothing. Before, they had all 256 places within two seconds, and every link of an
/// honest node was refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_made_beside_strangers_that_say_nothing() {
    let peers = Peers::start(1).await;
    let address = peers.servers[0].addr().unwrap();
    let (opened, mut count) = watch::channel(0_usize);
    let strangers = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        let mut open = VecDeque::new();
        loop {
            pace.tick().await;
            open.push_back(TcpStream::connect(address).await);
            open.truncate(1000);
            opened.send_replace(open.len());
        }
    });
    count.wait_for(|count| *count >= 300).await.unwrap();
    let (_, chain, key) = peers.world.member("peer 1");
    let verifier = Arc::new(Verifier::new(peers.world.trust()));
    let endpoint = link::Endpoint::new(verifier, &chain, &key).unwrap();
    let mut failed = 0;
    for _ in 0..20 {
        failed += usize::from(endpoint.connect(address, Some(node_id("peer 0"))).await.is_err());
    }
    strangers.abort();
    assert_eq!(failed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_under_another_key_is_refused() {
    let peers = Peers::start(1).await;
    let edge = peers.world.edge("edge a");
    let mut client = peers.client(0, Role::SipEdge);
    let mut stream = Duplex::open(|request| client.attach(request)).await.unwrap();
    stream.receive().await.unwrap();
    let block = sign_message(
        edge.as_ref(),
        OVERLAY,
        TransactionId(0),
        &rpc::attach_contents(&[0; 32]),
    );
    let hello = Hello {
        security_block: block.to_bytes(),
    };
    stream
        .send(AttachRequest {
            message: Some(attach_request::Message::Hello(hello)),
        })
        .await
        .unwrap();
    assert_eq!(stream.receive().await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_for_an_edge_that_is_not_attached_is_refused_at_the_seam() {
    let peers = Peers::start(1).await;
    let (caller, callee) = (peers.world.edge("edge a"), peers.world.edge("edge b"));
    let request = app_attach_request(&caller, "peer 0", &callee);
    let refused = peers.client(0, Role::SipEdge).call(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_says_so_to_its_streams() {
    let mut peers = Peers::start(2).await;
    let edge = peers.world.edge("edge a");
    let mut attached = attach(&peers, 1, &edge).await;
    let server = peers.servers.pop().unwrap();
    let (ended, told) = tokio::join!(server.shutdown(PATIENCE), attached.receive());
    ended.unwrap();
    assert_eq!(told.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fed_record_is_stored_and_acknowledged() {
    let resource = ResourceId::of(b"alice@dev.p2psip.test");
    let peers = Peers::start(2).await;
    let signer = peers.world.user_signer();
    let value = StoredDataValue::Dictionary {
        key: Bytes::copy_from_slice(signer.node_id().as_bytes()),
        value: DataValue::of(Bytes::from_static(b"record")),
    };
    let signature = sign_value(signer.as_ref(), resource, KindId::P2PSIP_USER, 1, &value);
    let values = vec![StoredData {
        storage_time: 1,
        lifetime: 3600,
        value,
        signature,
    }];
    let kind_data = vec![StoreKindData {
        kind: KindId::P2PSIP_USER,
        generation_counter: 0,
        values,
    }];
    let store = MessageContents::of(
        &StoreReq {
            resource,
            replica_number: 0,
            kind_data,
        }
        .into(),
    )
    .to_bytes();
    let security_block = sign_message(signer.as_ref(), OVERLAY, TransactionId(7), &store).to_bytes();
    let store = SignedStore {
        transaction_id: 7,
        contents: store,
        security_block,
    };
    let acknowledge = peers.feed.push(5, feed_response::Item::Store(store)).await;
    assert_eq!((acknowledge.id, acknowledge.refusal), (5, None));
    let specifier = StoredDataSpecifier {
        kind: KindId::P2PSIP_USER,
        generation: 0,
        model: ModelSpecifier::Dictionary(Vec::new()),
    };
    let fetch: Body = FetchReq {
        resource,
        specifiers: vec![specifier],
    }
    .into();
    let response = peers.call(1, Destination::Resource(resource), &fetch).await;
    let Ok(Body::FetchAns(answer)) = MessageContents::from_bytes(&contents(&response)).unwrap().body() else {
        panic!("a FetchAns");
    };
    assert_eq!(answer.kind_responses[0].values.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fed_request_reaches_edges_here_and_elsewhere() {
    let peers = Peers::start(2).await;
    for (index, name) in ["edge a", "edge b"].into_iter().enumerate() {
        let edge = peers.world.edge(name);
        let mut attached = attach(&peers, index, &edge).await;
        let changed = Changed {
            resource: ResourceId::of(b"alice"),
            kind: KindId::P2PSIP_USER,
            generation_counter: 3,
        };
        let ping = MessageContents {
            extensions: vec![changed.to_extension()],
            ..MessageContents::of(&PingReq::default().into())
        };
        let way = [node_id(&format!("peer {index}")), edge.node_id()];
        let ask = Ask {
            destinations: way.map(|node| Destination::Node(node).to_bytes()).to_vec(),
            contents: ping.to_bytes(),
            timeout_ms: 5000,
        };
        let answering = async {
            let Some(attach_response::Message::Incoming(incoming)) = attached.receive().await.unwrap().unwrap().message
            else {
                panic!("an Incoming");
            };
            assert_eq!(incoming.contents, ping.to_bytes());
            let pong = PingAns {
                response_id: 1,
                time: 2,
            };
            let contents = MessageContents::of(&pong.into()).to_bytes();
            let id = TransactionId(incoming.transaction_id);
            let reply = Reply {
                id: incoming.id,
                security_block: sign_message(edge.as_ref(), OVERLAY, id, &contents).to_bytes(),
                contents,
            };
            let message = Some(attach_request::Message::Reply(reply));
            attached.send(AttachRequest { message }).await.unwrap();
        };
        let asking = peers.feed.push(9, feed_response::Item::Ask(ask));
        let (acknowledge, ()) = tokio::join!(asking, answering);
        assert_eq!((acknowledge.id, acknowledge.refusal), (9, None));
        let answer = MessageContents::from_bytes(&acknowledge.contents).unwrap().body();
        assert!(matches!(answer, Ok(Body::PingAns(_))), "{answer:?}");
    }
    let nonsense = Ask {
        destinations: vec![Bytes::from_static(b"nowhere")],
        ..Ask::default()
    };
    let acknowledge = peers.feed.push(10, feed_response::Item::Ask(nonsense)).await;
    assert!(acknowledge.refusal.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_bans_a_peer_ends_its_links() {
    let mut peers = Peers::start(3).await;
    let xml = peers.world.document_without("peer 2").xml().clone();
    let acknowledge = peers.feed.push(1, feed_response::Item::Document(xml)).await;
    assert_eq!(acknowledge.refusal, None);
    let mut watch = peers
        .client(0, Role::Operator)
        .watch(rpc::unbounded(WatchRequest {}))
        .await
        .unwrap()
        .into_inner();
    let banned = Bytes::copy_from_slice(node_id("peer 2").as_bytes());
    let without = async {
        loop {
            let state = watch.message().await.unwrap().unwrap();
            if state.document_sequence == 2 && state.successors.iter().all(|neighbor| neighbor.node_id != banned) {
                return state;
            }
        }
    };
    assert_eq!(timeout(PATIENCE, without).await.unwrap().links, 1);
}
