//! The next hop (RFC 6940 §10.3), and which answers to believe (§6.3.4).

use wire::{NodeId, ResourceId};

use crate::{
    chord::Chord,
    ring::{distance, is_between},
};

/// Where a message is addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A node.
    Node(NodeId),
    /// Whoever is responsible for a resource.
    Resource(ResourceId),
}

impl From<NodeId> for Place {
    fn from(node: NodeId) -> Self {
        Self::Node(node)
    }
}

impl From<ResourceId> for Place {
    fn from(resource: ResourceId) -> Self {
        Self::Resource(resource)
    }
}

/// Where a message goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// This node is the destination.
    Here,
    /// Over the link to this node.
    Next(NodeId),
    /// Nowhere: no such node, or nobody to ask.
    None,
}

impl Chord {
    /// Finds the next hop toward a place. Nodes in `exclude` (where the message has been, or who just failed) are no
    /// next hops, nor are suspects, except for a node whose Node-ID is the very place: nobody else can be the
    /// destination. Only peers that sent an Update over their link are routed *through*; a node that is directly
    /// connected is reached directly.
    #[must_use]
    pub fn route(&self, place: impl Into<Place>, exclude: &[NodeId]) -> Route {
        let place = place.into();
        let key = match place {
            Place::Node(node) if node == self.own() => return Route::Here,
            Place::Node(node) if self.is_usable(node, exclude) => return Route::Next(node),
            // RFC 6940 §6.1.1: a node that nobody is connected to does not exist.
            Place::Node(node) if self.is_responsible(node.into()) => return Route::None,
            Place::Node(node) => node.to_u128(),
            Place::Resource(resource) if self.is_responsible(resource) => return Route::Here,
            Place::Resource(resource) => resource.to_u128(),
        };
        let own = self.own().to_u128();
        let hops = || {
            self.ready()
                .map(|node| node.to_u128())
                .filter(|hop| self.is_usable(NodeId::from_u128(*hop), exclude))
        };
        let very_node = NodeId::from_u128(key);
        let is_very_node = self.is_peer(very_node) && self.is_usable(very_node, &[]);
        // RFC 6940 §10.3: a node with the very id; then the last peer before the key; then the first one after it.
        Some(key)
            .filter(|_| is_very_node)
            .or_else(|| {
                hops()
                    .filter(|hop| is_between(own, *hop, key))
                    .min_by_key(|hop| distance(*hop, key))
            })
            .or_else(|| hops().min_by_key(|hop| distance(key, *hop)))
            .map_or(Route::None, |hop| Route::Next(NodeId::from_u128(hop)))
    }

    /// Tells whether an answer for a resource may come from `signer`: no peer that this one knows to be alive stands
    /// between the resource and the signer (RFC 6940 §6.3.4). Suspects do not count.
    #[must_use]
    pub fn is_plausible_responder(&self, signer: NodeId, resource: ResourceId) -> bool {
        let to_signer = distance(resource.to_u128(), signer.to_u128());
        let is_closer = |node: NodeId| distance(resource.to_u128(), node.to_u128()) < to_signer;
        let is_own_closer = self.is_member() && is_closer(self.own());
        !is_own_closer
            && !self
                .neighbors()
                .any(|node| self.is_usable(node, &[]) && is_closer(node))
    }

    /// Names the peer that owns a resource, as far as this peer and its neighbours know.
    #[must_use]
    pub fn owner_of(&self, resource: ResourceId) -> Option<NodeId> {
        if self.is_responsible(resource) {
            return Some(self.own());
        }
        self.neighbors()
            .find(|node| self.range_of(*node).is_some_and(|range| range.contains(resource)))
    }

    /// Tells whether there is a link to a node that answers, and the node is not excluded.
    fn is_usable(&self, node: NodeId, exclude: &[NodeId]) -> bool {
        self.contacts.get(&node).is_some_and(|contact| !contact.is_suspect) && !exclude.contains(&node)
    }
}
