//! Healing: two rings become one.
//!
//! A network that was cut leaves two rings, and so may a restart of all peers. No rule of the ring itself notices: each
//! is in order. So every peer asks now and then who owns its own place, through a node that its tables do not name
//! (RFC 6940 §10.7.4.4). An answer of anybody else than itself comes from another ring: it attaches to that peer, and by
//! the usual rules of neighbours the two rings grow into one another.
//!
//! Whose range shrinks by that has records that the new owner may lack, and pushes them to it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tracing::{debug, info};

use wire::{Body, NodeId, Now, PingReq, ResourceId};

use crate::core::Core;
use crate::dials::Wish;
use crate::transaction::{Outcome, Purpose, Request};

/// When to look for another ring, and through whom.
#[derive(Default)]
pub(crate) struct Healing {
    /// The next probe.
    at: Option<Instant>,
    /// Whose turn it is.
    turn: usize,
    /// The node that is being connected to for a probe.
    dialing: Option<SocketAddr>,
    /// Neighbours at most since they were halved the last time.
    most_neighbors: usize,
    /// When to push what is held to the owners that this peer knows.
    offer_at: Option<Instant>,
}

impl Healing {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.at.into_iter().chain(self.offer_at).min()
    }

    /// Part of the own range went to a peer that this one has not admitted.
    pub(crate) fn range_lost(&mut self, now: Instant) {
        self.offer_at.get_or_insert(now + GATHER);
    }
}

impl Core {
    /// The node is a member from now on: it begins to probe.
    pub(crate) fn begin_probing(&mut self, now: Now) {
        self.healing = Healing {
            turn: self.healing.turn,
            ..Healing::default()
        };
        self.healing.at = Some(now.instant + self.probe_wait());
    }

    /// Every peer probes, not only bootstrap nodes: then two halves are one ring after a few periods.
    fn probe_wait(&mut self) -> Duration {
        let period = if self.chord.is_alone() { ALONE } else { PERIOD };
        let jitter = self.random.below(u64::try_from(period.as_millis() / 2).unwrap_or(0));
        period * 3 / 4 + Duration::from_millis(jitter)
    }

    /// Takes note of how many neighbours there are: half of them lost at once may be the other half of the ring.
    pub(crate) fn count_neighbors(&mut self, now: Now) {
        let count = self.chord.neighbors().count();
        let healing = &mut self.healing;
        if 2 * count <= healing.most_neighbors && healing.at.is_some() {
            healing.at = Some(now.instant);
            healing.most_neighbors = count;
        }
        healing.most_neighbors = healing.most_neighbors.max(count);
    }

    pub(crate) fn healing_due(&mut self, now: Now) {
        if !self.chord.is_member() {
            self.healing.at = None;
        }
        if self.healing.at.is_some_and(|at| at <= now.instant) {
            self.healing.at = Some(now.instant + self.probe_wait());
            self.probe_ring(now);
        }
        if self.healing.offer_at.is_some_and(|at| at <= now.instant) {
            self.healing.offer_at = None;
            self.offer_what_is_held(now);
        }
    }

    /// Asks through the next node in turn that is no neighbour.
    fn probe_ring(&mut self, now: Now) {
        let near: BTreeSet<SocketAddr> = self
            .chord
            .neighbors()
            .filter_map(|node| self.memory.address_of(node))
            .chain(self.settings.local_addresses.iter().copied())
            .collect();
        let known: BTreeSet<SocketAddr> = self
            .settings
            .bootstrap
            .iter()
            .copied()
            .chain(self.memory.addresses())
            .filter(|address| self.settings.rules.rings_are_probed && !near.contains(address))
            .collect();
        if known.is_empty() {
            return;
        }
        let Some(address) = known.iter().nth(self.healing.turn % known.len()).copied() else {
            return;
        };
        self.healing.turn = self.healing.turn.wrapping_add(1);
        match self
            .memory
            .node_at(address)
            .filter(|node| self.links.to(*node).is_some())
        {
            Some(node) => self.probe_through(now, node),
            None => {
                self.healing.dialing = Some(address);
                self.dial(now, Wish::Own, vec![address]);
            }
        }
    }

    /// A connection that this node began is up, whether it is needed or not.
    pub(crate) fn healing_connected(&mut self, now: Now, peer: NodeId, remote: SocketAddr) {
        if self.healing.dialing == Some(remote) {
            self.healing.dialing = None;
            self.probe_through(now, peer);
        }
    }

    fn probe_through(&mut self, now: Now, node: NodeId) {
        debug!(node_id = %node.short(), "looks for another ring");
        let destination = vec![ResourceId::from(self.own()).into()];
        let ping = Request::routed(destination, &PingReq::default().into(), Purpose::ProbeRing(node));
        self.request(now, ping.over(node).once());
    }

    pub(crate) fn probe_ring_answered(&mut self, now: Now, through: NodeId, outcome: &Outcome) {
        let Outcome::Answered(answered) = outcome else { return };
        let found = answered.signer;
        if found == self.own() || !self.chord.is_member() {
            return;
        }
        info!(node_id = %self.own().short(), found = %found.short(), through = %through.short(), "found another ring");
        if self.links.to(found).is_some() {
            return self.chord.send_full_update(now, found);
        }
        // Once its link is up, both say in Updates who they are, and take each other for neighbours.
        let body: Body = self.attach_request(true).into();
        let destination = vec![through.into(), found.into()];
        self.request(now, Request::routed(destination, &body, Purpose::Notice).over(through));
    }
}

/// Between two probes of a peer, on average.
const PERIOD: Duration = Duration::from_secs(30);

/// The same while nobody else is in the ring.
const ALONE: Duration = Duration::from_secs(5);

/// Peers that come together tell each other their places in this time.
const GATHER: Duration = Duration::from_secs(1);
