//! All links of a node: which of two links to one node stays, and who does not answer.
//!
//! Two links to one node arise when both sides connect at the same moment, or when a node restarts before its old
//! link was noticed to be dead. Both ends must keep the same one: of two links begun by different sides the one that
//! the larger Node-ID began. Of two begun by the same side that side keeps the older and closes the other; the far end,
//! which may have seen them come in the other order, waits for that. But an older link has to answer a Ping within a
//! second, else the newer one replaces it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chord::Role;
use identity::Class;
use tracing::{debug, info, warn};
use wire::{Decode, ErrorCode, NodeId, Now, Packet};

use crate::api::{ConnectFailure, LinkId, Output};
use crate::core::Core;
use crate::dials::Wish;
use crate::link::{Alarm, Cargo, End, Link};

/// The open connections of a node.
#[derive(Default)]
pub(crate) struct Links {
    by_id: BTreeMap<LinkId, Link>,
    by_peer: BTreeMap<NodeId, LinkId>,
    contests: BTreeMap<NodeId, Contest>,
}

/// Two links to one node.
struct Contest {
    /// In use until it is decided.
    old: LinkId,
    new: LinkId,
    /// Which of them stays if both lead to the node.
    keep: LinkId,
    since: Instant,
    until: Instant,
}

impl Links {
    pub(crate) fn to(&self, peer: NodeId) -> Option<&Link> {
        self.by_id.get(self.by_peer.get(&peer)?)
    }

    pub(crate) fn to_mut(&mut self, peer: NodeId) -> Option<&mut Link> {
        self.by_id.get_mut(self.by_peer.get(&peer)?)
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = NodeId> {
        self.by_peer.keys().copied()
    }

    /// Whether there is a link to this node, whose certificate lets it be a peer.
    pub(crate) fn is_peer(&self, node: NodeId) -> bool {
        self.to(node).is_some_and(|link| link.class == Class::Peer)
    }

    /// Whether there is a link to this node whose frames are acknowledged.
    pub(crate) fn answers(&self, node: NodeId) -> bool {
        self.to(node).is_some_and(|link| !link.is_suspect())
    }

    pub(crate) fn largest_load(&self) -> usize {
        self.by_id.values().map(Link::load).max().unwrap_or_default()
    }

    /// Takes longer messages from now on, or none so long.
    pub(crate) fn set_longest(&mut self, longest: usize) {
        self.by_id.values_mut().for_each(|link| link.set_longest(longest));
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let contests = self.contests.values().map(|contest| contest.until);
        self.by_id.values().map(Link::deadline).chain(contests).min()
    }
}

impl Core {
    pub(crate) fn link_connected(&mut self, now: Now, id: LinkId, end: End) {
        let End {
            peer,
            remote,
            class,
            is_initiator,
        } = end;
        let wish = self.dials.succeeded(id);
        let most = if class == Class::Peer {
            MOST_LINKS
        } else {
            MOST_LINKS_OF_OTHERS
        };
        let is_unwanted = peer == self.own()
            || is_initiator && wish.is_none()
            || self.joining.is_fenced()
            || self.demand.is_some()
            || class == Class::Client && !self.parameters.clients_permitted
            || self.offences.is_barred(now.instant, peer)
            || self.links.by_id.len() >= most
            || self.links.contests.contains_key(&peer);
        if is_unwanted {
            self.outputs.push_back(Output::Close { link: id });
            return;
        }
        let longest = self.parameters.longest_message;
        self.links.by_id.insert(id, Link::new(now.instant, id, end, longest));
        if is_initiator {
            self.memory.listens_at(peer, remote);
        }
        match self.links.by_peer.get(&peer).copied() {
            Some(old) => self.contest(now, peer, old, id),
            None => self.link_up(now, peer, id),
        }
        if matches!(wish, Some(Wish::Attach { send_update: true, .. })) {
            self.chord.send_full_update(now, peer);
        }
        if is_initiator {
            self.healing_connected(now, peer, remote);
        }
    }

    fn link_up(&mut self, now: Now, peer: NodeId, id: LinkId) {
        self.links.by_peer.insert(peer, id);
        debug!(node_id = %peer.short(), link_id = id.0, "link up");
        let role = if self.links.is_peer(peer) {
            Role::Peer
        } else {
            Role::Client
        };
        self.chord.handle_link_up(now, peer, role);
        self.attach_link_up(now, peer);
        self.join_link_up(now, peer);
        self.outputs.push_back(Output::Changed);
    }

