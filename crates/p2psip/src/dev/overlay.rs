//! The whole overlay: made or opened again, joined, its users fed, and ended in order.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use overlay_config::BootstrapNode;
use rpc::proto::bootstrap::v1::bootstrap_client::BootstrapClient;
use rpc::proto::bootstrap::v1::{CreateTokenRequest, ListUsersRequest, PutUserRequest};
use rpc::proto::overlay::v1::overlay_client::OverlayClient;
use rpc::proto::overlay::v1::{WatchRequest, WatchResponse};
use rpc::{Channel, Role, unbounded};
use runtime::{ExitCode, Monitor};
use tonic::{Code, Status};

use super::folder::{Folder, FolderError, Overlay as Kept};
use super::ladder::Cast;
use super::peer::{EdgeStart, Peer, Start, edge_folder, peer_folder};
use super::ports::{FIRST, PortError, Ports};
use super::users::{DOMAIN, PASSWORD, USERS};
use crate::enroll::{self, EdgeCredentials, PeerCredentials, Token, now_ms};
use crate::failure::Failure;
use crate::operator::{Bound, Channels};
use crate::supervisor::Supervisor;

/// A running overlay.
pub(crate) struct Overlay {
    pub(crate) peers: Vec<Peer>,
    pub(crate) bootstrap: Channel,
}

/// What an overlay is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape<'a> {
    /// The address of all peers.
    pub(crate) bind: IpAddr,
    /// How many there are, if not as many as the folder holds.
    pub(crate) peers: Option<u8>,
    /// Further names of the edges.
    pub(crate) names: &'a [String],
}

#[cfg(test)]
impl Shape<'_> {
    pub(crate) fn of(bind: IpAddr, peers: Option<u8>) -> Self {
        Self {
            bind,
            peers,
            names: &[],
        }
    }
}

impl Overlay {
    /// Starts all peers of the overlay in `folder`, on one address; `progress` hears how far it is. What was started when it
    /// fails or is dropped is in the supervisor's hands.
    pub(crate) async fn start(
        folder: &Folder,
        Shape { bind, peers, names }: Shape<'_>,
        supervisor: &mut Supervisor,
        progress: impl Fn(String),
    ) -> Result<Self, Failure> {
        let mut kept = folder.overlay(DOMAIN, bind, peers)?;
        let numbers = 1..=u16::from(kept.peers);
        for number in numbers.clone() {
            Ports::of(bind, number).probe(number)?;
        }
        // Those of a kept folder find each other, and form the ring together.
        let were_members = kept.root.is_some();
        progress("opening the bootstrap service".to_owned());
        make_if_new(folder, &mut kept).await?;
        let key_log = std::env::var_os("SSLKEYLOGFILE").is_some_and(|path| !path.is_empty());
        let config = bootstrap::Config {
            folder: folder.bootstrap(),
            https_bind: vec![Ports::of(bind, FIRST).https],
            ..bootstrap::Config::default()
        };
        // What peer 1 tells of itself includes the bootstrap service beside it.
        let first = Monitor::new();
        let component = first.component("bootstrap", "");
        let service = bootstrap::Server::bind(&config, Default::default(), component).await;
        let service = service.map_err(Failure::cannot_start)?;
        let served = service.served();
        supervisor.run("bootstrap", service);
        let bootstrap = Channel::direct(served.clone(), Role::Operator);

        let mut started: Vec<(Peer, EdgeStart)> = Vec::new();
        for number in numbers {
            progress(format!("peer {number} of {} starts", kept.peers));
            let place = folder.peer(number);
            let (member, edge) = enrolled(&place, &bootstrap, number == FIRST).await?;
            let start = Start {
                number,
                ports: Ports::of(bind, number),
                names,
                member,
                edge,
                folder: &place,
                bootstrap: (number == FIRST).then_some(&served),
                key_log,
                monitor: if number == 1 { first.clone() } else { Monitor::new() },
            };
            let (peer, edge) = start.overlay(supervisor).await?;
            if !were_members {
                joined(&peer).await?;
            }
            started.push((peer, edge));
        }
        progress("the peers join".to_owned());
        for (peer, _) in &started {
            joined(peer).await?;
        }
        // Now that more peers may be there than before.
        folder.keep(&kept)?;
        let mut peers = Vec::new();
        for (mut peer, edge) in started {
            edge.edge(&mut peer, supervisor).await?;
            peers.push(peer);
        }
        Ok(Self { peers, bootstrap })
    }

