//! Connections as the driver sees them: reliable streams of bytes that arrive late, in order, or not any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;
use overlay_core::{ConnectFailure, LinkId};
use wire::NodeId;

use super::{Event, World};

/// Names a connection in the whole world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WireId(u64);

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Initiator,
    Acceptor,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Acceptor,
            Self::Acceptor => Self::Initiator,
        }
    }
}

/// All connections.
#[derive(Default)]
pub(super) struct Network {
    next: u64,
    wires: BTreeMap<WireId, Wire>,
    /// Nothing gets from these hosts to the others; empty if the network is whole.
    part: BTreeSet<NodeId>,
}

struct Wire {
    ends: BTreeMap<Side, End>,
    /// Nothing gets through any more, and nobody is told.
    is_cut: bool,
}

struct End {
    host: NodeId,
    life: u32,
    link: LinkId,
    is_open: bool,
    /// When the last thing sent to this end arrives.
    busy: Duration,
}

impl Network {
    fn find(&self, host: NodeId, life: u32, link: LinkId) -> Option<(WireId, Side)> {
        self.wires.iter().find_map(|(id, wire)| {
            let end = wire
                .ends
                .iter()
                .find(|(_, end)| end.host == host && end.life == life && end.link == link);
            end.map(|(side, _)| (*id, *side))
        })
    }

    /// Parts the network; connections between the parts are cut, and both ends have to find out.
    pub(super) fn part(&mut self, part: BTreeSet<NodeId>) {
        self.part = part;
        for wire in self.wires.values_mut() {
            let mut ends = wire.ends.values();
            let is_across = match (ends.next(), ends.next()) {
                (Some(one), Some(other)) => self.part.contains(&one.host) != self.part.contains(&other.host),
                _ => false,
            };
            wire.is_cut |= is_across;
        }
    }

    /// Tells whether the network is in two parts.
    pub(super) fn is_parted(&self) -> bool {
        !self.part.is_empty()
    }

    fn is_across(&self, a: NodeId, b: NodeId) -> bool {
        self.part.contains(&a) != self.part.contains(&b)
    }

