//! Several services of one overlay: each has the whole state, and takes from the others what changed there.
//!
//! A change is a record as it stands on the disk. Records are joined ([`join`]), so it does not matter in which order changes
//! come, how often, or by way of whom: services that have heard of the same changes have the same state.

mod catch_up;
mod join;
mod log;
mod others;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use identity::{Certificate, PublicKey};
use kv::{Batch, Store, Tree};
use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::replicated::Sort;
use serde::de::DeserializeOwned;
use tracing::warn;
use wire::NodeId;

use super::Core;
use super::keys::RecordKeys;
use super::nodes::is_living;
use super::users::address;
use crate::error::{Refused, StartError};
use crate::state::{
    self, Credential, EDGE_KEYS, EdgeKeysRecord, NODES, NodeRecord, SERVICE, SharedRecord, TOKENS, TokenRecord, USERS,
    UserRecord,
};
use log::Key;

pub(crate) use catch_up::CatchUp;
pub(super) use join::{Join, joined};
pub(super) use log::Log;
pub(super) use others::Others;

impl Core {
    /// The changes since another service asked last, oldest first, as many as fit into one answer.
    pub(crate) fn changes(
        &self,
        store: &Store,
        request: &proto::ReplicateRequest,
    ) -> Result<proto::ReplicateResponse, StartError> {
        let mut answer = proto::ReplicateResponse {
            log: Bytes::copy_from_slice(self.log.name()),
            next: if request.log == self.log.name().as_slice() {
                request.next
            } else {
                0
            },
            record_keys: self.service.record_keys().versions(),
            resealing: matches!(self.service.record_keys(), RecordKeys::Resealing { .. }),
            ..Default::default()
        };
        let mut room = MAX_CHANGES;
        for (number, key) in self.log.after(&request.log, request.next) {
            if let Some(change) = self.change(store, key)? {
                let size = change.key.len() + change.record.len() + OVERHEAD;
                if size > room && !answer.changes.is_empty() {
                    answer.has_more = true;
                    return Ok(answer);
                }
                room = room.saturating_sub(size);
                answer.changes.push(change);
            }
            answer.next = number;
        }
        Ok(answer)
    }

    /// A record as it stands in the store; none when it was forgotten.
    fn change(&self, store: &Store, Key { tree, key }: &Key) -> Result<Option<proto::Replicated>, StartError> {
        let (sort, record) = match *tree {
            SERVICE => (Sort::Shared, state::encode(&self.service.shared())),
            USERS => {
                let user = state::get::<UserRecord>(store, USERS, key)?;
                let of_own = user.map(|user| UserRecord {
                    writer: user.writer.or_else(|| Some(self.service.writer())),
                    ..user
                });
                (Sort::User, of_own.and_then(|user| state::encode(&user)))
            }
            tree => {
                let sort = match tree {
                    TOKENS => Sort::Token,
                    NODES => Sort::Node,
                    _ => Sort::EdgeKeys,
                };
                (sort, store.get(tree, key)?.map(|record| record.to_vec()))
            }
        };
        Ok(record.map(|record| proto::Replicated {
            sort: sort.into(),
            key: Bytes::copy_from_slice(key),
            record: record.into(),
        }))
    }

    /// Takes what changed at another service. A record that cannot be read, or for which there is no room, is left out.
    pub(crate) fn merge(&mut self, now_ms: u64, changes: &[proto::Replicated]) -> Batch {
        let mut batch = Batch::new();
        for change in changes {
            if let Err(refused) = self.merge_one(now_ms, change, &mut batch) {
                warn!(sort = change.sort().as_str_name(), error = %refused, "record of another service is left out");
            }
        }
        batch
    }

    fn merge_one(&mut self, now_ms: u64, change: &proto::Replicated, batch: &mut Batch) -> Result<(), Refused> {
        match change.sort() {
            Sort::Unspecified => Err(Refused::Invalid("it is of an unknown sort".to_owned())),
            Sort::Shared => {
                let shared: SharedRecord = read(SERVICE, change)?;
                let before = self.service.record_keys().newest().version();
                self.service.take_shared(shared, batch)?;
                if let RecordKeys::Resealing { new, .. } = self.service.record_keys() {
                    self.users.reseal_under(new.version());
                }
                let after = self.service.record_keys().newest().version();
                if after != before {
                    tracing::info!(version = after, "record key taken from another service");
                }
                Ok(())
            }
            Sort::User => {
                let mut user: UserRecord = read(USERS, change)?;
                let (aor, _) = address(&self.service, &String::from_utf8_lossy(&change.key))?;
                user.writer = user.writer.filter(|writer| *writer != self.service.writer());
                self.users.merge(&aor, user, batch)?;
                // The change that waits here has been overtaken.
                self.outbox.withdraw(&aor, self.users.version(&aor), batch);
                Ok(())
            }
            Sort::Token => {
                let token: TokenRecord = read(TOKENS, change)?;
                let id = String::from_utf8_lossy(&change.key).into_owned();
                self.tokens.merge(id, token, batch)
            }
            Sort::Node => self.merge_node(now_ms, change, batch),
            Sort::EdgeKeys => {
                let edge: EdgeKeysRecord = read(EDGE_KEYS, change)?;
                self.edge_keys.merge(node_id(change)?, &edge, batch);
                Ok(())
            }
        }
    }

    fn merge_node(&mut self, now_ms: u64, change: &proto::Replicated, batch: &mut Batch) -> Result<(), Refused> {
        let (node_id, node) = (node_id(change)?, read::<NodeRecord>(NODES, change)?);
        let certificate = Certificate::from_der(&node.certificate.0);
        let certificate = certificate.map_err(|error| Refused::Invalid(error.to_string()))?;
        let key = PublicKey::from_spki(certificate.public_key())?;
        let is_new = self.nodes.get(node_id).is_none();
        let Some(node) = joined(self.nodes.get(node_id), node) else {
            return Ok(());
        };
        if is_new {
            if !is_living(&node, now_ms) && !self.tokens.enrolls(now_ms, &node.by) {
                // It would be the first to be forgotten.
                return Ok(());
            }
            let mut room = self.room_for(now_ms, 1)?;
            batch.append(&mut room);
        }
        let (by, class) = (node.by.clone(), node.class);
        self.nodes.put(node_id, &key, node, batch);
        if let (true, Credential::Token(id)) = (is_new, &by)
            && self.tokens.is_overused(id, class, &self.nodes)
        {
            warn!(token = id, %node_id, "token was used at two services at once, more often than it may be: see `p2psip token list`");
        }
        Ok(())
    }
}

fn node_id(change: &proto::Replicated) -> Result<NodeId, Refused> {
    NodeId::try_from(change.key.as_ref()).map_err(|_| Refused::Invalid("its key is no Node-ID".to_owned()))
}

fn read<T: DeserializeOwned>(tree: Tree, change: &proto::Replicated) -> Result<T, Refused> {
    state::decode(tree, &change.key, &change.record).map_err(|error| Refused::Invalid(error.to_string()))
}

/// Of keys and records in one answer.
const MAX_CHANGES: usize = 1 << 20;
/// Octets that a change needs beside them.
const OVERHEAD: usize = 32;