    /// Waits until every edge is attached to its peer. The peers may still be copying to each other.
    pub(crate) async fn attached(&self) -> Result<(), Failure> {
        for peer in &self.peers {
            until(peer, "to attach its edge", |state| {
                state.serving && !state.edges.is_empty()
            })
            .await?;
        }
        Ok(())
    }

    /// Gives the overlay its users, unless it has them, and waits until it holds them.
    pub(crate) async fn feed_users(&self) -> Result<(), Failure> {
        let mut client = BootstrapClient::new(self.bootstrap.clone());
        for user in USERS {
            let request = PutUserRequest {
                aor: format!("{user}@{DOMAIN}"),
                password: Some(PASSWORD.to_owned()),
                display_name: Some(user.to_owned()),
                // Only a new user: what an operator changed since stays.
                if_version: Some(0),
                ..PutUserRequest::default()
            };
            match client.put_user(request).await {
                Ok(_) => {}
                Err(status) if status.code() == Code::Aborted => {}
                Err(status) => return Err(Failure::of_status(&status, "1")),
            }
        }
        let published = async {
            while !are_published(&mut client).await? {
                tokio::time::sleep(POLL).await;
            }
            Ok(())
        };
        let late = |_| Status::deadline_exceeded("the overlay did not store the users");
        let outcome = tokio::time::timeout(PATIENCE, published).await.map_err(late);
        outcome
            .and_then(|done| done)
            .map_err(|status| Failure::of_status(&status, "1"))
    }

    /// Serves peer 1 at the operator's socket.
    pub(crate) fn open_socket(&self, socket: Bound, supervisor: &mut Supervisor) {
        let Some(first) = self.peers.first() else { return };
        let channels = Channels {
            overlay: first.overlay.clone(),
            storage: first.storage.clone(),
            sip_edge: first.sip_edge.clone(),
            bootstrap: Some(self.bootstrap.clone()),
        };
        supervisor.run(OPERATOR, socket.serve(channels));
    }

    /// Who is who, for the ladder.
    pub(crate) fn cast(&self) -> Cast {
        let number = |index: usize| index + 1;
        let each = || self.peers.iter().enumerate();
        Cast {
            peers: each()
                .map(|(index, peer)| (peer.peer_id.to_string(), number(index)))
                .collect(),
            edges: each()
                .map(|(index, peer)| (peer.edge_id.to_string(), number(index)))
                .collect(),
            ..Cast::default()
        }
    }
}

/// Makes the overlay's CAs and its document, where that was not done before.
async fn make_if_new(folder: &Folder, kept: &mut Kept) -> Result<(), Failure> {
    if kept.root.is_some() {
        return Ok(());
    }
    // From now on the folder is ours, whatever happens.
    folder.keep(kept)?;
    let place = folder.bootstrap();
    if place.exists() {
        // A first start that was cut off: nobody has been enrolled yet.
        std::fs::remove_dir_all(&place).map_err(|error| Failure::from(super::folder::failed(&place)(error)))?;
    }
    // RFC 6940 §11.1: bootstrap nodes; three, so that any two may be away.
    let bootstrap_nodes = (1..=u16::from(kept.peers.min(3))).map(|number| {
        let address = Ports::of(kept.bind, number).reload;
        BootstrapNode {
            host: address.ip().to_string(),
            port: address.port(),
        }
    });
    let genesis = bootstrap::Genesis {
        overlay: kept.overlay.clone(),
        bootstrap_nodes: bootstrap_nodes.collect(),
        enrollment_servers: vec![format!("https://{}/enroll", Ports::of(kept.bind, FIRST).https)],
        off_line: None,
        now_ms: now_ms(),
    };
    let made = bootstrap::init(&place, Default::default(), &genesis).await;
    // The keys that rule the overlay end here: nobody changes the document of an overlay for trying things out.
    let root = made.map_err(Failure::cannot_start)?.root.certificate().hash();
    kept.root = Some(wire::hex::encode(&root));
    Ok(folder.keep(kept)?)
}

