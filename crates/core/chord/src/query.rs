//! What a node can be asked about its ring.

use wire::{NodeId, ResourceId};

use crate::{
    chord::{Chord, Standing},
    range::Range,
};

impl Chord {
    /// Names this node.
    #[must_use]
    pub fn own(&self) -> NodeId {
        self.own
    }

    /// Tells what this node is to the ring.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Tells whether this node is a peer of the ring.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.standing == Standing::Member
    }

    /// Tells whether this node is the only peer of its ring.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.is_member() && self.is_alone
    }

    /// Tells whether this peer owns a resource (RFC 6940 §10.1).
    #[must_use]
    pub fn is_responsible(&self, resource: ResourceId) -> bool {
        self.own_range().is_some_and(|range| range.contains(resource))
    }

    /// Shows the range this peer owns; `None` outside the ring.
    #[must_use]
    pub fn own_range(&self) -> Option<Range> {
        self.is_member().then_some(Range {
            after: self.after,
            until: self.own,
        })
    }

    /// Shows the range that a peer's last Update claims for it, if that Update had lists.
    #[must_use]
    pub fn range_of(&self, peer: NodeId) -> Option<Range> {
        let contact = self.contacts.get(&peer).filter(|contact| contact.is_ready)?;
        let after = contact.lists.as_ref()?.predecessors.first()?;
        Some(Range {
            after: NodeId::from_u128(*after),
            until: peer,
        })
    }

    /// Lists the confirmed successors, nearest first.
    #[must_use]
    pub fn successors(&self) -> &[NodeId] {
        &self.successors
    }

    /// Lists the confirmed predecessors, nearest first.
    #[must_use]
    pub fn predecessors(&self) -> &[NodeId] {
        &self.predecessors
    }

    /// Lists all members of the neighbour table, each once.
    pub fn neighbors(&self) -> impl Iterator<Item = NodeId> {
        let more = self.predecessors.iter().filter(|node| !self.successors.contains(node));
        self.successors.iter().chain(more).copied()
    }

    /// Lists the peers in the routing table that are no neighbours, in ascending order.
    pub fn fingers(&self) -> impl Iterator<Item = NodeId> {
        self.ready().filter(|node| !self.is_neighbor(*node))
    }

    /// Lists the next two successors, who hold the replicas of what this peer owns (RFC 6940 §10.4).
    #[must_use]
    pub fn replicas(&self) -> &[NodeId] {
        self.successors.get(..REPLICAS).unwrap_or(&self.successors)
    }

    /// Tells whether a node stands in the neighbour table.
    #[must_use]
    pub fn is_neighbor(&self, node: NodeId) -> bool {
        self.successors.contains(&node) || self.predecessors.contains(&node)
    }

    /// Tells whether a node has a link and said over it, in an Update, that it is a peer.
    #[must_use]
    pub fn is_peer(&self, node: NodeId) -> bool {
        self.contacts.get(&node).is_some_and(|contact| contact.is_ready)
    }

    /// Lists the nodes that may be routed through.
    pub(crate) fn ready(&self) -> impl Iterator<Item = NodeId> {
        self.contacts
            .iter()
            .filter(|(_, contact)| contact.is_ready)
            .map(|(node, _)| *node)
    }
}

/// Copies besides the owner's (RFC 6940 §10.4).
const REPLICAS: usize = 2;
