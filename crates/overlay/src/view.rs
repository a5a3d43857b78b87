//! What this peer shows of itself: one value, replaced at each change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use overlay_config::SignedDocument;
use overlay_core::{Core, Reason, Status};
use rpc::proto::overlay::v1::{Finger, Neighbor, StorageSession, WatchResponse};
use wire::NodeId;

/// The state of the peer at one moment.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) status: Status,
    pub(crate) document: Arc<SignedDocument>,
    /// Neighbors with a link.
    linked: BTreeMap<NodeId, Linked>,
    storage: Option<(u64, [u8; 16])>,
    /// Why storage will not come back by itself.
    storage_refusal: Option<String>,
    epoch: u64,
    certificate_until_ms: u64,
    /// Records that other holders have taken over.
    pub(crate) handed_over: u64,
}

/// The far end of a link as it is known here.
#[derive(Clone, Debug, PartialEq)]
struct Linked {
    address: SocketAddr,
    document: Option<u16>,
    software: Option<String>,
}

impl PartialEq for View {
    fn eq(&self, other: &Self) -> bool {
        self.gist() == other.gist()
    }
}

impl View {
    pub(crate) fn of(core: &Core, epoch: u64) -> Self {
        let status = core.status();
        let nodes = status.predecessors.iter().chain(&status.successors);
        let linked = |node: &NodeId| {
            Some(Linked {
                address: core.address_of(*node)?,
                document: core.document_of(*node),
                software: core.software_of(*node).map(str::to_owned),
            })
        };
        Self {
            linked: nodes.filter_map(|node| Some((*node, linked(node)?))).collect(),
            document: Arc::clone(core.document()),
            storage: core.storage_session(),
            storage_refusal: None,
            handed_over: core.counters().handed_over,
            status,
            epoch,
            certificate_until_ms: 0,
        }
    }

    /// What has changed if two views differ. The queues do so all the time, and nobody waits for it.
    fn gist(&self) -> impl PartialEq + '_ {
        let status = Status {
            queued: 0,
            ..self.status.clone()
        };
        let document = self.document.document().sequence;
        (
            status,
            document,
            &self.linked,
            self.storage,
            &self.storage_refusal,
            (self.epoch, self.certificate_until_ms),
            self.handed_over,
        )
    }

    pub(crate) fn with_refusal(self, storage_refusal: Option<String>) -> Self {
        Self {
            storage_refusal,
            ..self
        }
    }

    pub(crate) fn with_certificate_until(self, certificate_until_ms: u64) -> Self {
        Self {
            certificate_until_ms,
            ..self
        }
    }

    fn reasons(&self) -> Vec<String> {
        let reason = |reason: &Reason| match (reason, &self.storage_refusal) {
            (Reason::StorageRefused, Some(refusal)) => refusal.clone(),
            _ => reason.to_string(),
        };
        self.status.reasons.iter().map(reason).collect()
    }

    pub(crate) fn health(&self) -> runtime::State {
        runtime::State {
            is_serving: self.status.serving,
            is_ready: self.status.ready,
            reasons: self.reasons(),
            ring: Some(runtime::Ring {
                joined: self.status.joined,
                successors: self.status.successors.len(),
                predecessors: self.status.predecessors.len(),
                fingers: self.status.fingers.len(),
            }),
        }
    }

    /// The whole state, as watchers get it.
    pub(crate) fn to_proto(&self) -> WatchResponse {
        let status = &self.status;
        let octets = |node: &NodeId| Bytes::copy_from_slice(node.as_bytes());
        let neighbors = |nodes: &[NodeId]| {
            let neighbor = |node: &NodeId| {
                let linked = self.linked.get(node);
                Neighbor {
                    node_id: octets(node),
                    address: linked.map(|linked| linked.address.to_string()).unwrap_or_default(),
                    document_sequence: linked.and_then(|linked| linked.document).map(u32::from),
                    software: linked.and_then(|linked| linked.software.clone()).unwrap_or_default(),
                }
            };
            nodes.iter().map(neighbor).collect()
        };
        WatchResponse {
            node_id: octets(&status.node_id),
            overlay: self.document.document().overlay.clone(),
            joined: status.joined,
            serving: status.serving,
            ready: status.ready,
            reasons: self.reasons(),
            successors: neighbors(&status.successors),
            predecessors: neighbors(&status.predecessors),
            fingers: status.fingers.iter().map(|node| self.finger(*node)).collect(),
            document_sequence: u32::from(status.document_sequence),
            document: self.document.xml().clone(),
            epoch: self.epoch,
            storage: self.storage.map(|(session, store_id)| StorageSession {
                session,
                store_id: Bytes::copy_from_slice(&store_id),
            }),
            edges: status.clients.iter().map(octets).collect(),
            links: u32::try_from(status.links.len()).unwrap_or(u32::MAX),
            certificate_until_unix_ms: self.certificate_until_ms,
        }
    }

    /// A finger stands in the interval whose distance from this peer has the same highest bit.
    fn finger(&self, node: NodeId) -> Finger {
        let distance = node.to_u128().wrapping_sub(self.status.node_id.to_u128());
        Finger {
            index: distance.leading_zeros(),
            node_id: Bytes::copy_from_slice(node.as_bytes()),
        }
    }
}
