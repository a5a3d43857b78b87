//! The component over a direct channel: sessions, order, and what is left after its end.

#![allow(clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

#[path = "../../core/storage-core/tests/rig/world.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod world;

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use identity::{Sign, sign_value};
use p2psip_storage::{Config, Durability, Error, Server};
use rpc::{
    Channel, Duplex, Role,
    proto::storage::v1::{self as pb, session_request, session_response, storage_client::StorageClient},
};
use runtime::{Component, Monitor};
use tonic::Code;
use wire::{
    DataValue, Decode, Encode, FetchAns, FetchReq, KindId, MessageCode, ModelSpecifier, NodeId, ResourceId,
    StoreKindData, StoreReq, StoredData, StoredDataSpecifier, StoredDataValue,
};
use world::{World, bucket, node_id, user_name};

type Session = Duplex<pb::SessionRequest, pb::SessionResponse>;

#[tokio::test]
async fn what_was_stored_is_fetched_from_a_new_server_on_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::at(now_ms());
    let server = server(folder.path()).await;
    let (mut session, opened) = open(&server, &world, 1).await.unwrap();
    assert_eq!((opened.session, opened.records), (1, 0));
    assert!(store(&mut session, &mut world, 2, 1).await);
    let stats = client(&server).stats(pb::StatsRequest {}).await.unwrap().into_inner();
    assert_eq!(
        (stats.records, stats.values, stats.holder.map(|holder| holder.instance)),
        (1, 1, Some(1))
    );
    server.shutdown(Duration::from_secs(5)).await.unwrap();

    let server = self::server(folder.path()).await;
    let (mut session, again) = open(&server, &world, 2).await.unwrap();
    assert_eq!((again.store_id, again.values), (opened.store_id, 1));
    assert_eq!(fetch(&mut session, 2).await, 1);
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::at(now_ms());
    let server = server(folder.path()).await;
    let (mut session, _) = open(&server, &world, 1).await.unwrap();
    for number in 1..=20 {
        session
            .send(request(2 * number, store_command(&mut world, number)))
            .await
            .unwrap();
        session
            .send(request(2 * number + 1, fetch_command(number)))
            .await
            .unwrap();
    }
    for number in 2..=41 {
        let response = session.receive().await.unwrap().unwrap();
        assert_eq!(response.id, number);
        assert_eq!(response.document_sequence, 1);
        assert!(matches!(response.answer, Some(session_response::Answer::Applied(_))));
    }
}

#[tokio::test]
async fn a_newer_session_ends_the_older_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::at(now_ms());
    let server = server(folder.path()).await;
    let (mut older, _) = open(&server, &world, 1).await.unwrap();
    let (mut newer, opened) = open(&server, &world, 2).await.unwrap();
    assert_eq!(opened.session, 2);
    let status = older.receive().await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("taken by instance 2"), "{status}");
    assert!(store(&mut newer, &mut world, 2, 1).await);
}

#[tokio::test]
async fn what_is_sent_again_on_a_newer_session_is_carried_out_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::at(now_ms());
    let server = server(folder.path()).await;
    let (older, _) = open(&server, &world, 1).await.unwrap();
    let command = store_command(&mut world, 2);
    older.send(request(2, command.clone())).await.unwrap();
    let (mut newer, _) = open(&server, &world, 1).await.unwrap();
    newer.send(request(2, command)).await.unwrap();
    let response = newer.receive().await.unwrap().unwrap();
    assert!(matches!(response.answer, Some(session_response::Answer::Applied(_))));
    let stats = client(&server).stats(pb::StatsRequest {}).await.unwrap().into_inner();
    assert_eq!(stats.values, 1);
}

