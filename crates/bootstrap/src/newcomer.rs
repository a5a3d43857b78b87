//! A further bootstrap service for an overlay that has one: its own keys, and nothing yet of what all services have.

mod waiting;

use std::path::Path;

use bytes::Bytes;
use identity::Certificate;
use identity::issue::{Authority, enrollment_ca};
use kv::{Batch, Options};
use overlay_config::{Basis, SignedDocument};
use wire::NodeId;

use crate::error::{InitError, StartError};
use crate::genesis::{new_key, new_node_id, new_serial};
use crate::state::{self, Founder, Octets, SERVICE, SERVICE_KEY, ServiceRecord};

pub(crate) use waiting::become_one;

/// The facts that the overlay's next document must name, so that the service is one of the overlay.
#[derive(Debug, Clone)]
pub struct Newcomer {
    /// The overlay's name.
    pub overlay: String,
    /// The certificate of its enrollment CA.
    pub authority: Certificate,
    /// The Node-ID of its user signer.
    pub writer: NodeId,
}

/// The overlay that a service is for.
#[derive(Debug, Clone)]
pub struct Existing {
    /// SHA-256 of the configuration root, on which its documents are believed.
    pub root: [u8; 32],
    /// The signed document.
    pub document: Bytes,
    /// The time in Unix milliseconds.
    pub now_ms: u64,
}

/// Makes the keys of a further bootstrap service in a folder; repeated, it says again what it made.
///
/// # Errors
/// When the folder cannot be used or holds the service of another overlay, or the document is not one of that root.
///
/// # Cancel safety
/// Dropped before it returns, the keys may or may not exist: call it again.
pub async fn make(folder: &Path, options: Options, existing: &Existing) -> Result<Newcomer, InitError> {
    let document =
        SignedDocument::parse_and_verify(existing.document.clone(), Basis::Root(existing.root), existing.now_ms)?;
    let store = state::open(folder, options)?;
    if let Some(known) = state::get::<ServiceRecord>(&store, SERVICE, SERVICE_KEY)? {
        return match known.overlay == document.document().overlay && known.is_waiting() {
            true => newcomer(&known).map_err(InitError::from),
            false => Err(InitError::Exists {
                folder: folder.to_path_buf(),
                overlay: known.overlay,
            }),
        };
    }
    let authority = enrollment_ca(&new_key()?, existing.now_ms, new_serial()?)?;
    let record = record(&authority, existing.root, &document)?;
    let mut batch = Batch::new();
    state::put(&mut batch, SERVICE, SERVICE_KEY, &record);
    store.apply(batch).await.map_err(StartError::from)?;
    Ok(newcomer(&record)?)
}

fn record(authority: &Authority, root: [u8; 32], document: &SignedDocument) -> Result<ServiceRecord, InitError> {
    Ok(ServiceRecord {
        overlay: document.document().overlay.clone(),
        authority_key: Octets::of(authority.key().pkcs8()),
        authority_certificate: Octets::of(authority.certificate().der()),
        user_key: Octets::of(new_key()?.pkcs8()),
        user_signer: Octets::of(new_node_id()?.as_bytes()),
        record_keys: Vec::new(),
        resealing: false,
        token_key: Octets::default(),
        backup_key: None,
        root: Octets::of(root),
        document: Octets::of(document.xml()),
        founder: Founder::Elsewhere,
    })
}

fn newcomer(record: &ServiceRecord) -> Result<Newcomer, StartError> {
    Ok(Newcomer {
        overlay: record.overlay.clone(),
        authority: Certificate::from_der(&record.authority_certificate.0).map_err(StartError::service)?,
        writer: NodeId::try_from(record.user_signer.0.as_slice()).map_err(StartError::service)?,
    })
}
