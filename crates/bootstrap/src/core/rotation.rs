//! Rotation of the record key: hand the new one out, seal all records again, forget the old one.
//!
//! ```text
//!            RotateRecordKey               all edges that count              the overlay has acknowledged
//!            makes v+1                     hold v and v+1                    all records under v+1
//!  Settled(v) ──────────────► HandingOut ─────────────────────► Resealing ──────────────────────────────► Settled(v+1)
//!               v seals                         v+1 seals
//! ```
//!
//! Each arrow is one write. An edge that holds no key of a record can let nobody in, so the new key seals nothing before all
//! edges hold it, and the old one stays as long as the overlay may hold anything under it. Edges forget it after that: at their
//! next poll they learn which keys there are.

use std::collections::BTreeMap;

use bytes::Bytes;
use identity::Certificate;
use kv::{Batch, Store};
use rpc::proto::bootstrap::v1 as proto;
use usage::user::RecordKey;
use wire::{NodeId, ResourceId};

use super::keys::RecordKeys;
use super::nodes::is_living;
use super::replica::Join as _;
use super::{Core, Outcome};
use crate::error::{Refused, StartError};
use crate::genesis::random_octets;
use crate::state::{self, EDGE_KEYS, EdgeKeysRecord, NodeClass, NodeRecord};

/// How far a rotation is.
pub(crate) use proto::Rotation as Phase;

/// What edges reported, and which are left out.
pub(super) struct EdgeKeys {
    by_node: BTreeMap<Vec<u8>, EdgeKeysRecord>,
}

impl EdgeKeys {
    pub(super) fn load(store: &Store) -> Result<EdgeKeys, StartError> {
        let records = state::all::<EdgeKeysRecord>(store, EDGE_KEYS)?;
        Ok(EdgeKeys {
            by_node: records
                .into_iter()
                .map(|(key, record)| (key.to_vec(), record))
                .collect(),
        })
    }

    fn holds(&self, node_id: &[u8], versions: &[u32]) -> bool {
        self.by_node.get(node_id).is_some_and(|edge| edge.held == versions)
    }

    fn is_left_out(&self, node_id: &[u8]) -> bool {
        self.by_node.get(node_id).is_some_and(|edge| edge.left_out)
    }

    /// Takes what another service knows of an edge.
    pub(super) fn merge(&mut self, node_id: NodeId, come: &EdgeKeysRecord, batch: &mut Batch) {
        self.change(node_id.as_bytes(), batch, |known| known.join(come));
    }

    fn change(&mut self, node_id: &[u8], batch: &mut Batch, change: impl FnOnce(&mut EdgeKeysRecord)) {
        let known = self.by_node.entry(node_id.to_vec()).or_default();
        let before = known.clone();
        change(known);
        if *known != before {
            state::put(batch, EDGE_KEYS, node_id, known);
        }
    }
}

impl Core {
    /// Begins a rotation; one that goes on to this version is only told whom to leave out.
    pub(crate) fn rotate_record_key(
        &mut self,
        request: &proto::RotateRecordKeyRequest,
    ) -> Outcome<proto::RotateRecordKeyResponse> {
        let left_out: Result<Vec<NodeId>, Refused> = request.without.iter().map(|id| self.edge(id)).collect();
        let (left_out, mut batch) = (left_out?, Batch::new());
        if let Some(url) = self.rotated_by() {
            return Err(Refused::NotFirst(url));
        }
        let keys = self.service.record_keys();
        let newest = keys.newest().version();
        match keys {
            _ if request.target == newest => {}
            RecordKeys::Settled(old) if Some(request.target) == newest.checked_add(1) => {
                let (old, new) = (old.clone(), RecordKey::new(request.target, random_octets()?));
                self.service
                    .put_record_keys(RecordKeys::HandingOut { old, new }, &mut batch);
            }
            RecordKeys::Settled(_) => {
                return Err(Refused::Version { current: newest.into() });
            }
            RecordKeys::HandingOut { .. } | RecordKeys::Resealing { .. } => return Err(Refused::Rotating(newest)),
        }
        for node_id in left_out {
            self.edge_keys
                .change(node_id.as_bytes(), &mut batch, |edge| edge.left_out = true);
        }
        Ok((proto::RotateRecordKeyResponse {}, batch))
    }

    /// Does what is next; the answer tells how far the rotation is then.
    pub(crate) fn advance_rotation(&mut self, now_ms: u64) -> (Phase, Batch) {
        let mut batch = Batch::new();
        if self.rotated_by().is_some() || self.service_behind().is_some() {
            return (self.phase(), batch);
        }
        match self.service.record_keys() {
            RecordKeys::HandingOut { old, new } if self.behind(now_ms).next().is_none() => {
                let (old, new) = (old.clone(), new.clone());
                self.users.reseal_under(new.version());
                self.service
                    .put_record_keys(RecordKeys::Resealing { old, new }, &mut batch);
            }
            RecordKeys::Resealing { new, .. } if self.users.left_to_reseal() == 0 => {
                let new = new.clone();
                self.service.put_record_keys(RecordKeys::Settled(new), &mut batch);
            }
            RecordKeys::Resealing { .. } => {
                for aor in self.users.to_reseal(&self.outbox) {
                    let resealed = self.users.reseal(&self.service, now_ms, &aor);
                    // One that cannot be sealed keeps the old key alive, and nobody else from the new one.
                    if let Err(refused) = resealed.and_then(|()| self.publish(now_ms, &aor, &mut batch).map(drop)) {
                        let resource_id = ResourceId::of(aor.as_bytes());
                        tracing::warn!(%resource_id, error = %refused, "user record cannot be sealed again");
                    }
                }
            }
            RecordKeys::Settled(_) | RecordKeys::HandingOut { .. } => {}
        }
        (self.phase(), batch)
    }

