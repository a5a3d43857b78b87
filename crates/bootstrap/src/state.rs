//! The records on the disk: one for each token, node, user, waiting message and edge.
//!
//! A record is a format version and JSON; byte strings are hex. The folder is readable by its owner
//! alone, because the keys are in it.

mod migration;

use std::net::IpAddr;
use std::path::Path;

use bytes::Bytes;
use kv::{Batch, Store, Tree};
use overlay_config::{Basis, SignedDocument};
use runtime::private;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::StartError;

pub(crate) use migration::migrate;

/// Keys, certificates and the document: one record; a rotation of the record key changes it.
pub(crate) const SERVICE: Tree = Tree::new("service");
pub(crate) const TOKENS: Tree = Tree::new("token");
pub(crate) const USERS: Tree = Tree::new("user");
pub(crate) const OUTBOX: Tree = Tree::new("outbox");
/// By Node-ID.
pub(crate) const NODES: Tree = Tree::new("node");
pub(crate) const EDGE_KEYS: Tree = Tree::new("edge-keys");
/// The key of the only record of [`SERVICE`].
pub(crate) const SERVICE_KEY: &[u8] = b"service";

/// Octets that are hex in JSON.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Octets(pub(crate) Vec<u8>);

impl Octets {
    pub(crate) fn of(octets: impl AsRef<[u8]>) -> Octets {
        Octets(octets.as_ref().to_vec())
    }
}

/// How many there are: they may be secret.
impl std::fmt::Debug for Octets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} octets", self.0.len())
    }
}

impl TryFrom<String> for Octets {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Octets, &'static str> {
        wire::hex::decode(&text).map(Octets).ok_or("not hexadecimal")
    }
}

impl From<Octets> for String {
    fn from(octets: Octets) -> String {
        wire::hex::encode(&octets.0)
    }
}

/// The service itself.
#[derive(Serialize, Deserialize)]
pub(crate) struct ServiceRecord {
    pub(crate) overlay: String,
    /// PKCS#8 of the enrollment CA.
    pub(crate) authority_key: Octets,
    pub(crate) authority_certificate: Octets,
    /// PKCS#8 of the user signer.
    pub(crate) user_key: Octets,
    pub(crate) user_signer: Octets,
    /// Oldest first: two while a rotation goes on; none in a new service that has not heard of them yet.
    pub(crate) record_keys: Vec<(u32, Octets)>,
    /// Whether the newer of two seals. Records that were written before there were rotations have no such field.
    #[serde(default)]
    pub(crate) resealing: bool,
    /// Keys the hashes of tokens.
    pub(crate) token_key: Octets,
    /// The public half of the key that backups are sealed to. Records of before there were backups have no such field.
    #[serde(default)]
    pub(crate) backup_key: Option<Octets>,
    /// SHA-256 of the configuration root, on which the document is believed.
    pub(crate) root: Octets,
    pub(crate) document: Octets,
    #[serde(default)]
    pub(crate) founder: Founder,
}

/// The peer that forms the ring.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Founder {
    /// There is one since before it was written down, or at another service: nobody here is ever to be it.
    #[default]
    Elsewhere,
    /// Nobody yet.
    Awaited,
    /// The Node-ID of a peer that was enrolled here.
    Node(Octets),
}

impl ServiceRecord {
    /// Reads that of the service in a store.
    pub(crate) fn of(store: &Store) -> Result<ServiceRecord, StartError> {
        get(store, SERVICE, SERVICE_KEY)?.ok_or_else(|| StartError::Empty {
            folder: store.folder().to_path_buf(),
        })
    }

    /// Reads the document, which must be one of the root.
    pub(crate) fn document(&self, now_ms: u64) -> Result<SignedDocument, StartError> {
        let root: [u8; 32] = self.root.0.as_slice().try_into().map_err(StartError::service)?;
        let xml = Bytes::copy_from_slice(&self.document.0);
        let document = SignedDocument::parse_and_verify(xml, Basis::Root(root), now_ms);
        document.map_err(|error| match error {
            overlay_config::Error::CannotObey(demand) => StartError::Document(demand),
            other => StartError::service(other),
        })
    }

    /// Whether it is a new service's, which has nothing of the others yet.
    pub(crate) fn is_waiting(&self) -> bool {
        self.record_keys.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    pub(crate) secret_hash: Octets,
    pub(crate) lifetime_seconds: u64,
    pub(crate) created_ms: u64,
    pub(crate) expires_ms: u64,
    /// Whether one use enrolls a peer,
    pub(crate) peer: bool,
    /// and how many edges.
    pub(crate) edges: u32,
    /// The user whose clients it enrolls. Tokens that were made before there were such have no such field.
    #[serde(default)]
    pub(crate) user: Option<String>,
    /// How often it can be used, `None` for any number; once in records from before tokens had several uses.
    #[serde(default = "once")]
    pub(crate) uses: Option<u32>,
    pub(crate) revoked: bool,
    /// Whether the configuration named it. Records that were written before that was possible have no such field, nor the next.
    #[serde(default)]
    pub(crate) configured: bool,
    /// Whether it was revoked because the configuration names it no more.
    #[serde(default)]
    pub(crate) dropped: bool,
}

fn once() -> Option<u32> {
    Some(1)
}

/// A node that was enrolled here, or has shown its certificate. Its place belongs to the key of its certificate: who comes again with it gets the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    pub(crate) by: Credential,
    pub(crate) class: NodeClass,
    /// Of an edge, the one of its link.
    pub(crate) certificate: Octets,
    /// The certificate of an edge's delegated signer.
    pub(crate) signer: Option<Octets>,
    /// Where the request came from, unless it was an operator's.
    pub(crate) from: Option<IpAddr>,
    /// When it was enrolled, if that was written down.
    pub(crate) at_ms: Option<u64>,
    /// Whether another one took its place: its certificate is not renewed. Older records have no such field.
    #[serde(default)]
    pub(crate) retired: bool,
}