    /// Decides between two links to one node.
    fn contest(&mut self, now: Now, peer: NodeId, old: LinkId, new: LinkId) {
        let (Some(older), Some(newer)) = (self.links.by_id.get(&old), self.links.by_id.get(&new)) else {
            return;
        };
        let begun_by = |link: &Link| if link.is_initiator { self.settings.node_id } else { peer };
        let larger = self.settings.node_id.max(peer);
        let keeps_old = older.is_initiator == newer.is_initiator || begun_by(older) == larger;
        let keep = if keeps_old { old } else { new };
        debug!(node_id = %peer.short(), kept = keep.0, "two links to one node");
        self.links.contests.insert(
            peer,
            Contest {
                old,
                new,
                keep,
                since: now.instant,
                until: now.instant + PROOF,
            },
        );
        // Whichever is kept: an older one that is silent belongs to a process that is gone.
        self.ping_link(now, peer);
    }

    fn end_contests(&mut self, now: Now) {
        let is_over = |contest: &Contest| contest.until <= now.instant;
        let over: Vec<NodeId> = self
            .links
            .contests
            .iter()
            .filter(|(_, contest)| is_over(contest))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in over {
            let Some(contest) = self.links.contests.remove(&peer) else {
                continue;
            };
            let Contest {
                old, new, keep, since, ..
            } = contest;
            let is_heard = self.links.by_id.get(&old).is_some_and(|link| link.last_heard() > since);
            let is_accepted = |id| self.links.by_id.get(id).is_some_and(|link| !link.is_initiator);
            if !is_heard {
                self.replace(now, peer, old, new);
            } else if is_accepted(&old) && is_accepted(&new) && now.instant < since + CHOICE {
                let until = since + CHOICE;
                self.links.contests.insert(peer, Contest { until, ..contest });
            } else {
                self.links.by_peer.insert(peer, keep);
                self.discard(now, if keep == old { new } else { old });
            }
        }
    }

    /// The newer link takes the place of one that leads nowhere: the node may have forgotten us.
    fn replace(&mut self, now: Now, peer: NodeId, dead: LinkId, fresh: LinkId) {
        self.links.by_peer.remove(&peer);
        self.chord.handle_link_down(now, peer);
        // Another process, maybe with another disk: what waits for the old one, or was delivered to it, counts no more.
        self.peer_gone(now, peer);
        self.link_up(now, peer, fresh);
        self.discard(now, dead);
    }

    /// Closes a link that is not in use any more; what it still carried goes over the other one.
    fn discard(&mut self, now: Now, id: LinkId) {
        if let Some(link) = self.links.by_id.remove(&id) {
            self.outputs.push_back(Output::Close { link: id });
            self.route_again(now, link);
        }
    }

    /// The connection is gone.
    pub(crate) fn link_lost(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.links.by_id.remove(&id) else {
            return self.dial_failed(now, id, ConnectFailure::Unreachable);
        };
        let peer = link.peer;
        let rival = self.links.contests.remove(&peer).map(|contest| {
            let rival = if contest.old == id { contest.new } else { contest.old };
            (rival, link.last_heard() > contest.since)
        });
        match rival {
            // The other side has decided a little earlier: the node is the same as before.
            Some((rival, true)) if self.links.by_peer.get(&peer) == Some(&id) => {
                self.links.by_peer.insert(peer, rival);
            }
            Some((rival, false)) if self.links.by_peer.get(&peer) == Some(&id) => {
                self.links.by_peer.remove(&peer);
                self.chord.handle_link_down(now, peer);
                self.peer_gone(now, peer);
                self.link_up(now, peer, rival);
            }
            Some(_) => {}
            None => {
                self.links.by_peer.remove(&peer);
                if self.chord.is_neighbor(peer) {
                    info!(node_id = %self.own().short(), neighbor = %peer.short(), "neighbor lost");
                }
                debug!(node_id = %peer.short(), link_id = id.0, "link down");
                self.chord.handle_link_down(now, peer);
                self.peer_gone(now, peer);
                self.outputs.push_back(Output::Changed);
            }
        }
        self.route_again(now, link);
    }

    /// Closes the link to a node that is of no use any more.
    pub(crate) fn drop_peer(&mut self, now: Now, peer: NodeId) {
        if let Some(id) = self.links.by_peer.get(&peer).copied() {
            self.outputs.push_back(Output::Close { link: id });
            self.link_lost(now, id);
        }
    }

    // RFC 6940 §11.1: where clients are not permitted, whoever cannot be a peer has no link. Edges are reached without one.
    pub(crate) fn drop_forbidden_clients(&mut self, now: Now) {
        if self.parameters.clients_permitted {
            return;
        }
        let clients = self.links.by_id.values().filter(|link| link.class == Class::Client);
        let clients: Vec<NodeId> = clients.map(|link| link.peer).collect();
        for client in clients {
            info!(node_id = %client.short(), "link closed: the document permits no clients");
            self.drop_peer(now, client);
        }
    }

