//! What enrollment gave a peer and its edge, in files that only this user can read.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use identity::issue::Authority;
use identity::{Certificate, Key, Sign as _, Signer};
use overlay_config::{Basis, SignedDocument};
use rpc::Channel;
use rpc::proto::bootstrap::v1::bootstrap_client::BootstrapClient;
use rpc::proto::bootstrap::v1::enroll_request::Credential;
use rpc::proto::bootstrap::v1::{CreateTokenRequest, EdgeRequest, EnrollRequest, EnrollResponse};
use usage::user::RecordKey;
use wire::NodeId;

use super::folder::{FolderError, failed, make_private, write_private};

/// All that a peer and its edge are.
pub(crate) struct Credentials {
    pub(crate) document: Arc<SignedDocument>,
    pub(crate) peer: Signer,
    pub(crate) edge: sip_edge::Credentials,
}

/// Why a peer has no credentials that it can use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{path} cannot be used: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error("certificate {path} is not valid now: set the clock right, or start over with another --data folder")]
    NotValidNow { path: PathBuf },
    #[error("the configuration document {path}: {source}")]
    Document {
        path: PathBuf,
        source: overlay_config::Error,
    },
    #[error("enrollment of peer {peer} failed: {status}")]
    Refused { peer: u16, status: Box<tonic::Status> },
    #[error("the answer to the enrollment of peer {peer} lacks {what}")]
    Incomplete { peer: u16, what: &'static str },
    #[error("no key can be made: {0}")]
    Key(#[from] identity::KeyError),
}

impl Credentials {
    /// Reads what is in `folder`, if enrollment has come to its end there.
    pub(crate) fn load(folder: &Path, root: [u8; 32], now_ms: u64) -> Result<Option<Self>, CredentialsError> {
        if !folder.exists() {
            return Ok(None);
        }
        let files = Files { folder, now_ms };
        let xml = files.read(DOCUMENT)?;
        let document = SignedDocument::parse_and_verify(xml.into(), Basis::Root(root), now_ms).map_err(|source| {
            CredentialsError::Document {
                path: folder.join(DOCUMENT),
                source,
            }
        })?;
        let authority = Authority::new(files.key(SIGNER)?, files.certificate(SIGNER)?);
        let record_keys = files.read(RECORD_KEYS)?;
        Ok(Some(Self {
            document: Arc::new(document),
            peer: files.signer(PEER)?,
            edge: sip_edge::Credentials {
                link: files.signer(LINK)?,
                delegated: authority.map_err(|error| files.damaged(SIGNER, &error))?,
                values: files.key(VALUES)?,
                record_keys: record_keys_of(&record_keys)
                    .ok_or_else(|| files.damaged(RECORD_KEYS, &"it is malformed"))?,
            },
        }))
    }

    /// Node-ID of the peer.
    pub(crate) fn peer_id(&self) -> NodeId {
        self.peer.node_id()
    }

    /// Node-ID of its edge.
    pub(crate) fn edge_id(&self) -> NodeId {
        self.edge.link.node_id()
    }
}

/// Enrolls peer `number` and one edge with the bootstrap service, and keeps what came of it in `folder`: all, or nothing.
pub(crate) async fn enroll(folder: &Path, number: u16, bootstrap: Channel) -> Result<(), CredentialsError> {
    let refused = |status| CredentialsError::Refused {
        peer: number,
        status: Box::new(status),
    };
    let keys = Keys::generate()?;
    let mut client = BootstrapClient::new(bootstrap);
    // Each attempt has a token of its own; one that a crash left behind ends by itself.
    let id = identity::issue::random_node_id()?.to_string();
    let token = CreateTokenRequest {
        id,
        lifetime_seconds: TOKEN_LIFETIME,
        peer: true,
        edges: 1,
    };
    let secret = client.create_token(token).await.map_err(refused)?.into_inner().secret;
    let request = EnrollRequest {
        credential: Some(Credential::Token(secret)),
        peer: keys.peer.request()?.into(),
        edges: vec![EdgeRequest {
            link: keys.link.request()?.into(),
            signer: keys.signer.request()?.into(),
        }],
        client: Bytes::new(),
    };
    let answer = client.enroll(request).await.map_err(refused)?.into_inner();
    keep(folder, number, &keys, &answer)
}

struct Keys {
    peer: Key,
    link: Key,
    signer: Key,
    values: Key,
}

impl Keys {
    fn generate() -> Result<Self, CredentialsError> {
        Ok(Self {
            peer: Key::generate()?,
            link: Key::generate()?,
            signer: Key::generate()?,
            values: Key::generate()?,
        })
    }
}

fn keep(folder: &Path, number: u16, keys: &Keys, answer: &EnrollResponse) -> Result<(), CredentialsError> {
    let incomplete = |what| CredentialsError::Incomplete { peer: number, what };
    let peer = answer
        .peer
        .as_ref()
        .ok_or_else(|| incomplete("the peer's certificate"))?;
    let edge = answer
        .edges
        .first()
        .ok_or_else(|| incomplete("the edge's certificates"))?;
    // Under another name until the last file is there.
    let new = folder.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new).map_err(failed(&new))?;
    }
    make_private(&new)?;
    let certified = [
        (PEER, &keys.peer, &peer.certificate),
        (LINK, &keys.link, &edge.link),
        (SIGNER, &keys.signer, &edge.signer),
    ];
    for (name, key, certificate) in certified {
        write_private(&new.join(format!("{name}.key")), key.to_pem()?.as_bytes())?;
        write_private(&new.join(format!("{name}.der")), certificate)?;
    }
    write_private(&new.join(format!("{VALUES}.key")), keys.values.to_pem()?.as_bytes())?;
    let lines: String = answer
        .record_keys
        .iter()
        .map(|key| format!("{} {}\n", key.version, wire::hex::encode(&key.key)))
        .collect();
    write_private(&new.join(RECORD_KEYS), lines.as_bytes())?;
    write_private(&new.join(DOCUMENT), &answer.document)?;
    fs::rename(&new, folder).map_err(failed(folder))?;
    Ok(())
}

