//! Every node that was enrolled here, by its Node-ID, and with what.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use aws_lc_rs::digest;
use identity::{Certificate, PublicKey};
use kv::{Batch, Store};
use wire::NodeId;

use crate::error::StartError;
use crate::state::{self, Credential, NODES, NodeClass, NodeRecord, Octets};

pub(super) struct Nodes {
    by_id: BTreeMap<NodeId, NodeRecord>,
    by_credential: BTreeMap<Credential, Enrolled>,
}

/// The nodes that one credential enrolled.
#[derive(Default)]
struct Enrolled {
    by_key: BTreeMap<KeyHash, NodeId>,
    ids: BTreeSet<NodeId>,
}

/// SHA-256 of a public key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct KeyHash([u8; 32]);

impl Nodes {
    pub(super) fn load(store: &Store) -> Result<Nodes, StartError> {
        let mut nodes = Nodes {
            by_id: BTreeMap::new(),
            by_credential: BTreeMap::new(),
        };
        for (key, record) in state::all::<NodeRecord>(store, NODES)? {
            let damaged = |reason: String| StartError::Damaged {
                tree: NODES.name(),
                key: wire::hex::encode(&key),
                reason,
            };
            let node_id = NodeId::try_from(key.as_ref()).map_err(|_| damaged("it is no Node-ID".to_owned()))?;
            let certificate =
                Certificate::from_der(&record.certificate.0).map_err(|error| damaged(error.to_string()))?;
            nodes.insert(node_id, KeyHash::of(certificate.public_key()), record);
        }
        Ok(nodes)
    }

    pub(super) fn get(&self, node_id: NodeId) -> Option<&NodeRecord> {
        self.by_id.get(&node_id)
    }

    /// The node that a credential enrolled with this key.
    pub(super) fn of_key(&self, by: &Credential, key: &PublicKey) -> Option<(NodeId, &NodeRecord)> {
        let of_credential = self.by_credential.get(by)?;
        let node_id = *of_credential.by_key.get(&KeyHash::of(key.spki()))?;
        Some((node_id, self.by_id.get(&node_id)?))
    }

    /// The nodes that a credential enrolled, after this one.
    pub(super) fn of(&self, by: &Credential, after: Option<NodeId>) -> impl Iterator<Item = (NodeId, &NodeRecord)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = self.by_credential.get(by).map(|enrolled| &enrolled.ids);
        let ids = ids
            .into_iter()
            .flat_map(move |ids| ids.range((start, Bound::Unbounded)));
        ids.filter_map(|node_id| Some((*node_id, self.by_id.get(node_id)?)))
    }

    pub(super) fn edges(&self) -> impl Iterator<Item = (NodeId, &NodeRecord)> {
        let nodes = self.by_id.iter().map(|(node_id, record)| (*node_id, record));
        nodes.filter(|(_, record)| record.class == NodeClass::Edge)
    }

    pub(super) fn edge(&self, node_id: NodeId) -> Option<&NodeRecord> {
        self.get(node_id).filter(|record| record.class == NodeClass::Edge)
    }

    /// Remembers a node: a new one, or a known one with the next certificates for its key, perhaps by another credential.
    pub(super) fn put(&mut self, node_id: NodeId, key: &PublicKey, record: NodeRecord, batch: &mut Batch) {
        if let Some(before) = self.by_id.get(&node_id).map(|before| before.by.clone()) {
            self.forget_credential(&before, node_id);
        }
        state::put(batch, NODES, node_id.as_bytes(), &record);
        self.insert(node_id, KeyHash::of(key.spki()), record);
    }

    /// Retires a node: from then on its certificate is not renewed, and its key is a stranger's. It stays known, because nothing
    /// but that keeps its certificate from being renewed.
    pub(super) fn retire(&mut self, node_id: NodeId, batch: &mut Batch) {
        let Some(record) = self.by_id.get_mut(&node_id) else {
            return;
        };
        record.retired = true;
        state::put(batch, NODES, node_id.as_bytes(), record);
        let by = record.by.clone();
        self.forget_credential(&by, node_id);
    }

    fn forget(&mut self, node_id: NodeId, batch: &mut Batch) {
        let Some(record) = self.by_id.remove(&node_id) else {
            return;
        };
        batch.delete(NODES, node_id.as_bytes());
        self.forget_credential(&record.by, node_id);
    }

    fn forget_credential(&mut self, by: &Credential, node_id: NodeId) {
        let Some(enrolled) = self.by_credential.get_mut(by) else {
            return;
        };
        enrolled.ids.remove(&node_id);
        enrolled.by_key.retain(|_, of_key| *of_key != node_id);
        if enrolled.ids.is_empty() {
            self.by_credential.remove(by);
        }
    }

    /// Sees to it that there are no more than so many, or says that it cannot. Those are forgotten that can come back by no
    /// means: their certificate has ended, and so has what they were enrolled with.
    pub(super) fn shrink_to(
        &mut self,
        most: usize,
        now_ms: u64,
        is_usable: impl Fn(&Credential) -> bool,
    ) -> Option<Batch> {
        let mut batch = Batch::new();
        if self.by_id.len() <= most {
            return Some(batch);
        }
        let can_return = |record: &NodeRecord| !record.retired && is_usable(&record.by);
        let is_gone = |record: &NodeRecord| !is_living(record, now_ms) && !can_return(record);
        let gone = self.by_id.iter().filter(|(_, record)| is_gone(record));
        let gone: Vec<NodeId> = gone.map(|(node_id, _)| *node_id).collect();
        if self.by_id.len().saturating_sub(gone.len()) > most {
            return None;
        }
        gone.into_iter().for_each(|node_id| self.forget(node_id, &mut batch));
        Some(batch)
    }

    fn insert(&mut self, node_id: NodeId, key: KeyHash, record: NodeRecord) {
        if !record.retired {
            let enrolled = self.by_credential.entry(record.by.clone()).or_default();
            enrolled.by_key.insert(key, node_id);
            enrolled.ids.insert(node_id);
        }
        self.by_id.insert(node_id, record);
    }
}

