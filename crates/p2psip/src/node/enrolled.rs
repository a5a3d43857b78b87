//! Who a node is: the credentials in its data folder or, at its first start, new ones for the token of its peer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::{Component, ExitCode};
use tracing::{info, warn};

use super::place::{Place, waiting};
use crate::enroll::{self, CredentialsError, EdgeCredentials, EnrollError, PeerCredentials, Token, now_ms};
use crate::failure::Failure;

/// Where the credentials of a component are.
pub(crate) fn folder(data: &Path) -> PathBuf {
    data.join("credentials")
}

/// The credentials of a peer.
pub(crate) async fn peer(place: &Place, data: &Path, component: &Component) -> Result<PeerCredentials, Failure> {
    Enrollment { place, data, component }
        .result(PeerCredentials::load, enroll::peer)
        .await
}

/// The credentials of an edge.
pub(crate) async fn edge(place: &Place, data: &Path, component: &Component) -> Result<EdgeCredentials, Failure> {
    Enrollment { place, data, component }
        .result(EdgeCredentials::load, enroll::edge)
        .await
}

struct Enrollment<'a> {
    place: &'a Place,
    data: &'a Path,
    component: &'a Component,
}

impl Enrollment<'_> {
    /// Loads, or enrolls; while no enrollment server answers, it tries again and says so.
    async fn result<T>(
        &self,
        load: impl Fn(&Path, u64) -> Result<Option<T>, CredentialsError>,
        enroll: impl AsyncFn(&Path, &Token) -> Result<T, EnrollError>,
    ) -> Result<T, Failure> {
        let folder = folder(self.data);
        if let Err(over) = load(&folder, now_ms())
            && over.is_over()
            && let Err(failure) = self.patiently(async || enroll::mend(&folder).await).await
        {
            // What is said below is what can be done about it.
            warn!(reason = %failure, "what has ended is not renewed without a token");
        }
        let ended = match load(&folder, now_ms()) {
            Ok(Some(credentials)) => return Ok(credentials),
            Ok(None) => None,
            // A new token may be there already.
            Err(error @ CredentialsError::Ended { .. }) => {
                warn!(reason = %error, "tried with the token of this peer");
                Some(error)
            }
            Err(error) => return Err(error.into()),
        };
        let enrolled = match self.token().await {
            Ok(token) => self.patiently(async || enroll(&folder, &token).await).await,
            Err(failure) => Err(failure),
        };
        match (enrolled, ended) {
            (Ok(credentials), _) => {
                info!(folder = %folder.display(), "enrolled");
                Ok(credentials)
            }
            (Err(_), Some(ended)) => Err(ended.into()),
            (Err(failure), None) => Err(failure),
        }
    }

    /// Tries again while no enrollment server answers.
    async fn patiently<T>(&self, attempt: impl AsyncFn() -> Result<T, EnrollError>) -> Result<T, Failure> {
        let mut pause = FIRST_PAUSE;
        loop {
            let failure = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => Failure::from(error),
            };
            if !matches!(failure.code(), ExitCode::Unreachable | ExitCode::Timeout) {
                return Err(failure);
            }
            warn!(reason = %failure, "not enrolled yet");
            self.component.tell(waiting(format!("not enrolled yet: {failure}")));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn token(&self) -> Result<Token, Failure> {
        let text = self.place.token(|| self.component.clone()).await?;
        let text = text.ok_or_else(|| {
            let message = "this node is not enrolled and has no token: `p2psip join TOKEN` brings it into an overlay";
            Failure::new(ExitCode::Credentials, anyhow::anyhow!(message))
        })?;
        text.parse().map_err(|error| Failure::new(ExitCode::Credentials, error))
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
