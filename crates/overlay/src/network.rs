//! Sockets: connections come in and are opened, their bytes go to the driver and come from it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use runtime::listen::{self, Listener};
use runtime::{Handshakes, warn_seldom};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{debug, warn};

use identity::{Identity, Use, Verifier};
use link::{Connection, Endpoint, LinkError};
use overlay_core::{ConnectFailure, LinkId};
use wire::NodeId;

use crate::disk::Kept;
use crate::driver::now;
use crate::server::Error;

/// What the network brings.
pub(crate) enum Arrival {
    /// A connection whose peer proved its Node-ID.
    Connected {
        /// Its id.
        link: LinkId,
        /// The connection.
        connection: Box<Connection>,
        /// Whether this peer opened it.
        is_initiator: bool,
    },
    /// A connection did not come about.
    Failed {
        /// Its id.
        link: LinkId,
        /// Why.
        reason: ConnectFailure,
    },
    /// Bytes.
    Bytes {
        /// Whence.
        link: LinkId,
        /// What.
        bytes: Bytes,
        /// Dropped once they are dealt with: only then are more of the same link read.
        turn: OwnedSemaphorePermit,
    },
    /// A connection has ended.
    Closed {
        /// Its id.
        link: LinkId,
    },
}

/// The connections of this peer. Clones share what new connections need, not the connections.
pub(crate) struct Network {
    endpoint: Endpoint,
    arrivals: mpsc::Sender<Arrival>,
    accepted: Arc<AtomicU64>,
    stop: CancellationToken,
    tasks: TaskTracker,
    open: HashMap<LinkId, Open>,
    opening: HashMap<LinkId, AbortOnDropHandle<()>>,
}

/// A connection with its two tasks: the reader ends with it, the writer when all is written.
struct Open {
    peer: Arc<Identity>,
    outgoing: mpsc::Sender<Bytes>,
    _reader: AbortOnDropHandle<()>,
}

impl Clone for Network {
    fn clone(&self) -> Self {
        Self {
            endpoint: self.endpoint.clone(),
            arrivals: self.arrivals.clone(),
            accepted: Arc::clone(&self.accepted),
            stop: self.stop.clone(),
            tasks: self.tasks.clone(),
            open: HashMap::new(),
            opening: HashMap::new(),
        }
    }
}

impl Network {
    pub(crate) fn new(endpoint: Endpoint, stop: CancellationToken) -> (Self, mpsc::Receiver<Arrival>) {
        let (arrivals, receiver) = mpsc::channel(ARRIVALS);
        let network = Self {
            endpoint,
            arrivals,
            // The core numbers its own connections with even numbers.
            accepted: Arc::new(AtomicU64::new(1)),
            stop,
            tasks: TaskTracker::new(),
            open: HashMap::new(),
            opening: HashMap::new(),
        };
        (network, receiver)
    }

    /// The tasks of handshakes and writers, which end by themselves soon after the network is dropped.
    pub(crate) fn tasks(&self) -> TaskTracker {
        self.tasks.clone()
    }

    /// Takes in connections until the stop signal, each after it has proved its Node-ID.
    pub(crate) async fn accept(self, mut listener: Listener, mut kept: watch::Receiver<Kept>) {
        let mut handshakes = Handshakes::default();
        kept.mark_changed();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                Ok(()) = kept.changed() => {
                    let kept = kept.borrow_and_update();
                    let peers = kept.membership.iter().flat_map(|ring| &ring.peers);
                    handshakes.know(peers.map(|peer| peer.address.ip()));
                }
                (stream, remote) = listener.accept() => handshakes.begin(remote.ip(), self.greet(stream)),
                result = handshakes.next() => if let Err(error) = result {
                    report(&error);
                },
            }
        }
    }

    fn greet(&self, stream: TcpStream) -> impl Future<Output = Result<(), LinkError>> + Send + 'static {
        let (endpoint, arrivals) = (self.endpoint.clone(), self.arrivals.clone());
        let link = LinkId(self.accepted.fetch_add(2, Ordering::Relaxed));
        async move {
            let connection = Box::new(endpoint.accept(stream).await?);
            // If the driver is gone, so is the connection.
            let _ = arrivals
                .send(Arrival::Connected {
                    link,
                    connection,
                    is_initiator: false,
                })
                .await;
            Ok(())
        }
    }

    /// Opens a connection, in a task of its own.
    pub(crate) fn connect(&mut self, link: LinkId, address: SocketAddr, expected: Option<NodeId>) {
        let (endpoint, arrivals) = (self.endpoint.clone(), self.arrivals.clone());
        let task = tokio::spawn(async move {
            let arrival = match endpoint.connect(address, expected).await {
                Ok(connection) => Arrival::Connected {
                    link,
                    connection: Box::new(connection),
                    is_initiator: true,
                },
                Err(error) => {
                    report(&error);
                    let reason = match error {
                        LinkError::Peer { .. } => ConnectFailure::WrongPeer,
                        LinkError::Connect { .. } | LinkError::TimedOut { .. } | LinkError::Tls { .. } => {
                            ConnectFailure::Unreachable
                        }
                    };
                    Arrival::Failed { link, reason }
                }
            };
            // If the driver is gone, so is the connection.
            let _ = arrivals.send(arrival).await;
        });
        self.opening.retain(|_, task| !task.is_finished());
        self.opening.insert(link, AbortOnDropHandle::new(task));
    }

    /// Starts to read and write a connection.
    pub(crate) fn open(&mut self, link: LinkId, connection: Box<Connection>) {
        self.opening.remove(&link);
        let peer = Arc::clone(connection.peer());
        let valid = Duration::from_millis(connection.until_ms().saturating_sub(now().unix_ms));
        let end = runtime::clock::sleep(valid.min(LONGEST));
        let (read, write) = tokio::io::split(*connection);
        let (outgoing, queue) = mpsc::channel(OUTGOING);
        let reader = tokio::spawn(read_all(link, read, self.arrivals.clone(), end));
        // Not aborted with the connection: what was said last still goes out.
        self.tasks.spawn(write_all(write, queue));
        let reader = AbortOnDropHandle::new(reader);
        self.open.insert(
            link,
            Open {
                peer,
                outgoing,
                _reader: reader,
            },
        );
    }

    /// Names the connections whose peers do not count any more, under a new document.
    pub(crate) fn refused(&self, verifier: &Verifier) -> Vec<LinkId> {
        let unix_ms = now().unix_ms;
        let is_refused = |peer: &Identity| {
            let verified = verifier.verify(peer.certificate.der(), &peer.chain, unix_ms, Use::Node);
            if let Err(error) = &verified {
                warn!(node_id = %peer.node_id().short(), %error, "link closed");
            }
            verified.is_err()
        };
        self.open
            .iter()
            .filter(|(_, open)| is_refused(&open.peer))
            .map(|(link, _)| *link)
            .collect()
    }

    /// Writes to a connection. Tells whether it took the bytes; one that is not open is not to blame.
    pub(crate) fn send(&self, link: LinkId, bytes: Bytes) -> bool {
        self.open
            .get(&link)
            .is_none_or(|open| open.outgoing.try_send(bytes).is_ok())
    }

    /// Closes a connection, or gives up opening it.
    pub(crate) fn close(&mut self, link: LinkId) {
        self.open.remove(&link);
        self.opening.remove(&link);
    }
}