    /// An edge reports which keys it holds, and gets those that it lacks.
    pub(crate) fn fetch_record_keys(
        &mut self,
        now_ms: u64,
        shown: &Certificate,
        request: &proto::FetchRecordKeysRequest,
    ) -> Outcome<proto::FetchRecordKeysResponse> {
        let edge = self.shown(now_ms, shown)?;
        let node_id = edge.node_id;
        if edge.record.class != NodeClass::Edge {
            return Err(Refused::NotCovered("record keys"));
        }
        if self.edge_keys.is_left_out(node_id.as_bytes()) {
            return Err(Refused::LeftOut(node_id));
        }
        if request.held.len() > MAX_HELD {
            return Err(Refused::Invalid(format!(
                "an edge holds at most {MAX_HELD} record keys"
            )));
        }
        // A rotation waits for it from now on, wherever it was enrolled.
        let (mut held, mut batch) = (request.held.clone(), self.remember(now_ms, edge));
        held.sort_unstable();
        let keys = self.service.record_keys();
        let lacking = keys.all().filter(|key| !held.contains(&key.version()));
        let answer = proto::FetchRecordKeysResponse {
            versions: keys.versions(),
            lacking: lacking.map(record_key).collect(),
        };
        self.edge_keys
            .change(node_id.as_bytes(), &mut batch, |edge| edge.report(now_ms, held));
        Ok((answer, batch))
    }

    /// The keys for edges that enroll.
    pub(super) fn keys_for(&self, now_ms: u64, edges: &[&(NodeId, NodeRecord)]) -> Vec<proto::RecordKey> {
        // Only edges open records.
        if edges.is_empty() || !edges.iter().all(|(node_id, edge)| self.counts(now_ms, *node_id, edge)) {
            return Vec::new();
        }
        self.service.record_keys().all().map(record_key).collect()
    }

    pub(crate) fn record_keys(&self, now_ms: u64) -> proto::RecordKeysResponse {
        let versions = self.service.record_keys().versions();
        let behind: Vec<NodeId> = self.behind(now_ms).collect();
        let edges = self.nodes.edges();
        let counting = edges
            .filter(|(node_id, edge)| self.counts(now_ms, *node_id, edge))
            .count();
        let in_step = counting.saturating_sub(behind.len());
        let ids = behind.iter().map(|edge| Bytes::copy_from_slice(edge.as_bytes()));
        let left_out = self.edge_keys.by_node.iter().filter(|(_, edge)| edge.left_out);
        proto::RecordKeysResponse {
            versions,
            rotation: self.phase().into(),
            edges_in_step: number(in_step),
            edges_behind: number(behind.len()),
            behind: ids.take(MAX_NAMED).collect(),
            left_out: left_out.map(|(node_id, _)| Bytes::copy_from_slice(node_id)).collect(),
            records_left: number(match self.service.record_keys() {
                RecordKeys::HandingOut { new, .. } => self.users.count_left(new.version()),
                RecordKeys::Settled(_) | RecordKeys::Resealing { .. } => self.users.left_to_reseal(),
            }),
        }
    }

    fn phase(&self) -> Phase {
        match self.service.record_keys() {
            RecordKeys::Settled(_) => Phase::Settled,
            RecordKeys::HandingOut { .. } => Phase::HandingOut,
            RecordKeys::Resealing { .. } => Phase::Resealing,
        }
    }

    /// The edges that count and have not reported to hold the keys that there are, and no other.
    fn behind(&self, now_ms: u64) -> impl Iterator<Item = NodeId> {
        let versions = self.service.record_keys().versions();
        let edges = self.nodes.edges();
        let behind = edges.filter(move |(node_id, _)| !self.edge_keys.holds(node_id.as_bytes(), &versions));
        let behind = behind.filter(move |(node_id, edge)| self.counts(now_ms, *node_id, edge));
        behind.map(|(node_id, _)| node_id)
    }

    /// Whether an edge is waited for: it can still come, and is welcome.
    fn counts(&self, now_ms: u64, node_id: NodeId, edge: &NodeRecord) -> bool {
        let is_banned = self.service.document.document().bad_nodes.contains(&node_id);
        !is_banned && !self.edge_keys.is_left_out(node_id.as_bytes()) && is_living(edge, now_ms)
    }

    pub(super) fn is_left_out(&self, node_id: NodeId) -> bool {
        self.edge_keys.is_left_out(node_id.as_bytes())
    }

    /// The Node-ID of an edge that was enrolled here.
    fn edge(&self, node_id: &[u8]) -> Result<NodeId, Refused> {
        let node_id = NodeId::try_from(node_id).map_err(|_| Refused::Invalid("a Node-ID has 16 octets".to_owned()))?;
        match self.nodes.edge(node_id) {
            Some(_) => Ok(node_id),
            None => Err(Refused::NotFound(format!("edge {node_id}"))),
        }
    }
}

impl EdgeKeysRecord {
    /// Later than what any service had heard, whatever its clock said.
    fn report(&mut self, now_ms: u64, held: Vec<u32>) {
        if self.held != held {
            self.held = held;
            self.at_ms = now_ms.max(self.at_ms.saturating_add(1));
        }
    }
}

fn record_key(key: &RecordKey) -> proto::RecordKey {
    proto::RecordKey {
        version: key.version(),
        key: Bytes::copy_from_slice(key.octets()),
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// There are two at most, and one that an edge has yet to forget; more is no edge of ours.
const MAX_HELD: usize = 8;
/// Node-IDs in one answer: an operator looks at edges one by one.
const MAX_NAMED: usize = 256;
