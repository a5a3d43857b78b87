//! What is known about one node at the other end of a link that is up.

use wire::{ChordUpdate, ChordUpdateKind, NodeId};

use crate::ring::{distance, mirror};

/// Entries read from one list of an Update. Ours are at most half as long; a longer one is cut, not refused.
pub(crate) const MAX_ENTRIES: usize = 32;

/// What a linked node may be to the ring, as its certificate says (docs/deviations.md D44).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It may take a place.
    Peer,
    /// It uses the ring and takes no part in it (RFC 6940 §4.2): an edge, or a user's own node.
    Client,
}

/// One peer with a link that is up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contact {
    /// The link does not answer at present.
    pub(crate) is_suspect: bool,
    /// It said in an Update over this link that it is a peer: it may be routed through (RFC 6940 §10.5).
    pub(crate) is_ready: bool,
    /// Its own tables, if the last Update had any.
    pub(crate) lists: Option<Lists>,
}

/// A peer's own view of its neighbours, nearest first, as places on the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lists {
    pub(crate) predecessors: Vec<u128>,
    pub(crate) successors: Vec<u128>,
}

impl Lists {
    /// Reads the lists of an Update from `sender`; `None` for `peer_ready`.
    pub(crate) fn of(sender: NodeId, update: &ChordUpdate) -> Option<Self> {
        let (predecessors, successors) = match &update.kind {
            ChordUpdateKind::PeerReady => return None,
            ChordUpdateKind::Neighbors {
                predecessors,
                successors,
            }
            | ChordUpdateKind::Full {
                predecessors,
                successors,
                ..
            } => (predecessors, successors),
        };
        let from = sender.to_u128();
        // RFC 6940 §10.7 leaves the order of the lists open: sort by distance from the sender.
        let order = |nodes: &[NodeId], distance_to: &dyn Fn(u128) -> u128| {
            let mut places: Vec<u128> = nodes
                .iter()
                .take(MAX_ENTRIES)
                .filter(|node| node.is_name() && **node != sender)
                .map(|node| node.to_u128())
                .collect();
            places.sort_unstable_by_key(|place| distance_to(*place));
            places.dedup();
            places
        };
        Some(Self {
            predecessors: order(predecessors, &|place| distance(mirror(from), mirror(place))),
            successors: order(successors, &|place| distance(from, place)),
        })
    }

    /// The stretch of the ring that the sender describes: its predecessors, itself, its successors, clockwise.
    pub(crate) fn chain(&self, sender: u128) -> Vec<u128> {
        let mut chain: Vec<u128> = self.predecessors.iter().rev().copied().collect();
        chain.push(sender);
        chain.extend(&self.successors);
        // A peer that is alone is its own neighbour.
        if self.successors.is_empty() && self.predecessors.is_empty() {
            chain.push(sender);
        }
        chain
    }

    /// Tells whether a node stands in one of the lists.
    pub(crate) fn names(&self, place: u128) -> bool {
        self.predecessors.contains(&place) || self.successors.contains(&place)
    }
}
