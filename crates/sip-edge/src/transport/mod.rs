//! The sockets of an edge: UDP and TCP for phones, mutual TLS for other edges.
//!
//! The driver owns the table of connections, reads datagrams itself and does all writing, so that nothing here is shared. What tasks read from streams
//! goes through one bounded queue to it.

mod arrivals;
mod datagrams;
pub(crate) mod stream;
pub(crate) mod udp;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sip_core::flow::{ConnectionId, Flow, FlowKind, NodeId, Transport};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub(crate) use arrivals::{Arrival, Arrivals};
use datagrams::Datagrams;
use stream::{End, KeepAlive};

/// Stream connections at most; further ones are closed at once. Phones then try again, or another edge.
const CONNECTIONS: usize = 8192;
/// TLS handshakes at the same time; further dialers wait in the kernel's queue.
const HANDSHAKES: usize = 64;
/// How long connections have at the end for what waits to be written.
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// Edges ping each other at this interval and expect the answer within the second.
const EDGE_KEEP_ALIVE: KeepAlive = KeepAlive::Ours(Duration::from_secs(10), Duration::from_secs(5));

/// Sockets bound before anything runs.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) udp: Vec<udp::Socket>,
    pub(crate) tcp: Vec<TcpListener>,
    pub(crate) edges: TcpListener,
}

/// The tables and tasks behind the sockets.
#[derive(Debug)]
pub(crate) struct Hub {
    udp: Vec<Arc<udp::Socket>>,
    connections: HashMap<ConnectionId, Connection>,
    next: u64,
    arrivals: mpsc::Sender<Arrival>,
    readers: JoinSet<()>,
    carriers: JoinSet<(ConnectionId, End)>,
}

#[derive(Debug)]
struct Connection {
    flow: Flow,
    /// Unset once the connection is given up; its carrier then ends, and `ended` tells.
    outgoing: Option<mpsc::Sender<Bytes>>,
    /// When the certificates of the far end end, in Unix milliseconds; a phone has none.
    until_ms: Option<u64>,
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

impl Bound {
    /// Binds the phones' addresses, UDP and TCP each, and the edges' port.
    ///
    /// # Errors
    /// With the address that could not be bound.
    pub(crate) fn bind(phones: &[SocketAddr], edges: SocketAddr) -> Result<Self, (SocketAddr, io::Error)> {
        let mut bound = Self {
            udp: Vec::new(),
            tcp: Vec::new(),
            edges: listen(edges).map_err(|error| (edges, error))?,
        };
        for address in phones {
            let socket = udp::Socket::bind(*address).map_err(|error| (*address, error))?;
            // With port 0 the system chooses; TCP then takes the same one.
            let address = SocketAddr::new(address.ip(), socket.local().port());
            bound.tcp.push(listen(address).map_err(|error| (address, error))?);
            bound.udp.push(socket);
        }
        Ok(bound)
    }

    /// The addresses for phones and for edges, with the ports that the system chose.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn addresses(&self) -> io::Result<(Vec<SocketAddr>, SocketAddr)> {
        Ok((
            self.udp.iter().map(udp::Socket::local).collect(),
            self.edges.local_addr()?,
        ))
    }
}

impl Hub {
    /// Starts to read from the bound sockets.
    pub(crate) fn start(bound: Bound, endpoint: Arc<link::Endpoint>) -> (Self, Arrivals) {
        let mut readers = JoinSet::new();
        let udp: Vec<_> = bound.udp.into_iter().map(Arc::new).collect();
        let (arrivals, arrived) = Arrivals::new(Datagrams::new(udp.clone()));
        for socket in &udp {
            readers.spawn(watch_errors(Arc::clone(socket), arrivals.clone()));
        }
        for listener in bound.tcp {
            readers.spawn(accept_phones(listener, arrivals.clone()));
        }
        readers.spawn(accept_nodes(bound.edges, endpoint, arrivals.clone()));
        let hub = Self {
            udp,
            connections: HashMap::new(),
            next: 0,
            arrivals,
            readers,
            carriers: JoinSet::new(),
        };
        (hub, arrived)
    }

    /// Takes a phone's new connection into the table.
    pub(crate) fn add_phone(&mut self, stream: TcpStream) {
        let (Ok(local), Ok(remote)) = (stream.local_addr(), stream.peer_addr()) else {
            return;
        };
        let flow = Flow {
            transport: Transport::Tcp,
            local: canonical(local),
            remote: canonical(remote),
            connection: None,
            kind: FlowKind::Phone,
        };
        self.add(stream, (flow, None), KeepAlive::Theirs);
    }

    /// Takes a connection with a node into the table and returns its id, unless the table is full.
    pub(crate) fn add_node(&mut self, connection: link::Connection, kind: FlowKind) -> Option<ConnectionId> {
        let (local, remote) = (connection.local(), connection.remote());
        let flow = Flow {
            transport: Transport::Tls,
            local,
            remote,
            connection: None,
            kind,
        };
        let until_ms = Some(connection.until_ms());
        self.add(connection, (flow, until_ms), EDGE_KEEP_ALIVE)
    }

    fn add<S>(
        &mut self,
        stream: S,
        (mut flow, until_ms): (Flow, Option<u64>),
        keep_alive: KeepAlive,
    ) -> Option<ConnectionId>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static,
    {
        if self.connections.len() >= CONNECTIONS {
            tracing::warn!(limit = CONNECTIONS, "connection refused, the table is full");
            return None;
        }
        self.next += 1;
        let id = ConnectionId(self.next);
        flow.connection = Some(id);
        let (outgoing, queue) = mpsc::channel(stream::QUEUE);
        let (arrivals, carried) = (self.arrivals.clone(), flow.clone());
        self.carriers
            .spawn(async move { (id, stream::carry(stream, carried, keep_alive, queue, arrivals).await) });
        self.connections.insert(
            id,
            Connection {
                flow,
                outgoing: Some(outgoing),
                until_ms,
            },
        );
        Some(id)
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
    pub(crate) async fn ended(&mut self) -> (ConnectionId, Flow) {
        loop {
            match self.carriers.join_next().await {
                Some(Ok((id, end))) => {
                    if let Some(connection) = self.connections.remove(&id) {
                        tracing::debug!(connection = id.0, reason = %end, "connection ended");
                        return (id, connection.flow);
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

async fn accept_phones(listener: TcpListener, arrivals: mpsc::Sender<Arrival>) {
    loop {
        let stream = accept(&listener).await;
        if arrivals.send(Arrival::Phone(stream)).await.is_err() {
            return;
        }
    }
}

async fn accept_nodes(listener: TcpListener, endpoint: Arc<link::Endpoint>, arrivals: mpsc::Sender<Arrival>) {
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            stream = accept(&listener), if handshakes.len() < HANDSHAKES => {
                let (endpoint, arrivals) = (Arc::clone(&endpoint), arrivals.clone());
                handshakes.spawn(async move {
                    // A refused certificate is logged by link, with the Node-IDs.
                    if let Ok(connection) = endpoint.accept(stream).await {
                        let _ = arrivals.send(Arrival::Node { connection: Box::new(connection), is_dialer: false }).await;
                    }
                });
            }
            Some(_) = handshakes.join_next() => {}
        }
        if arrivals.is_closed() {
            return;
        }
    }
}

/// Accepts one connection; errors of one dialer, or of a full file table, are waited out.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};

    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the last connections of the process before it.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