/// Reads until the connection or the peer's certificate ends.
async fn read_all(
    link: LinkId,
    mut connection: impl AsyncRead + Unpin,
    arrivals: mpsc::Sender<Arrival>,
    end: impl Future<Output = ()>,
) {
    let mut buffer = BytesMut::with_capacity(READ);
    let turns = Arc::new(Semaphore::new(1));
    tokio::pin!(end);
    loop {
        buffer.reserve(READ);
        let read = tokio::select! {
            read = connection.read_buf(&mut buffer) => read,
            () = &mut end => {
                debug!(link_id = link.0, "the peer's certificate has ended");
                break;
            }
        };
        match read {
            Ok(0) => break,
            // Links take turns: the peer waits while the driver is busy, with others or with what it has sent itself.
            Ok(_) => {
                let Ok(turn) = Arc::clone(&turns).acquire_owned().await else {
                    return;
                };
                let bytes = buffer.split().freeze();
                if arrivals.send(Arrival::Bytes { link, bytes, turn }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                debug!(link_id = link.0, %error, "connection broke");
                break;
            }
        }
    }
    // If the driver is gone, nobody needs to know.
    let _ = arrivals.send(Arrival::Closed { link }).await;
}

async fn write_all(mut connection: WriteHalf<Connection>, mut queue: mpsc::Receiver<Bytes>) {
    let mut pending = Vec::new();
    while queue.recv_many(&mut pending, GATHER).await > 0 {
        // One record for many small frames.
        let octets: Bytes = match pending.as_mut_slice() {
            [single] => std::mem::take(single),
            many => many.concat().into(),
        };
        pending.clear();
        let written = async {
            connection.write_all(&octets).await?;
            connection.flush().await
        };
        // The reader reports the end.
        if written.await.is_err() {
            return;
        }
    }
    // Tells the peer that this is the end; it may be gone already.
    let _ = tokio::time::timeout(PAUSE, connection.shutdown()).await;
}

/// Opens all sockets, or none.
pub(crate) fn listen(addresses: &[SocketAddr]) -> Result<Vec<(Listener, SocketAddr)>, Error> {
    if addresses.is_empty() {
        return Err(Error::NoAddress);
    }
    let failed = |listen::Error { address, source }| Error::Bind { address, source };
    let listeners = Listener::bind_all(addresses).map_err(failed)?;
    let each = listeners.into_iter().zip(addresses).map(|(listener, address)| {
        let bound = listener.address();
        let bound = bound.map_err(|source| {
            failed(listen::Error {
                address: *address,
                source,
            })
        })?;
        Ok((listener, bound))
    });
    each.collect()
}

fn report(error: &LinkError) {
    match error {
        LinkError::Peer { .. } => warn_seldom!(%error, "link refused"),
        LinkError::Connect { .. } | LinkError::TimedOut { .. } | LinkError::Tls { .. } => {
            debug!(%error, "no link");
        }
    }
}

/// A timer takes no longer times; a link that lives so long begins anew.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Arrivals that wait for the driver; when it is full, connections are not read.
const ARRIVALS: usize = 1024;

/// Messages that wait to be written: the core lets 256 KiB wait for their ACKs, the rest are ACKs. When it is full the
/// peer reads nothing, and the link has failed.
const OUTGOING: usize = 8192;

/// Messages written together.
const GATHER: usize = 64;

/// Read at once, and dealt with in one turn: a handful of messages, whose signatures take less than a millisecond.
const READ: usize = 4 * 1024;

/// For a last word.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_link_ends_with_the_certificate_of_its_peer() {
        let (_theirs, ours) = tokio::io::duplex(64);
        let (arrivals, mut arrived) = mpsc::channel(4);
        let begin = tokio::time::Instant::now();
        tokio::spawn(read_all(
            LinkId(1),
            ours,
            arrivals,
            tokio::time::sleep(Duration::from_secs(3600)),
        ));
        assert!(matches!(
            arrived.recv().await,
            Some(Arrival::Closed { link: LinkId(1) })
        ));
        assert!(begin.elapsed() >= Duration::from_secs(3600));
    }
}
