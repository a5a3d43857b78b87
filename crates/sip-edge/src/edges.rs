//! Which edges we are connected to, which are being reached, and which do not answer.
//!
//! A pure table: it is told what happened and says what to do. An edge is reached through the overlay (AppAttach, RFC 6940 §6.5.2), after which it
//! dials us. One that cannot be reached is silent for a while, by Node-ID: new calls skip it, so that a dead edge costs its callers once and not at
//! every call. What can go nowhere else, requests within a dialog and responses, is sent to it all the same, for it may be back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_core::flow::{ConnectionId, NodeId};

/// AppAttach and connecting together may take this long; then what waits has failed.
const REACH: Duration = Duration::from_secs(4);
/// An edge that failed is skipped for this long, unless it is heard from.
const SILENCE: Duration = Duration::from_secs(30);
/// While it is skipped, it is tried again this often.
const PROBE: Duration = Duration::from_secs(3);
/// Messages that wait for one edge at most; a further one fails at once, as if the edge were silent.
const WAITING: usize = 256;
/// Edges in the table; beyond it idle ones without connection are forgotten, then further ones are refused.
const EDGES: usize = 4096;

/// A message on its way to an edge. `id` is what its owner knows it by.
#[derive(Debug)]
pub(crate) struct Outgoing<I> {
    pub(crate) id: I,
    pub(crate) bytes: Bytes,
}

/// What to do with a message for an edge.
#[derive(Debug)]
pub(crate) enum Verdict<I> {
    /// Write it to this connection.
    Write(ConnectionId, Outgoing<I>),
    /// It waits; the edge is being reached already.
    Waits,
    /// It waits; reach the edge now, through its home peer.
    Reach(NodeId),
    /// No way to the edge is known, or too much waits for it.
    Unreachable(Outgoing<I>),
}

/// The table; `I` names messages.
#[derive(Debug)]
pub(crate) struct Edges<I> {
    own: NodeId,
    table: BTreeMap<NodeId, Edge<I>>,
}

#[derive(Debug)]
struct Edge<I> {
    /// Each with the Node-ID of its dialer.
    connections: Vec<(ConnectionId, NodeId)>,
    /// Those that brought nothing; they end when another one has come.
    doubted: Vec<ConnectionId>,
    home: Option<NodeId>,
    reaching: Option<Instant>,
    waiting: Vec<Outgoing<I>>,
    silence: Option<Silence>,
}

#[derive(Debug)]
struct Silence {
    until: Instant,
    probe: Instant,
}

impl<I> Default for Edge<I> {
    fn default() -> Self {
        Self {
            connections: Vec::new(),
            doubted: Vec::new(),
            home: None,
            reaching: None,
            waiting: Vec::new(),
            silence: None,
        }
    }
}

impl<I> Edges<I> {
    /// An empty table of the edge `own`.
    pub(crate) fn new(own: NodeId) -> Self {
        Self {
            own,
            table: BTreeMap::new(),
        }
    }