#[tokio::test]
async fn an_emptied_volume_is_another_store() {
    let volume = tempfile::tempdir().unwrap();
    let (folder, mut world) = (volume.path().join("storage"), World::at(now_ms()));
    let first = server(&folder).await;
    let (mut session, before) = open(&first, &world, 1).await.unwrap();
    assert!(store(&mut session, &mut world, 2, 1).await);
    first.shutdown(Duration::from_secs(5)).await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();

    let second = server(&folder).await;
    let (_session, after) = open(&second, &world, 2).await.unwrap();
    assert_ne!(after.store_id, before.store_id);
    assert_eq!(after.records, 0);
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_moved_aside_and_another_one_begins() {
    let volume = tempfile::tempdir().unwrap();
    let (folder, mut world) = (volume.path().join("storage"), World::at(now_ms()));
    let mut before = Vec::new();
    for instance in 1..=2 {
        let first = server(&folder).await;
        let (mut session, opened) = open(&first, &world, instance).await.unwrap();
        assert!(store(&mut session, &mut world, instance, 1).await);
        before = opened.store_id.to_vec();
        first.shutdown(Duration::from_secs(5)).await.unwrap();
    }
    let log = std::fs::File::options().write(true).open(folder.join("db")).unwrap();
    log.set_len(500).unwrap();

    let second = server(&folder).await;
    let (mut session, after) = open(&second, &world, 3).await.unwrap();
    assert_ne!(after.store_id, before);
    assert_eq!(after.records, 0);
    assert!(store(&mut session, &mut world, 4, 1).await);
    let names = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let aside = names
        .into_iter()
        .find(|name| name.to_str().unwrap().starts_with("damaged-"));
    assert!(folder.join(aside.expect("nothing is deleted")).join("db").exists());
}

#[tokio::test]
async fn another_node_is_refused_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::at(now_ms());
    let first = server(folder.path()).await;
    drop(open(&first, &world, 1).await.unwrap());
    first.shutdown(Duration::from_secs(5)).await.unwrap();

    let second = Server::bind(config(folder.path()), None, component()).await.unwrap();
    let mut client = client(&second);
    let mut session = Duplex::open(|up| async move { client.session(up).await })
        .await
        .unwrap();
    session.send(opening(node_id("other"), &world, 1)).await.unwrap();
    let status = session.receive().await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    second.shutdown(Duration::from_secs(5)).await.unwrap();

    let refused = Server::bind(config(folder.path()), Some(node_id("other")), component()).await;
    assert!(matches!(refused, Err(Error::Owner(_))), "{refused:?}");
}

#[tokio::test]
async fn a_session_begins_with_open_and_a_good_document() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::at(now_ms());
    let server = server(folder.path()).await;
    for first in [request(1, fetch_command(1)), {
        let mut opening = opening(node_id("own"), &world, 1);
        if let Some(session_request::Command::Open(open)) = &mut opening.command {
            open.document = Bytes::from_static(b"<overlay/>");
        }
        opening
    }] {
        let mut client = client(&server);
        let mut session = Duplex::open(|up| async move { client.session(up).await })
            .await
            .unwrap();
        session.send(first).await.unwrap();
        assert_eq!(session.receive().await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_server_that_drains_says_so_to_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::at(now_ms());
    let server = server(folder.path()).await;
    let (mut session, _) = open(&server, &world, 1).await.unwrap();
    let (ended, status) = tokio::join!(server.shutdown(Duration::from_secs(5)), session.receive());
    ended.unwrap();
    assert_eq!(status.unwrap_err().code(), Code::Unavailable);
}

/// A child process stores for one user after the other and says whose Store was acknowledged, until it is killed.
#[tokio::test]
async fn a_killed_process_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let epoch = now_ms();
    let mut kept: Vec<u64> = Vec::new();
    for round in 1..=2 {
        // The Store that the last child was in may be on the disk or not, under another signer's name.
        let first = kept.last().map_or(1, |last| last + 2);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_stores", "--nocapture"])
            .env(CHILD, folder.path())
            .env(FIRST, first.to_string())
            .env(EPOCH, epoch.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let number = |line: String| line.strip_prefix("kept ").and_then(|number| number.parse::<u64>().ok());
        kept.extend(lines.by_ref().filter_map(number).take(20));
        child.kill().unwrap();
        child.wait().unwrap();
        kept.extend(lines.filter_map(number));
        assert!(kept.len() >= round * 20, "the child ended by itself: {kept:?}");

        let server = server(folder.path()).await;
        let (mut session, _) = open(&server, &World::at(epoch), 1).await.unwrap();
        for user in kept.iter().copied() {
            assert_eq!(fetch(&mut session, user).await, 1, "round {round}: user {user} is lost");
        }
        server.shutdown(Duration::from_secs(5)).await.unwrap();
    }
}

/// Not a test: the child of the one above, a copy of this program.
#[tokio::test]
async fn child_that_stores() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let number = |name| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (first, mut world) = (number(FIRST), World::at(number(EPOCH)));
    let server = server(Path::new(&folder)).await;
    let (mut session, _) = open(&server, &world, 1).await.unwrap();
    for number in first..first + 60 {
        assert!(store(&mut session, &mut world, number, number).await);
        println!("kept {number}");
        std::io::stdout().flush().unwrap();
    }
    std::future::pending::<()>().await;
}

async fn server(folder: &Path) -> Server {
    Server::bind(config(folder), Some(node_id("own")), component())
        .await
        .expect("the folder is free")
}

