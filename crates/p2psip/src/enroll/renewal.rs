//! Certificates are renewed by themselves: when a third of their life is over, over HTTPS, by the certificate in force.
//!
//! A peer's and an edge's link certificate are issued again for the same key. A delegated signer gets a new key, whose file
//! stands beside the old one until the new certificate is there: whatever is cut off, one of the two fits.

use std::path::{Path, PathBuf};
use std::time::Duration;

use identity::issue::renewal_due_ms;
use identity::{Certificate, Sign as _, Signer};
use overlay_config::{Basis, Document, SignedDocument};
use prost::Message as _;
use rpc::proto::bootstrap::v1::{RenewRequest, RenewResponse};
use runtime::Tasks;

use super::credentials::{EdgeCredentials, LINK, NEXT_SIGNER, PEER, PeerCredentials, SIGNER};
use super::files::{Files, certificate_file, key_file};
use super::https::Client;
use super::{EnrollError, check, first, now_ms, record_keys, request_of};

/// The tasks that renew what one component was given, while it runs.
#[derive(Debug)]
pub(crate) struct Renewal(Tasks);

/// Why a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error(transparent)]
    Enroll(#[from] EnrollError),
    #[error(transparent)]
    Peer(#[from] overlay::Error),
    #[error(transparent)]
    Edge(#[from] sip_edge::BindError),
}

impl Renewal {
    /// Renews the certificate of a running peer, whose credentials are in `folder`.
    pub(crate) fn of_peer(folder: PathBuf, renewer: overlay::Renewer) -> Self {
        let mut tasks = Tasks::new();
        let stop = tasks.stop();
        tasks.spawn("renewal of the peer's certificate", async move {
            loop {
                tell(renew_peer(&folder, &renewer).await);
                if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
                    return;
                }
            }
        });
        Self(tasks)
    }

    /// Renews the certificates of a running edge, whose credentials are in `folder`, and asks for its record keys so often.
    pub(crate) fn of_edge(folder: PathBuf, renewer: sip_edge::Renewer, record_keys_every: Duration) -> Self {
        let mut tasks = Tasks::new();
        let stop = tasks.stop();
        let (place, keys, until) = (folder.clone(), renewer.clone(), tasks.stop());
        tasks.spawn("record keys of the edge", async move {
            record_keys::keep(&place, keys, record_keys_every, until).await;
        });
        tasks.spawn("renewal of the edge's certificates", async move {
            loop {
                tell(renew_edge(&folder, &renewer).await);
                if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
                    return;
                }
            }
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

async fn renew_peer(folder: &Path, renewer: &overlay::Renewer) -> Result<(), RenewError> {
    if let Some(renewed) = peer(folder, now_ms()).await? {
        let node_id = renewed.node_id();
        renewer.renew(renewed.signer).await?;
        tracing::info!(node_id = %node_id.short(), "certificate of the peer renewed");
    }
    Ok(())
}

async fn renew_edge(folder: &Path, renewer: &sip_edge::Renewer) -> Result<(), RenewError> {
    if let Some(renewed) = edge(folder, now_ms()).await? {
        let node_id = renewed.node_id();
        renewer.renew(renewed.edge).await?;
        tracing::info!(node_id = %node_id.short(), "certificates of the edge renewed");
    }
    Ok(())
}

/// An enrollment server that is away costs nothing but a line an hour, for two months.
fn tell(outcome: Result<(), RenewError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "certificate not renewed; tried again in an hour");
    }
}

/// Renews a peer's certificate if it is due at `at_ms`; nothing if it is not.
pub(super) async fn peer(folder: &Path, at_ms: u64) -> Result<Option<PeerCredentials>, EnrollError> {
    let Some(known) = PeerCredentials::load(folder, now_ms())? else {
        return Ok(None);
    };
    let files = Files::of(folder);
    if !is_due(&files.certificate(PEER, now_ms())?, at_ms) {
        return Ok(None);
    }
    let answer = ask(
        &known.signer,
        known.document.document(),
        known.root,
        RenewRequest::default(),
    )
    .await?;
    answer.keep(&files, (PEER, &known.signer))?;
    Ok(PeerCredentials::load(folder, now_ms())?)
}

/// Renews what is due of an edge's at `at_ms`; nothing if nothing is.
pub(super) async fn edge(folder: &Path, at_ms: u64) -> Result<Option<EdgeCredentials>, EnrollError> {
    let Some(known) = EdgeCredentials::load(folder, now_ms())? else {
        return Ok(None);
    };
    let files = Files::of(folder);
    let is_signer_due = is_due(known.edge.delegated.certificate(), at_ms);
    if !is_signer_due && !is_due(&files.certificate(LINK, now_ms())?, at_ms) {
        return Ok(None);
    }
    settle_signer(&files, &known)?;
    let mut request = RenewRequest::default();
    if is_signer_due {
        request.signer = request_of(&files.key_or_new(NEXT_SIGNER)?)?;
    }
    let link = &known.edge.link;
    let answer = ask(link, known.document.document(), known.root, request).await?;
    answer.keep(&files, (LINK, link))?;
    if is_signer_due {
        let certificate = Certificate::from_der(&answer.renewed.signer).map_err(|error| answer.unusable(&error))?;
        if certificate.public_key() != files.key(NEXT_SIGNER)?.public().spki() {
            return Err(answer.unusable(&"the signer's certificate is for another key"));
        }
        files.write(&certificate_file(SIGNER), certificate.der())?;
        files.replace(&key_file(SIGNER), &key_file(NEXT_SIGNER))?;
    }
    Ok(EdgeCredentials::load(folder, now_ms())?)
}

/// Ends a renewal that was cut off when the certificate was there and its key still under the name of the next.
fn settle_signer(files: &Files, known: &EdgeCredentials) -> Result<(), EnrollError> {
    let in_use = known.edge.delegated.certificate().public_key();
    if files.has(&key_file(NEXT_SIGNER)) && files.key(NEXT_SIGNER)?.public().spki() == in_use {
        files.replace(&key_file(SIGNER), &key_file(NEXT_SIGNER))?;
    }
    Ok(())
}

/// What a server that proved itself answered.
struct Answer {
    url: String,
    renewed: RenewResponse,
    document: SignedDocument,
}

async fn ask(node: &Signer, document: &Document, root: [u8; 32], request: RenewRequest) -> Result<Answer, EnrollError> {
    let (client, request) = (&Client::of(document, Some(node))?, &request);
    first(&document.enrollment_servers, move |server| async move {
        let url = server.to_string();
        let answer = client
            .post(&server, "/.well-known/p2psip/renew", request.encode_to_vec())
            .await?;
        let renewed = RenewResponse::decode(answer).map_err(|error| EnrollError::Answer {
            url: url.clone(),
            reason: error.to_string(),
        })?;
        let document = SignedDocument::parse_and_verify(renewed.document.clone(), Basis::Root(root), now_ms());
        let document = document.map_err(|source| EnrollError::Document {
            url: url.clone(),
            source,
        })?;
        Ok(Answer { url, renewed, document })
    })
    .await
}

impl Answer {
    /// Puts the certificate in the place of the one in force, after a look at it.
    fn keep(&self, files: &Files, (name, in_force): (&str, &Signer)) -> Result<(), EnrollError> {
        let node = self.renewed.node.as_ref();
        let node = node.ok_or_else(|| self.unusable(&"it holds no certificate"))?;
        check(&self.url, &self.document, &node.certificate)?;
        let certificate = Certificate::from_der(&node.certificate).map_err(|error| self.unusable(&error))?;
        let is_same_key = certificate.public_key() == in_force.key().public().spki();
        if !is_same_key || certificate.node_ids() != [in_force.node_id()] {
            return Err(self.unusable(&"its certificate is for another key or node"));
        }
        Ok(files.write(&certificate_file(name), certificate.der())?)
    }

    fn unusable(&self, reason: &dyn std::fmt::Display) -> EnrollError {
        EnrollError::Answer {
            url: self.url.clone(),
            reason: reason.to_string(),
        }
    }
}

fn is_due(certificate: &Certificate, at_ms: u64) -> bool {
    at_ms >= renewal_due_ms(certificate)
}

/// Due means that two thirds of a life are left.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
