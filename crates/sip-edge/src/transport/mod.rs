//! The sockets of an edge: UDP and TCP for phones, mutual TLS for other edges.
//!
//! The driver owns the table of connections, reads datagrams itself and does all writing, so that nothing here is shared. What tasks read from streams
//! goes through bounded queues to it: one for phones, one for nodes, which have a table of their own too, so that no flood of phones costs a link
//! between edges.

mod accept;
mod arrivals;
mod datagrams;
mod half;
mod places;
mod sockets;
pub(crate) mod stream;
pub(crate) mod udp;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use runtime::descriptors::Open;
use runtime::warn_seldom;
use sip_core::flow::{ConnectionId, Flow, FlowKind, NodeId, Transport};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use arrivals::Senders;
pub(crate) use arrivals::{Arrival, Arrivals};
use datagrams::Datagrams;
use half::Memory;
use places::{Full, Places};
pub(crate) use sockets::Bound;
use stream::{Carried, End, Rules};

/// How long connections have at the end for what waits to be written.
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// Connections with nodes at most; further ones are closed at once.
const NODES: usize = 1024;
/// A phone's host that vanished is noticed by probes of TCP: after a minute of silence, three of them.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;
/// How long octets may stay unacknowledged by a phone's host.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// The tables and tasks behind the sockets.
#[derive(Debug)]
pub(crate) struct Hub {
    udp: Vec<Arc<udp::Socket>>,
    connections: HashMap<ConnectionId, Connection>,
    places: Places,
    nodes: usize,
    next: u64,
    open: Open,
    arrivals: Senders,
    memory: Memory,
    readers: JoinSet<()>,
    carriers: JoinSet<(ConnectionId, End)>,
}

#[derive(Debug)]
struct Connection {
    flow: Flow,
    /// Unset once the connection is given up; its carrier then ends, and `ended` tells.
    outgoing: Option<mpsc::Sender<Bytes>>,
    /// Ends the carrier at once.
    cut: CancellationToken,
    /// Told to the carrier: whether the connection carries a registration, a transaction or a call.
    is_held: Arc<AtomicBool>,
    /// When the certificates of the far end end, in Unix milliseconds; a phone has none.
    until_ms: Option<u64>,
}

/// A connection that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) id: ConnectionId,
    pub(crate) flow: Flow,
    /// What a metric calls the reason.
    pub(crate) reason: &'static str,
}

