//! kill -9 at any moment: what was answered is on the disk, and the disk is whole.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rpc::Role;
use rpc::proto::bootstrap::v1 as proto;
use tokio_stream::StreamExt;

use super::feed::{bind, client, users};
use super::world::{OVERLAY, alice, make_overlay, nodes};

/// A child process makes users and tokens, enrolls nodes, and says which are answered, until it is killed.
#[tokio::test]
async fn a_killed_process_loses_nothing_it_has_answered() {
    let folder = tempfile::tempdir().unwrap();
    make_overlay(folder.path()).await;
    let mut kept: Vec<u64> = Vec::new();
    for round in 1..=3 {
        // What the last child had half done is not known to be anything.
        let first = kept.last().map_or(1, |last| last + 2);
        kept.extend(run_and_kill(folder.path(), first, 5 * round));

        let mut server = bind(folder.path()).await.unwrap();
        let mut operator = client(&server, Role::Operator);
        let users = users(&mut operator).await;
        let versions: BTreeMap<_, _> = users.into_iter().map(|user| (user.aor, user.version)).collect();
        let tokens = operator.list_tokens(rpc::unbounded(proto::ListTokensRequest {}));
        let tokens: Vec<_> = tokens.await.unwrap().into_inner().map(Result::unwrap).collect().await;
        for number in &kept {
            assert_eq!(versions.get(&aor(*number)), Some(&1), "round {round}: user {number}");
            let token = tokens.iter().find(|token| token.id == id(*number));
            let enrolled = token.map_or(0, |token| token.used_by.len());
            assert_eq!(enrolled, 2, "round {round}: nodes of token {number}");
        }
        // The next child needs the folder.
        server.shutdown(Duration::from_secs(5)).await.unwrap();
    }
}

/// Not a test: the child of the one above, a copy of this program.
#[tokio::test]
async fn child_that_serves() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
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
        };
        let secret = operator.create_token(token).await.unwrap().into_inner().secret;
        operator.enroll(nodes(&secret)).await.unwrap();
        println!("kept {number}");
        std::io::stdout().flush().unwrap();
    }
}

/// Lets a child run until it has said so many numbers; gives all that it said before its end.
fn run_and_kill(folder: &Path, first: u64, enough: usize) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::killed::child_that_serves", "--nocapture"])
        .env(CHILD, folder)
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

const CHILD: &str = "P2PSIP_BOOTSTRAP_CHILD";
const FIRST: &str = "P2PSIP_BOOTSTRAP_FIRST";
