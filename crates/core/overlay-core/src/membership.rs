//! The way back: what a peer that was a member keeps of the ring, in mind and on its disk.
//!
//! A peer that was a member once knows whom to ask when it starts again, and may take part in forming the ring anew when
//! all of it was down ([`crate::election`]). One that never was can only join.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use wire::{IceCandidate, NodeId, Now};

use crate::api::Output;
use crate::attach::usable_addresses;
use crate::core::Core;
use crate::transaction::{Outcome, Purpose, Request};

/// What a former member knows of the ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Peers that it had in its neighbour table, the latest first.
    pub peers: Vec<KnownPeer>,
    /// How many peers the ring had, itself among them, as far as its tables reached.
    pub ring_size: usize,
}

/// A peer and where it listened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownPeer {
    /// Its Node-ID.
    pub node_id: NodeId,
    /// Where it can be connected to.
    pub address: SocketAddr,
}

/// What is known of other nodes' addresses, and what was kept of the ring.
pub(crate) struct Memory {
    /// Where nodes listen; the far end of a link that came in says nothing about that.
    listening: BTreeMap<NodeId, SocketAddr>,
    /// Linked nodes that were asked where they listen.
    asked: BTreeSet<NodeId>,
    /// None if this node never was a member.
    kept: Option<Membership>,
}

impl Memory {
    pub(crate) fn new(kept: Option<Membership>) -> Self {
        Self {
            listening: BTreeMap::new(),
            asked: BTreeSet::new(),
            kept,
        }
    }

    /// What the ring was, if this node was ever a member of it.
    pub(crate) fn former(&self) -> Option<&Membership> {
        self.kept.as_ref()
    }

    /// Takes note of where a node listens.
    pub(crate) fn listens_at(&mut self, node: NodeId, address: SocketAddr) {
        if self.listening.len() < MOST_LISTENING || self.listening.contains_key(&node) {
            self.listening.insert(node, address);
        }
    }

    /// Takes note of the candidates in an Attach.
    pub(crate) fn attaches_at(&mut self, node: NodeId, candidates: &[IceCandidate]) {
        if let Some(address) = usable_addresses(candidates).first() {
            self.listens_at(node, *address);
        }
    }

    /// Nobody is connected to a node any more: it may be elsewhere when it is back.
    pub(crate) fn peer_gone(&mut self, node: NodeId) {
        self.listening.remove(&node);
        self.asked.remove(&node);
    }

    /// Where a node listens, as far as that is known.
    pub(crate) fn address_of(&self, node: NodeId) -> Option<SocketAddr> {
        let mut kept = self.kept.iter().flat_map(|kept| &kept.peers);
        let known = kept.find(|peer| peer.node_id == node).map(|peer| peer.address);
        self.listening.get(&node).copied().or(known)
    }

    /// Who listens at an address, as far as that is known.
    pub(crate) fn node_at(&self, address: SocketAddr) -> Option<NodeId> {
        let mut listening = self.listening.iter();
        listening.find(|(_, at)| **at == address).map(|(node, _)| *node)
    }

    /// The addresses of former neighbours.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.kept.iter().flat_map(|kept| &kept.peers).map(|peer| peer.address)
    }
}

impl Core {
    /// Keeps the ring as it is now, if that is news.
    pub(crate) fn remember_ring(&mut self, now: Now) {
        if !self.chord.is_member() {
            return;
        }
        self.ask_where_neighbors_listen(now);
        let neighbors = self.chord.neighbors().filter_map(|node_id| {
            let address = self.memory.address_of(node_id)?;
            Some(KnownPeer { node_id, address })
        });
        let mut peers: Vec<KnownPeer> = neighbors.collect();
        peers.sort_by_key(|peer| peer.node_id);
        let earlier = self.memory.kept.iter().flat_map(|kept| kept.peers.iter().copied());
        for peer in earlier {
            let is_replaced = |newer: &KnownPeer| newer.node_id == peer.node_id || newer.address == peer.address;
            if peers.len() < MOST_KEPT && !peers.iter().any(is_replaced) {
                peers.push(peer);
            }
        }
        peers.truncate(MOST_KEPT);
        let ring_size = self.company.ring_size();
        let membership = Membership { peers, ring_size };
        if self.memory.kept.as_ref() != Some(&membership) {
            self.memory.kept = Some(membership.clone());
            self.outputs.push_back(Output::Remember(membership));
        }
    }

    /// A neighbour that took this node for its bootstrap node never had to say where it listens. An Attach over the link
    /// that is there changes nothing, and its answer has the candidates.
    fn ask_where_neighbors_listen(&mut self, now: Now) {
        let is_unknown = |node: &NodeId| !self.memory.listening.contains_key(node) && !self.memory.asked.contains(node);
        let unknown: Vec<NodeId> = self.chord.neighbors().filter(is_unknown).collect();
        for node in unknown {
            self.memory.asked.insert(node);
            let body = self.attach_request(false).into();
            self.request(now, Request::to(node, &body, Purpose::Whereabouts).over(node).once());
        }
    }

    pub(crate) fn whereabouts_answered(&mut self, now: Now, outcome: &Outcome) {
        if let Outcome::Answered(answered) = outcome {
            self.attach_candidates_heard(answered);
            self.remember_ring(now);
        }
    }
}

/// Former neighbours that are kept: both lists of the usual length.
const MOST_KEPT: usize = 16;

/// Addresses remembered: one for each link that may be open. Further ones are not.
const MOST_LISTENING: usize = 4096;