/// Lines of a version and 32 octets in hex.
fn record_keys_of(text: &[u8]) -> Option<Vec<RecordKey>> {
    let line = |line: &str| {
        let (version, key) = line.split_once(' ')?;
        let key: [u8; 32] = wire::hex::decode(key)?.try_into().ok()?;
        Some(RecordKey::new(version.parse().ok()?, key))
    };
    std::str::from_utf8(text).ok()?.lines().map(line).collect()
}

/// The files of one peer.
struct Files<'a> {
    folder: &'a Path,
    now_ms: u64,
}

impl Files<'_> {
    fn read(&self, name: &str) -> Result<Vec<u8>, CredentialsError> {
        let path = self.folder.join(name);
        Ok(fs::read(&path).map_err(failed(&path))?)
    }

    fn key(&self, name: &str) -> Result<Key, CredentialsError> {
        let file = format!("{name}.key");
        let pem = self.read(&file)?;
        let pem = std::str::from_utf8(&pem).map_err(|error| self.damaged(&file, &error))?;
        Key::from_pem(pem).map_err(|error| self.damaged(&file, &error))
    }

    fn certificate(&self, name: &str) -> Result<Certificate, CredentialsError> {
        let file = format!("{name}.der");
        let der = Bytes::from(self.read(&file)?);
        let certificate = Certificate::from_bytes(der).map_err(|error| self.damaged(&file, &error))?;
        if !(certificate.not_before_ms()..=certificate.not_after_ms()).contains(&self.now_ms) {
            return Err(CredentialsError::NotValidNow {
                path: self.folder.join(file),
            });
        }
        Ok(certificate)
    }

    fn signer(&self, name: &str) -> Result<Signer, CredentialsError> {
        let signer = Signer::new(self.key(name)?, &self.certificate(name)?, &[]);
        signer.map_err(|error| self.damaged(name, &error))
    }

    fn damaged(&self, name: &str, reason: &dyn std::fmt::Display) -> CredentialsError {
        CredentialsError::Damaged {
            path: self.folder.join(name),
            reason: reason.to_string(),
        }
    }
}

const PEER: &str = "peer";
const LINK: &str = "edge-link";
const SIGNER: &str = "edge-signer";
const VALUES: &str = "edge-values";
const RECORD_KEYS: &str = "record-keys";
const DOCUMENT: &str = "document.xml";
/// In seconds; it is used at once.
const TOKEN_LIFETIME: u64 = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_keys_are_lines() {
        let text = format!("1 {}\n2 {}\n", "ab".repeat(32), "cd".repeat(32));
        let keys = record_keys_of(text.as_bytes()).unwrap();
        assert_eq!(keys.iter().map(RecordKey::version).collect::<Vec<_>>(), [1, 2]);
        assert!(record_keys_of(b"1 abcd\n").is_none());
    }

    #[test]
    fn without_a_folder_there_are_no_credentials() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            Credentials::load(&folder.path().join("credentials"), [0; 32], 0)
                .unwrap()
                .is_none()
        );
    }
}
