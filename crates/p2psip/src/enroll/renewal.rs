//! Certificates renew themselves while a component runs: when they are due. It takes over what is new in its folder, whoever put it
//! there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use identity::Certificate;
use overlay_config::{SignedDocument, is_newer};
use runtime::Tasks;
use tokio::time::Instant;

use super::credentials::{EdgeCredentials, LINK, PEER, PeerCredentials, SIGNER};
use super::ends::{End, Warned};
use super::files::{Files, certificate_file};
use super::renew::{When, edge, peer};
use super::{EnrollError, backup, documents, now_ms, record_keys};

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
    /// Gives the document that it obeys, if that is newer than the one in the folder; a newer one there it obeys from now on.
    fn document(&self, kept: Arc<SignedDocument>) -> impl Future<Output = Option<Arc<SignedDocument>>> + Send;
    /// Counts the time until something of its document ends.
    fn tell_end(&self, _: &End) {}
    /// Takes over what is in the folder.
    fn take_over(&self, folder: &Path) -> impl Future<Output = Result<(), RenewError>> + Send;
}

impl Renewal {
    /// Renews the certificate of a running peer, whose credentials are in `folder`, and its document once it is outside.
    pub(crate) fn of_peer(folder: PathBuf, renewer: overlay::Renewer, documents: overlay::Documents) -> Self {
        let peer = Peer {
            renewer,
            documents: documents.clone(),
        };
        let mut renewal = Self::of(folder.clone(), peer);
        let stop = renewal.0.stop();
        let to_keep = folder.clone();
        renewal.0.spawn("document of the peer", async move {
            documents::keep(&folder, documents, stop).await;
        });
        let stop = renewal.0.stop();
        renewal.0.spawn("backup of the bootstrap services", async move {
            backup::keep(&to_keep, stop).await;
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
    let (mut renew_at, mut warned) = (Instant::now(), Warned::default());
    loop {
        if Instant::now() >= renew_at
            && let Err(error) = S::renew(folder).await
        {
            // Services that are away cost nothing but a line an hour, for two months.
            let pause = a_part_of_what_is_left(&shown).clamp(SHORTEST_PAUSE, RENEW_AGAIN);
            tracing::warn!(whose = S::WHOSE, %error, "certificate not renewed; tried again in {pause:?}");
            renew_at = Instant::now() + pause;
        }
        if let Err(error) = settle_documents(folder, component).await {
            tracing::warn!(whose = S::WHOSE, %error, "document in the folder of the certificates not looked after");
        }
        tell_ends(folder, component, &mut warned);
        let found = certificates::<S>(folder);
        let pause = a_part_of_what_is_left(&found).clamp(SHORTEST_PAUSE, LOOK_EVERY);
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
        tokio::time::sleep(pause).await;
    }
}

/// A part of the time until the first of these certificates ends.
fn a_part_of_what_is_left(certificates: &[Vec<u8>]) -> Duration {
    let now_ms = now_ms();
    let ends = certificates.iter().filter_map(|der| Certificate::from_der(der).ok());
    let first = ends.map(|certificate| certificate.not_after_ms()).min();
    match first.and_then(|at_ms| at_ms.checked_sub(now_ms)) {
        Some(left_ms) => Duration::from_millis(left_ms) / A_FEW,
        // After the end there is no hurry any more.
        None => RENEW_AGAIN,
    }
}

/// Tells when certificates and the document end, and warns before it is too late.
fn tell_ends<S: Shows>(folder: &Path, component: &S, warned: &mut Warned) {
    let (files, now_ms) = (Files::of(folder), now_ms());
    let certificates = S::CERTIFICATES.iter().filter_map(|name| {
        let certificate = files.certificate_at_any_time(name).ok()?;
        Some(End::of_certificate(name, &certificate))
    });
    let mut ends: Vec<End> = certificates.collect();
    if let Ok((document, _)) = files.document(now_ms) {
        let of_document: Vec<End> = End::of_document(&document).collect();
        of_document.iter().for_each(|end| component.tell_end(end));
        ends.extend(of_document);
    }
    for end in warned.news(now_ms, &ends) {
        let days_left = end.at_ms.saturating_sub(now_ms) / DAY_MS;
        tracing::warn!(
            whose = S::WHOSE,
            what = end.what,
            days_left,
            "ends soon: {}",
            end.advice
        );
    }
}

/// Brings the folder and the component to the newer of their two documents: services are looked for in the one of the folder.
async fn settle_documents<S: Shows>(folder: &Path, component: &S) -> Result<(), EnrollError> {
    let files = Files::of(folder);
    let (kept, _) = files.document(now_ms())?;
    if let Some(newer) = component.document(kept).await {
        files.take_document(&newer, now_ms())?;
    }
    Ok(())
}

/// The certificates of a component as they are in its folder; empty where one cannot be read.
fn certificates<S: Shows>(folder: &Path) -> Vec<Vec<u8>> {
    let files = Files::of(folder);
    let names = S::CERTIFICATES.iter();
    names
        .map(|name| files.read(&certificate_file(name)).unwrap_or_default())
        .collect()
}

/// A peer hears of documents from its neighbours, and here from its enrollment servers.
struct Peer {
    renewer: overlay::Renewer,
    documents: overlay::Documents,
}

impl Shows for Peer {
    const WHOSE: &'static str = "peer";
    const CERTIFICATES: &'static [&'static str] = &[PEER];

    async fn renew(folder: &Path) -> Result<(), EnrollError> {
        peer(folder, When::DueAt(now_ms())).await.map(drop)
    }

    fn tell_end(&self, end: &End) {
        self.renewer.tell_end(end.what, end.at_ms);
    }

    async fn document(&self, kept: Arc<SignedDocument>) -> Option<Arc<SignedDocument>> {
        let obeyed = self.documents.signed();
        let sequences = (kept.document().sequence, obeyed.document().sequence);
        if is_newer(sequences.0, sequences.1) {
            self.documents.bring(Ok(kept)).await;
        }
        is_newer(sequences.1, sequences.0).then_some(obeyed)
    }

    async fn take_over(&self, folder: &Path) -> Result<(), RenewError> {
        match PeerCredentials::load(folder, now_ms()).map_err(EnrollError::from)? {
            Some(renewed) => Ok(self.renewer.renew(renewed.signer).await?),
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

    /// It obeys what its peer obeys.
    async fn document(&self, kept: Arc<SignedDocument>) -> Option<Arc<SignedDocument>> {
        let obeyed = Self::document(self).await?;
        is_newer(obeyed.document().sequence, kept.document().sequence).then(|| Arc::new(obeyed))
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
/// A certificate that cannot be renewed has two thirds of its life left: each hour is soon enough.
const RENEW_AGAIN: Duration = Duration::from_secs(3600);
/// Looks and tries in what is left of a short life.
const A_FEW: u32 = 24;
const DAY_MS: u64 = 24 * 3600 * 1000;
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
