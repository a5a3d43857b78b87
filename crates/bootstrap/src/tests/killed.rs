//! kill -9 at any moment: what was answered is on the disk, and the disk is whole.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::bootstrap_client::BootstrapClient;
use rpc::{Channel, Role};
use tokio_stream::StreamExt;

use super::feed::{Feed, acknowledge, bind, client, open, users};
use super::world::{OVERLAY, alice, make_overlay, nodes};

/// What others can bring back begins anew elsewhere; the overlay's keys cannot be had again.
#[tokio::test]
async fn a_store_that_cannot_be_read_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    make_overlay(folder.path()).await;
    // Opened again it has a snapshot, and all of it is needed.
    drop(crate::state::open(folder.path(), super::world::OPTIONS).unwrap());
    let log = folder.path().join("db");
    let cut = std::fs::read(&log).unwrap()[..500].to_vec();
    std::fs::write(&log, &cut).unwrap();
    for _ in 0..2 {
        let refused = bind(folder.path())
            .await
            .expect_err("nothing is begun without the keys");
        let text = refused.to_string();
        assert!(text.contains("p2psip bootstrap restore"), "{text}");
        assert!(text.contains(folder.path().to_str().unwrap()), "{text}");
    }
    let names = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(
        !names
            .into_iter()
            .any(|name| name.to_str().unwrap().starts_with("damaged-"))
    );
}

/// A child process makes users and tokens, enrolls nodes, and says which are answered, until it is killed.
#[tokio::test]
async fn a_killed_process_loses_nothing_it_has_answered() {
    let folder = tempfile::tempdir().unwrap();
    make_overlay(folder.path()).await;
    let mut kept: Vec<u64> = Vec::new();
    for round in 1..=3 {
        // What the last child had half done is not known to be anything.
        let first = kept.last().map_or(1, |last| last + 2);
        kept.extend(run_and_kill(folder.path(), SERVES, first, 5 * round));

        let mut server = bind(folder.path()).await.unwrap();
        let mut operator = client(&server, Role::Operator);
        let users = users(&mut operator).await;
        let versions: BTreeMap<_, _> = users.into_iter().map(|user| (user.aor, user.version)).collect();
        let tokens = operator.list_tokens(rpc::unbounded(proto::ListTokensRequest {}));
        let tokens: Vec<_> = tokens.await.unwrap().into_inner().map(Result::unwrap).collect().await;
        for number in &kept {
            assert_eq!(versions.get(&aor(*number)), Some(&1), "round {round}: user {number}");
            let token = tokens.iter().find(|token| token.id == id(*number));
            let enrolled = token.map_or(0, |token| token.enrolled.len());
            assert_eq!(enrolled, 2, "round {round}: nodes of token {number}");
        }
        // The next child needs the folder.
        server.shutdown(Duration::from_secs(5)).await.unwrap();
    }
}

/// A child process rotates the record key without a pause, until it is killed somewhere on the way.
#[tokio::test]
async fn a_killed_rotation_goes_on_and_locks_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    make_overlay(folder.path()).await;
    let mut server = bind(folder.path()).await.unwrap();
    let mut operator = client(&server, Role::Operator);
    for number in 0..USERS {
        let user = proto::PutUserRequest {
            aor: aor(number),
            display_name: Some("somebody".to_owned()),
            ..alice()
        };
        operator.put_user(user).await.unwrap();
    }
    server.shutdown(Duration::from_secs(5)).await.unwrap();
    drop((server, operator));
    for round in 1..=4 {
        let said = run_and_kill(folder.path(), ROTATES, 0, round);

        let mut server = bind(folder.path()).await.unwrap();
        let mut operator = client(&server, Role::Operator);
        // Only what opens has a name to show.
        let users = users(&mut operator).await;
        let opened = users.iter().filter(|user| user.display_name == "somebody");
        assert_eq!(opened.count(), users.len(), "round {round}");
        let fed = tokio::spawn(feed(open(&server, 1).await));
        let settled = settled(&mut operator).await;
        assert!(
            said.iter().all(|version| *version <= settled.into()),
            "{settled} after {said:?}"
        );
        fed.abort();
        server.shutdown(Duration::from_secs(5)).await.unwrap();
    }
}