/// Why a message could not be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the connection is gone")]
    Gone,
    #[error("the far end reads too slowly")]
    Slow,
    #[error("no socket is bound to {0}")]
    NoSocket(SocketAddr),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Hub {
    /// Starts to read from the bound sockets.
    pub(crate) fn start(bound: Bound, endpoint: &Arc<link::Endpoint>) -> (Self, Arrivals) {
        let mut readers = JoinSet::new();
        let udp: Vec<_> = bound.udp.into_iter().map(Arc::new).collect();
        let (arrivals, arrived) = Arrivals::new(Datagrams::new(udp.clone()));
        for socket in &udp {
            readers.spawn(watch_errors(Arc::clone(socket), arrivals.phones.clone()));
        }
        for listener in bound.tcp {
            readers.spawn(accept::phones(listener, arrivals.phones.clone()));
        }
        for listener in bound.edges {
            readers.spawn(accept::nodes(listener, Arc::clone(endpoint), arrivals.nodes.clone()));
        }
        let hub = Self {
            udp,
            connections: HashMap::new(),
            places: Places::default(),
            nodes: 0,
            next: 0,
            open: Open::of_process(),
            arrivals,
            memory: Memory::default(),
            readers,
            carriers: JoinSet::new(),
        };
        (hub, arrived)
    }

    /// Takes a phone's new connection into the table, unless there is no place for it.
    pub(crate) fn add_phone(&mut self, now: Instant, stream: TcpStream) {
        let (Ok(local), Ok(remote)) = (stream.local_addr(), stream.peer_addr()) else {
            return;
        };
        let id = self.next_id();
        let is_scarce = self.open.is_reserved(stream.as_raw_fd());
        match self.places.take(now, id, remote.ip(), is_scarce) {
            Ok(gives_way) => gives_way.into_iter().for_each(|oldest| self.cut(oldest)),
            Err(Full) => return warn_seldom!(is_scarce, "a phone's connection refused, all places are held"),
        }
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "options of a phone's connection not set");
        }
        let flow = Flow {
            transport: Transport::Tcp,
            local: canonical(local),
            remote: canonical(remote),
            connection: Some(id),
            kind: FlowKind::Phone,
        };
        self.carry(stream, flow, None, stream::PHONE);
    }

    /// Takes a connection with a node into the table and returns its id, unless the table is full.
    pub(crate) fn add_node(&mut self, connection: link::Connection, kind: FlowKind) -> Option<ConnectionId> {
        if self.nodes >= NODES {
            warn_seldom!(limit = NODES, "a node's connection refused, the table is full");
            return None;
        }
        self.nodes += 1;
        let id = self.next_id();
        let flow = Flow {
            transport: Transport::Tls,
            local: connection.local(),
            remote: connection.remote(),
            connection: Some(id),
            kind,
        };
        let until_ms = Some(connection.until_ms());
        self.carry(connection, flow, until_ms, stream::NODE);
        Some(id)
    }

    fn next_id(&mut self) -> ConnectionId {
        self.next += 1;
        ConnectionId(self.next)
    }

    fn carry<S>(&mut self, stream: S, flow: Flow, until_ms: Option<u64>, rules: Rules)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static,
    {
        let Some(id) = flow.connection else { return };
        let (outgoing, queue) = mpsc::channel(rules.queue);
        let is_node = flow.kind != FlowKind::Phone;
        // Nodes have proved who they are.
        let is_held = Arc::new(AtomicBool::new(is_node));
        let cut = CancellationToken::new();
        let carried = Carried {
            flow: flow.clone(),
            rules,
            outgoing: queue,
            arrivals: match is_node {
                true => self.arrivals.nodes.clone(),
                false => self.arrivals.phones.clone(),
            },
            cut: cut.clone(),
            half: self.memory.share(Arc::clone(&is_held)),
        };
        self.carriers
            .spawn(async move { (id, stream::carry(stream, carried).await) });
        self.connections.insert(
            id,
            Connection {
                flow,
                outgoing: Some(outgoing),
                cut,
                is_held,
                until_ms,
            },
        );
    }

    /// Notes that a message came on a flow.
    pub(crate) fn heard(&mut self, now: Instant, flow: &Flow) {
        if let (Some(id), FlowKind::Phone) = (flow.connection, &flow.kind) {
            self.places.heard(now, id);
        }
    }

    /// Notes that a phone's connection carries a registration from now on.
    pub(crate) fn hold(&mut self, id: ConnectionId) {
        self.places.hold(id);
        if let Some(connection) = self.connections.get(&id) {
            connection.is_held.store(true, Ordering::Relaxed);
        }
    }

    /// Looks which phones' connections carry anything, and ends those that have been idle for too long.
    pub(crate) fn review(&mut self, now: Instant, is_held: impl Fn(ConnectionId) -> bool) {
        for idle in self.places.review(now, is_held) {
            self.cut(idle);
        }
        for (id, connection) in &self.connections {
            if connection.flow.kind == FlowKind::Phone {
                connection.is_held.store(self.places.is_held(*id), Ordering::Relaxed);
            }
        }
    }

    fn cut(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.outgoing = None;
            connection.cut.cancel();
        }
    }

    /// Gives up one connection; what waits in it is still written.
    pub(crate) fn give_up(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.outgoing = None;
        }
    }

    /// Gives up connections with nodes: those whose certificates have ended, or whose Node-ID was banned.
    pub(crate) fn retire(&mut self, is_over: impl Fn(NodeId, u64) -> bool) {
        for connection in self.connections.values_mut() {
            if let (FlowKind::Edge(node) | FlowKind::Stranger { node, .. }, Some(until_ms)) =
                (&connection.flow.kind, connection.until_ms)
                && is_over(*node, until_ms)
            {
                connection.outgoing = None;
            }
        }
    }

    /// Sends on a flow.
    ///
    /// # Errors
    /// When the message did not leave; on a stream the connection is then given up.
    pub(crate) fn send(&mut self, flow: &Flow, bytes: Bytes) -> Result<(), SendError> {
        match flow.connection {
            Some(id) => self.write(id, bytes),
            None => self.send_datagram(flow, &bytes),
        }
    }

    /// Writes to a connection.
    ///
    /// # Errors
    /// When it is gone, or so slow that its queue is full; it is then given up.
    pub(crate) fn write(&mut self, id: ConnectionId, bytes: Bytes) -> Result<(), SendError> {
        let connection = self.connections.get_mut(&id).ok_or(SendError::Gone)?;
        let sent = connection.outgoing.as_ref().ok_or(SendError::Gone)?.try_send(bytes);
        sent.map_err(|error| {
            connection.outgoing = None;
            match error {
                mpsc::error::TrySendError::Full(_) => SendError::Slow,
                mpsc::error::TrySendError::Closed(_) => SendError::Gone,
            }
        })
    }

    fn send_datagram(&self, flow: &Flow, bytes: &Bytes) -> Result<(), SendError> {
        let fits = |socket: &&Arc<udp::Socket>| {
            let bound = socket.local();
            bound.port() == flow.local.port()
                && (bound.ip() == flow.local.ip()
                    || bound.ip().is_unspecified() && bound.is_ipv4() == flow.local.is_ipv4())
        };
        let socket = self.udp.iter().find(fits).ok_or(SendError::NoSocket(flow.local))?;
        match socket.send(flow.local.ip(), flow.remote, bytes) {
            // As if the network had dropped it: the sender's timer repeats.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => Ok(result?),
        }
    }

    /// The flow as it can be used now: where the address that a phone registered at is no longer this machine's, another one of it.
    pub(crate) fn usable(&self, flow: Flow) -> Flow {
        if flow.transport.is_reliable() || udp::is_own(flow.local.ip()) {
            return flow;
        }
        self.flow_to(flow.transport, flow.remote).unwrap_or(flow)
    }

    /// The flow to a phone that is known by its address alone: the socket or the connection that reaches it.
    pub(crate) fn flow_to(&self, transport: Transport, remote: SocketAddr) -> Option<Flow> {
        if transport.is_reliable() {
            let flows = self.connections.values().map(|connection| &connection.flow);
            return flows
                .into_iter()
                .find(|flow| flow.transport == transport && flow.remote == remote)
                .cloned();
        }
        let socket = self
            .udp
            .iter()
            .map(|socket| socket.local())
            .find(|local| local.is_ipv4() == remote.is_ipv4())?;
        let local = if socket.ip().is_unspecified() {
            udp::source_toward(remote).ok()?
        } else {
            socket.ip()
        };
        let local = SocketAddr::new(local, socket.port());
        Some(Flow {
            transport,
            local,
            remote,
            connection: None,
            kind: FlowKind::Phone,
        })
    }

    /// Waits for a connection to end and forgets it. Never resolves while there is none.
    ///
    /// # Cancel safety
    /// Nothing is lost when dropped.
    pub(crate) async fn ended(&mut self) -> Ended {
        loop {
            match self.carriers.join_next().await {
                Some(Ok((id, end))) => {
                    self.places.leave(id);
                    if let Some(Connection { flow, .. }) = self.connections.remove(&id) {
                        tracing::debug!(connection = id.0, reason = %end, "connection ended");
                        if flow.kind != FlowKind::Phone {
                            self.nodes -= 1;
                        }
                        let reason = end.label();
                        return Ended { id, flow, reason };
                    }
                }
                // A carrier that panicked has no id to tell; its queue is closed, so the next write finds out.
                Some(Err(error)) => tracing::error!(%error, "connection task failed"),
                None => std::future::pending().await,
            }
        }
    }

    /// How many connections there are, by what is at the other end.
    pub(crate) fn flows(&self) -> [(&'static str, usize); 3] {
        let kinds = || self.connections.values().map(|connection| &connection.flow.kind);
        [
            ("phone", kinds().filter(|kind| matches!(kind, FlowKind::Phone)).count()),
            ("edge", kinds().filter(|kind| matches!(kind, FlowKind::Edge(_))).count()),
            (
                "stranger",
                kinds().filter(|kind| matches!(kind, FlowKind::Stranger { .. })).count(),
            ),
        ]
    }

    /// Stops to read; connections write what waits and close.
    pub(crate) async fn close(mut self) {
        self.readers.shutdown().await;
        self.connections.clear();
        let closing = async { while self.carriers.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSE_TIME, closing).await.is_err() {
            tracing::warn!(grace = ?CLOSE_TIME, "connections cut that took nothing more");
        }
    }
}

/// Tells of each datagram that could not be delivered (RFC 3261 §18.4).
///
/// Whoever knows a phone's address can forge such news; it ends requests that have no response yet, and no binding.
async fn watch_errors(socket: Arc<udp::Socket>, arrivals: mpsc::Sender<Arrival>) {
    loop {
        match socket.undelivered().await {
            Ok((local, remote)) => {
                let flow = datagrams::flow(local, remote);
                if arrivals.send(Arrival::Undelivered(flow)).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::trace!(%error, "error queue not read"),
        }
    }
}

/// Small messages leave at once, and a host that vanished is noticed although nothing is sent to it.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keep_alive = TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_EVERY)
        .with_retries(PROBES);
    socket.set_tcp_keepalive(&keep_alive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
