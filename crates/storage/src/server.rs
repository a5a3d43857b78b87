//! The component from its start to its end.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rpc::{Served, proto::storage::v1::storage_server::StorageServer};
use runtime::{Component, State};
use storage_core::{Core, LoadError, Settings, Tree};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle, task::TaskTracker};
use tracing::Instrument as _;
use wire::NodeId;

use crate::{
    config::Config,
    driver::{Driver, Ends, now, tree_of},
    metrics::Metrics,
    owner::Owner,
    service::Service,
};

/// The storage of one peer, running.
#[derive(Debug)]
pub struct Server {
    served: Served,
    driver: Option<AbortOnDropHandle<Result<(), kv::FlushError>>>,
    sessions: TaskTracker,
    stop: CancellationToken,
    component: Component,
}

/// Why storage does not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be opened.
    #[error(transparent)]
    Open(#[from] kv::OpenError),
    /// The folder belongs to another peer.
    #[error(transparent)]
    Owner(#[from] kv::OwnerError),
    /// The folder cannot be read.
    #[error(transparent)]
    Read(#[from] kv::ReadError),
    /// A later version of this program wrote the data.
    #[error("data folder {folder}: {source}")]
    Load {
        /// The folder.
        folder: PathBuf,
        /// What it is.
        source: LoadError,
    },
    /// A write did not reach the disk.
    #[error(transparent)]
    Flush(#[from] kv::FlushError),
    /// The store has no identity and none can be drawn.
    #[error("no randomness for the identity of a new store: {0}")]
    Random(#[from] identity::KeyError),
    /// A task of the component panicked.
    #[error("storage ended by a panic")]
    Panicked,
}

impl Server {
    /// Opens the folder, loads what is in it, and starts. If the Node-ID is known already, the folder must be its own;
    /// otherwise the first session decides.
    ///
    /// # Errors
    /// [`Error`] says what to do about the folder; nothing runs then.
    ///
    /// # Cancel safety
    /// Dropping it starts nothing; the folder is free once loading has come to its end.
    pub async fn bind(config: Config, node_id: Option<NodeId>, component: Component) -> Result<Self, Error> {
        let span = component.span();
        Self::start(config, node_id, component).instrument(span).await
    }

    async fn start(config: Config, node_id: Option<NodeId>, component: Component) -> Result<Self, Error> {
        let loading = tokio::task::spawn_blocking(move || load(&config));
        let (core, store) = loading.await.map_err(|_| Error::Panicked)??;
        if let Some(node_id) = node_id {
            store.claim(*node_id.as_bytes()).await?;
        }
        let (inputs, queue) = mpsc::channel(QUEUE);
        let (sessions, stop) = (TaskTracker::new(), CancellationToken::new());
        let builder = Served::builder();
        let service = Service {
            driver: inputs,
            sessions: sessions.clone(),
            draining: builder.draining(),
            owner: Arc::new(Owner::new(component.clone(), node_id.is_some())),
        };
        let served = builder.service(StorageServer::new(service)).build();
        let ends = Ends {
            inputs: queue,
            stop: stop.clone(),
            pulse: component.pulse(),
            component: component.clone(),
            metrics: Metrics::new(&component),
        };
        let driver = tokio::spawn(Driver::new(core, store, ends).run().in_current_span());
        served.set_health(SERVICE, true).await;
        Ok(Self {
            served,
            driver: Some(AbortOnDropHandle::new(driver)),
            sessions,
            stop,
            component,
        })
    }

    /// Gives the services, for a channel or a socket.
    #[must_use]
    pub fn served(&self) -> Served {
        self.served.clone()
    }

    /// Waits until storage ends. It does so by itself only when the disk fails: end the process then.
    ///
    /// # Errors
    /// Why it ended.
    ///
    /// # Cancel safety
    /// Nothing is lost: call it again.
    pub async fn join(&mut self) -> Result<(), Error> {
        let Some(driver) = &mut self.driver else { return Ok(()) };
        let ended = driver.await;
        self.driver = None;
        ended.map_err(|_| Error::Panicked)??;
        Ok(())
    }

    /// Ends: no new calls, sessions are told, what was begun is flushed.
    ///
    /// # Errors
    /// A write that did not reach the disk.
    ///
    /// # Cancel safety
    /// Dropping it aborts what is left.
    pub async fn shutdown(mut self, grace: Duration) -> Result<(), Error> {
        self.component.tell(State::down("ending"));
        self.served.set_health(SERVICE, false).await;
        self.served.close(grace).await;
        self.sessions.close();
        // Sessions end with the signal to drain, which `close` gave.
        if tokio::time::timeout(grace, self.sessions.wait()).await.is_err() {
            tracing::warn!(?grace, "sessions cut at the end of the grace period");
        }
        self.stop.cancel();
        self.join().await
    }
}

fn load(config: &Config) -> Result<(Core, kv::Store), Error> {
    let store = kv::Store::open_or_replace(&config.data, config.options(), WITHOUT_DATA)?;
    store.room().keep(ROOM);
    let store_id = identity::issue::random_node_id()?;
    let settings = Settings {
        store_id: *store_id.as_bytes(),
        capacity: config.capacity,
        signer_slots: config.values_per_signer,
        ..Settings::default()
    };
    let mut core = Core::new(now(), settings);
    for tree in Tree::ALL {
        for entry in store.iter(tree_of(tree)) {
            let (key, value) = entry?;
            match core.load(tree, key, value) {
                Ok(()) => {}
                // The replicas have it; what is damaged stays where it is, to be looked at.
                Err(error @ LoadError::Damaged { .. }) => tracing::error!(%error, "an entry of the disk is left alone"),
                Err(source) => {
                    return Err(Error::Load {
                        folder: config.data.clone(),
                        source,
                    });
                }
            }
        }
    }
    core.start(now());
    Ok((core, store))
}

const SERVICE: &str = "p2psip.storage.v1.Storage";

/// All commands that a session may have in progress, of which few are as large as a message can be.
const ROOM: u64 = 16 << 20;

/// Another store identity tells the overlay that nothing is here, and a new session that no range is certain.
const WITHOUT_DATA: &str = "other peers fill it with their copies before this peer is ready";

/// Commands of all sessions that wait for the driver; when it is full, the tasks of the sessions wait.
const QUEUE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_volume_of_an_earlier_version_is_read_whole() {
        let folder = volumes::of("storage");
        let store = kv::Store::open(folder.path().join("storage"), kv::Options::default()).unwrap();
        let written = wire::Now {
            instant: now().instant,
            unix_ms: volumes::WRITTEN_MS,
        };
        let mut core = Core::new(written, Settings::default());
        let mut records = 0;
        for tree in Tree::ALL {
            for entry in store.iter(tree_of(tree)) {
                let (key, value) = entry.unwrap();
                core.load(tree, key, value).unwrap();
                records += usize::from(tree == Tree::Records);
            }
        }
        // One for each user's Resource.
        assert_eq!(records, 3);
    }
}
