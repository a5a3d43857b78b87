//! Who a node is: the credentials in its data folder or, at its first start, new ones for the token of its peer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::{Component, ExitCode};
use tracing::{info, warn};

use super::place::{Invitation, Place};
use super::standing;
use super::waiting::Waiting;
use crate::enroll::{self, CredentialsError, EdgeCredentials, EnrollError, PeerCredentials, Token, now_ms};
use crate::failure::Failure;

/// Where the credentials of a component are.
pub(crate) fn folder(data: &Path) -> PathBuf {
    data.join("credentials")
}

/// The credentials of a peer.
pub(crate) async fn peer(
    place: &Place,
    config: &overlay::Config,
    component: &Component,
) -> Result<PeerCredentials, Failure> {
    let enrollment = Enrollment {
        place,
        data: &config.data,
        component,
    };
    let is_designated = place.is_founder();
    enrollment
        .result(PeerCredentials::load, async |folder, token| {
            enroll::peer_that_may_found(folder, token, async |nodes| {
                is_designated || standing::is_one_of(nodes, config).await
            })
            .await
        })
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
            // The message below says what can be done about it.
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
        let enrolled = match self.place.invitation(|| self.component.clone()).await {
            Ok(invitation) => {
                let attempt = async || enroll(&folder, &invitation.token().await?).await;
                self.patiently(attempt).await
            }
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
        let (mut waiting, mut pause) = (Waiting::default(), FIRST_PAUSE);
        loop {
            let failure = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => Failure::from(error),
            };
            if !matches!(failure.code(), ExitCode::Unreachable | ExitCode::Timeout) {
                return Err(failure);
            }
            waiting.tell(self.component, format!("not enrolled yet: {failure}"));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Invitation {
    /// The token, completed by a server that knows its secret where that is all there is.
    async fn token(&self) -> Result<Token, EnrollError> {
        match self {
            Self::Token(token) => Ok(token.clone()),
            Self::Secret { secret, servers } => enroll::vouched(servers, secret).await,
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
