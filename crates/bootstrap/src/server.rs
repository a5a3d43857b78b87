//! The component as its process sees it.

use std::net::SocketAddr;
use std::time::Duration;

use identity::issue::NODE_LIFE;
use kv::{Options, Store};
use rpc::Served;
use rpc::proto::bootstrap::v1::bootstrap_server::BootstrapServer;
use runtime::{Component, Failure, State, Tasks};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, info};

use crate::backup::{self, BackupPublicKey};
use crate::config::Config;
use crate::core::Core;
use crate::driver::{COMMANDS, Command, Driver, RETRY, unix_ms};
use crate::error::StartError;
use crate::grpc::Handler;
use crate::https::{self, Certificates, Https, Listener};
use crate::newcomer::become_one;
use crate::state::ServiceRecord;
use crate::{exchange, state, tokens, users};

/// The running bootstrap service.
pub struct Server {
    served: Served,
    tasks: Tasks,
    draining: CancellationToken,
    streams: TaskTracker,
    overlay: String,
    addresses: Vec<SocketAddr>,
    component: Component,
}

impl Server {
    /// Opens the state that [`init`](crate::init) made, and starts the service.
    ///
    /// # Errors
    /// When the folder cannot be used, holds no overlay, or its contents are damaged.
    ///
    /// # Cancel safety
    /// Dropped before it returns, nothing runs.
    pub async fn bind(config: &Config, options: Options, component: Component) -> Result<Server, StartError> {
        Server::bind_with(config, options, component, Pauses::default()).await
    }

    /// As [`Server::bind`], with other pauses.
    pub(crate) async fn bind_with(
        config: &Config,
        options: Options,
        component: Component,
        pauses: Pauses,
    ) -> Result<Server, StartError> {
        let span = component.span();
        Server::start(config, options, component, pauses).instrument(span).await
    }

    async fn start(
        config: &Config,
        options: Options,
        component: Component,
        pauses: Pauses,
    ) -> Result<Server, StartError> {
        let listeners = Listener::bind(&config.https_bind)?;
        let addresses = listeners.iter().map(Listener::address).collect();
        let store = state::open(&config.folder, options)?;
        state::migrate(&store).await?;
        let record = ServiceRecord::of(&store)?;
        let overlay = record.overlay.clone();
        let (commands, queue) = mpsc::channel(COMMANDS);
        let (draining, streams) = (CancellationToken::new(), TaskTracker::new());
        let handler = Handler {
            commands,
            draining: draining.clone(),
            streams: streams.clone(),
        };
        let served = Served::builder().service(BootstrapServer::new(handler.clone())).build();
        let parts = Parts {
            config: config.clone(),
            listeners,
            store,
            queue,
            handler,
            served: served.clone(),
            component: component.clone(),
            pauses,
        };
        let mut tasks = Tasks::new();
        match record.is_waiting() {
            true => tasks.spawn("new bootstrap service", become_one(parts, record, tasks.stop())),
            false => parts.serve(&mut tasks).await?,
        }
        Ok(Server {
            served,
            tasks,
            draining,
            streams,
            overlay,
            addresses,
            component,
        })
    }

    /// Returns the addresses of HTTPS, as bound.
    #[must_use]
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns the service behind the rules of the seam, for direct channels and sockets.
    #[must_use]
    pub fn served(&self) -> Served {
        self.served.clone()
    }

    /// Returns the name of the overlay.
    #[must_use]
    pub fn overlay(&self) -> &str {
        &self.overlay
    }

    /// Waits until the component ends by itself, which it does only when it cannot go on.
    ///
    /// # Errors
    /// What ended.
    ///
    /// # Cancel safety
    /// Nothing is lost: call it again.
    pub async fn join(&mut self) -> Result<(), Failure> {
        self.tasks.join().await
    }

