//! The contents of a backup: all that a service knows, and none of the keys with which it signs.

use kv::{Batch, Store, Tree};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::BackupPublicKey;
use super::sealed::{BackupError, MAX_BACKUP};
use crate::error::StartError;
use crate::state::{self, EDGE_KEYS, NODES, Octets, SERVICE, SERVICE_KEY, ServiceRecord, TOKENS, USERS};

/// The state of a service without its CA and its user signer.
#[derive(Serialize, Deserialize)]
pub(crate) struct Contents {
    format: u32,
    pub(crate) overlay: String,
    /// SHA-256 of the configuration root.
    pub(crate) root: Octets,
    /// The document that the service served.
    pub(crate) document: Octets,
    pub(crate) record_keys: Vec<(u32, Octets)>,
    pub(crate) resealing: bool,
    pub(crate) token_key: Octets,
    pub(crate) backup_key: Option<Octets>,
    records: Vec<Kept>,
}

/// One record of the state.
#[derive(Serialize, Deserialize)]
struct Kept {
    tree: String,
    key: Octets,
    record: Value,
}

impl Contents {
    /// Reads the state. What is changed meanwhile may be in it or not, but each user's record can be opened.
    pub(super) fn collect(store: &Store) -> Result<Contents, BackupError> {
        loop {
            let before = service(store)?;
            let contents = Contents::of(store, &before)?;
            if service(store)?.record_keys == before.record_keys {
                return Ok(contents);
            }
        }
    }

    fn of(store: &Store, service: &ServiceRecord) -> Result<Contents, BackupError> {
        let (mut records, mut size) = (Vec::new(), 2 * service.document.0.len() + OF_SERVICE);
        for tree in USERS_FIRST {
            gather(store, tree, &mut records, &mut size)?;
        }
        let (count, complete) = (records.len(), TOKENS_AND_NODES);
        // A token without its nodes could be used once more for each, so both are there or none.
        if let Err(BackupError::TooLarge) = complete
            .iter()
            .try_for_each(|tree| gather(store, *tree, &mut records, &mut size))
        {
            tracing::warn!("tokens and the list of nodes are too many for the backup and not in it");
            records.truncate(count);
        }
        Ok(Contents {
            format: FORMAT,
            overlay: service.overlay.clone(),
            root: service.root.clone(),
            document: service.document.clone(),
            record_keys: service.record_keys.clone(),
            resealing: service.resealing,
            token_key: service.token_key.clone(),
            backup_key: service.backup_key.clone(),
            records,
        })
    }

    /// The key that it is sealed to.
    pub(super) fn backup_key(&self) -> Result<Option<BackupPublicKey>, BackupError> {
        let key = self.backup_key.as_ref();
        key.map(|key| BackupPublicKey::of(&key.0)).transpose()
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>, BackupError> {
        serde_json::to_vec(self).map_err(|error| unusable(&error))
    }

    /// Reads what was opened.
    pub(crate) fn from_json(json: &[u8]) -> Result<Contents, BackupError> {
        /// Later ones may differ in all the rest.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(json).map_err(|error| unusable(&error))?;
        if format != FORMAT {
            return Err(BackupError::Later { format });
        }
        serde_json::from_slice(json).map_err(|error| unusable(&error))
    }

    /// Puts all records into a state that is empty. Each user's is to be signed anew: what the lost service signed ends in time.
    pub(crate) fn put_records(&self, batch: &mut Batch) -> Result<(), BackupError> {
        for kept in &self.records {
            let mut trees = USERS_FIRST.into_iter().chain(TOKENS_AND_NODES);
            let tree = trees.find(|tree| tree.name() == kept.tree);
            let tree =
                tree.ok_or_else(|| unusable(&format!("records of {} are unknown: upgrade p2psip first", kept.tree)))?;
            if tree == USERS {
                let user: state::UserRecord =
                    serde_json::from_value(kept.record.clone()).map_err(|error| unusable(&error))?;
                let unsigned = state::UserRecord { signed_ms: 0, ..user };
                state::put(batch, tree, &kept.key.0, &unsigned);
            } else {
                state::put(batch, tree, &kept.key.0, &kept.record);
            }
        }
        Ok(())
    }
}

fn service(store: &Store) -> Result<ServiceRecord, BackupError> {
    let record = state::get::<ServiceRecord>(store, SERVICE, SERVICE_KEY)?;
    record.ok_or_else(|| unusable(&"there is no service in the folder"))
}

/// Adds the records of a tree, as long as all of them are small enough for a backup.
fn gather(store: &Store, tree: Tree, records: &mut Vec<Kept>, size: &mut usize) -> Result<(), BackupError> {
    for entry in store.iter(tree) {
        let (key, value) = entry.map_err(StartError::from)?;
        *size = size.saturating_add(value.len() + 2 * key.len() + OF_EACH);
        if *size > MAX_BACKUP {
            return Err(BackupError::TooLarge);
        }
        records.push(Kept {
            tree: tree.name().to_owned(),
            record: state::decode(tree, &key, &value)?,
            key: Octets::of(&key),
        });
    }
    Ok(())
}

fn unusable(reason: &dyn std::fmt::Display) -> BackupError {
    BackupError::Contents {
        reason: reason.to_string(),
    }
}

/// Without these an overlay has no users; with more of them than there is room for, there is no backup.
const USERS_FIRST: [Tree; 2] = [USERS, EDGE_KEYS];
const TOKENS_AND_NODES: [Tree; 2] = [TOKENS, NODES];
/// Octets that JSON needs around a record.
const OF_EACH: usize = 48;
/// Octets of all the keys, and of the header before it.
const OF_SERVICE: usize = 4096;
const FORMAT: u32 = 1;
