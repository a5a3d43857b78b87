//! The component over its contract, as an overlay and an operator see it.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use overlay_config::{Document, SignedDocument};
use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::bootstrap_client::BootstrapClient;
use rpc::proto::bootstrap::v1::feed_request::Message;
use rpc::proto::bootstrap::v1::feed_response::Item;
use rpc::{Channel, Duplex, Role};
use runtime::{Component, Monitor};
use tempfile::TempDir;
use tokio_stream::StreamExt;
use tonic::Code;
use wire::{Encode as _, FetchAns, MessageContents};

use super::world::{ALICE, OPTIONS, alice, make_overlay};
use crate::server::Pauses;
use crate::{Config, Server, StartError};

pub(super) type Feed = Duplex<proto::FeedRequest, proto::FeedResponse>;

#[tokio::test]
async fn overlay_gets_the_document_and_the_users_until_it_acknowledges() {
    let (folder, mut server) = start().await;
    let mut operator = client(&server, Role::Operator);
    operator.put_user(alice()).await.unwrap();

    let mut feed = open(&server, 0).await;
    let document = next(&mut feed).await;
    assert!(matches!(document.item, Some(Item::Document(_))));
    let store = next(&mut feed).await;
    assert!(matches!(store.item, Some(Item::Store(_))));
    drop(feed);

    // Not acknowledged: the next stream brings it again; the document is known by now.
    let mut feed = open(&server, 1).await;
    let again = next(&mut feed).await;
    assert_eq!(again, store);
    acknowledge(&feed, again.id, None).await;
    published(&mut operator, 1).await;
    // A change while the stream is open comes at once.
    operator.put_user(alice()).await.unwrap();
    let newer = next(&mut feed).await;
    assert!(newer.id > store.id);
    acknowledge(&feed, newer.id, None).await;
    published(&mut operator, 2).await;
    drop(feed);
    server.shutdown(Duration::from_secs(5)).await.unwrap();
    drop((server, operator));

    // After a restart nothing waits.
    let mut server = bind(folder.path()).await.unwrap();
    let mut operator = client(&server, Role::Operator);
    let mut feed = open(&server, 1).await;
    operator
        .put_user(proto::PutUserRequest {
            aor: "bob@overlay.example.org".to_owned(),
            ..alice()
        })
        .await
        .unwrap();
    let bob = next(&mut feed).await;
    assert_eq!(users(&mut operator).await.len(), 2);
    acknowledge(&feed, bob.id, None).await;
    drop(feed);
    server.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_change_is_told_once_the_overlay_has_it() {
    let (_folder, server) = start().await;
    let mut operator = client(&server, Role::Operator);
    let mut feed = open(&server, 1).await;
    operator.put_user(alice()).await.unwrap();
    let store = next(&mut feed).await;
    acknowledge(&feed, store.id, None).await;
    let ask = feed.receive().await.unwrap().unwrap();
    assert!(matches!(ask.item, Some(Item::Ask(_))), "{ask:?}");
    let listed = users(&mut operator).await;
    assert_eq!((listed[0].published_version, listed[0].notice.clone()), (1, None));

    // No edge serves her.
    let nobody = FetchAns {
        kind_responses: Vec::new(),
    };
    let empty = MessageContents::of(&nobody.into()).to_bytes();
    let answer = proto::Acknowledge {
        id: ask.id,
        contents: empty,
        ..Default::default()
    };
    let message = Some(Message::Acknowledge(answer));
    feed.send(proto::FeedRequest { message }).await.unwrap();
    assert!(notice(&mut operator).await.is_complete);

    // And with an overlay that goes before it says which do.
    operator.put_user(alice()).await.unwrap();
    let store = next(&mut feed).await;
    acknowledge(&feed, store.id, None).await;
    feed.receive().await.unwrap().unwrap();
    drop(feed);
    assert!(!notice(&mut operator).await.is_complete);
}

#[tokio::test]
async fn refused_items_come_again_later() {
    let (_folder, server) = start().await;
    let mut operator = client(&server, Role::Operator);
    operator.put_user(alice()).await.unwrap();
    let mut feed = open(&server, 1).await;
    let first = next(&mut feed).await;
    acknowledge(
        &feed,
        first.id,
        Some(proto::Refusal {
            code: 4,
            info: Default::default(),
        }),
    )
    .await;
    let again = next(&mut feed).await;
    assert_eq!(again, first);
    // The overlay holds a later storage_time: the message must be another.
    acknowledge(
        &feed,
        first.id,
        Some(proto::Refusal {
            code: 9,
            info: Default::default(),
        }),
    )
    .await;
    let newer = next(&mut feed).await;
    assert!(newer.id > first.id && newer.item != first.item);
}

#[tokio::test]
async fn newest_stream_wins_and_draining_ends_it() {
    let (_folder, mut server) = start().await;
    let mut old = open(&server, 1).await;
    let mut new = open(&server, 1).await;
    assert_eq!(old.receive().await.unwrap_err().code(), Code::Aborted);
    let (ended, shut) = tokio::join!(new.receive(), server.shutdown(Duration::from_secs(5)));
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
    shut.unwrap();
}

#[tokio::test]
async fn another_overlay_goes_on_where_one_ends() {
    let (_folder, server) = start().await;
    let mut operator = client(&server, Role::Operator);
    let mut first = open_as(1, &server, 1).await;
    operator.put_user(alice()).await.unwrap();
    let store = next(&mut first).await;
    // The second gets the document that it lacks, and stands by.
    let mut second = open_as(2, &server, 0).await;
    assert!(matches!(next(&mut second).await.item, Some(Item::Document(_))));
    drop(first);
    assert_eq!(next(&mut second).await, store);
    // The first comes back, and stands by too.
    let mut first = open_as(1, &server, 0).await;
    assert!(matches!(next(&mut first).await.item, Some(Item::Document(_))));
    acknowledge(&second, store.id, None).await;
    published(&mut operator, 1).await;
    let ask = second.receive().await.unwrap().unwrap();
    drop(second);
    // The first is asked now for all that the second was asked.
    let again = first.receive().await.unwrap().unwrap();
    assert_eq!(again.item, ask.item);
}

#[tokio::test]
async fn who_refuses_everything_gives_way() {
    let (_folder, server) = start().await;
    let mut operator = client(&server, Role::Operator);
    let mut first = open_as(1, &server, 1).await;
    let mut second = open_as(2, &server, 0).await;
    next(&mut second).await;
    operator.put_user(alice()).await.unwrap();
    for _ in 0..3 {
        let refused = next(&mut first).await;
        let refusal = proto::Refusal {
            code: 4,
            info: Default::default(),
        };
        acknowledge(&first, refused.id, Some(refusal)).await;
    }
    let store = next(&mut second).await;
    acknowledge(&second, store.id, None).await;
    published(&mut operator, 1).await;
}

#[tokio::test]
async fn a_rotation_goes_on_by_itself_also_after_a_restart() {
    let (folder, mut server) = start().await;
    let mut operator = client(&server, Role::Operator);
    operator.put_user(alice()).await.unwrap();
    let mut feed = open(&server, 1).await;
    let first = next(&mut feed).await;
    acknowledge(&feed, first.id, None).await;
    let rotate = proto::RotateRecordKeyRequest {
        target: 2,
        without: Vec::new(),
    };
    operator.rotate_record_key(rotate).await.unwrap();
    let resealed = next(&mut feed).await;
    assert_ne!(resealed.item, first.item);
    drop(feed);
    server.shutdown(Duration::from_secs(5)).await.unwrap();
    drop((server, operator));

    let mut server = bind(folder.path()).await.unwrap();
    let mut operator = client(&server, Role::Operator);
    let mut feed = open(&server, 1).await;
    assert_eq!(next(&mut feed).await, resealed);
    let keys = operator
        .record_keys(proto::RecordKeysRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!((keys.rotation(), keys.records_left), (proto::Rotation::Resealing, 1));
    acknowledge(&feed, resealed.id, None).await;
    let settled = async {
        loop {
            let keys = operator
                .record_keys(proto::RecordKeysRequest {})
                .await
                .unwrap()
                .into_inner();
            if keys.versions == [2] {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), settled)
        .await
        .expect("the old key is forgotten");
    drop(feed);
    server.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn first_message_opens_the_stream() {
    let (_folder, server) = start().await;
    let mut client = client(&server, Role::Overlay);
    let mut feed = Feed::open(|up| async move { client.feed(up).await }).await.unwrap();
    acknowledge(&feed, 1, None).await;
    assert_eq!(feed.receive().await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn refusals_have_the_codes_of_the_contract() {
    let (_folder, server) = start().await;
    let mut operator = client(&server, Role::Operator);
    let code = |outcome: Result<(), tonic::Status>| outcome.unwrap_err().code();
    let enroll = |token: &str| proto::EnrollRequest {
        credential: Some(proto::enroll_request::Credential::Token(token.to_owned())),
        ..Default::default()
    };
    assert_eq!(
        code(operator.enroll(enroll("wrong")).await.map(|_| ())),
        Code::Unauthenticated
    );
    let nobody = proto::DeleteUserRequest {
        aor: ALICE.to_owned(),
        if_version: None,
    };
    assert_eq!(code(operator.delete_user(nobody).await.map(|_| ())), Code::NotFound);
    let conflict = proto::PutUserRequest {
        if_version: Some(3),
        ..alice()
    };
    assert_eq!(code(operator.put_user(conflict).await.map(|_| ())), Code::Aborted);
    let token = proto::CreateTokenRequest {
        id: "a".to_owned(),
        lifetime_seconds: 60,
        peer: true,
        edges: 1,
        ..Default::default()
    };
    operator.create_token(token.clone()).await.unwrap();
    let other = proto::CreateTokenRequest { edges: 2, ..token };
    assert_eq!(
        code(operator.create_token(other).await.map(|_| ())),
        Code::AlreadyExists
    );
    let rotate = |target| proto::RotateRecordKeyRequest {
        target,
        without: Vec::new(),
    };
    assert_eq!(
        code(operator.rotate_record_key(rotate(5)).await.map(|_| ())),
        Code::Aborted
    );
    let listed: Vec<_> = operator
        .list_tokens(rpc::unbounded(proto::ListTokensRequest {}))
        .await
        .unwrap()
        .into_inner()
        .collect()
        .await;
    assert_eq!(listed.len(), 1);
    operator
        .revoke_token(proto::RevokeTokenRequest { id: "a".to_owned() })
        .await
        .unwrap();
    // An overlay is no operator.
    let mut overlay = client(&server, Role::Overlay);
    assert_eq!(
        code(overlay.put_user(alice()).await.map(|_| ())),
        Code::PermissionDenied
    );
}

#[tokio::test]
async fn an_overlay_brings_the_service_the_document_that_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let off_line = make_overlay(folder.path()).await;
    let next = Document {
        sequence: 2,
        ..off_line.document.document().clone()
    };
    let forged = make_overlay(tempfile::tempdir().unwrap().path()).await;
    let forged = SignedDocument::sign(next.clone(), &forged.signer);
    let next = SignedDocument::sign(next, &off_line.signer);
    let mut server = bind(folder.path()).await.unwrap();
    // Nothing that an overlay says is believed for its own sake.
    for (told, has) in [
        (forged.xml(), off_line.document.xml()),
        (next.xml(), next.xml()),
        (off_line.document.xml(), next.xml()),
    ] {
        let feed = open_with(1, &server, 2, told.clone()).await;
        let mut operator = client(&server, Role::Operator);
        let taken = async {
            // The stream is opened by a task of its own.
            while document(&mut operator).await != *has {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), taken).await.unwrap();
        drop(feed);
    }
    server.shutdown(Duration::from_secs(5)).await.unwrap();
    let server = bind(folder.path()).await.unwrap();
    assert_eq!(document(&mut client(&server, Role::Operator)).await, *next.xml());
}

async fn document(operator: &mut BootstrapClient<Channel>) -> Bytes {
    let document = operator.document(proto::DocumentRequest {}).await;
    document.unwrap().into_inner().document
}

#[tokio::test]
async fn folder_without_an_overlay_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        folder: folder.path().to_path_buf(),
        https_bind: Vec::new(),
        ..Config::default()
    };
    let error = Server::bind(&config, OPTIONS, component()).await.unwrap_err();
    assert!(matches!(error, StartError::Empty { .. }), "{error}");
}

async fn start() -> (TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    make_overlay(folder.path()).await;
    let server = bind(folder.path()).await.unwrap();
    (folder, server)
}

fn component() -> Component {
    Monitor::new().component("bootstrap", "")
}

pub(super) async fn bind(folder: &Path) -> Result<Server, StartError> {
    let config = Config {
        folder: folder.to_path_buf(),
        https_bind: Vec::new(),
        ..Config::default()
    };
    let pauses = Pauses {
        retry: Duration::from_millis(10),
        ..Pauses::default()
    };
    Server::bind_with(&config, OPTIONS, component(), pauses).await
}

pub(super) fn client(server: &Server, role: Role) -> BootstrapClient<Channel> {
    BootstrapClient::new(Channel::direct(server.served(), role))
}

pub(super) async fn open(server: &Server, document_sequence: u32) -> Feed {
    open_as(1, server, document_sequence).await
}

/// The stream of the overlay whose Node-ID is this octet, again and again.
async fn open_as(octet: u8, server: &Server, document_sequence: u32) -> Feed {
    open_with(octet, server, document_sequence, Bytes::new()).await
}

async fn open_with(octet: u8, server: &Server, document_sequence: u32, document: Bytes) -> Feed {
    let mut client = client(server, Role::Overlay);
    let feed = Feed::open(|up| async move { client.feed(up).await }).await.unwrap();
    let open = proto::FeedOpen {
        node_id: vec![octet; 16].into(),
        document_sequence,
        document,
    };
    feed.send(proto::FeedRequest {
        message: Some(Message::Open(open)),
    })
    .await
    .unwrap();
    feed
}

/// The next document or record.
pub(super) async fn next(feed: &mut Feed) -> proto::FeedResponse {
    loop {
        let item = feed.receive().await.unwrap().unwrap();
        if !matches!(item.item, Some(Item::Ask(_))) {
            return item;
        }
    }
}

pub(super) async fn acknowledge(feed: &Feed, id: u64, refusal: Option<proto::Refusal>) {
    let message = Message::Acknowledge(proto::Acknowledge {
        id,
        refusal,
        ..Default::default()
    });
    feed.send(proto::FeedRequest { message: Some(message) }).await.unwrap();
}

pub(super) async fn users(operator: &mut BootstrapClient<Channel>) -> Vec<proto::ListUsersResponse> {
    let answers = operator
        .list_users(rpc::unbounded(proto::ListUsersRequest::default()))
        .await
        .unwrap();
    answers.into_inner().map(Result::unwrap).collect().await
}

/// Waits until it is known how the newest version was told.
async fn notice(operator: &mut BootstrapClient<Channel>) -> proto::Notice {
    let told = async {
        loop {
            if let Some(notice) = users(operator).await.remove(0).notice {
                return notice;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), told)
        .await
        .expect("an end of the notice")
}

/// Waits until the acknowledgement of a version has been written.
async fn published(operator: &mut BootstrapClient<Channel>, version: u64) {
    let reached = async {
        while users(operator).await[0].published_version < version {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reached)
        .await
        .expect("the acknowledgement is written");
}