    /// Lists the pairs of nodes with a connection that works.
    pub(super) fn pairs(&self) -> Vec<(NodeId, NodeId)> {
        let mut pairs: Vec<_> = self.wires.values().filter_map(Wire::pair).collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    /// Tells whether a connection between two nodes works.
    pub(super) fn is_up(&self, a: NodeId, b: NodeId) -> bool {
        self.wires
            .values()
            .filter_map(Wire::pair)
            .any(|pair| pair == (a.min(b), a.max(b)))
    }
}

impl Wire {
    fn pair(&self) -> Option<(NodeId, NodeId)> {
        let mut ends = self.ends.values();
        let (one, other) = (ends.next()?, ends.next()?);
        let works = !self.is_cut && one.is_open && other.is_open;
        works.then_some((one.host.min(other.host), one.host.max(other.host)))
    }
}

impl World<'_> {
    /// Starts to connect; the outcome comes after a round trip.
    pub(super) fn dial(&mut self, host: NodeId, link: LinkId, address: SocketAddr, expected: Option<NodeId>) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        state.dials.insert(link);
        let life = state.overlay_life;
        let wait = self.latency();
        self.queue.after(
            wait,
            Event::Dial {
                host,
                life,
                link,
                address,
                expected,
            },
        );
    }

    pub(super) fn handle_dial(
        &mut self,
        (host, life): (NodeId, u32),
        link: LinkId,
        address: SocketAddr,
        expected: Option<NodeId>,
    ) {
        let now = self.queue.now();
        let is_wanted = self
            .hosts
            .get_mut(&host)
            .is_some_and(|state| state.overlay_life == life && state.dials.remove(&link));
        if !is_wanted {
            return;
        }
        let target = self
            .hosts
            .values_mut()
            .find(|state| state.peer.address == address && state.overlay.is_some())
            .filter(|state| !self.network.is_across(host, state.peer.node_id));
        let failure = match target {
            None => ConnectFailure::Unreachable,
            Some(target) if expected.is_some_and(|expected| expected != target.peer.node_id) => {
                ConnectFailure::WrongPeer
            }
            Some(target) => {
                target.next_incoming += 2;
                let acceptor = (target.peer.node_id, target.overlay_life, LinkId(target.next_incoming));
                return self.connect((host, life, link), acceptor);
            }
        };
        self.with_overlay(host, |core| core.handle_connect_failed(now, link, failure));
    }

    fn connect(&mut self, initiator: (NodeId, u32, LinkId), acceptor: (NodeId, u32, LinkId)) {
        let now = self.queue.now();
        self.network.next += 1;
        let id = WireId(self.network.next);
        let opens = self.queue.elapsed() + self.latency();
        let end = |(host, life, link): (NodeId, u32, LinkId), is_open, busy| End {
            host,
            life,
            link,
            is_open,
            busy,
        };
        let ends = BTreeMap::from([
            (Side::Initiator, end(initiator, false, opens)),
            (Side::Acceptor, end(acceptor, true, Duration::ZERO)),
        ]);
        self.network.wires.insert(id, Wire { ends, is_cut: false });
        self.queue.at(opens, Event::Opened { wire: id });
        if let Some(peer) = self.peer_of(initiator.0) {
            self.with_overlay(acceptor.0, |core| {
                core.handle_connected(now, acceptor.2, &peer.identity, peer.address, false)
            });
        }
    }

    pub(super) fn opened(&mut self, wire: WireId) {
        let now = self.queue.now();
        let Some(ends) = self.network.wires.get_mut(&wire).map(|wire| &mut wire.ends) else {
            return;
        };
        let Some((acceptor, end)) = ends
            .get(&Side::Acceptor)
            .map(|end| end.host)
            .zip(ends.get_mut(&Side::Initiator))
        else {
            return;
        };
        end.is_open = true;
        let (host, life, link) = (end.host, end.life, end.link);
        if let Some(peer) = self.peer_of(acceptor).filter(|_| self.is_overlay_alive(host, life)) {
            self.with_overlay(host, |core| {
                core.handle_connected(now, link, &peer.identity, peer.address, true)
            });
        }
    }

    pub(super) fn send(&mut self, host: NodeId, link: LinkId, bytes: Bytes) {
        let wait = self.latency();
        let Some((id, side, at)) = self.other_end(host, link, wait) else {
            return;
        };
        self.queue.at(at, Event::Bytes { wire: id, side, bytes });
    }

    /// Closes an end, or gives up a connection that is being opened.
    pub(super) fn close(&mut self, host: NodeId, link: LinkId) {
        if self.hosts.get_mut(&host).is_some_and(|state| state.dials.remove(&link)) {
            return;
        }
        let wait = self.latency();
        let other = self.other_end(host, link, wait);
        if let Some((id, side, at)) = other {
            self.queue.at(at, Event::Closed { wire: id, side });
        }
        let life = self.hosts.get(&host).map_or(0, |state| state.overlay_life);
        if let Some((id, side)) = self.network.find(host, life, link) {
            self.shut(id, side);
        }
    }

    fn other_end(&mut self, host: NodeId, link: LinkId, wait: Duration) -> Option<(WireId, Side, Duration)> {
        let life = self.hosts.get(&host)?.overlay_life;
        let (id, side) = self.network.find(host, life, link)?;
        let wire = self.network.wires.get_mut(&id).filter(|wire| !wire.is_cut)?;
        let elapsed = self.queue.elapsed();
        let end = wire.ends.get_mut(&side.other())?;
        end.busy = end.busy.max(elapsed + wait);
        Some((id, side.other(), end.busy))
    }

    pub(super) fn receive(&mut self, id: WireId, side: Side, bytes: &[u8]) {
        let now = self.queue.now();
        let Some((host, life, link)) = self.reached(id, side) else {
            return;
        };
        if self.is_overlay_alive(host, life) {
            self.with_overlay(host, |core| core.handle_received(now, link, bytes));
        }
    }

    pub(super) fn closed(&mut self, id: WireId, side: Side) {
        let now = self.queue.now();
        let Some((host, life, link)) = self.reached(id, side) else {
            return;
        };
        self.shut(id, side);
        if self.is_overlay_alive(host, life) {
            self.with_overlay(host, |core| core.handle_disconnected(now, link));
        }
    }

    fn reached(&self, id: WireId, side: Side) -> Option<(NodeId, u32, LinkId)> {
        let wire = self.network.wires.get(&id).filter(|wire| !wire.is_cut)?;
        let end = wire.ends.get(&side).filter(|end| end.is_open)?;
        Some((end.host, end.life, end.link))
    }

    fn shut(&mut self, id: WireId, side: Side) {
        let Some(wire) = self.network.wires.get_mut(&id) else {
            return;
        };
        if let Some(end) = wire.ends.get_mut(&side) {
            end.is_open = false;
        }
        if wire.ends.values().all(|end| !end.is_open) {
            self.network.wires.remove(&id);
        }
    }

    /// Cuts all connections between two nodes; both have to find out.
    pub(super) fn cut(&mut self, a: NodeId, b: NodeId) {
        for wire in self.network.wires.values_mut() {
            if wire.pair() == Some((a.min(b), a.max(b))) {
                wire.is_cut = true;
            }
        }
    }

    /// Ends the connections of a process that died. A host that lost its power says nothing; a killed process leaves a
    /// system behind that closes its connections.
    pub(super) fn hang_up(&mut self, host: NodeId, life: u32, is_silent: bool) {
        let ids: Vec<WireId> = self.network.wires.keys().copied().collect();
        for id in ids {
            let Some(wire) = self.network.wires.get_mut(&id) else {
                continue;
            };
            let Some(side) = wire
                .ends
                .iter()
                .find(|(_, end)| end.host == host && end.life == life)
                .map(|(side, _)| *side)
            else {
                continue;
            };
            wire.is_cut |= is_silent;
            if let Some(end) = wire.ends.get_mut(&side) {
                end.is_open = false;
            }
            let wait = self.latency();
            if !is_silent {
                self.queue.after(
                    wait,
                    Event::Closed {
                        wire: id,
                        side: side.other(),
                    },
                );
            }
        }
    }
}
