//! Several services of one overlay over HTTPS, each beside an overlay of its own.

use std::time::Duration;

use overlay_config::SignedDocument;
use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::bootstrap_client::BootstrapClient;
use rpc::{Channel, Role};
use runtime::Monitor;
use tempfile::TempDir;
use tokio_stream::StreamExt as _;
use tonic::Code;

use super::feed::{Feed, acknowledge, client, next, open};
use super::world::{ALICE, OPTIONS, alice, make_overlay_at, name_service, nodes, put_document};
use crate::driver::unix_ms;
use crate::server::Pauses;
use crate::{Config, Existing, OffLine, Server, make, state};

/// One host: a service and the stream of the overlay beside it.
struct Host {
    folder: TempDir,
    address: &'static str,
    server: Server,
}

impl Host {
    async fn start(folder: TempDir, address: &'static str) -> Host {
        let config = Config {
            folder: folder.path().to_path_buf(),
            https_bind: vec![format!("{address}:8443").parse().unwrap()],
            ..Config::default()
        };
        let pauses = Pauses {
            exchange: Duration::from_millis(20),
            ..Pauses::default()
        };
        let component = Monitor::new().component("bootstrap", "");
        let server = Server::bind_with(&config, OPTIONS, component, pauses).await.unwrap();
        Host {
            folder,
            address,
            server,
        }
    }

    /// Ends and begins anew with another document.
    async fn with_document(mut self, document: &SignedDocument) -> Host {
        self.server.shutdown(PATIENCE).await.unwrap();
        drop(self.server);
        let store = state::open(self.folder.path(), OPTIONS).unwrap();
        put_document(&store, document).await;
        drop(store);
        Host::start(self.folder, self.address).await
    }

    fn operator(&self) -> BootstrapClient<Channel> {
        client(&self.server, Role::Operator)
    }

    /// Waits until the service lists users so.
    async fn lists(&self, expected: &[(&str, &str, u64)]) {
        let listed = async {
            loop {
                let answers = self
                    .operator()
                    .list_users(rpc::unbounded(proto::ListUsersRequest::default()))
                    .await;
                let users: Result<Vec<_>, _> = answers.unwrap().into_inner().collect().await;
                let is_so = |user: &proto::ListUsersResponse, row: &(&str, &str, u64)| {
                    (user.aor.as_str(), user.display_name.as_str(), user.published_version) == *row
                };
                // A new one lists nobody yet.
                let users = users.unwrap_or_default();
                if users.len() == expected.len() && users.iter().zip(expected).all(|(user, row)| is_so(user, row)) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, listed)
            .await
            .expect("the users are listed so");
    }
}

fn url(address: &str) -> String {
    format!("https://{address}:8443")
}

/// A further service's folder, and the document that names it.
async fn newcomer(off_line: &mut OffLine, address: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let existing = Existing {
        root: off_line.root.certificate().hash(),
        document: off_line.document.xml().clone(),
        now_ms: unix_ms(),
    };
    let made = make(folder.path(), OPTIONS, &existing).await.unwrap();
    let mut document = off_line.document.document().clone();
    name_service(&mut document, &made, &url(address));
    off_line.document = SignedDocument::sign(document, &off_line.signer);
    folder
}

/// The overlay beside a service stores what it is given.
async fn store(feed: &mut Feed) {
    let item = next(feed).await;
    acknowledge(feed, item.id, None).await;
}

fn renamed(name: &str) -> proto::PutUserRequest {
    proto::PutUserRequest {
        aor: ALICE.to_owned(),
        display_name: Some(name.to_owned()),
        ..Default::default()
    }
}

async fn token(host: &Host, id: &str) -> String {
    let request = proto::CreateTokenRequest {
        id: id.to_owned(),
        lifetime_seconds: 60,
        peer: true,
        edges: 1,
        ..Default::default()
    };
    host.operator().create_token(request).await.unwrap().into_inner().secret
}

#[tokio::test]
async fn a_second_service_does_all_that_the_first_does_and_outlives_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut off_line = make_overlay_at(folder.path(), &url("127.8.36.1")).await;
    let first = Host::start(folder, "127.8.36.1").await;
    first.operator().put_user(alice()).await.unwrap();
    let mut feed = open(&first.server, 1).await;
    store(&mut feed).await;
    first.lists(&[(ALICE, "", 1)]).await;
    drop(feed);

    // The second waits until a document names it, and the first has that.
    let second = Host::start(newcomer(&mut off_line, "127.8.36.2").await, "127.8.36.2").await;
    let refused = second.operator().put_user(renamed("Alice")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let first = first.with_document(&off_line.document).await;
    second.lists(&[(ALICE, "", 1)]).await;

    // Each takes what is changed at the other, and what the other's overlay has stored.
    second.operator().put_user(renamed("Alice")).await.unwrap();
    let mut feed = open(&second.server, 2).await;
    store(&mut feed).await;
    first.lists(&[(ALICE, "Alice", 2)]).await;
    let secret = token(&first, "one").await;
    let enrolled = async {
        loop {
            if let Ok(enrolled) = second.operator().enroll(nodes(&secret)).await {
                return enrolled.into_inner();
            }
            tokio::task::yield_now().await;
        }
    };
    let enrolled = tokio::time::timeout(PATIENCE, enrolled).await.unwrap();
    assert_eq!((enrolled.edges.len(), enrolled.record_keys.len()), (1, 1));

    // The first is gone for good: the second goes on, and a third takes everything from it.
    drop(first);
    second.operator().put_user(renamed("Alicia")).await.unwrap();
    store(&mut feed).await;
    second.lists(&[(ALICE, "Alicia", 3)]).await;
    let third = Host::start(newcomer(&mut off_line, "127.8.36.3").await, "127.8.36.3").await;
    let second = second.with_document(&off_line.document).await;
    third.lists(&[(ALICE, "Alicia", 3)]).await;
    let secret = token(&third, "two").await;
    third.operator().enroll(nodes(&secret)).await.unwrap();
    drop((second, third));
}

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);
