//! What phones send over UDP, read by the driver itself: a task in between would cost each message more than it takes to be handled, in wake-ups.
//!
//! Nothing is queued here. What the driver does not get to waits in the kernel's buffer, and what does not fit there is lost like anything on a
//! network: its sender repeats it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use sip_core::flow::{Flow, FlowKind, Transport};
use sip_core::message::{MAX_MESSAGE, Message};
use sip_core::stun;

use super::arrivals::{Arrival, BURST};
use super::udp::Socket;

/// The receiving side of all UDP sockets.
#[derive(Debug)]
pub(super) struct Datagrams {
    sockets: Vec<Arc<Socket>>,
    /// Whose turn it is.
    next: usize,
    buffer: Vec<u8>,
    dropped: u64,
}

impl Datagrams {
    pub(super) fn new(sockets: Vec<Arc<Socket>>) -> Self {
        Self {
            sockets,
            next: 0,
            buffer: vec![0; MAX_MESSAGE],
            dropped: 0,
        }
    }

    /// Reads what has arrived, up to a limit; when there is nothing, the task is woken as soon as there is.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>, into: &mut Vec<Arrival>) -> Poll<()> {
        // All are asked, so that each can wake the task.
        let is_ready = |socket: &&Arc<Socket>| socket.poll_readable(context).is_ready();
        if self.sockets.iter().filter(is_ready).count() == 0 {
            return Poll::Pending;
        }
        let before = into.len();
        into.extend((0..BURST).map_while(|_| self.read()).flatten());
        if into.len() > before {
            return Poll::Ready(());
        }
        // What was there is no message; whether there is more shows at the next turn.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Datagrams that were no SIP since the last call.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Reads one datagram, from each socket in turn; `Some(None)` when it is to be passed over, `None` when nothing waits.
    fn read(&mut self) -> Option<Option<Arrival>> {
        let count = self.sockets.len();
        let mut turns = (0..count).map(|turn| (self.next + turn) % count);
        let (at, result) = turns.find_map(|at| {
            let result = self.sockets.get(at)?.receive(&mut self.buffer);
            let is_empty = matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            (!is_empty).then_some((at, result))
        })?;
        self.next = at + 1;
        // An ICMP error of an earlier datagram; the error queue tells of which.
        let Ok(received) = result else { return Some(None) };
        let datagram = self.buffer.get(..received.length).unwrap_or_default();
        if let Some(answer) = stun::answer(datagram, received.remote) {
            return Some(Some(Arrival::KeepAlive {
                flow: flow(received.local, received.remote),
                answer: answer.into(),
            }));
        }
        if is_keep_alive(datagram) {
            return Some(None);
        }
        let bytes = Bytes::copy_from_slice(datagram);
        let Ok(message) = Message::parse_datagram(bytes) else {
            self.dropped += 1;
            return Some(None);
        };
        Some(Some(Arrival::Message {
            flow: flow(received.local, received.remote),
            message: Box::new(message),
        }))
    }
}

/// Phones keep the mapping of a translator open with line ends (RFC 5626 §3.5.1 has them for streams), blanks, octets of zero or
/// nothing at all. No answer is wanted.
fn is_keep_alive(octets: &[u8]) -> bool {
    octets.len() <= LONGEST_KEEP_ALIVE && octets.iter().all(|octet| matches!(octet, b'\r' | b'\n' | b' ' | 0))
}

/// Those that are seen have up to four octets.
const LONGEST_KEEP_ALIVE: usize = 8;

/// A phone's flow over UDP.
pub(super) fn flow(local: SocketAddr, remote: SocketAddr) -> Flow {
    Flow {
        transport: Transport::Udp,
        local,
        remote,
        connection: None,
        kind: FlowKind::Phone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_and_zeros_are_keep_alives() {
        for (octets, expected) in [
            (&b""[..], true),
            (b"\r\n\r\n", true),
            (b"\r\n", true),
            (b"\0\0\0\0", true),
            (b"\r\n\r\nx", false),
            (&[0; 9], false),
        ] {
            assert_eq!(is_keep_alive(octets), expected, "{octets:?}");
        }
    }
}
