//! Forming the ring again after all of it was down.
//!
//! RFC 6940 §6.4.2.1 leaves open who forms an overlay. The founder does so once, in its life. Later, when nobody who is
//! joined can be found, those that were members before tell each other over their links that they wait, and the one
//! with the smallest Node-ID among those that reach each other forms the ring; the others join it. Should two rings
//! come of it, [`crate::heal`] makes them one: speed depends on the election, not correctness.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::info;

use wire::{MessageExtension, NodeId, Now, PingReq};

use crate::core::Core;
use crate::transaction::{Purpose, Request};

/// Who waits for the ring to be formed.
#[derive(Default)]
pub(crate) struct Election {
    /// Linked former members that said so, and when.
    waiting: BTreeMap<NodeId, Instant>,
    /// How the search for a joined peer stands.
    search: Search,
}

/// The search for a joined peer, which goes before any election.
#[derive(Default)]
enum Search {
    #[default]
    Idle,
    /// It goes on until this time.
    Until(Instant),
    /// Nobody was found.
    Over,
}

impl Election {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.search {
            Search::Until(at) => Some(at),
            Search::Idle | Search::Over => None,
        }
    }

    /// The search begins, unless it goes on already.
    pub(crate) fn begin(&mut self, now: Instant) {
        if matches!(self.search, Search::Idle) {
            self.found_peer(now);
        }
    }

    /// A joined peer was found: should it be of no use, the search begins anew.
    pub(crate) fn found_peer(&mut self, now: Instant) {
        self.search = Search::Until(now + SEARCH);
    }

    /// The node became a member, or gave up: there is nothing to be decided.
    pub(crate) fn end(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn link_down(&mut self, peer: NodeId) {
        self.waiting.remove(&peer);
    }

    fn others(&self, now: Instant) -> impl Iterator<Item = NodeId> {
        let is_fresh = move |since: &Instant| now.saturating_duration_since(*since) < FRESH;
        let waiting = self.waiting.iter().filter(move |(_, since)| is_fresh(since));
        waiting.map(|(node, _)| *node)
    }
}

impl Core {
    /// Tells all linked nodes that are not joined that this one waits for the ring.
    pub(crate) fn announce_waiting(&mut self, now: Now) {
        let others: Vec<NodeId> = self.links.peers().filter(|node| !self.chord.is_peer(*node)).collect();
        for node in others {
            self.announce_waiting_to(now, node);
        }
    }

    // docs/deviations.md D40: said by a Ping, in an extension that may be ignored.
    pub(crate) fn announce_waiting_to(&mut self, now: Now, node: NodeId) {
        if self.memory.former().is_none() || !self.session.is_usable() || !self.links.is_peer(node) {
            return;
        }
        let waiting = MessageExtension {
            kind: MessageExtension::WAITING_FOR_RING,
            critical: false,
            contents: bytes::Bytes::new(),
        };
        let ping = Request::to(node, &PingReq::default().into(), Purpose::Notice);
        self.request(now, ping.over(node).once().with_extensions(vec![waiting]));
    }

    /// A linked node says that it waits.
    pub(crate) fn waiting_heard(&mut self, now: Now, from: NodeId) {
        if self.is_looking_for_ring() {
            self.election.waiting.insert(from, now.instant);
            self.elect(now);
        }
    }

    pub(crate) fn election_due(&mut self, now: Now) {
        if self.election.deadline().is_some_and(|at| at <= now.instant) {
            self.election.search = Search::Over;
            self.elect(now);
        }
    }

    /// Forms the ring if it falls to this node.
    pub(crate) fn elect(&mut self, now: Now) {
        let has_found_peer = self.links.peers().any(|peer| self.chord.is_peer(peer));
        if !self.is_looking_for_ring() || !self.session.is_usable() || has_found_peer {
            return;
        }
        let Some(former) = self.memory.former() else { return };
        let others: Vec<NodeId> = self.election.others(now.instant).collect();
        let is_everyone_here = others.len() + 1 >= former.ring_size;
        let is_late = matches!(self.election.search, Search::Over);
        // Alone it could serve nobody, unless it may be alone.
        let is_enough = !others.is_empty() || self.company.may_be_alone();
        let is_smallest = others.iter().all(|other| self.own() < *other);
        if is_smallest && (is_everyone_here || is_late && is_enough) {
            info!(node_id = %self.own().short(), waiting = others.len(), "formed the ring again");
            self.form_ring(now);
        }
    }

    /// The node that is expected to form the ring, if it is another one.
    pub(crate) fn awaited(&self) -> Option<NodeId> {
        let mut waiting = self.election.waiting.keys().copied();
        waiting.next().filter(|first| *first < self.own())
    }
}

/// So long a joined peer is looked for.
const SEARCH: Duration = Duration::from_secs(5);

/// Who waits says so at each of its attempts, about every four seconds; silent for longer, it does something else.
const FRESH: Duration = Duration::from_secs(10);