/// Not a test: the child of the one above, a copy of this program.
#[tokio::test]
async fn child_that_rotates() {
    let Some(folder) = std::env::var_os(ROTATES.variable) else {
        return;
    };
    let server = bind(Path::new(&folder)).await.unwrap();
    let mut operator = client(&server, Role::Operator);
    let _fed = tokio::spawn(feed(open(&server, 1).await));
    loop {
        let version = settled(&mut operator).await;
        println!("kept {version}");
        std::io::stdout().flush().unwrap();
        let rotate = proto::RotateRecordKeyRequest {
            target: version + 1,
            without: Vec::new(),
        };
        operator.rotate_record_key(rotate).await.unwrap();
    }
}

/// Plays the overlay: stores whatever comes.
async fn feed(mut feed: Feed) {
    while let Ok(Some(item)) = feed.receive().await {
        acknowledge(&feed, item.id, None).await;
    }
}

/// Waits until no rotation goes on; the version of the key.
async fn settled(operator: &mut BootstrapClient<Channel>) -> u32 {
    let settled = async {
        loop {
            let keys = operator
                .record_keys(proto::RecordKeysRequest {})
                .await
                .unwrap()
                .into_inner();
            if let [version] = keys.versions[..] {
                return version;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), settled)
        .await
        .expect("the rotation ends")
}

/// Not a test: the child of the first one, a copy of this program.
#[tokio::test]
async fn child_that_serves() {
    let Some(folder) = std::env::var_os(SERVES.variable) else {
        return;
    };
    let first = std::env::var(FIRST).unwrap().parse::<u64>().unwrap();
    let server = bind(Path::new(&folder)).await.unwrap();
    let mut operator = client(&server, Role::Operator);
    for number in first.. {
        let user = proto::PutUserRequest {
            aor: aor(number),
            ..alice()
        };
        operator.put_user(user).await.unwrap();
        let token = proto::CreateTokenRequest {
            id: id(number),
            lifetime_seconds: 3600,
            peer: true,
            edges: 1,
            ..Default::default()
        };
        let secret = operator.create_token(token).await.unwrap().into_inner().secret;
        operator.enroll(nodes(&secret)).await.unwrap();
        println!("kept {number}");
        std::io::stdout().flush().unwrap();
    }
}

/// Lets a child run until it has said so many numbers; gives all that it said before its end.
fn run_and_kill(folder: &Path, part: Child, first: u64, enough: usize) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", part.name, "--nocapture"])
        .env(part.variable, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut numbers = lines
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("kept ").and_then(|number| number.parse().ok()));
    let mut said: Vec<u64> = numbers.by_ref().take(enough).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    said.extend(numbers);
    assert!(said.len() >= enough, "the child ended by itself: {said:?}");
    said
}

fn aor(number: u64) -> String {
    format!("user{number}@{OVERLAY}")
}

fn id(number: u64) -> String {
    format!("token{number}")
}

/// A test that is none: it runs where its variable names a folder.
#[derive(Clone, Copy)]
struct Child {
    name: &'static str,
    variable: &'static str,
}

const SERVES: Child = Child {
    name: "tests::killed::child_that_serves",
    variable: "P2PSIP_BOOTSTRAP_CHILD",
};
const ROTATES: Child = Child {
    name: "tests::killed::child_that_rotates",
    variable: "P2PSIP_BOOTSTRAP_ROTATING_CHILD",
};
/// More than a window holds.
const USERS: u64 = 100;
const FIRST: &str = "P2PSIP_BOOTSTRAP_FIRST";
