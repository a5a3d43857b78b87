//! Connections that this node opens: because it needs somebody, or because it answered an Attach.
//!
//! A node that attaches says where it listens, and nobody checks that it is there: so an Attach must not turn this node against
//! others' machines. An address that no peer is known to listen at is dialed once a second for all who name it, and
//! connections that others asked for leave room for those that this node needs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tracing::debug;
use wire::{NodeId, Now};

use crate::api::{ConnectFailure, LinkId, Output};
use crate::core::Core;
use crate::share::may_take;

/// The connections that are being opened.
#[derive(Default)]
pub(crate) struct Dials {
    open: BTreeMap<LinkId, Dial>,
    /// When strangers' addresses were dialed, and for whom.
    strangers: BTreeMap<SocketAddr, (Instant, NodeId)>,
    last_id: u64,
}

struct Dial {
    wish: Wish,
    /// Where to try next.
    rest: Vec<SocketAddr>,
    until: Instant,
}

/// Why a connection is opened.
#[derive(Clone, Copy)]
pub(crate) enum Wish {
    /// This node needs whoever is there: a bootstrap node, or a peer of another ring.
    Own,
    /// This node answered an Attach.
    Attach {
        /// The node that has to be there.
        node: NodeId,
        /// Whether it may be a peer.
        is_peer: bool,
        /// Whether it asked for our routing table (RFC 6940 §6.4.2.3).
        send_update: bool,
    },
}

impl Wish {
    fn node(self) -> Option<NodeId> {
        match self {
            Self::Own => None,
            Self::Attach { node, .. } => Some(node),
        }
    }
}

impl Dials {
    pub(crate) fn is_dialing(&self, node: NodeId) -> bool {
        self.open.values().any(|dial| dial.wish.node() == Some(node))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.open.values().map(|dial| dial.until).min()
    }

    /// Takes note of a connection that is up. Tells what it was opened for.
    pub(crate) fn succeeded(&mut self, link: LinkId) -> Option<Wish> {
        self.open.remove(&link).map(|dial| dial.wish)
    }

    /// Whether one more connection may be opened. Each node has one at a time; those of clients leave room for peers', and
    /// those that others asked for leave room for the own ones.
    fn has_room(&self, wish: Wish) -> bool {
        let asked_for = |is_it: fn(bool) -> bool| {
            let is_counted = |dial: &&Dial| matches!(dial.wish, Wish::Attach { is_peer, .. } if is_it(is_peer));
            self.open.values().filter(is_counted).count()
        };
        let is_within_share = match wish {
            Wish::Own => true,
            Wish::Attach { is_peer: true, .. } => asked_for(|_| true) < MOST_ASKED,
            Wish::Attach { is_peer: false, .. } => asked_for(|is_peer| !is_peer) < MOST_ASKED / 2,
        };
        is_within_share && self.open.len() < MOST_DIALS
    }

    /// Whether a stranger's address may be dialed now; if so, that counts.
    fn may_dial_stranger(&mut self, now: Instant, address: SocketAddr, node: NodeId) -> bool {
        self.strangers
            .retain(|_, (at, _)| now.saturating_duration_since(*at) < STRANGERS_REST);
        let own = self.strangers.values().filter(|(_, other)| *other == node).count();
        let may = !self.strangers.contains_key(&address) && may_take(own, self.strangers.len(), MOST_STRANGERS);
        if may {
            self.strangers.insert(address, (now, node));
        }
        may
    }
}

impl Core {
    /// Opens a connection to the first of some addresses that answers. Tells whether one is tried.
    pub(crate) fn dial(&mut self, now: Now, wish: Wish, addresses: Vec<SocketAddr>) -> bool {
        if !self.dials.has_room(wish) {
            return false;
        }
        let mut rest = addresses.into_iter();
        let may_dial = |address: &SocketAddr| match wish {
            Wish::Own => true,
            Wish::Attach { node, .. } => {
                self.is_known(*address) || self.dials.may_dial_stranger(now.instant, *address, node)
            }
        };
        let Some(address) = rest.find(may_dial) else {
            return false;
        };
        self.dials.last_id += 2;
        let link = LinkId(self.dials.last_id);
        let dial = Dial {
            wish,
            rest: rest.collect(),
            until: now.instant + DIAL_TIME,
        };
        self.dials.open.insert(link, dial);
        self.outputs.push_back(Output::Connect {
            link,
            address,
            expected: wish.node(),
        });
        true
    }

    /// Whether a peer of the ring listens at an address.
    fn is_known(&self, address: SocketAddr) -> bool {
        let node = self.memory.node_at(address);
        node.is_some_and(|node| self.chord.is_peer(node))
    }

    pub(crate) fn dial_failed(&mut self, now: Now, link: LinkId, reason: ConnectFailure) {
        let Some(Dial { wish, rest, .. }) = self.dials.open.remove(&link) else {
            return;
        };
        debug!(link_id = link.0, ?reason, "connection failed");
        if wish.node().is_none_or(|node| self.links.to(node).is_none()) {
            self.dial(now, wish, rest);
        }
    }

    pub(crate) fn dials_due(&mut self, now: Now) {
        let late: Vec<LinkId> = self
            .dials
            .open
            .iter()
            .filter(|(_, dial)| dial.until <= now.instant)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.outputs.push_back(Output::Close { link: id });
            self.dial_failed(now, id, ConnectFailure::Unreachable);
        }
    }
}

/// How long one address may take to connect.
const DIAL_TIME: Duration = Duration::from_secs(3);

/// Connections being opened; further ones are not tried, and are needed again later.
const MOST_DIALS: usize = 256;

/// Of these, those that an Attach asked for; who attaches tries again.
const MOST_ASKED: usize = 64;

/// A stranger's address rests so long after it was dialed.
const STRANGERS_REST: Duration = Duration::from_secs(1);

/// Strangers' addresses dialed in that time.
const MOST_STRANGERS: usize = 256;
