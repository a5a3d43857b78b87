//! The next certificates of a node: over HTTPS, by those in force, when a third of their life is over or somebody wants it.
//!
//! A peer's and an edge's link certificate are issued again for the same key. A delegated signer gets a new key, whose file
//! stands beside the old one until the new certificate is there: whatever is cut off, one of the two fits.

use std::path::{Path, PathBuf};

use identity::issue::renewal_due_ms;
use identity::{Certificate, Sign as _, Signer};
use overlay_config::{Basis, Document, SignedDocument};
use prost::Message as _;
use rpc::proto::bootstrap::v1::{RenewRequest, RenewResponse};

use super::credentials::{EdgeCredentials, LINK, NEXT_SIGNER, PEER, PeerCredentials, SIGNER};
use super::files::{CredentialsError, Files, certificate_file, key_file};
use super::https::Client;
use super::{EnrollError, any, backup, check, now_ms, request_of};

/// When certificates are renewed.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// Where they are due at this time, in Unix milliseconds.
    DueAt(u64),
    /// Whether they are due or not.
    Now,
}

impl When {
    fn has_come_for(self, certificate: &Certificate) -> bool {
        match self {
            Self::DueAt(at_ms) => at_ms >= renewal_due_ms(certificate),
            Self::Now => true,
        }
    }

    fn request(self) -> RenewRequest {
        RenewRequest {
            anew: matches!(self, Self::Now),
            ..RenewRequest::default()
        }
    }
}

/// Says whether the folder holds the credentials of a node, a peer's or an edge's.
pub(crate) fn is_enrolled(folder: &Path) -> bool {
    let files = Files::of(folder);
    [PEER, LINK].iter().any(|name| files.has(&certificate_file(name)))
}

/// Renews all certificates of the node whose credentials are in `folder`, due or not; returns them with their files. Empty if nobody is
/// enrolled there.
pub(crate) async fn renew_now(folder: &Path) -> Result<Vec<(PathBuf, Certificate)>, EnrollError> {
    let files = Files::of(folder);
    let names: &[&str] = if files.has(&certificate_file(PEER)) {
        peer(folder, When::Now).await?;
        &[PEER]
    } else if files.has(&certificate_file(LINK)) {
        edge(folder, When::Now).await?;
        &[LINK, SIGNER]
    } else {
        &[]
    };
    let each = names.iter().map(|name| {
        let path = folder.join(certificate_file(name));
        Ok((path, files.certificate(name, now_ms())?))
    });
    each.collect()
}

/// Renews a peer's certificate; nothing if its time has not come.
pub(super) async fn peer(folder: &Path, when: When) -> Result<Option<PeerCredentials>, EnrollError> {
    let Some(known) = PeerCredentials::load(folder, now_ms())? else {
        return Ok(None);
    };
    let files = Files::of(folder);
    if !when.has_come_for(&files.certificate(PEER, now_ms())?) {
        return Ok(None);
    }
    let request = when.request();
    let answer = ask(&known.signer, known.document.document(), known.root, request).await?;
    answer.keep(&files, (PEER, &known.signer))?;
    if let Err(error) = backup::fetch(folder, now_ms()).await {
        tracing::debug!(%error, "backup of the bootstrap service not fetched");
    }
    Ok(PeerCredentials::load(folder, now_ms())?)
}

/// Renews those of an edge's certificates whose time has come; nothing if there is none.
pub(super) async fn edge(folder: &Path, when: When) -> Result<Option<EdgeCredentials>, EnrollError> {
    let files = Files::of(folder);
    if !files.exist() {
        return Ok(None);
    }
    let (document, root) = files.document(now_ms())?;
    let link = &files.signer(LINK, now_ms())?;
    // It may have ended before the link's certificate, which is enough to renew it.
    let in_use = files.certificate_at_any_time(SIGNER)?;
    let is_signer_due = when.has_come_for(&in_use);
    if !is_signer_due && !when.has_come_for(&files.certificate(LINK, now_ms())?) {
        return Ok(None);
    }
    settle_signer(&files, &in_use)?;
    let mut request = when.request();
    if is_signer_due {
        request.signer = request_of(&files.key_or_new(NEXT_SIGNER)?)?;
    }
    let answer = ask(link, document.document(), root, request).await?;
    answer.keep(&files, (LINK, link))?;
    if is_signer_due {
        keep_next_signer(&files, &answer.renewed.signer).map_err(|reason| answer.unusable(&reason))?;
    }
    Ok(EdgeCredentials::load(folder, now_ms())?)
}

/// Puts the next signer in the place of the one in use.
pub(super) fn keep_next_signer(files: &Files, der: &[u8]) -> Result<(), String> {
    let certificate = Certificate::from_der(der).map_err(|error| error.to_string())?;
    let key = files.key(NEXT_SIGNER).map_err(|error| error.to_string())?;
    if certificate.public_key() != key.public().spki() {
        return Err("the signer's certificate is for another key".to_owned());
    }
    let kept = files.write(&certificate_file(SIGNER), certificate.der());
    kept.and_then(|()| files.replace(&key_file(SIGNER), &key_file(NEXT_SIGNER)))
        .map_err(|error| error.to_string())
}

/// Ends a renewal that was cut off when the certificate was there and its key still under the name of the next.
pub(super) fn settle_signer(files: &Files, in_use: &Certificate) -> Result<(), CredentialsError> {
    if files.has(&key_file(NEXT_SIGNER)) && files.key(NEXT_SIGNER)?.public().spki() == in_use.public_key() {
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
    any(document, move |server| async move {
        let url = server.to_string();
        let answer = client
            .post(&server, "/.well-known/p2psip/renew", request.encode_to_vec())
            .await?;
        let renewed = RenewResponse::decode(answer).map_err(|error| EnrollError::Answer {
            url: url.clone(),
            reason: error.to_string(),
        })?;
        let document = SignedDocument::parse_and_verify(renewed.document.clone(), Basis::Root(root), now_ms());
        let document = document.map_err(|source| EnrollError::of_document(url.clone(), source))?;
        Ok(Answer { url, renewed, document })
    })
    .await
}

impl Answer {
    /// Puts the certificate in the place of the one in force, after a look at it, and the document too if it is newer.
    fn keep(&self, files: &Files, (name, in_force): (&str, &Signer)) -> Result<(), EnrollError> {
        let node = self.renewed.node.as_ref();
        let node = node.ok_or_else(|| self.unusable(&"it holds no certificate"))?;
        check(&self.url, &self.document, &node.certificate)?;
        let certificate = Certificate::from_der(&node.certificate).map_err(|error| self.unusable(&error))?;
        let is_same_key = certificate.public_key() == in_force.key().public().spki();
        if !is_same_key || certificate.node_ids() != [in_force.node_id()] {
            return Err(self.unusable(&"its certificate is for another key or node"));
        }
        files.write(&certificate_file(name), certificate.der())?;
        files.take_document(&self.document, now_ms())?;
        Ok(())
    }

    fn unusable(&self, reason: &dyn std::fmt::Display) -> EnrollError {
        EnrollError::Answer {
            url: self.url.clone(),
            reason: reason.to_string(),
        }
    }
}
