//! The operator brings a document to one peer: it decides, and all others hear of it.

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

use bytes::Bytes;
use peers::Peers;
use rpc::Role;
use rpc::proto::overlay::v1::{Neighbor, PutDocumentRequest};
use tonic::{Code, Status};

async fn put(peers: &Peers, index: usize, document: &Bytes) -> Result<u32, Status> {
    let request = PutDocumentRequest {
        document: document.clone(),
    };
    let put = peers.client(index, Role::Operator).put_document(request).await?;
    Ok(put.into_inner().sequence)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_one_peer_was_given_is_in_force_at_all() {
    let mut peers = Peers::start(3).await;
    let next = peers.world.next_document().xml().clone();
    // Again is as good as once.
    for _ in 0..2 {
        assert_eq!(put(&peers, 1, &next).await.unwrap(), 2);
    }
    for index in 0..3 {
        let state = peers.until(index, |state| state.document_sequence == 2).await;
        assert_eq!(state.document, next);
        assert!(state.certificate_until_unix_ms > 0);
        let is_seen = |neighbor: &Neighbor| neighbor.document_sequence == Some(2);
        peers.until(index, |state| state.successors.iter().all(is_seen)).await;
    }
    // The service that did not send it is told.
    peers.feed.told(&next).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_is_wrong_is_refused_with_the_reason() {
    let mut peers = Peers::start(1).await;
    let first = peers.world.first_document().xml().clone();
    let next = peers.world.next_document().xml().clone();
    put(&peers, 0, &next).await.unwrap();
    let older = put(&peers, 0, &first).await.unwrap_err();
    assert_eq!(older.code(), Code::FailedPrecondition);
    assert!(
        older.message().contains("sequence 1, in force is 2"),
        "{}",
        older.message()
    );
    let unsigned = String::from_utf8(peers.world.next_document().xml().to_vec()).unwrap();
    let unsigned = unsigned.replace("<turn-density>0", "<turn-density>1");
    let unsigned = put(&peers, 0, &Bytes::from(unsigned)).await.unwrap_err();
    assert_eq!(unsigned.code(), Code::InvalidArgument, "{unsigned}");
    let nothing = put(&peers, 0, &Bytes::from_static(b"<overlay/>")).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument, "{nothing}");
    // A peer is not taken out of its overlay by its own operator.
    let later = peers.world.document_of_later_version().xml().clone();
    let later = put(&peers, 0, &later).await.unwrap_err();
    assert_eq!(later.code(), Code::FailedPrecondition);
    assert!(later.message().contains("upgrade"), "{}", later.message());
    assert_eq!(peers.until(0, |state| state.ready).await.document_sequence, 2);
}
