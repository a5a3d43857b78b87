//! The component: bind, run, drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use identity::{Sign as _, Verifier};
use overlay_config::SignedDocument;
use rpc::proto::sip_edge::v1::sip_edge_server::SipEdgeServer;
use runtime::Component;
use runtime::listen;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use wire::NodeId;

use crate::config::{Config, Credentials};
use crate::driver::{COMMANDS, Command, Driver, Fatal, HOME_EVENTS, HomeLink, Inbox};
use crate::home::{Attachment, Home, HomeEvent, REPLIES};
use crate::own::Watch;
use crate::renewer::Renewer;
use crate::service::Service;
use crate::start::{Start, endpoint};
use crate::transport::Bound;

const SERVICE: &str = "p2psip.sip_edge.v1.SipEdge";
/// How long the operator's calls have to end.
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// How long the driver has to close its connections; they have a second of their own for what waits to be written.
const DRIVER_TIME: Duration = Duration::from_secs(2);
/// Memory for the edge's database.
const CACHE: u64 = 16 << 20;

const WITHOUT_DATA: &str = "phones can be called again as they register again, within their lifetimes; \
     calls that stand cannot be changed or ended through this edge";

/// A running edge.
#[derive(Debug)]
pub struct Server {
    served: rpc::Served,
    commands: mpsc::Sender<Command>,
    draining: CancellationToken,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), Fatal>>,
    phones: Vec<SocketAddr>,
    edges: Vec<SocketAddr>,
    renewer: Renewer,
}

/// Why an edge does not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address is taken or not ours.
    #[error("cannot listen on {address}: {source}; see sip_edge.bind and sip_edge.edge_bind")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The addresses of this machine cannot be found out.
    #[error("this machine does not tell its addresses: {0}")]
    Interfaces(std::io::Error),
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] kv::OpenError),
    /// The data folder belongs to another node.
    #[error(transparent)]
    Owner(#[from] kv::OwnerError),
    /// The data folder cannot be read or written.
    #[error("the edge's data cannot be read or written: {0}")]
    Disk(String),
    /// The keys do not serve for TLS.
    #[error("the edge's link certificate does not serve: {0}")]
    Link(String),
}