/// Whether a stored certificate is this key's.
pub(super) fn is_for(certificate: &Octets, key: &PublicKey) -> bool {
    Certificate::from_der(&certificate.0).is_ok_and(|certificate| certificate.public_key() == key.spki())
}

/// Whether a node's certificate has not ended.
pub(super) fn is_living(record: &NodeRecord, now_ms: u64) -> bool {
    Certificate::from_der(&record.certificate.0).is_ok_and(|certificate| now_ms <= certificate.not_after_ms())
}

impl KeyHash {
    fn of(spki: &[u8]) -> KeyHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, spki).as_ref());
        KeyHash(hash)
    }
}

/// All of them are in memory, one to two kilobytes each.
pub(super) const MAX_NODES: usize = 500_000;

#[cfg(test)]
mod tests {
    use identity::Key;
    use identity::issue::{Profile, Serial, Subject, enrollment_ca};

    use super::*;

    #[test]
    fn who_can_come_back_is_not_forgotten() {
        let authority = enrollment_ca(&Key::generate().unwrap(), START_MS, Serial::generate().unwrap()).unwrap();
        let mut nodes = Nodes {
            by_id: BTreeMap::new(),
            by_credential: BTreeMap::new(),
        };
        // The first has ended with its token, the second's token can be used, the third was renewed.
        for (octet, token, issued_ms) in [(1, "old", START_MS), (2, "new", START_MS), (3, "old", LATER_MS)] {
            let (node_id, key) = (NodeId::from([octet; 16]), Key::generate().unwrap().public());
            let subject = Subject {
                key: &key,
                node_id,
                overlay: "overlay.example.org",
                user: None,
            };
            let serial = Serial::generate().unwrap();
            let certificate = authority.issue(Profile::Node, &subject, issued_ms, serial).unwrap();
            let record = NodeRecord {
                by: Credential::Token(token.to_owned()),
                class: NodeClass::Peer,
                certificate: Octets::of(certificate.der()),
                signer: None,
                from: None,
                at_ms: Some(issued_ms),
                retired: false,
            };
            nodes.put(node_id, &key, record, &mut Batch::new());
        }
        let is_usable = |by: &Credential| *by == Credential::Token("new".to_owned());
        let mut shrink = |most| nodes.shrink_to(most, LATER_MS, is_usable).map(|batch| batch.len());
        assert_eq!((shrink(3), shrink(1), shrink(2)), (Some(0), None, Some(1)));
        let left: Vec<NodeId> = nodes.by_id.into_keys().collect();
        assert_eq!(left, [2, 3].map(|octet| NodeId::from([octet; 16])));
    }

    const START_MS: u64 = 1_800_000_000_000;
    /// 91 days later.
    const LATER_MS: u64 = START_MS + 91 * 24 * 3600 * 1000;
}
