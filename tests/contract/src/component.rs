//! The components under test, with what stands behind them.

use std::path::Path;
use std::time::Duration;

use rpc::{Channel, Role, Served};
use runtime::Monitor;

use crate::fault;
use crate::world::World;

/// A contract between components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `p2psip.overlay.v1.Overlay`
    Overlay,
    /// `p2psip.storage.v1.Storage`
    Storage,
    /// `p2psip.bootstrap.v1.Bootstrap`
    Bootstrap,
    /// `p2psip.sip_edge.v1.SipEdge`
    SipEdge,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Overlay, Self::Storage, Self::Bootstrap, Self::SipEdge];

    /// The role of the component that serves it.
    pub fn role(self) -> Role {
        match self {
            Self::Overlay => Role::Overlay,
            Self::Storage => Role::Storage,
            Self::Bootstrap => Role::Bootstrap,
            Self::SipEdge => Role::SipEdge,
        }
    }
}

/// A component with its neighbours on direct channels.
pub struct Component {
    served: Served,
    parts: Parts,
}

enum Parts {
    Storage(storage::Server),
    Bootstrap(bootstrap::Server),
    Overlay(Peer),
    SipEdge(Box<sip_edge::Server>, Peer),
}

/// An overlay with its storage.
struct Peer {
    overlay: overlay::Server,
    storage: storage::Server,
}

impl Component {
    /// Starts the component that serves `service`; it answers when this returns. A peer and an edge are new ones at each
    /// start, the others go on with what is in `folder`.
    pub async fn start(service: Service, folder: &Path) -> anyhow::Result<Self> {
        let (served, parts) = match service {
            Service::Storage => {
                let storage = start_storage(&folder.join("storage")).await?;
                (storage.served(), Parts::Storage(storage))
            }
            Service::Bootstrap => {
                let bootstrap = start_bootstrap(&folder.join("bootstrap")).await?;
                (bootstrap.served(), Parts::Bootstrap(bootstrap))
            }
            Service::Overlay => {
                let fresh = tempfile::tempdir_in(folder)?.keep();
                let peer = Peer::start(&World::new()?, &fresh).await?;
                (peer.overlay.served(), Parts::Overlay(peer))
            }
            Service::SipEdge => {
                let (fresh, world) = (tempfile::tempdir_in(folder)?.keep(), World::new()?);
                let peer = Peer::start(&world, &fresh).await?;
                let edge = start_edge(&world, &fresh.join("edge"), peer.overlay.served()).await?;
                (edge.served(), Parts::SipEdge(Box::new(edge), peer))
            }
        };
        // Behind the same rules, beside the component's own service.
        let served = served.extend().service(fault::service()).build();
        Ok(Self { served, parts })
    }

    /// Gives the services.
    pub fn served(&self) -> Served {
        self.served.clone()
    }

    /// Ends it in good order.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        match self.parts {
            Parts::Storage(storage) => Ok(storage.shutdown(GRACE).await?),
            Parts::Bootstrap(mut bootstrap) => Ok(bootstrap.shutdown(GRACE).await?),
            Parts::Overlay(peer) => peer.shutdown().await,
            Parts::SipEdge(edge, peer) => {
                edge.shutdown(GRACE).await;
                peer.shutdown().await
            }
        }
    }
}

impl Peer {
    async fn start(world: &World, folder: &Path) -> anyhow::Result<Self> {
        let storage = start_storage(&folder.join("storage")).await?;
        let upstreams = overlay::Upstreams {
            storage: Channel::direct(storage.served(), Role::Overlay),
            bootstrap: Vec::new(),
        };
        let config = overlay::Config {
            bind: vec!["127.0.0.1:0".parse()?],
            data: folder.join("overlay"),
            ..overlay::Config::default()
        };
        let overlay = overlay::Server::bind(config, world.member()?, upstreams, voice("overlay")).await?;
        overlay.serving().await;
        Ok(Self { overlay, storage })
    }

    async fn shutdown(self) -> anyhow::Result<()> {
        self.overlay.shutdown(GRACE).await?;
        Ok(self.storage.shutdown(GRACE).await?)
    }
}

async fn start_storage(folder: &Path) -> anyhow::Result<storage::Server> {
    let config = storage::Config {
        data: folder.into(),
        cache: CACHE,
        ..storage::Config::default()
    };
    Ok(storage::Server::bind(config, None, voice("storage")).await?)
}

async fn start_bootstrap(folder: &Path) -> anyhow::Result<bootstrap::Server> {
    let options = kv::Options {
        cache_bytes: CACHE,
        ..kv::Options::default()
    };
    if !folder.exists() {
        let genesis = bootstrap::Genesis {
            overlay: crate::world::OVERLAY.into(),
            bootstrap_nodes: Vec::new(),
            enrollment_servers: Vec::new(),
            off_line: None,
            now_ms: crate::world::now_ms(),
        };
        bootstrap::init(folder, options, &genesis).await?;
    }
    let config = bootstrap::Config {
        folder: folder.into(),
        https_bind: Vec::new(),
        ..bootstrap::Config::default()
    };
    Ok(bootstrap::Server::bind(&config, options, voice("bootstrap")).await?)
}

async fn start_edge(world: &World, folder: &Path, overlay: Served) -> anyhow::Result<sip_edge::Server> {
    let config = sip_edge::Config {
        bind: vec!["127.0.0.1:0".parse()?],
        edge_bind: vec!["127.0.0.1:0".parse()?],
        data: folder.into(),
        ..sip_edge::Config::default()
    };
    let overlay = Channel::direct(overlay, Role::SipEdge);
    Ok(sip_edge::Server::bind(config, world.edge()?, world.document(), overlay, voice("sip-edge")).await?)
}

/// What a component tells of itself; nobody listens here.
fn voice(component: &'static str) -> runtime::Component {
    Monitor::new().component(component, "")
}

/// How long calls and streams have when a component ends.
const GRACE: Duration = Duration::from_secs(1);
/// Little is stored here.
const CACHE: u64 = 4 << 20;
