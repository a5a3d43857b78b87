//! What comes to the driver: messages, connections, and the news that a datagram was lost.

use std::task::Poll;

use bytes::Bytes;
use sip_core::flow::Flow;
use sip_core::message::Message;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::datagrams::Datagrams;

/// What waits for the driver from streams. When it is full, they are held back.
const STREAMS: usize = 2048;
/// What is read in a row at most, of datagrams and of streams each, so that timers and results get their turn in between.
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
    datagrams: Datagrams,
    streams: mpsc::Receiver<Arrival>,
}

impl Arrivals {
    /// Puts the two sources together; the sender is for the tasks that read streams.
    pub(super) fn new(datagrams: Datagrams) -> (mpsc::Sender<Arrival>, Self) {
        let (sender, streams) = mpsc::channel(STREAMS);
        (sender, Self { datagrams, streams })
    }

    /// Waits until something comes and takes some of it. Both sources are read alike, so that neither can keep the other waiting.
    ///
    /// # Cancel safety
    /// Nothing is lost when dropped.
    pub(crate) async fn read(&mut self, into: &mut Vec<Arrival>) {
        std::future::poll_fn(|context| {
            let datagrams = self.datagrams.poll_read(context, into);
            let streams = self.streams.poll_recv_many(context, into, BURST);
            if datagrams.is_ready() || streams.is_ready() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Datagrams that were no SIP since the last call.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        self.datagrams.take_dropped()
    }
}
