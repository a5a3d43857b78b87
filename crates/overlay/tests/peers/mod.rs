//! Real servers on this machine, with a storage that is a table.

pub mod bootstrap;
pub mod storage;
pub mod world;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::time::timeout;

use identity::Verifier;
use overlay_config::BootstrapNode;
use p2psip_overlay::{Config, Error, Member, Server, Upstreams};
use rpc::proto::overlay::v1::{
    CallRequest, CallResponse, WatchRequest, WatchResponse, call_response, overlay_client::OverlayClient,
};
use rpc::{Channel, Role};
use runtime::Monitor;
use wire::{Body, Destination, Encode, MessageContents};

use self::bootstrap::Feed;
use self::storage::Stub;
use self::world::World;

pub struct Peers {
    pub world: World,
    pub servers: Vec<Server>,
    /// The storage of each peer.
    pub storages: Vec<Stub>,
    folder: TempDir,
    first: SocketAddr,
    /// What the bootstrap service feeds the first peer.
    pub feed: Feed,
}

impl Peers {
    /// Starts so many peers and waits until all serve.
    pub async fn start(count: usize) -> Self {
        // The document names the first peer's address, so it is chosen before anything is bound.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let node = BootstrapNode {
            host: free.ip().to_string(),
            port: free.port(),
        };
        let mut peers = Self {
            world: World::new(vec![node]),
            servers: Vec::new(),
            storages: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
            first: free,
            feed: Feed::new(),
        };
        for index in 0..count {
            let server = peers.open(index).await.expect("the peer starts");
            peers.servers.push(server);
        }
        peers.serving().await;
        peers
    }

    /// Waits until all peers serve.
    pub async fn serving(&self) {
        for server in &self.servers {
            timeout(PATIENCE, server.serving()).await.expect("the peer serves");
        }
    }

    /// Ends a peer and starts it again on its folder and its storage.
    pub async fn restart(&mut self, index: usize) {
        let server = self.servers.remove(index);
        server.shutdown(PATIENCE).await.unwrap();
        let server = self.open(index).await.expect("the peer starts again");
        self.servers.insert(index, server);
    }

    /// Starts a peer on its folder.
    async fn open(&mut self, index: usize) -> Result<Server, Error> {
        self.open_as(index, &format!("peer {index}")).await
    }

    /// Starts a peer of this name on the folder of a number.
    pub async fn open_as(&mut self, index: usize, name: &str) -> Result<Server, Error> {
        let bind = if index == 0 {
            self.first
        } else {
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
        };
        if self.storages.len() <= index {
            self.storages.push(Stub::default());
        }
        let (signer, chain, key) = self.world.member(name);
        let member = Member {
            signer,
            chain,
            key,
            verifier: Arc::new(Verifier::new(self.world.trust())),
            document: self.world.first_document(),
            founder: index == 0,
            key_log: false,
        };
        let config = Config {
            bind: vec![bind],
            data: self.folder.path().join(index.to_string()),
            neighbors: 3,
            ..Config::default()
        };
        let storage = Channel::direct(self.storages[index].served(), Role::Overlay);
        let bootstrap = (index == 0).then(|| Channel::direct(self.feed.served(), Role::Overlay));
        let upstreams = Upstreams {
            storage,
            bootstrap: bootstrap.into_iter().collect(),
        };
        let component = Monitor::new().component("overlay", &format!("peer {index}"));
        Server::bind(config, member, upstreams, component).await
    }

    /// Waits until a peer says what is hoped for.
    pub async fn until(&self, index: usize, is_it: impl Fn(&WatchResponse) -> bool) -> WatchResponse {
        let mut watch = self
            .client(index, Role::Operator)
            .watch(rpc::unbounded(WatchRequest {}))
            .await
            .expect("a state")
            .into_inner();
        let mut last = None;
        let hoped = async {
            loop {
                let state = watch.message().await.expect("an open watch").expect("a state");
                if is_it(&state) {
                    return state;
                }
                last = Some(state);
            }
        };
        let outcome = timeout(PATIENCE, hoped).await;
        outcome.unwrap_or_else(|_| panic!("peer {index} stays at {last:?}"))
    }

    pub fn client(&self, index: usize, role: Role) -> OverlayClient<Channel> {
        OverlayClient::new(Channel::direct(self.servers[index].served(), role))
    }

    /// Calls as the operator of a peer.
    pub async fn call(&self, index: usize, destination: Destination, body: &Body) -> CallResponse {
        let request = CallRequest {
            destinations: vec![destination.to_bytes()],
            contents: MessageContents::of(body).to_bytes(),
            ..CallRequest::default()
        };
        self.client(index, Role::Operator)
            .call(request)
            .await
            .expect("an answer")
            .into_inner()
    }
}

/// The contents of an answer that is no refusal.
pub fn contents(response: &CallResponse) -> Bytes {
    match &response.result {
        Some(call_response::Result::Contents(contents)) => contents.clone(),
        other => panic!("refused: {other:?}"),
    }
}

/// Far beyond what anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