/// Why a running edge ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Server {
    /// Binds the sockets, loads what the last run left, and starts to serve as a client of the overlay behind `overlay`.
    ///
    /// # Errors
    /// When a socket or the folder cannot be had; nothing runs then.
    pub async fn bind(
        config: Config,
        credentials: Credentials,
        document: SignedDocument,
        overlay: rpc::Channel,
        component: Component,
    ) -> Result<Self, BindError> {
        let span = component.span();
        let starting = Self::begin(config, credentials, document, overlay, component);
        starting.instrument(span).await
    }

    async fn begin(
        config: Config,
        credentials: Credentials,
        document: SignedDocument,
        overlay: rpc::Channel,
        component: Component,
    ) -> Result<Self, BindError> {
        component.certificate("edge_link", credentials.link.until_ms());
        component.certificate("delegated_signer", credentials.delegated.certificate().not_after_ms());
        let pulse = component.pulse();
        let bound = Bound::bind(&config.bind, &config.edge_bind)
            .map_err(|listen::Error { address, source }| BindError::Address { address, source })?;
        let (phones, edges) = bound.addresses().map_err(BindError::Interfaces)?;
        let own = Watch::new(config.advertise.clone(), edges.clone(), config.edge_advertise.clone())
            .map_err(BindError::Interfaces)?;
        let node = credentials.link.node_id();
        let options = kv::Options {
            cache_bytes: CACHE,
            ..kv::Options::default()
        };
        let store = kv::Store::open_or_replace(&config.data, options, WITHOUT_DATA)?;
        store.claim(*node.as_bytes()).await?;

        let name = document.document().overlay.clone();
        let overlay_name = name.clone();
        let verifier = Arc::new(Verifier::new(document.document().trust()));
        let endpoint =
            Arc::new(endpoint(&config, &credentials, &verifier).map_err(|error| BindError::Link(error.to_string()))?);
        let (home_events, home_inbox) = mpsc::channel(HOME_EVENTS);
        let (replies, replies_inbox) = mpsc::channel(REPLIES);
        let (commands, commands_inbox) = mpsc::channel(COMMANDS);
        let handle = Home::new(overlay, node);
        let renewer = Renewer {
            endpoint: Arc::clone(&endpoint),
            link: watch::Sender::new(Arc::new(credentials.link.clone())),
            commands: commands.downgrade(),
        };

        let start = Start {
            config,
            credentials,
            document,
            name: name.clone(),
            node,
            own: own.own().clone(),
            store,
            verifier,
            endpoint,
            bound,
            component,
        };
        let (driver, arrivals) = start
            .driver(HomeLink {
                handle: handle.clone(),
                replies,
                is_attached: false,
                state: None,
            })
            .await?;
        let mut tasks = JoinSet::new();
        let attaching = handle.clone().stay_attached(Attachment {
            link: renewer.link.subscribe(),
            overlay: name,
            events: home_events.clone(),
            replies: replies_inbox,
        });
        let attaching = async move {
            attaching.await;
            std::future::pending().await
        };
        let watching = async move {
            handle.watch(home_events).await;
            std::future::pending().await
        };
        let (draining, stop) = (CancellationToken::new(), CancellationToken::new());
        let inbox = Inbox {
            arrivals,
            home: home_inbox,
            commands: commands_inbox,
            pulse,
            draining: draining.clone(),
            stop: stop.clone(),
        };
        let service = SipEdgeServer::new(Service::new(commands.clone(), draining.clone(), &overlay_name));
        let served = rpc::Served::builder().service(service).build();
        served.set_health(SERVICE, true).await;
        let telling = {
            let (served, draining) = (served.clone(), draining.clone());
            async move {
                draining.cancelled().await;
                served.set_health(SERVICE, false).await;
                std::future::pending().await
            }
        };
        let following = own.run(commands.downgrade());
        let following = async move {
            following.await;
            std::future::pending().await
        };
        tasks.spawn(following.in_current_span());
        tasks.spawn(telling.in_current_span());
        tasks.spawn(attaching.in_current_span());
        tasks.spawn(watching.in_current_span());
        tasks.spawn(run(driver, inbox).in_current_span());
        tracing::info!(node_id = %node.short(), ?phones, ?edges, "edge listens");
        Ok(Self {
            served,
            commands,
            draining,
            stop,
            tasks,
            phones,
            edges,
            renewer,
        })
    }

    /// Gives the way to renew the edge's certificates while it runs.
    #[must_use]
    pub fn renewer(&self) -> Renewer {
        self.renewer.clone()
    }

    /// The addresses for phones, as bound.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.phones
    }

    /// The addresses for other edges, as bound.
    #[must_use]
    pub fn edge_addresses(&self) -> &[SocketAddr] {
        &self.edges
    }

    /// Gives the services, for a channel or a socket.
    #[must_use]
    pub fn served(&self) -> rpc::Served {
        self.served.clone()
    }

    /// Waits until the edge ends by itself, which only a failure makes it do.
    ///
    /// # Errors
    /// With the failure.
    ///
    /// # Cancel safety
    /// Nothing is lost when dropped.
    pub async fn join(&mut self) -> Result<(), Failure> {
        match self.tasks.join_next().await {
            Some(Ok(Ok(()))) | None => Ok(()),
            Some(Ok(Err(fatal))) => Err(Failure(fatal.to_string())),
            Some(Err(error)) => Err(Failure(format!("a task of the edge failed: {error}"))),
        }
    }

    /// Takes no new work, lets transactions end for at most `grace`, and stops. An idle edge stops at once.
    pub async fn shutdown(mut self, grace: Duration) {
        self.draining.cancel();
        let (idle, is_idle) = oneshot::channel();
        if self.commands.send(Command::Idle(idle)).await.is_ok() && timeout(grace, is_idle).await.is_err() {
            tracing::warn!(?grace, "transactions cut at the end of the grace period");
        }
        self.served.close(CLOSE_TIME.min(grace)).await;
        self.stop.cancel();
        // The driver closes its connections and ends; the other tasks have no end of their own.
        if timeout(DRIVER_TIME, self.tasks.join_next()).await.is_err() {
            tracing::warn!(grace = ?DRIVER_TIME, "the edge's driver was aborted");
        }
        self.tasks.shutdown().await;
    }
}

/// Runs the driver once the home peer is known: a route without it leads nowhere. What the operator asks meanwhile is answered.
async fn run(mut driver: Driver, mut inbox: Inbox) -> Result<(), Fatal> {
    while driver.registrant.home == NodeId::ZERO {
        tokio::select! {
            biased;
            () = inbox.stop.cancelled() => return Ok(()),
            Some(command) = inbox.commands.recv() => driver.handle_first_command(command),
            () = inbox.pulse.beat() => {}
            event = inbox.home.recv() => match event {
                Some(event @ (HomeEvent::Attached(_) | HomeEvent::State(_))) => driver.handle_first(event),
                Some(_) => {}
                None => return Ok(()),
            },
        }
    }
    driver.run(inbox).await
}
