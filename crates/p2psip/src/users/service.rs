//! The users as the bootstrap service tells them.

use std::time::{Duration, Instant};

use rpc::proto::bootstrap::v1::bootstrap_client::BootstrapClient;
use rpc::proto::bootstrap::v1::{DeleteUserRequest, ListUsersRequest, ListUsersResponse, PutUserRequest, UserState};
use rpc::{Channel, unbounded};
use runtime::ExitCode;
use sip_core::aor::Aor;
use tonic::{Code, Status};

use crate::connect::Peer;
use crate::failure::Failure;

/// A way to the users.
pub(super) struct Users<'a> {
    peer: &'a Peer,
    timeout: Duration,
}

impl<'a> Users<'a> {
    pub(super) fn new(peer: &'a Peer, timeout: Duration) -> Self {
        Self { peer, timeout }
    }

    /// Those whose AOR begins with `prefix`.
    pub(super) async fn list(&self, prefix: &str, with_removed: bool) -> Result<Vec<ListUsersResponse>, Failure> {
        let request = ListUsersRequest {
            prefix: prefix.to_owned(),
            with_removed,
        };
        let mut client = self.client();
        self.peer.all(self.timeout, client.list_users(unbounded(request))).await
    }

    /// One user, removed or not.
    pub(super) async fn find(&self, aor: &Aor) -> Result<Option<ListUsersResponse>, Failure> {
        let users = self.list(aor.as_str(), true).await?;
        Ok(users.into_iter().find(|user| user.aor == aor.as_str()))
    }

    /// Writes a user; returns the new version, or `None` when another than `if_version` is current.
    pub(super) async fn put(&self, request: PutUserRequest) -> Result<Option<u64>, Failure> {
        let answer = self.client().put_user(request).await;
        self.version(answer.map(|written| written.into_inner().version))
    }

    /// Removes a user; returns as [`Users::put`].
    pub(super) async fn delete(&self, request: DeleteUserRequest) -> Result<Option<u64>, Failure> {
        let answer = self.client().delete_user(request).await;
        self.version(answer.map(|written| written.into_inner().version))
    }

    /// Waits until the overlay has acknowledged a version.
    pub(super) async fn published(&self, aor: &Aor, version: u64) -> Result<ListUsersResponse, Failure> {
        let waiting = async {
            loop {
                match self.find(aor).await? {
                    Some(user) if user.published_version >= version => return Ok(user),
                    _ => tokio::time::sleep(POLL).await,
                }
            }
        };
        let outcome = tokio::time::timeout(self.timeout, waiting).await;
        outcome.unwrap_or_else(|_| {
            Err(Failure::new(
                ExitCode::Timeout,
                anyhow::anyhow!(
                    "version {version} of {aor} is saved, but the overlay has not acknowledged it within {}: it is sent again \
                     until it has; `p2psip users show {aor}` tells",
                    runtime::units::format_duration(self.timeout),
                    aor = aor.as_str(),
                ),
            ))
        })
    }

    /// Waits until it is known how the edges that serve the user were told of a version, for as long as that may take.
    pub(super) async fn told(&self, aor: &Aor, version: u64) -> Result<ListUsersResponse, Failure> {
        let until = Instant::now() + TELLING;
        loop {
            let user = self.find(aor).await?.ok_or_else(|| super::unknown(aor))?;
            // Another change may have come meanwhile; its own command tells of it.
            if user.notice.is_some() || user.version != version || Instant::now() >= until {
                return Ok(user);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn version(&self, written: Result<u64, Status>) -> Result<Option<u64>, Failure> {
        match written {
            Ok(version) => Ok(Some(version)),
            Err(status) if status.code() == Code::Aborted => Ok(None),
            Err(status) => Err(self.peer.failed(&status)),
        }
    }

    fn client(&self) -> BootstrapClient<Channel> {
        BootstrapClient::new(self.peer.channel.clone())
    }
}

/// Whether the user is there, and not removed.
pub(super) fn exists(user: &ListUsersResponse) -> bool {
    user.state() != UserState::Removed
}

/// The service gives the overlay two seconds to name the edges, and them two seconds to answer.
const TELLING: Duration = Duration::from_secs(5);

/// The contract tells no change by itself; a peer on the same machine has it by the first look.
const POLL: Duration = Duration::from_millis(50);