    /// Closes all links, after writing what is to be said.
    pub(crate) fn close_links(&mut self, now: Now) {
        self.write_links(now);
        let peers: Vec<NodeId> = self.links.peers().collect();
        for peer in peers {
            self.drop_peer(now, peer);
        }
    }

    /// Nobody is connected to this node any more: whatever waits for it looks elsewhere.
    fn peer_gone(&mut self, now: Now, peer: NodeId) {
        self.memory.peer_gone(peer);
        self.session.clocks.forget(peer);
        self.calendar.clear(peer);
        self.election.link_down(peer);
        self.join_link_down(now, peer);
        self.admission_link_down(now, peer);
        self.push_link_down(now, peer);
        self.ranges_link_down(peer);
        self.transactions_link_down(now, peer);
    }

    // RFC 6940 §6.6.3 leaves loss on a dying link to the hops; requests that it did not acknowledge take another way.
    fn route_again(&mut self, now: Now, link: Link) {
        for carried in link.into_unacknowledged() {
            self.route(now, carried);
        }
    }

    pub(crate) fn link_received(&mut self, now: Now, id: LinkId, bytes: &[u8]) {
        let Some(link) = self.links.by_id.get_mut(&id) else {
            return;
        };
        let peer = link.peer;
        let received = match link.receive(now.instant, bytes) {
            Ok(received) => received,
            Err(error) => {
                // RFC 6940 §6.6: a message that is too long ends the link; what is no frame cannot be skipped.
                warn!(node_id = %peer.short(), %error, "link closed for bad framing");
                self.counters.malformed += 1;
                if let Some(packet) = &error.too_long {
                    // RFC 6940 §6.6: first the error, then the end.
                    let why = (ErrorCode::MessageTooLarge, "message is too large");
                    self.refuse_packet(now, packet, Some(peer), why);
                    self.write_links(now);
                }
                self.outputs.push_back(Output::Close { link: id });
                return self.link_lost(now, id);
            }
        };
        if received.is_cleared {
            self.chord.handle_suspect(now, peer, false);
        }
        for bytes in received.acknowledgements {
            self.outputs.push_back(Output::Send { link: id, bytes });
        }
        for message in received.messages {
            match Packet::from_bytes(&message) {
                Ok(packet) => self.packet_received(now, packet, peer),
                Err(error) => {
                    debug!(node_id = %peer.short(), %error, "message is malformed");
                    self.counters.malformed += 1;
                }
            }
        }
    }

    /// Hands a packet to the link that leads to a node. Tells whether there is one.
    pub(crate) fn send_over(&mut self, now: Now, peer: NodeId, message: bytes::Bytes, cargo: Cargo) -> bool {
        let Some(id) = self.links.by_peer.get(&peer).copied() else {
            return false;
        };
        let Some(link) = self.links.by_id.get_mut(&id) else {
            return false;
        };
        match link.enqueue(message, cargo) {
            Ok(shed) => self.counters.shed += shed,
            Err(error) => {
                warn!(node_id = %peer.short(), %error, "link closed");
                self.outputs.push_back(Output::Close { link: id });
                self.link_lost(now, id);
            }
        }
        true
    }

    /// Writes what the links can take.
    pub(crate) fn write_links(&mut self, now: Now) {
        for link in self.links.by_id.values_mut() {
            while let Some(bytes) = link.next_frame(now.instant) {
                self.outputs.push_back(Output::Send { link: link.id, bytes });
            }
        }
    }

    pub(crate) fn links_due(&mut self, now: Now) {
        self.end_contests(now);
        let due: Vec<LinkId> = self
            .links
            .by_id
            .iter()
            .filter(|(_, link)| link.deadline() <= now.instant)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(link) = self.links.by_id.get_mut(&id) else {
                continue;
            };
            let peer = link.peer;
            match link.alarm(now.instant) {
                Some(Alarm::Idle) => self.ping_link(now, peer),
                Some(Alarm::Suspect) => {
                    debug!(node_id = %peer.short(), link_id = id.0, "link is suspect");
                    self.chord.handle_suspect(now, peer, true);
                    self.ping_link(now, peer);
                }
                Some(Alarm::Dead) => {
                    debug!(node_id = %peer.short(), link_id = id.0, "link is dead");
                    self.counters.links_died += 1;
                    self.outputs.push_back(Output::Close { link: id });
                    self.link_lost(now, id);
                }
                None => {}
            }
        }
    }
}

/// A link whose node has another one has this long to be heard.
const PROOF: Duration = Duration::from_secs(1);

/// A node that began two links has this long to close one of them.
const CHOICE: Duration = Duration::from_secs(5);

/// Open links; further ones are closed at once. A peer of ten thousand needs 65, the rest is for clients, which leave room for
/// peers.
const MOST_LINKS: usize = 4096;
const MOST_LINKS_OF_OTHERS: usize = 3072;