fn component() -> Component {
    Monitor::new().component("storage", "own")
}

fn config(folder: &Path) -> Config {
    Config {
        data: folder.to_path_buf(),
        durability: Durability::System,
        ..Config::default()
    }
}

fn client(server: &Server) -> StorageClient<Channel> {
    StorageClient::new(Channel::direct(server.served(), Role::Overlay))
}

async fn open(server: &Server, world: &World, instance: u64) -> Result<(Session, pb::Opened), tonic::Status> {
    let mut client = client(server);
    let mut session = Duplex::open(|up| async move { client.session(up).await }).await?;
    session.send(opening(node_id("own"), world, instance)).await?;
    match session.receive().await?.and_then(|response| response.answer) {
        Some(session_response::Answer::Opened(opened)) => Ok((session, opened)),
        other => panic!("{other:?}"),
    }
}

fn opening(node_id: NodeId, world: &World, instance: u64) -> pb::SessionRequest {
    let node_id = Bytes::copy_from_slice(node_id.as_bytes());
    let open = pb::Open {
        node_id,
        instance,
        document: world.signed_document(),
    };
    request(1, session_request::Command::Open(open))
}

fn request(id: u64, command: session_request::Command) -> pb::SessionRequest {
    pb::SessionRequest {
        id,
        traceparent: String::new(),
        command: Some(command),
    }
}

/// Stores for a user; tells whether it was acknowledged.
async fn store(session: &mut Session, world: &mut World, user: u64, id: u64) -> bool {
    session
        .send(request(id, store_command(world, user)))
        .await
        .expect("an open session");
    let response = session.receive().await.expect("an open session").expect("an answer");
    assert_eq!(response.id, id);
    matches!(response.answer, Some(session_response::Answer::Applied(_)))
}

/// Counts the values of a user.
async fn fetch(session: &mut Session, user: u64) -> usize {
    session
        .send(request(7, fetch_command(user)))
        .await
        .expect("an open session");
    match session
        .receive()
        .await
        .expect("an open session")
        .and_then(|response| response.answer)
    {
        Some(session_response::Answer::Applied(applied)) => {
            let answer = FetchAns::from_bytes(&applied.body).expect("a good answer");
            assert_eq!(
                applied.certificates.is_empty(),
                answer.kind_responses[0].values.is_empty()
            );
            answer.kind_responses[0].values.len()
        }
        other => panic!("{other:?}"),
    }
}

fn store_command(world: &mut World, user: u64) -> session_request::Command {
    let signer = world.signer(&format!("node:user{user}/n"));
    let key = Bytes::copy_from_slice(node_id("n").as_bytes());
    let value = StoredDataValue::Dictionary {
        key,
        value: DataValue::of(Bytes::from_static(b"here")),
    };
    let (kind, resource) = (KindId::SIP_REGISTRATION, resource(user));
    let signature = sign_value(&signer, resource, kind, world.epoch, &value);
    let data = StoredData {
        storage_time: world.epoch,
        lifetime: 3600,
        value,
        signature,
    };
    let kind_data = vec![StoreKindData {
        kind,
        generation_counter: 0,
        values: vec![data],
    }];
    session_request::Command::Apply(pb::Apply {
        code: MessageCode::STORE_REQ.0.into(),
        body: StoreReq {
            resource,
            replica_number: 0,
            kind_data,
        }
        .to_bytes(),
        certificates: bucket(&[&signer]),
        signer: signer.certificates().first().cloned(),
    })
}

fn fetch_command(user: u64) -> session_request::Command {
    let specifier = StoredDataSpecifier {
        kind: KindId::SIP_REGISTRATION,
        generation: 0,
        model: ModelSpecifier::Dictionary(Vec::new()),
    };
    session_request::Command::Apply(pb::Apply {
        code: MessageCode::FETCH_REQ.0.into(),
        body: FetchReq {
            resource: resource(user),
            specifiers: vec![specifier],
        }
        .to_bytes(),
        certificates: Vec::new(),
        signer: None,
    })
}

fn resource(user: u64) -> ResourceId {
    ResourceId::of(user_name(&format!("user{user}")).as_bytes())
}

/// The servers here have the real clock, so everything must be valid now.
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    u64::try_from(since.as_millis()).expect("a few more years")
}

const CHILD: &str = "P2PSIP_STORAGE_CHILD";
const FIRST: &str = "P2PSIP_STORAGE_FIRST";
const EPOCH: &str = "P2PSIP_STORAGE_EPOCH";
