//! Enrollment, as a new host makes it: from a token to credentials in a folder.
//!
//! [`Token`] carries the hash of the configuration root and the addresses of enrollment servers. First the [`document`], from
//! whoever answers there, believed only on that hash; then the request with the token's secret, to a server that proves itself
//! under the document ([`https`]). Hosts that share nothing but a secret are told the rest of the token first ([`vouched`]). What comes of it stands in a folder ([`credentials`]); a key is written there before anything
//! is asked for with it, so an answer that is lost is asked for again. [`renew`] gets the next certificates, [`renewal`] keeps
//! them from ending while a component runs, [`late`] has them anew when they have, [`backup`] keeps the bootstrap services' backup, [`record_keys`] follows a rotation of the record key, [`documents`] looks for a document
//! that a peer can obey.

mod backup;
mod credentials;
mod documents;
mod ends;
mod files;
mod https;
mod late;
mod order;
mod record_keys;
mod renew;
mod renewal;
mod token;
mod vouch;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::StatusCode;
use identity::issue::random_node_id;
use identity::{Key, Use, Verifier};
use overlay_config::{Basis, BootstrapNode, Document, SignedDocument};
use prost::Message as _;
use rpc::proto::bootstrap::v1::enroll_request::Credential;
use rpc::proto::bootstrap::v1::{EdgeRequest, EnrollRequest, EnrollResponse};
use runtime::ExitCode;

pub(crate) use self::credentials::{EdgeCredentials, PeerCredentials};
use self::credentials::{FOUNDER, LINK, PEER, SIGNER, VALUES, record_key, write_record_keys};
pub(crate) use self::files::CredentialsError;
use self::files::{Files, begins_ms, certificate_file};
use self::https::{Client, HttpsError, Server};
pub(crate) use self::late::mend;
pub(crate) use self::record_keys::LOOK_EVERY as LOOK_AT_RECORD_KEYS_EVERY;
pub(crate) use self::renew::{is_enrolled, renew_now};
pub(crate) use self::renewal::Renewal;
pub(crate) use self::token::Token;
pub(crate) use self::vouch::token as vouched;
use crate::failure::Failure;

/// Why a node was not enrolled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrollError {
    #[error(transparent)]
    Https(#[from] HttpsError),
    #[error("no enrollment server is known: make the token with --url https://HOST:PORT")]
    NoServer,
    #[error("{url} serves another overlay, or pretends to be this one: {source}")]
    Document { url: String, source: overlay_config::Error },
    #[error("the document of {url} is signed for another time ({source}): is the clock of this host right?")]
    Clock { url: String, source: overlay_config::Error },
    #[error("{url} serves the overlay {found}, the token is for {expected}")]
    OtherOverlay {
        url: String,
        found: String,
        expected: String,
    },
    #[error(
        "{url} does not know the secret of this host's token: compare the file of `peer.token_file` with the one of \
         `bootstrap.tokens` there"
    )]
    NotVouched { url: String },
    #[error("this host is in another overlay than {overlay}, for which the token is: use another --data")]
    ElsewhereAlready { overlay: String },
    #[error("the answer of {url} cannot be used: {reason}")]
    Answer { url: String, reason: String },
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

/// Fetches the overlay's document from the first server that has it. None of them is believed: the document must be signed under
/// the configuration root with this hash.
pub(crate) async fn document(servers: &[String], root: [u8; 32]) -> Result<Arc<SignedDocument>, EnrollError> {
    let client = &Client::unverified()?;
    first(servers, move |server| async move {
        let xml = client.get(&server, "/.well-known/reload-config").await?;
        let document = SignedDocument::parse_and_verify(xml, Basis::Root(root), now_ms());
        let document = document.map_err(|source| EnrollError::of_document(server.to_string(), source))?;
        Ok(Arc::new(document))
    })
    .await
}

/// Enrolls a peer with its token, into `folder`; who is enrolled there already stays so, and is renewed if its time is over.
pub(crate) async fn peer(folder: &Path, token: &Token) -> Result<PeerCredentials, EnrollError> {
    peer_that_may_found(folder, token, async |_| false).await
}

