//! A peer that cannot obey the newest document is outside, and hears of the next one from its enrollment server (RFC 6940 §11.1, §11.2).
//!
//! It asks as anybody asks who is not enrolled yet: the document proves itself by the configuration root that the peer knows.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use overlay_config::{Demand, SignedDocument};
use tokio_util::sync::CancellationToken;

use super::credentials::PeerCredentials;
use super::{EnrollError, document, now_ms};

/// A document, or what it needs if it cannot be obeyed.
pub(super) type Brought = Result<Arc<SignedDocument>, Demand>;

/// A running peer that may be outside its overlay.
pub(super) trait Outsider: Send + 'static {
    /// Waits until it is.
    fn wants_document(&mut self) -> impl Future<Output = ()> + Send;
    /// Where its enrollment servers are.
    fn servers(&self) -> Vec<String>;
    /// Gives it a document, or says what that needs.
    fn bring(&self, document: Brought) -> impl Future<Output = ()> + Send;
}

impl Outsider for overlay::Documents {
    async fn wants_document(&mut self) {
        self.wanted().await;
    }

    fn servers(&self) -> Vec<String> {
        self.in_force().enrollment_servers
    }

    async fn bring(&self, document: Brought) {
        Self::bring(self, document).await;
    }
}

/// Brings a running peer, whose credentials are in `folder`, the document that its enrollment servers have, for as long as it is outside.
pub(super) async fn keep(folder: &Path, mut peer: impl Outsider, stop: CancellationToken) {
    let keeping = async {
        loop {
            peer.wants_document().await;
            match fetch(folder, &peer.servers()).await {
                Ok(document) => peer.bring(document).await,
                Err(error) => tracing::warn!(%error, "no document that can be obeyed yet; asked again every {EVERY:?}"),
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    stop.run_until_cancelled(keeping).await;
}

async fn fetch(folder: &Path, servers: &[String]) -> Result<Brought, EnrollError> {
    // A peer without enrollment has nobody to ask.
    let known = PeerCredentials::load(folder, now_ms())?.ok_or(EnrollError::NoServer)?;
    newest(servers, known.root).await
}

/// The document of the first server that has one.
pub(super) async fn newest(servers: &[String], root: [u8; 32]) -> Result<Brought, EnrollError> {
    match document(servers, root).await {
        Ok(document) => Ok(Ok(document)),
        Err(EnrollError::Document {
            source: overlay_config::Error::CannotObey(demand),
            ..
        }) => Ok(Err(demand)),
        Err(error) => Err(error),
    }
}

/// Soon enough for an overlay that was mended, and seldom enough for its service when all peers are outside.
const EVERY: Duration = Duration::from_secs(600);
