//! A node that was off for long: what has ended meanwhile, it has anew before it begins.
//!
//! ```text
//! document has ended          the services that it names have the next one        by itself (mend)
//! delegated signer has ended  the link's certificate renews it                    by itself (mend)
//! the node's own has ended    a new token, and the same key and Node-ID           with a token (peer, edge)
//! ```

use std::path::Path;

use identity::Certificate;
use identity::issue::random_node_id;
use overlay_config::Document;
use rpc::proto::bootstrap::v1::{EdgeRequest, EnrollRequest};

use super::credentials::{
    EdgeCredentials, LINK, NEXT_SIGNER, PEER, PeerCredentials, SIGNER, record_key, write_record_keys,
};
use super::files::{CredentialsError, DOCUMENT, Files, certificate_file};
use super::renew::{self, When, keep_next_signer, settle_signer};
use super::{Answer, EnrollError, Token, ask, document, now_ms, order, request_of};

/// Gets anew what can be had without a token.
pub(crate) async fn mend(folder: &Path) -> Result<(), EnrollError> {
    let files = Files::of(folder);
    if files.document(now_ms()).is_err_and(|error| error.is_over()) {
        let (root, kept) = (files.root()?, files.read(DOCUMENT)?);
        let kept = Document::from_xml(&String::from_utf8_lossy(&kept));
        let servers = kept
            .map_err(|error| files.damaged(DOCUMENT, &error))?
            .enrollment_servers;
        let drawn = random_node_id().map_err(CredentialsError::from)?;
        let next = document(&order::shuffled(&servers, drawn), root).await?;
        files.write_document(&next, root)?;
    }
    if files.has(&certificate_file(LINK)) {
        renew::edge(folder, When::DueAt(now_ms())).await?;
    }
    Ok(())
}

/// Enrolls a peer again whose certificate has ended.
pub(super) async fn peer(folder: &Path, token: &Token) -> Result<PeerCredentials, EnrollError> {
    let files = Files::of(folder);
    let ended = files.certificate_at_any_time(PEER)?;
    let request = EnrollRequest {
        peer: request_of(&files.key(PEER)?)?,
        ended: ended.der().clone(),
        ..EnrollRequest::default()
    };
    let answer = ask_again(&files, token, request).await?;
    let peer = answer.enrolled.peer.as_ref().ok_or_else(|| answer.lacks("a peer"))?;
    continues(&answer, &ended, &peer.certificate)?;
    files.write(&certificate_file(PEER), &peer.certificate)?;
    files.take_document(&answer.document, now_ms())?;
    PeerCredentials::load(folder, now_ms())?.ok_or_else(|| answer.lacks("a peer"))
}

/// Enrolls an edge again whose link's certificate has ended.
pub(super) async fn edge(folder: &Path, token: &Token) -> Result<EdgeCredentials, EnrollError> {
    let files = Files::of(folder);
    let ended = files.certificate_at_any_time(LINK)?;
    settle_signer(&files, &files.certificate_at_any_time(SIGNER)?)?;
    let request = EnrollRequest {
        edges: vec![EdgeRequest {
            link: request_of(&files.key(LINK)?)?,
            signer: request_of(&files.key_or_new(NEXT_SIGNER)?)?,
        }],
        ended: ended.der().clone(),
        ..EnrollRequest::default()
    };
    let answer = ask_again(&files, token, request).await?;
    let edge = answer.enrolled.edges.first().ok_or_else(|| answer.lacks("an edge"))?;
    continues(&answer, &ended, &edge.link)?;
    let record_keys: Option<Vec<_>> = answer.enrolled.record_keys.iter().map(record_key).collect();
    write_record_keys(&files, &record_keys.ok_or_else(|| answer.lacks("an edge"))?)?;
    files.take_document(&answer.document, now_ms())?;
    keep_next_signer(&files, &edge.signer).map_err(|reason| answer.unusable(reason))?;
    // Last: until it is there, the token is asked again.
    files.write(&certificate_file(LINK), &edge.link)?;
    EdgeCredentials::load(folder, now_ms())?.ok_or_else(|| answer.lacks("an edge"))
}

/// The data of this host are worth nothing in another overlay.
async fn ask_again(files: &Files, token: &Token, request: EnrollRequest) -> Result<Answer, EnrollError> {
    if files.root()? != token.root {
        return Err(EnrollError::ElsewhereAlready {
            overlay: token.overlay.clone(),
        });
    }
    let document = document(&token.servers, token.root).await?;
    ask(token, &document, request).await
}

/// The new certificate is for the same key and Node-ID; a service of an earlier version gives another.
fn continues(answer: &Answer, ended: &Certificate, certificate: &[u8]) -> Result<(), EnrollError> {
    answer.check(certificate)?;
    let certificate = Certificate::from_der(certificate).map_err(|error| answer.unusable(error.to_string()))?;
    if certificate.public_key() != ended.public_key() || certificate.node_ids() != ended.node_ids() {
        return Err(answer.unusable("it names another node: is the service of an earlier version?".to_owned()));
    }
    Ok(())
}