    /// Takes a message for `node`, silent or not, whose home peer is `home` if that is known.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        node: NodeId,
        home: Option<NodeId>,
        message: Outgoing<I>,
    ) -> Verdict<I> {
        if !self.make_room_for(node) {
            return Verdict::Unreachable(message);
        }
        let edge = self.table.entry(node).or_default();
        edge.home = home.or(edge.home);
        if let Some(connection) = edge.preferred() {
            return Verdict::Write(connection, message);
        }
        let Some(home) = edge.home.filter(|_| edge.waiting.len() < WAITING) else {
            return Verdict::Unreachable(message);
        };
        edge.waiting.push(message);
        if edge.reaching.is_some() {
            return Verdict::Waits;
        }
        edge.reaching = Some(now + REACH);
        Verdict::Reach(home)
    }

    /// Notes a connection with `node` and returns what waited for it. Of two that arose at once the one whose dialer has the larger Node-ID
    /// carries new requests; both receive.
    pub(crate) fn connected(&mut self, node: NodeId, connection: ConnectionId, dialer: NodeId) -> Vec<Outgoing<I>> {
        let edge = self.table.entry(node).or_default();
        edge.connections.push((connection, dialer));
        edge.reaching = None;
        edge.silence = None;
        std::mem::take(&mut edge.waiting)
    }

    /// Gives the connections with `node` that a newer one replaces: a node that stays silent must not gather them.
    pub(crate) fn replaced(&mut self, node: NodeId) -> Vec<ConnectionId> {
        let edge = self.table.get_mut(&node);
        edge.map(|edge| std::mem::take(&mut edge.doubted)).unwrap_or_default()
    }

    /// Notes that anything was received from `node`.
    pub(crate) fn heard(&mut self, node: NodeId) {
        if let Some(edge) = self.table.get_mut(&node) {
            edge.silence = None;
        }
    }

    /// Forgets a connection that has ended.
    pub(crate) fn closed(&mut self, node: NodeId, connection: ConnectionId) {
        if let Some(edge) = self.table.get_mut(&node) {
            edge.connections.retain(|(id, _)| *id != connection);
            edge.doubted.retain(|id| *id != connection);
        }
    }

    /// Notes that `node` does not answer, and returns what waited for it.
    pub(crate) fn silent(&mut self, now: Instant, node: NodeId) -> Vec<Outgoing<I>> {
        let Some(edge) = self.table.get_mut(&node) else {
            return Vec::new();
        };
        edge.reaching = None;
        // Connections that bring nothing may be all that is broken: they carry no further requests, and another one is tried at once. A probe
        // that fails late must not put off the next one: the edge may be back by then.
        let first = if edge.connections.is_empty() { now + PROBE } else { now };
        edge.doubted.extend(edge.connections.drain(..).map(|(id, _)| id));
        let probe = edge.silence.as_ref().map_or(first, |silence| silence.probe);
        edge.silence = Some(Silence {
            until: now + SILENCE,
            probe,
        });
        std::mem::take(&mut edge.waiting)
    }

    /// Notes that `node` could not be reached, and returns what waited for it. One that is connected by now was reached in another way.
    pub(crate) fn not_reached(&mut self, now: Instant, node: NodeId) -> Vec<Outgoing<I>> {
        if self.is_connected(node) {
            return Vec::new();
        }
        self.silent(now, node)
    }

    /// Says whether an AppAttach of ours to `node` is under way; for two at once, RFC 6940 §6.5.1.2 lets the smaller Node-ID yield.
    pub(crate) fn yields_to(&self, node: NodeId) -> bool {
        let is_reaching = self.table.get(&node).is_some_and(|edge| edge.reaching.is_some());
        !is_reaching || self.own < node
    }

    /// Says whether there is a connection with `node`.
    pub(crate) fn is_connected(&self, node: NodeId) -> bool {
        self.table.get(&node).is_some_and(|edge| !edge.connections.is_empty())
    }

    /// Says whether any edge is connected.
    pub(crate) fn is_any_connected(&self) -> bool {
        self.table.values().any(|edge| !edge.connections.is_empty())
    }

    /// Says whether an edge is connected that dialed us.
    pub(crate) fn is_met(&self) -> bool {
        let mut edges = self.table.iter();
        edges.any(|(node, edge)| edge.connections.iter().any(|(_, dialer)| dialer == node))
    }

    /// Says whether `node` is being skipped.
    pub(crate) fn is_silent(&self, node: NodeId) -> bool {
        self.table.get(&node).is_some_and(|edge| edge.silence.is_some())
    }

    /// Moves time on: returns what failed, and the edges to try again as (node, home).
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> (Vec<Outgoing<I>>, Vec<(NodeId, NodeId)>) {
        let late: Vec<NodeId> = self
            .table
            .iter()
            .filter(|(_, edge)| edge.reaching.is_some_and(|end| end <= now))
            .map(|(node, _)| *node)
            .collect();
        let failed = late.into_iter().flat_map(|node| self.silent(now, node)).collect();
        let mut probes = Vec::new();
        for (node, edge) in &mut self.table {
            if edge.silence.as_ref().is_some_and(|silence| silence.until <= now) {
                edge.silence = None;
            }
            if let (Some(silence), Some(home)) = (&mut edge.silence, edge.home)
                && silence.probe <= now
            {
                silence.probe = now + PROBE;
                probes.push((*node, home));
            }
        }
        (failed, probes)
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let reaching = self.table.values().filter_map(|edge| edge.reaching);
        let silences = self
            .table
            .values()
            .filter_map(|edge| edge.silence.as_ref())
            .map(|silence| silence.until.min(silence.probe));
        reaching.chain(silences).min()
    }

    fn make_room_for(&mut self, node: NodeId) -> bool {
        if self.table.len() >= EDGES && !self.table.contains_key(&node) {
            self.table.retain(|_, edge| !edge.is_idle());
        }
        self.table.len() < EDGES || self.table.contains_key(&node)
    }
}

impl<I> Edge<I> {
    fn preferred(&self) -> Option<ConnectionId> {
        self.connections
            .iter()
            .max_by_key(|(_, dialer)| *dialer)
            .map(|(connection, _)| *connection)
    }

