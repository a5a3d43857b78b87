//! Certificates renew themselves while a component runs: when they are due. It takes over what is new in its folder, whoever put it
//! there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::Tasks;

use super::credentials::{EdgeCredentials, LINK, PEER, PeerCredentials, SIGNER};
use super::files::{Files, certificate_file};
use super::renew::{When, edge, peer};
use super::{EnrollError, documents, now_ms, record_keys};

/// The tasks that renew what one component was given, while it runs.
#[derive(Debug)]
pub(crate) struct Renewal(Tasks);

/// Why a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RenewError {
    #[error(transparent)]
    Enroll(#[from] EnrollError),
    #[error(transparent)]
    Peer(#[from] overlay::Error),
    #[error(transparent)]
    Edge(#[from] sip_edge::BindError),
}

/// A running component that shows certificates.
pub(super) trait Shows: Send + Sync + 'static {
    /// Whose they are.
    const WHOSE: &'static str;
    /// Their names in its folder.
    const CERTIFICATES: &'static [&'static str];
    /// Renews in the folder what is due.
    fn renew(folder: &Path) -> impl Future<Output = Result<(), EnrollError>> + Send;
    /// Takes over what is in the folder.
    fn take_over(&self, folder: &Path) -> impl Future<Output = Result<(), RenewError>> + Send;
}

impl Renewal {
    /// Renews the certificate of a running peer, whose credentials are in `folder`, and its document once it is outside.
    pub(crate) fn of_peer(folder: PathBuf, renewer: overlay::Renewer, documents: overlay::Documents) -> Self {
        let mut renewal = Self::of(folder.clone(), renewer);
        let stop = renewal.0.stop();
        renewal.0.spawn("document of the peer", async move {
            documents::keep(&folder, documents, stop).await;
        });
        renewal
    }

    /// Renews the certificates of a running edge, whose credentials are in `folder`, and asks for its record keys so often.
    pub(crate) fn of_edge(folder: PathBuf, renewer: sip_edge::Renewer, record_keys_every: Duration) -> Self {
        let mut renewal = Self::of(folder.clone(), renewer.clone());
        let stop = renewal.0.stop();
        renewal.0.spawn("record keys of the edge", async move {
            record_keys::keep(&folder, renewer, record_keys_every, stop).await;
        });
        renewal
    }

    /// Looks after what a component shows.
    pub(super) fn of<S: Shows>(folder: PathBuf, component: S) -> Self {
        let mut tasks = Tasks::new();
        let stop = tasks.stop();
        let shown = certificates::<S>(&folder);
        tasks.spawn("renewal of certificates", async move {
            stop.run_until_cancelled(look_after(&folder, &component, shown)).await;
        });
        Self(tasks)
    }

    /// Waits for its end, which comes when it is asked to.
    pub(crate) async fn join(&mut self) -> Result<(), runtime::Failure> {
        self.0.join().await
    }

    /// Ends it; what is under way is cut off, and done anew at the next start.
    pub(crate) async fn shutdown(mut self, grace: Duration) -> Result<(), runtime::Failure> {
        self.0.shutdown(grace).await
    }
}

/// Renews what is due, and has the component take over whatever is new in its folder: somebody else may have renewed it there.
async fn look_after<S: Shows>(folder: &Path, component: &S, mut shown: Vec<Vec<u8>>) {
    for look in 0_u64.. {
        if look % LOOKS_FOR_DUE == 0
            && let Err(error) = S::renew(folder).await
        {
            // An enrollment server that is away costs nothing but a line an hour, for two months.
            tracing::warn!(whose = S::WHOSE, %error, "certificate not renewed; tried again in an hour");
        }
        let found = certificates::<S>(folder);
        if found != shown {
            match component.take_over(folder).await {
                Ok(()) => {
                    tracing::info!(whose = S::WHOSE, "renewed certificates taken over");
                    shown = found;
                }
                // It may be half written.
                Err(error) => tracing::warn!(whose = S::WHOSE, %error, "renewed certificates not taken over yet"),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The certificates of a component as they are in its folder; empty where one cannot be read.
fn certificates<S: Shows>(folder: &Path) -> Vec<Vec<u8>> {
    let files = Files::of(folder);
    let names = S::CERTIFICATES.iter();
    names
        .map(|name| files.read(&certificate_file(name)).unwrap_or_default())
        .collect()
}

impl Shows for overlay::Renewer {
    const WHOSE: &'static str = "peer";
    const CERTIFICATES: &'static [&'static str] = &[PEER];

    async fn renew(folder: &Path) -> Result<(), EnrollError> {
        peer(folder, When::DueAt(now_ms())).await.map(drop)
    }

    async fn take_over(&self, folder: &Path) -> Result<(), RenewError> {
        match PeerCredentials::load(folder, now_ms()).map_err(EnrollError::from)? {
            Some(renewed) => Ok(Self::renew(self, renewed.signer).await?),
            None => Ok(()),
        }
    }
}

impl Shows for sip_edge::Renewer {
    const WHOSE: &'static str = "edge";
    const CERTIFICATES: &'static [&'static str] = &[LINK, SIGNER];

    async fn renew(folder: &Path) -> Result<(), EnrollError> {
        edge(folder, When::DueAt(now_ms())).await.map(drop)
    }

    async fn take_over(&self, folder: &Path) -> Result<(), RenewError> {
        match EdgeCredentials::load(folder, now_ms()).map_err(EnrollError::from)? {
            Some(renewed) => Ok(Self::renew(self, renewed.edge).await?),
            None => Ok(()),
        }
    }
}

/// Somebody who has renewed a certificate by hand sees it taken over soon; it costs reading a small file.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Due means that two thirds of a life are left: each hour is soon enough.
const LOOKS_FOR_DUE: u64 = 60;