/// As [`peer`]. If `stands` at one of the document's bootstrap nodes, it may be the peer that forms the ring.
pub(crate) async fn peer_that_may_found(
    folder: &Path,
    token: &Token,
    stands: impl AsyncFnOnce(&[BootstrapNode]) -> bool,
) -> Result<PeerCredentials, EnrollError> {
    match PeerCredentials::load(folder, now_ms()) {
        Ok(Some(enrolled)) => return Ok(enrolled),
        Err(CredentialsError::Ended { .. }) => return late::peer(folder, token).await,
        loaded => drop(loaded?),
    }
    let draft = Files::draft(folder)?;
    let key = draft.key_or_new(PEER)?;
    let document = document(&token.servers, token.root).await?;
    let request = EnrollRequest {
        peer: request_of(&key)?,
        bootstrap_node: stands(&document.document().bootstrap_nodes).await,
        ..EnrollRequest::default()
    };
    let answer = ask(token, &document, request).await?;
    let peer = answer.enrolled.peer.as_ref().ok_or_else(|| answer.lacks("a peer"))?;
    answer.check(&peer.certificate)?;
    draft.write(&certificate_file(PEER), &peer.certificate)?;
    if answer.enrolled.founder {
        draft.write(FOUNDER, &[])?;
    }
    draft.write_document(&answer.document, token.root)?;
    draft.finish(folder)?;
    PeerCredentials::load(folder, now_ms())?.ok_or_else(|| answer.lacks("a peer"))
}

/// Enrolls an edge with the token of its peer, into `folder`; who is enrolled there already stays so, and is renewed if its time
/// is over.
pub(crate) async fn edge(folder: &Path, token: &Token) -> Result<EdgeCredentials, EnrollError> {
    match EdgeCredentials::load(folder, now_ms()) {
        Ok(Some(enrolled)) => return Ok(enrolled),
        Err(CredentialsError::Ended { .. }) => return late::edge(folder, token).await,
        loaded => drop(loaded?),
    }
    let draft = Files::draft(folder)?;
    draft.key_or_new(VALUES)?;
    let (link, signer) = (draft.key_or_new(LINK)?, draft.key_or_new(SIGNER)?);
    let document = document(&token.servers, token.root).await?;
    let request = EnrollRequest {
        edges: vec![EdgeRequest {
            link: request_of(&link)?,
            signer: request_of(&signer)?,
        }],
        ..EnrollRequest::default()
    };
    let answer = ask(token, &document, request).await?;
    let edge = answer.enrolled.edges.first().ok_or_else(|| answer.lacks("an edge"))?;
    answer.check(&edge.link)?;
    draft.write(&certificate_file(LINK), &edge.link)?;
    draft.write(&certificate_file(SIGNER), &edge.signer)?;
    let record_keys: Option<Vec<_>> = answer.enrolled.record_keys.iter().map(record_key).collect();
    write_record_keys(&draft, &record_keys.ok_or_else(|| answer.lacks("an edge"))?)?;
    draft.write_document(&answer.document, token.root)?;
    draft.finish(folder)?;
    EdgeCredentials::load(folder, now_ms())?.ok_or_else(|| answer.lacks("an edge"))
}

/// What a server that proved itself said.
struct Answer {
    url: String,
    enrolled: EnrollResponse,
    document: SignedDocument,
}

/// Sends the token's secret with a request, to a server of the overlay and nobody else.
async fn ask(token: &Token, document: &SignedDocument, request: EnrollRequest) -> Result<Answer, EnrollError> {
    let client = &Client::of(document.document(), None)?;
    let request = &EnrollRequest {
        credential: Some(Credential::Token(token.secret.clone())),
        ..request
    };
    first(&token.servers, move |server| async move {
        let url = server.to_string();
        let answer = client
            .post(&server, "/.well-known/p2psip/enroll", request.encode_to_vec())
            .await?;
        let unreadable = |reason: String| EnrollError::Answer {
            url: url.clone(),
            reason,
        };
        let enrolled = EnrollResponse::decode(answer).map_err(|error| unreadable(error.to_string()))?;
        let document = SignedDocument::parse_and_verify(enrolled.document.clone(), Basis::Root(token.root), now_ms())
            .map_err(|source| EnrollError::of_document(url.clone(), source))?;
        // RFC 6940 §11.2: a document of another overlay is not used.
        if document.document().overlay != token.overlay {
            return Err(EnrollError::OtherOverlay {
                url: url.clone(),
                found: document.document().overlay.clone(),
                expected: token.overlay.clone(),
            });
        }
        Ok(Answer {
            url: url.clone(),
            enrolled,
            document,
        })
    })
    .await
}

