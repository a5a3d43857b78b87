//! What comes to the driver: messages, connections, and the news that a datagram was lost.

use std::task::{Context, Poll};

use bytes::Bytes;
use sip_core::flow::Flow;
use sip_core::message::Message;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::datagrams::Datagrams;

/// What waits for the driver from the streams of phones, and from those of nodes. When a queue is full, its streams are held back.
const STREAMS: usize = 2048;
/// What is read in a row at most, of each source, so that timers and results get their turn in between.
pub(super) const BURST: usize = 64;

/// One thing that came.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A message on a flow that exists.
    Message { flow: Flow, message: Box<Message> },
    /// A phone asks by STUN whether its flow stands; with what it is answered if it does.
    KeepAlive { flow: Flow, answer: Bytes },
    /// A datagram that went out on a flow did not arrive.
    Undelivered(Flow),
    /// A phone has connected.
    Phone(TcpStream),
    /// A node has dialed us, or we it.
    Node {
        connection: Box<link::Connection>,
        is_dialer: bool,
    },
}

/// The driver's end of all sockets.
#[derive(Debug)]
pub(crate) struct Arrivals {
    nodes: mpsc::Receiver<Arrival>,
    datagrams: Datagrams,
    phones: mpsc::Receiver<Arrival>,
}

/// For the tasks that read streams and accept connections.
#[derive(Debug, Clone)]
pub(super) struct Senders {
    pub(super) nodes: mpsc::Sender<Arrival>,
    pub(super) phones: mpsc::Sender<Arrival>,
}

impl Arrivals {
    pub(super) fn new(datagrams: Datagrams) -> (Senders, Self) {
        let (to_nodes, nodes) = mpsc::channel(STREAMS);
        let (to_phones, phones) = mpsc::channel(STREAMS);
        let senders = Senders {
            nodes: to_nodes,
            phones: to_phones,
        };
        let arrivals = Self {
            nodes,
            datagrams,
            phones,
        };
        (senders, arrivals)
    }

    /// Waits until something comes and takes some of it: first from other edges, so that no flood of phones holds them up, then
    /// datagrams, then streams of phones. Each source has its share in each round.
    ///
    /// # Cancel safety
    /// Nothing is lost when dropped.
    pub(crate) async fn read(&mut self, into: &mut Vec<Arrival>) {
        std::future::poll_fn(|context| self.poll_read(context, into)).await;
    }

    fn poll_read(&mut self, context: &mut Context<'_>, into: &mut Vec<Arrival>) -> Poll<()> {
        let nodes = self.nodes.poll_recv_many(context, into, BURST);
        let datagrams = self.datagrams.poll_read(context, into);
        let phones = self.phones.poll_recv_many(context, into, BURST);
        if nodes.is_ready() || datagrams.is_ready() || phones.is_ready() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Datagrams that were no SIP since the last call.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        self.datagrams.take_dropped()
    }
}