    fn is_idle(&self) -> bool {
        self.connections.is_empty() && self.doubted.is_empty() && self.reaching.is_none() && self.silence.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: NodeId = NodeId([5; 16]);
    const OTHER: NodeId = NodeId([9; 16]);
    const HOME: NodeId = NodeId([8; 16]);

    fn message(id: u8) -> Outgoing<u8> {
        Outgoing {
            id,
            bytes: Bytes::from_static(b"x"),
        }
    }

    fn ids(messages: &[Outgoing<u8>]) -> Vec<u8> {
        messages.iter().map(|message| message.id).collect()
    }

    #[test]
    fn messages_wait_until_the_edge_has_dialed() {
        let (mut edges, now) = (Edges::new(OWN), Instant::now());
        assert!(matches!(
            edges.send(now, OTHER, Some(HOME), message(1)),
            Verdict::Reach(HOME)
        ));
        assert!(matches!(edges.send(now, OTHER, None, message(2)), Verdict::Waits));
        assert_eq!(ids(&edges.connected(OTHER, ConnectionId(1), OTHER)), [1, 2]);
        assert!(matches!(
            edges.send(now, OTHER, None, message(3)),
            Verdict::Write(ConnectionId(1), _)
        ));
    }

    #[test]
    fn an_edge_that_cannot_be_reached_is_silent_and_probed_for_a_while() {
        let (mut edges, now) = (Edges::new(OWN), Instant::now());
        edges.send(now, OTHER, Some(HOME), message(1));
        let late = now + REACH;
        assert_eq!(edges.next_timeout(), Some(late));
        assert_eq!(ids(&edges.handle_timeout(late).0), [1]);
        assert!(edges.is_silent(OTHER));
        assert_eq!(edges.handle_timeout(late + PROBE).1, [(OTHER, HOME)]);
        edges.handle_timeout(late + SILENCE);
        assert!(!edges.is_silent(OTHER));
    }

    #[test]
    fn a_probe_that_fails_late_neither_puts_off_the_next_one_nor_ends_a_connection() {
        let (mut edges, now) = (Edges::new(OWN), Instant::now());
        edges.send(now, OTHER, Some(HOME), message(1));
        edges.silent(now, OTHER);
        assert_eq!(edges.handle_timeout(now + PROBE).1, [(OTHER, HOME)]);
        edges.not_reached(now + PROBE + PROBE / 2, OTHER);
        assert_eq!(edges.handle_timeout(now + 2 * PROBE).1, [(OTHER, HOME)]);
        edges.connected(OTHER, ConnectionId(1), OTHER);
        edges.not_reached(now + 2 * PROBE, OTHER);
        assert!(!edges.is_silent(OTHER));
    }

    #[test]
    fn an_edge_with_a_connection_that_brings_nothing_is_reached_anew_at_once() {
        let (mut edges, now) = (Edges::new(OWN), Instant::now());
        edges.send(now, OTHER, Some(HOME), message(1));
        edges.connected(OTHER, ConnectionId(1), OTHER);
        edges.silent(now, OTHER);
        assert_eq!(edges.handle_timeout(now).1, [(OTHER, HOME)]);
        edges.connected(OTHER, ConnectionId(2), OWN);
        assert!(!edges.is_silent(OTHER));
        assert!(matches!(
            edges.send(now, OTHER, None, message(2)),
            Verdict::Write(ConnectionId(2), _)
        ));
        assert_eq!(edges.replaced(OTHER), [ConnectionId(1)]);
        assert!(edges.replaced(OTHER).is_empty());
    }

    #[test]
    fn a_silent_edge_is_reached_for_what_can_go_nowhere_else() {
        let (mut edges, now) = (Edges::new(OWN), Instant::now());
        edges.send(now, OTHER, Some(HOME), message(1));
        edges.silent(now, OTHER);
        assert!(matches!(edges.send(now, OTHER, None, message(2)), Verdict::Reach(HOME)));
        assert_eq!(ids(&edges.connected(OTHER, ConnectionId(1), OTHER)), [2]);
        assert!(!edges.is_silent(OTHER));
    }

    #[test]
    fn anything_heard_ends_the_silence() {
        let (mut edges, now) = (Edges::new(OWN), Instant::now());
        edges.send(now, OTHER, Some(HOME), message(1));
        edges.silent(now, OTHER);
        assert!(edges.is_silent(OTHER));
        edges.heard(OTHER);
        assert!(!edges.is_silent(OTHER));
    }

    #[test]
    fn of_two_connections_the_larger_dialer_carries_new_requests() {
        let (mut edges, now) = (Edges::new(OWN), Instant::now());
        edges.connected(OTHER, ConnectionId(1), OTHER);
        edges.connected(OTHER, ConnectionId(2), OWN);
        assert!(matches!(
            edges.send(now, OTHER, None, message(1)),
            Verdict::Write(ConnectionId(1), _)
        ));
        edges.closed(OTHER, ConnectionId(1));
        assert!(matches!(
            edges.send(now, OTHER, None, message(2)),
            Verdict::Write(ConnectionId(2), _)
        ));
    }

    #[test]
    fn the_smaller_node_id_yields_when_both_reach_at_once() {
        let (mut edges, now) = (Edges::new(OWN), Instant::now());
        assert!(edges.yields_to(OTHER));
        edges.send(now, OTHER, Some(HOME), message(1));
        assert!(edges.yields_to(OTHER));
        let smaller = NodeId([1; 16]);
        edges.send(now, smaller, Some(HOME), message(2));
        assert!(!edges.yields_to(smaller));
    }
}
