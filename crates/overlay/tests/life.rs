//! A peer as a real server while its storage, or the process itself, goes away and comes back.

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

use std::time::Duration;

use bytes::Bytes;
use p2psip_overlay::Error;
use peers::world::node_id;
use peers::{PATIENCE, Peers, contents};
use rpc::proto::bootstrap::v1::feed_response;
use tokio::time::{sleep, timeout};
use tonic::Status;
use wire::{
    Body, DataValue, Decode, Destination, KindId, MessageCode, MessageContents, ResourceId, Signature, StoreKindData,
    StoreReq, StoredData, StoredDataValue,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_storage_was_taken_stays_up_and_out_of_the_ring() {
    let peers = Peers::start(3).await;
    let stub = &peers.storages[2];
    stub.end(Status::failed_precondition("storage taken by instance 9"));
    let state = peers.until(2, |state| !state.joined && state.links == 0).await;
    assert!(!state.ready && !state.serving);
    assert_eq!(state.reasons, ["storage taken by instance 9"]);
    peers.until(0, |state| state.successors.len() == 1).await;
    assert_eq!(stub.sessions(), 1, "it does not open again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_without_an_answer_go_again_on_the_next_session() {
    let peers = Peers::start(1).await;
    let stub = &peers.storages[0];
    stub.set_deaf(true);
    let resource = ResourceId::of(b"somewhere");
    let store = store(resource);
    let storing = peers.call(0, Destination::Resource(resource), &store);
    let restarting = async {
        eventually(|| stub.unanswered() > 0).await;
        stub.set_deaf(false);
        stub.end(Status::unavailable("storage is killed"));
    };
    let (stored, ()) = timeout(PATIENCE, async { tokio::join!(storing, restarting) })
        .await
        .unwrap();
    let answer = MessageContents::from_bytes(&contents(&stored)).unwrap();
    assert_eq!(answer.code, MessageCode::STORE_ANS);
    assert_eq!(stub.sessions(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_storage_leaves_and_joins_again() {
    let peers = Peers::start(3).await;
    let stub = &peers.storages[1];
    stub.set_deaf(true);
    let resource = ResourceId::from(node_id("peer 1"));
    let stored = peers.call(0, Destination::Resource(resource), &store(resource)).await;
    assert_ne!(
        stored.responder,
        Bytes::copy_from_slice(node_id("peer 1").as_bytes()),
        "the next peer owns the place by now"
    );
    let state = peers.until(1, |state| !state.joined).await;
    assert!(
        state.reasons.iter().any(|reason| reason == "storage does not answer"),
        "{state:?}"
    );
    stub.set_deaf(false);
    stub.end(Status::unavailable("storage is killed"));
    peers.until(1, |state| state.joined && state.serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_founder_joins_its_ring_when_it_starts_again() {
    let mut peers = Peers::start(3).await;
    peers.restart(0).await;
    let state = peers.until(0, |state| state.joined && state.serving).await;
    assert_eq!(state.successors.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_serves_one_node_only() {
    let mut peers = Peers::start(1).await;
    let server = peers.servers.pop().unwrap();
    server.shutdown(PATIENCE).await.unwrap();
    let refused = peers.open_as(0, "another peer").await;
    assert!(matches!(refused, Err(Error::Owner(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_document_is_there_at_the_next_start() {
    let mut peers = Peers::start(1).await;
    let xml = peers.world.document_without("peer 7").xml().clone();
    peers.feed.push(1, feed_response::Item::Document(xml)).await;
    peers.until(0, |state| state.document_sequence == 2).await;
    peers.restart(0).await;
    peers
        .until(0, |state| state.document_sequence == 2 && state.serving)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_cannot_obey_a_document_stays_up_outside_and_comes_back() {
    let mut peers = Peers::start(3).await;
    let xml = peers.world.document_of_later_version().xml().clone();
    let acknowledged = peers.feed.push(1, feed_response::Item::Document(xml)).await;
    assert!(acknowledged.refusal.is_some());
    let state = peers.until(0, |state| !state.joined && state.links == 0).await;
    assert!(!state.ready && !state.serving);
    assert_eq!(state.reasons, ["document 2 needs urn:example:later: upgrade"]);
    peers.until(1, |state| state.successors.len() == 1).await;
    let mut documents = peers.servers[0].documents();
    timeout(PATIENCE, documents.wanted()).await.unwrap();
    let next = peers.world.next_document();
    documents.bring(Ok(next)).await;
    let state = peers.until(0, |state| state.joined && state.serving).await;
    assert_eq!((state.document_sequence, state.successors.len()), (3, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_does_not_start_with_a_document_that_a_later_one_kept() {
    let mut peers = Peers::start(1).await;
    // A document that is brought was read before.
    let later = peers.world.document_of_later_version();
    peers.servers[0].documents().bring(Ok(later)).await;
    peers.until(0, |state| state.document_sequence == 2).await;
    let server = peers.servers.pop().unwrap();
    server.shutdown(PATIENCE).await.unwrap();
    let refused = peers.open_as(0, "peer 0").await;
    assert!(
        matches!(&refused, Err(Error::Document(demand)) if demand.sequence == 2),
        "{refused:?}"
    );
}

fn store(resource: ResourceId) -> Body {
    let values = vec![StoredData {
        storage_time: 1,
        lifetime: 3600,
        value: StoredDataValue::Single(DataValue::of(Bytes::from_static(b"value"))),
        signature: Signature::none(),
    }];
    let kind_data = vec![StoreKindData {
        kind: KindId::P2PSIP_PROBE,
        generation_counter: 0,
        values,
    }];
    let store = StoreReq {
        resource,
        replica_number: 0,
        kind_data,
    };
    store.into()
}

async fn eventually(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it becomes so");
}
