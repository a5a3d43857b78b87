//! What enrollment gave a node, kept in a folder of its own.
//!
//! ```text
//! peer:  peer.key peer.der founder                                document.xml root backup.sealed
//! edge:  link.key link.der signer.key signer.der values.key record-keys   document.xml root
//! ```
//!
//! `root` is the SHA-256 of the configuration root in hex; `document.xml` is believed on it. `founder` is there if the peer forms
//! the ring at its first start. `backup.sealed` is of the bootstrap services, and only the key in `off-line/` opens it.

use std::path::Path;
use std::sync::Arc;

use identity::issue::Authority;
use identity::{Sign as _, Signer, Verifier};
use overlay_config::SignedDocument;
use rpc::proto::bootstrap::v1::RecordKey as Sent;
use usage::user::RecordKey;
use wire::NodeId;

use super::files::{CredentialsError, Files, certificate_file};

/// All that a peer is.
#[derive(Debug)]
pub(crate) struct PeerCredentials {
    pub(crate) document: Arc<SignedDocument>,
    /// SHA-256 of the configuration root.
    pub(crate) root: [u8; 32],
    pub(crate) signer: Signer,
    /// Whether it forms the ring at its first start.
    pub(crate) is_founder: bool,
}

/// All that an edge is.
#[derive(Debug)]
pub(crate) struct EdgeCredentials {
    pub(crate) document: Arc<SignedDocument>,
    pub(crate) edge: sip_edge::Credentials,
}

impl PeerCredentials {
    /// Reads what is in `folder`, if enrollment has come to its end there.
    pub(crate) fn load(folder: &Path, now_ms: u64) -> Result<Option<Self>, CredentialsError> {
        let files = Files::of(folder);
        if !files.exist() {
            return Ok(None);
        }
        let (document, root) = files.document(now_ms)?;
        let signer = files.signer(PEER, now_ms)?;
        Ok(Some(Self {
            document,
            root,
            signer,
            is_founder: files.has(FOUNDER),
        }))
    }

    pub(crate) fn node_id(&self) -> NodeId {
        self.signer.node_id()
    }

    /// What an overlay component is told of itself.
    pub(crate) fn member(self, key_log: bool) -> overlay::Member {
        overlay::Member {
            key: self.signer.key().clone(),
            chain: self.signer.certificates().to_vec(),
            signer: Arc::new(self.signer),
            verifier: Arc::new(Verifier::new(self.document.document().trust())),
            document: self.document,
            founder: self.is_founder,
            key_log,
        }
    }
}

impl EdgeCredentials {
    /// Reads what is in `folder`, if enrollment has come to its end there.
    pub(crate) fn load(folder: &Path, now_ms: u64) -> Result<Option<Self>, CredentialsError> {
        let files = Files::of(folder);
        if !files.exist() {
            return Ok(None);
        }
        let (document, _) = files.document(now_ms)?;
        let edge = sip_edge::Credentials {
            link: files.signer(LINK, now_ms)?,
            delegated: delegated(&files, now_ms)?,
            values: files.key(VALUES)?,
            record_keys: record_keys(&files)?,
        };
        Ok(Some(Self { document, edge }))
    }

    pub(crate) fn node_id(&self) -> NodeId {
        self.edge.link.node_id()
    }
}

/// The delegated signer. A renewal that was cut off may have left its key under the name of the next.
fn delegated(files: &Files, now_ms: u64) -> Result<Authority, CredentialsError> {
    let certificate = files.certificate(SIGNER, now_ms)?;
    let key = files.key(SIGNER)?;
    let key = match files.has(&super::files::key_file(NEXT_SIGNER)) {
        true if key.public().spki() != certificate.public_key() => files.key(NEXT_SIGNER)?,
        _ => key,
    };
    Authority::new(key, certificate).map_err(|error| files.damaged(&certificate_file(SIGNER), &error))
}

/// Lines of a version and 32 octets in hex.
fn record_keys(files: &Files) -> Result<Vec<RecordKey>, CredentialsError> {
    let line = |line: &str| {
        let (version, key) = line.split_once(' ')?;
        let key: [u8; 32] = wire::hex::decode(key)?.try_into().ok()?;
        Some(RecordKey::new(version.parse().ok()?, key))
    };
    let octets = files.read(RECORD_KEYS)?;
    let keys = std::str::from_utf8(&octets)
        .ok()
        .and_then(|text| text.lines().map(line).collect());
    keys.ok_or_else(|| files.damaged(RECORD_KEYS, &"it is malformed"))
}

/// A record key as it travels; none if it is malformed.
pub(super) fn record_key(sent: &Sent) -> Option<RecordKey> {
    Some(RecordKey::new(sent.version, sent.key.as_ref().try_into().ok()?))
}

pub(super) fn write_record_keys(files: &Files, keys: &[RecordKey]) -> Result<(), CredentialsError> {
    let lines = keys
        .iter()
        .map(|key| format!("{} {}\n", key.version(), wire::hex::encode(key.octets())));
    files.write(RECORD_KEYS, lines.collect::<String>().as_bytes())
}

pub(super) const FOUNDER: &str = "founder";
/// Of a peer.
pub(super) const PEER: &str = "peer";
/// Of an edge: TLS, AppAttach.
pub(super) const LINK: &str = "link";
/// Of an edge: issues certificates for its users.
pub(super) const SIGNER: &str = "signer";
/// The key of the signer to come.
pub(super) const NEXT_SIGNER: &str = "signer.next";
/// Of an edge: signs registrations.
pub(super) const VALUES: &str = "values";
const RECORD_KEYS: &str = "record-keys";