/// What a peer and its edge are. At its first start each enrolls as on a host of its own: over HTTPS, with one token for both.
async fn enrolled(
    folder: &Path,
    bootstrap: &Channel,
    is_first: bool,
) -> Result<(PeerCredentials, EdgeCredentials), Failure> {
    let (peer, edge) = (peer_folder(folder), edge_folder(folder));
    if let (Some(peer), Some(edge)) = (
        PeerCredentials::load(&peer, now_ms())?,
        EdgeCredentials::load(&edge, now_ms())?,
    ) {
        return Ok((peer, edge));
    }
    let token = token(bootstrap).await?;
    let peer = enroll::peer_that_may_found(&peer, &token, async |_| is_first).await?;
    Ok((peer, enroll::edge(&edge, &token).await?))
}

/// A token of its own for each attempt; one that a crash left behind ends by itself.
async fn token(bootstrap: &Channel) -> Result<Token, Failure> {
    let id = identity::issue::random_node_id().map_err(Failure::internal)?;
    let request = CreateTokenRequest {
        id: id.to_string(),
        lifetime_seconds: TOKEN_LIFETIME,
        peer: true,
        edges: 1,
        ..CreateTokenRequest::default()
    };
    let made = BootstrapClient::new(bootstrap.clone()).create_token(request).await;
    let made = made.map_err(|status| Failure::of_status(&status, "1"))?.into_inner();
    Token::of(made, Vec::new()).ok_or_else(|| Failure::internal(anyhow::anyhow!("a token without a root")))
}

async fn joined(peer: &Peer) -> Result<(), Failure> {
    until(peer, "to join", |state| state.joined && state.serving).await
}

/// Waits until a peer says what is hoped for.
async fn until(peer: &Peer, hope: &str, is_it: impl Fn(&WatchResponse) -> bool) -> Result<(), Failure> {
    let name = peer.ports.reload.to_string();
    let mut last: Option<WatchResponse> = None;
    let watching = async {
        let mut states = OverlayClient::new(peer.overlay.clone())
            .watch(unbounded(WatchRequest {}))
            .await?
            .into_inner();
        while let Some(state) = states.message().await? {
            if is_it(&state) {
                return Ok(());
            }
            last = Some(state);
        }
        Err(Status::unavailable("it ended"))
    };
    match tokio::time::timeout(PATIENCE, watching).await {
        Ok(outcome) => outcome.map_err(|status| Failure::of_status(&status, &name)),
        Err(_) => {
            let reasons = last.map(|state| state.reasons.join("; ")).unwrap_or_default();
            let error = anyhow::anyhow!("the peer at {name} took longer than {PATIENCE:?} {hope}: {reasons}");
            Err(Failure::new(ExitCode::Timeout, error))
        }
    }
}

/// Whether the overlay holds the newest version of each user.
async fn are_published(client: &mut BootstrapClient<Channel>) -> Result<bool, Status> {
    let mut users = client
        .list_users(unbounded(ListUsersRequest::default()))
        .await?
        .into_inner();
    let mut are_all = true;
    while let Some(user) = users.message().await? {
        are_all &= user.published_version >= user.version;
    }
    Ok(are_all)
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        Self::cannot_start(error)
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        Self::cannot_start(error)
    }
}

/// Name of the group that is the operator's socket.
const OPERATOR: &str = "operator's socket";
/// A peer on the same machine joins in less than a second; more than this is a fault worth telling.
const PATIENCE: Duration = Duration::from_secs(30);
/// In seconds; it is used at once.
const TOKEN_LIFETIME: u64 = 600;
const POLL: Duration = Duration::from_millis(20);
