//! The component from its start to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use identity::Sign as _;
use link::Endpoint;
use overlay_core::{Core, Rules, Settings};
use rpc::Served;
use rpc::proto::overlay::v1::overlay_server::OverlayServer;
use runtime::addresses::Published;
use runtime::{Component, Failure, Tasks, telemetry};

use crate::config::{Config, Member, Upstreams};
use crate::documents::Documents;
use crate::driver::{Driver, Ends, Request, now};
use crate::metrics::Metrics;
use crate::network::{self, Network};
use crate::renewer::Renewer;
use crate::service::Service;
use crate::view::View;
use crate::{addresses, disk, feed, names, storage};

/// One peer of an overlay, running.
#[derive(Debug)]
pub struct Server {
    served: Served,
    addresses: Vec<SocketAddr>,
    tasks: Tasks,
    /// What is still being written when the driver has ended.
    last_words: TaskTracker,
    driver: mpsc::Sender<Request>,
    view: watch::Receiver<Arc<View>>,
    renewer: Renewer,
}

/// Why the overlay does not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened at.
    #[error("cannot listen for RELOAD at {address} (key overlay.bind): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no address to listen at.
    #[error("no address to listen for RELOAD at (key overlay.bind)")]
    NoAddress,
    /// The addresses for other peers cannot be found out.
    #[error("this machine does not tell its addresses: {0}; name them (key overlay.advertise)")]
    Interfaces(std::io::Error),
    /// The peer's certificate and key do not make a link.
    #[error(transparent)]
    Link(#[from] link::SetupError),
    /// The configuration document in force needs what this version does not have.
    #[error("cannot be a peer of this overlay: {0}")]
    Document(#[from] overlay_config::Demand),
    /// There is no randomness for transaction ids.
    #[error("no randomness for transaction ids: {0}")]
    Random(#[from] identity::KeyError),
    /// The folder cannot be opened.
    #[error(transparent)]
    Open(#[from] kv::OpenError),
    /// The folder belongs to another peer.
    #[error(transparent)]
    Owner(#[from] kv::OwnerError),
    /// The folder cannot be read.
    #[error(transparent)]
    Read(#[from] kv::ReadError),
    /// The folder was being opened.
    #[error("the overlay ended by a panic")]
    Panicked,
    /// A part of the component ended by itself.
    #[error(transparent)]
    Task(#[from] Failure),
}

impl Server {
    /// Opens the sockets, then starts. The peer forms the ring or joins it as soon as its storage session is open.
    ///
    /// # Errors
    /// [`Error`] names the address or key; nothing runs then.
    ///
    /// # Cancel safety
    /// Dropping it starts nothing.
    pub async fn bind(
        config: Config,
        member: Member,
        upstreams: Upstreams,
        component: Component,
    ) -> Result<Self, Error> {
        let span = component.span();
        Self::start(config, member, upstreams, component).instrument(span).await
    }

    async fn start(
        config: Config,
        mut member: Member,
        upstreams: Upstreams,
        component: Component,
    ) -> Result<Self, Error> {
        let listeners = network::listen(&config.bind)?;
        let bound = listeners.iter().map(|(_, address)| *address).collect::<Vec<_>>();
        let mut endpoint = Endpoint::new(Arc::clone(&member.verifier), &member.chain, &member.key)?;
        if member.key_log {
            endpoint = endpoint.with_key_log()?;
        }
        let (store, kept) = disk::open(&config.data, member.signer.node_id()).await?;
        member.document = disk::newest(member.document, kept.document.clone(), now().unix_ms)?;
        member.verifier.set_trust(member.document.document().trust());
        let published = Published::new(bound.clone(), config.advertise.clone()).map_err(Error::Interfaces)?;
        let settings = Settings {
            membership: kept.membership.clone(),
            ..settings(&config, &member, published.known().to_vec())?
        };
        let node_id = settings.node_id;
        let core = Core::new(now(), settings);
        let (requests, inbox) = mpsc::channel(QUEUE);
        let certificate_until_ms = member.signer.until_ms();
        let first = View::of(&core, 0).with_certificate_until(certificate_until_ms);
        let (view, watched) = watch::channel(Arc::new(first));
        let builder = Served::builder();
        let service = Service {
            driver: requests.clone(),
            view: watched.clone(),
            verifier: Arc::clone(&member.verifier),
            draining: builder.draining(),
            node_id,
        };
        let served = builder.service(OverlayServer::new(service)).build();

        let mut tasks = Tasks::new();
        let stop = tasks.stop();
        let renewer = Renewer {
            endpoint: endpoint.clone(),
            driver: requests.clone(),
            component: component.clone(),
        };
        let (written, room) = (kept.clone(), store.room().watch());
        let (kept, to_keep) = watch::channel(kept);
        let (network, arrivals) = Network::new(endpoint, stop.clone());
        for (listener, _) in listeners {
            tasks.spawn("RELOAD listener", network.clone().accept(listener, to_keep.clone()));
        }
        let last_words = network.tasks();
        tasks.spawn("overlay disk", disk::keep((store, written), to_keep, stop.clone()));
        component.certificate("node", certificate_until_ms);
        let ends = Ends {
            inbox,
            arrivals,
            view,
            kept,
            certificate_until_ms,
            pulse: component.pulse(),
            metrics: Metrics::new(&component),
        };
        let driver = Driver::new(core, member.verifier, network, ends);
        tasks.spawn("overlay driver", driver.run(stop.clone()));
        tasks.spawn(
            "storage session",
            storage::keep(upstreams.storage, requests.clone(), watched.clone(), stop.clone()),
        );
        tasks.spawn(
            "bootstrap names",
            names::keep(requests.clone(), watched.clone(), stop.clone()),
        );
        tasks.spawn(
            "overlay health",
            tell_health(served.clone(), component, (watched.clone(), room), stop.clone()),
        );
        tasks.spawn(
            "own addresses",
            addresses::watch(published, requests.clone(), stop.clone()),
        );
        for bootstrap in upstreams.bootstrap {
            tasks.spawn(
                "bootstrap feed",
                feed::keep(bootstrap, requests.clone(), watched.clone(), stop.clone()),
            );
        }
        Ok(Self {
            served,
            addresses: bound,
            tasks,
            last_words,
            driver: requests,
            view: watched,
            renewer,
        })
    }

    /// Gives the way to renew the peer's certificate while it runs.
    #[must_use]
    pub fn renewer(&self) -> Renewer {
        self.renewer.clone()
    }

    /// Gives the way to bring the peer a document while it runs.
    #[must_use]
    pub fn documents(&self) -> Documents {
        Documents {
            driver: self.driver.clone(),
            view: self.view.clone(),
        }
    }

    /// Gives the services, for a channel or a socket.
    #[must_use]
    pub fn served(&self) -> Served {
        self.served.clone()
    }

    /// Gives the address at which other peers connect: the first, if there are several.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addresses.first().copied()
    }

    /// Waits until this peer has joined the ring and serves.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn serving(&self) {
        let mut view = self.view.clone();
        // It ends with the driver; `join` then tells why.
        let _ = view.wait_for(|view| view.status.serving).await;
    }

    /// Waits until the overlay ends, which it does by itself only when a part of it fails.
    ///
    /// # Errors
    /// Which part.
    ///
    /// # Cancel safety
    /// Nothing is lost: call it again.
    pub async fn join(&mut self) -> Result<(), Error> {
        Ok(self.tasks.join().await?)
    }

    /// Ends: streams are told, the own range is handed over, the ring is left, links are closed.
    ///
    /// # Errors
    /// A part that failed on the way.
    ///
    /// # Cancel safety
    /// Dropping it aborts what is left.
    pub async fn shutdown(mut self, grace: Duration) -> Result<(), Error> {
        let leaving = async {
            if self.driver.send(Request::Leave).await.is_ok() {
                let mut view = self.view.clone();
                let _ = view.wait_for(|view| !view.status.joined).await;
            }
        };
        if tokio::time::timeout(grace, leaving).await.is_err() {
            tracing::warn!(?grace, "ring not left within the grace period");
        }
        self.served.close(CLOSE_TIME.min(grace)).await;
        let ended = self.tasks.shutdown(CLOSE_TIME).await;
        self.last_words.close();
        // A peer that reads nothing is not waited for.
        if tokio::time::timeout(CLOSE_TIME, self.last_words.wait()).await.is_err() {
            tracing::warn!(grace = ?CLOSE_TIME, "links cut that took nothing more");
        }
        Ok(ended?)
    }
}

fn settings(config: &Config, member: &Member, local_addresses: Vec<SocketAddr>) -> Result<Settings, Error> {
    let seed = identity::issue::random_node_id()?.to_u128();
    Ok(Settings {
        node_id: member.signer.node_id(),
        signer: member.signer.clone(),
        verifier: Arc::clone(&member.verifier),
        document: Arc::clone(&member.document),
        seed: u64::try_from(seed & u128::from(u64::MAX)).unwrap_or_default(),
        founder: member.founder,
        membership: None,
        rules: Rules::default(),
        local_addresses,
        bootstrap: Vec::new(),
        traces: telemetry::sampler().is_some(),
        neighbors: config.neighbors,
    })
}

/// Tells the process and the health service how this peer is, at each change.
async fn tell_health(
    served: Served,
    component: Component,
    (mut view, mut room): (watch::Receiver<Arc<View>>, watch::Receiver<Option<kv::Full>>),
    stop: tokio_util::sync::CancellationToken,
) {
    loop {
        let (mut state, is_serving) = {
            let view = view.borrow_and_update();
            (view.health(), view.status.serving)
        };
        if let Some(full) = &*room.borrow_and_update() {
            state.is_ready = false;
            state.reasons.push(full.to_string());
        }
        component.tell(state);
        served.set_health(SERVICE, is_serving).await;
        tokio::select! {
            () = stop.cancelled() => return,
            changed = view.changed() => if changed.is_err() { return },
            // The store is open for as long as the overlay runs.
            Ok(()) = room.changed() => {}
        }
    }
}

const SERVICE: &str = "p2psip.overlay.v1.Overlay";

/// Requests of handlers and helpers that wait for the driver; when it is full, they wait.
const QUEUE: usize = 1024;

/// How long streams and tasks have to end.
const CLOSE_TIME: Duration = Duration::from_secs(1);