impl Answer {
    fn lacks(&self, what: &str) -> EnrollError {
        EnrollError::Answer {
            url: self.url.clone(),
            reason: format!("it does not enroll {what}"),
        }
    }

    fn unusable(&self, reason: String) -> EnrollError {
        EnrollError::Answer {
            url: self.url.clone(),
            reason,
        }
    }

    fn check(&self, certificate: &[u8]) -> Result<(), EnrollError> {
        check(&self.url, &self.document, certificate)
    }
}

/// RFC 6940 §11.3: a certificate that was returned chains to a `root-cert`.
fn check(url: &str, document: &SignedDocument, certificate: &[u8]) -> Result<(), EnrollError> {
    let verifier = Verifier::new(document.document().trust());
    let verified = verifier.verify(certificate, &[], now_ms(), Use::Node);
    verified.map(drop).map_err(|error| EnrollError::Answer {
        url: url.to_owned(),
        reason: error.to_string(),
    })
}

/// Tries all services that a document names, in random order: any of them can serve any node.
async fn any<T, Attempt>(document: &Document, attempt: impl Fn(Server) -> Attempt) -> Result<T, EnrollError>
where
    Attempt: Future<Output = Result<T, EnrollError>>,
{
    let drawn = random_node_id().map_err(CredentialsError::from)?;
    first(&order::shuffled(&document.enrollment_servers, drawn), attempt).await
}

/// Tries servers in turn. If none helps, the first one's refusal is told rather than that others were away.
async fn first<T, Attempt>(servers: &[String], attempt: impl Fn(Server) -> Attempt) -> Result<T, EnrollError>
where
    Attempt: Future<Output = Result<T, EnrollError>>,
{
    let mut told = None;
    for url in servers {
        let outcome = match Server::of(url) {
            Ok(server) => attempt(server).await,
            Err(error) => Err(error.into()),
        };
        match outcome {
            Ok(answer) => return Ok(answer),
            Err(error) if told.is_none() || error.is_refusal() => {
                told = told.filter(EnrollError::is_refusal).or(Some(error))
            }
            Err(error) => tracing::debug!(%error, "enrollment server passed over"),
        }
    }
    Err(told.unwrap_or(EnrollError::NoServer))
}

impl EnrollError {
    fn of_document(url: String, source: overlay_config::Error) -> Self {
        match begins_ms(&source) {
            Some(_) => Self::Clock { url, source },
            None => Self::Document { url, source },
        }
    }

    fn is_refusal(&self) -> bool {
        matches!(self, Self::Https(HttpsError::Refused { .. }))
    }
}

fn request_of(key: &Key) -> Result<Bytes, EnrollError> {
    Ok(key.request().map_err(CredentialsError::from)?.into())
}

/// The wall clock.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a server says that it will answer at another time.
fn is_later(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

impl From<EnrollError> for Failure {
    fn from(error: EnrollError) -> Self {
        let code = match error {
            EnrollError::Credentials(error) => return error.into(),
            EnrollError::Document {
                source: overlay_config::Error::CannotObey(_),
                ..
            } => ExitCode::Usage,
            EnrollError::Https(HttpsError::Connect { .. } | HttpsError::Http { .. }) => ExitCode::Unreachable,
            EnrollError::Https(HttpsError::TimedOut { .. }) => ExitCode::Timeout,
            // It is there, and will answer later.
            EnrollError::Https(HttpsError::Status { status, .. }) if is_later(status) => ExitCode::Unreachable,
            EnrollError::Https(HttpsError::Url { .. } | HttpsError::Name { .. }) | EnrollError::NoServer => {
                ExitCode::Usage
            }
            EnrollError::Https(HttpsError::Setup(_)) => ExitCode::Internal,
            _ => ExitCode::Credentials,
        };
        Self::new(code, error)
    }
}
