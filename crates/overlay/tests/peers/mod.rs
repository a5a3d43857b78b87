//! Real servers on this machine, with a storage that is a table.

pub mod bootstrap;
mod storage;
pub mod world;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use identity::Verifier;
use overlay_config::{BootstrapNode, SignedDocument};
use p2psip_overlay::{Config, Member, Server, Upstreams};
use rpc::proto::overlay::v1::{CallRequest, CallResponse, call_response, overlay_client::OverlayClient};
use rpc::{Channel, Role};
use runtime::Health;
use wire::{Body, Destination, Encode, MessageContents};

use self::bootstrap::Feed;
use self::world::World;

pub struct Peers {
    pub world: World,
    pub servers: Vec<Server>,
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
            first: free,
            feed: Feed::new(),
        };
        let (document, verifier) = (peers.world.document(), peers.world.trust());
        for index in 0..count {
            peers
                .add(index, Arc::clone(&document), Verifier::new(verifier.clone()))
                .await;
        }
        for server in &peers.servers {
            timeout(PATIENCE, server.serving()).await.expect("the peer serves");
        }
        peers
    }

    async fn add(&mut self, index: usize, document: Arc<SignedDocument>, verifier: Verifier) {
        let bind = if index == 0 {
            self.first
        } else {
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
        };
        let (signer, chain, key) = self.world.member(&format!("peer {index}"));
        let member = Member {
            signer,
            chain,
            key,
            verifier: Arc::new(verifier),
            document,
            founder: index == 0,
            key_log: false,
        };
        let config = Config {
            bind: vec![bind],
            neighbors: 3,
            ..Config::default()
        };
        let storage = Channel::direct(storage::served(), Role::Overlay);
        let bootstrap = (index == 0).then(|| Channel::direct(self.feed.served(), Role::Overlay));
        let upstreams = Upstreams { storage, bootstrap };
        let health = Health::new().component("overlay");
        self.servers.push(
            Server::bind(config, member, upstreams, health)
                .await
                .expect("the peer starts"),
        );
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