    /// Ends the component: streams at once, calls within the grace period.
    ///
    /// # Errors
    /// A task that panicked on the way.
    ///
    /// # Cancel safety
    /// Dropped on the way, the component is cut off when it is dropped too; what it acknowledged is
    /// on the disk.
    pub async fn shutdown(&mut self, grace: Duration) -> Result<(), Failure> {
        self.component.tell(State::down("ending"));
        self.served.set_health(SERVICE, false).await;
        self.draining.cancel();
        self.streams.close();
        self.served.close(grace).await;
        self.tasks.shutdown(grace).await
    }
}

/// Refuses lives that no node could keep up with, or that outlive what the overlay is made for.
fn lifetime(wanted: Duration) -> Result<Duration, StartError> {
    match (SHORTEST_LIFE..=NODE_LIFE).contains(&wanted) {
        true => Ok(wanted),
        false => Err(StartError::Lifetime { wanted }),
    }
}

fn backup_key(hex: &str) -> Result<BackupPublicKey, StartError> {
    let octets = wire::hex::decode(hex.trim());
    let key = octets.and_then(|octets| BackupPublicKey::of(&octets).ok());
    key.ok_or_else(|| StartError::BackupKey(hex.to_owned()))
}

/// The parts of a service before it serves.
pub(crate) struct Parts {
    config: Config,
    listeners: Vec<Listener>,
    pub(crate) store: Store,
    pub(crate) queue: mpsc::Receiver<Command>,
    handler: Handler,
    served: Served,
    pub(crate) component: Component,
    pub(crate) pauses: Pauses,
}

/// How soon something is done again.
#[derive(Clone, Copy)]
pub(crate) struct Pauses {
    /// An item that the overlay refused.
    pub(crate) retry: Duration,
    /// Other services are asked what changed there.
    pub(crate) exchange: Duration,
}

impl Default for Pauses {
    fn default() -> Pauses {
        Pauses {
            retry: RETRY,
            exchange: exchange::EVERY,
        }
    }
}

impl Parts {
    /// Starts all tasks of the service.
    pub(crate) async fn serve(self, tasks: &mut Tasks) -> Result<(), StartError> {
        let Parts {
            config,
            store,
            handler,
            component,
            ..
        } = self;
        let mut core = Core::load(&store, unix_ms())?;
        core.let_passwords_enroll(config.password_enrollment);
        core.let_certificates_live(lifetime(config.certificate_lifetime)?);
        if !config.backup_key.is_empty() {
            store
                .apply(core.put_backup_key(&backup_key(&config.backup_key)?))
                .await?;
        }
        users::put(&mut core, &store, &config.users).await?;
        tokens::put(&mut core, &store, &config.tokens).await?;
        info!(overlay = core.overlay(), "bootstrap service started");
        let certificates = certificates(&core, &config.names)?;
        let (newest, backup) = watch::channel(None);
        tasks.spawn("backup", backup::keep(store.clone(), newest, tasks.stop()));
        let https = Https::new(handler.clone(), (core.verifier(), backup), &certificates);
        for listener in self.listeners {
            tasks.spawn("HTTPS listener", https.clone().serve(listener, tasks.stop()));
        }
        let kept = https::keep(certificates, handler.clone(), config.names, unix_ms, tasks.stop());
        tasks.spawn("HTTPS certificate", kept);
        tasks.spawn(
            "other bootstrap services",
            exchange::keep(handler, self.pauses.exchange, tasks.stop()),
        );
        let driver = Driver::new(core, (store, self.queue), (tasks.stop(), component), self.pauses.retry);
        tasks.spawn("bootstrap driver", driver.run());
        self.served.set_health(SERVICE, true).await;
        Ok(())
    }
}

fn certificates(core: &Core, names: &[String]) -> Result<Certificates, StartError> {
    let failed = |reason: String| StartError::Certificate {
        names: names.to_vec(),
        reason,
    };
    let made = core
        .server(unix_ms(), names)
        .map_err(|refused| failed(refused.to_string()))?;
    Certificates::new(core.verifier(), made).map_err(|error| failed(error.to_string()))
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("overlay", &self.overlay)
            .finish_non_exhaustive()
    }
}

/// Nodes look every few seconds then.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
/// The name of the contract.
const SERVICE: &str = "p2psip.bootstrap.v1.Bootstrap";