/// The credential that a node was enrolled with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Credential {
    /// The id of a token.
    Token(String),
    /// The AOR of a user, whose password it was.
    Password(String),
    /// None that is known here: it showed a certificate.
    Certificate,
}

/// The class of a node, as its certificate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NodeClass {
    Peer,
    Edge,
    /// A user's own.
    Client,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRecord {
    /// The sealed record as it is stored in the overlay.
    pub(crate) record: Octets,
    pub(crate) published: u64,
    /// The version of the record key under which the overlay has acknowledged it; 0 in records from before there were rotations.
    #[serde(default)]
    pub(crate) published_key: u32,
    /// The last storage_time that was used.
    pub(crate) storage_time: u64,
    pub(crate) signed_ms: u64,
    /// The user signer of the service that signed it last, `None` for this one's own.
    #[serde(default)]
    pub(crate) writer: Option<Octets>,
}

/// What an edge has of the record keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EdgeKeysRecord {
    /// The versions that it reported last, in their order.
    pub(crate) held: Vec<u32>,
    /// Whether it gets none any more.
    pub(crate) left_out: bool,
    /// When it reported that; 0 in records from before there were several services.
    #[serde(default)]
    pub(crate) at_ms: u64,
}

/// The part of [`ServiceRecord`] that all services of an overlay share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SharedRecord {
    pub(crate) record_keys: Vec<(u32, Octets)>,
    pub(crate) resealing: bool,
    pub(crate) token_key: Octets,
    /// The key that backups are sealed to; of two services that have each its own, the greater.
    #[serde(default)]
    pub(crate) backup_key: Option<Octets>,
}

/// A complete StoreReq that the overlay has not acknowledged.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct WaitingRecord {
    pub(crate) aor: String,
    pub(crate) version: u64,
    pub(crate) transaction_id: u64,
    pub(crate) contents: Octets,
    pub(crate) security_block: Octets,
}

/// Adds a record to a batch.
pub(crate) fn put(batch: &mut Batch, tree: Tree, key: &[u8], record: &impl Serialize) {
    if let Some(bytes) = encode(record) {
        batch.put(tree, key, bytes);
    }
}

/// The octets of a record. Strings, numbers and lists always have a JSON form.
pub(crate) fn encode(record: &impl Serialize) -> Option<Vec<u8>> {
    let mut bytes = vec![FORMAT];
    serde_json::to_writer(&mut bytes, record).ok().map(|()| bytes)
}

/// Reads one record.
pub(crate) fn get<T: DeserializeOwned>(store: &Store, tree: Tree, key: &[u8]) -> Result<Option<T>, StartError> {
    store.get(tree, key)?.map(|value| decode(tree, key, &value)).transpose()
}

/// Reads all records of a tree.
pub(crate) fn all<T: DeserializeOwned>(store: &Store, tree: Tree) -> Result<Vec<(Bytes, T)>, StartError> {
    let mut records = Vec::new();
    for entry in store.iter(tree) {
        let (key, value) = entry?;
        let record = decode(tree, &key, &value)?;
        records.push((key, record));
    }
    Ok(records)
}

/// Opens the store in a folder that only its owner may enter. One that cannot be read is left as it is.
pub(crate) fn open(folder: &Path, options: kv::Options) -> Result<Store, StartError> {
    private::make_folder(folder).map_err(|source| StartError::Folder {
        folder: folder.to_path_buf(),
        source,
    })?;
    Ok(Store::open(folder, options)?)
}

/// Reads the value of one record.
pub(crate) fn decode<T: DeserializeOwned>(tree: Tree, key: &[u8], value: &[u8]) -> Result<T, StartError> {
    let damaged = |reason: String| StartError::Damaged {
        tree: tree.name(),
        key: String::from_utf8_lossy(key).into_owned(),
        reason,
    };
    match value.split_first() {
        Some((&FORMAT, json)) => serde_json::from_slice(json).map_err(|error| damaged(error.to_string())),
        Some((format, _)) => Err(damaged(format!("format {format} is unknown"))),
        None => Err(damaged("it is empty".to_owned())),
    }
}

/// The format of all records above.
const FORMAT: u8 = 1;
