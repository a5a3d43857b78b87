//! One connection that carries SIP: a phone's TCP connection, or the mutual TLS connection with another edge.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use sip_core::flow::Flow;
use sip_core::message::{Frame, FrameError, Framer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::Arrival;

/// Messages that wait to be written to one connection. A far end that reads slower than this loses its connection: what it would get is late anyway.
pub(crate) const QUEUE: usize = 256;
/// Octets read at once.
const READ: usize = 16 * 1024;

/// How a connection is kept alive.
#[derive(Debug, Clone, Copy)]
pub(crate) enum KeepAlive {
    /// The far end does it, if anyone: phones (RFC 5626 §4.4.1).
    Theirs,
    /// We do, on connections between edges: a ping at this interval, a pong within the second duration (RFC 5626 §3.5.1).
    Ours(Duration, Duration),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("closed by the far end")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("no answer to a keep-alive")]
    Silent,
    #[error("closed by us")]
    Released,
}

/// Carries messages until the connection ends, and says why it did. Dropping the sender of `outgoing` ends it after what waits is written.
pub(crate) async fn carry<S>(
    stream: S,
    flow: Flow,
    keep_alive: KeepAlive,
    outgoing: mpsc::Receiver<Bytes>,
    arrivals: mpsc::Sender<Arrival>,
) -> End
where
    S: AsyncRead + AsyncWrite,
{
    let (read, write) = tokio::io::split(stream);
    let (signs, signs_seen) = mpsc::channel(1);
    let result = tokio::select! {
        end = reading(read, flow, signs, arrivals) => end,
        end = writing(write, keep_alive, signs_seen, outgoing) => end,
    };
    result.err().unwrap_or(End::Closed)
}

/// What the reading half tells the writing half.
#[derive(Debug)]
enum Sign {
    Ping,
    Pong,
}

async fn reading(
    mut read: impl AsyncRead + Unpin,
    flow: Flow,
    signs: mpsc::Sender<Sign>,
    arrivals: mpsc::Sender<Arrival>,
) -> Result<(), End> {
    let mut framer = Framer::new();
    let mut buffer = vec![0; READ];
    loop {
        let length = read.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        framer.push(buffer.get(..length).unwrap_or_default());
        loop {
            match framer.next()? {
                Some(Frame::Message(message)) => {
                    // A full queue holds the reader back, and with it the far end, through TCP.
                    let arrival = Arrival::Message {
                        flow: flow.clone(),
                        message: Box::new(message),
                    };
                    arrivals.send(arrival).await.map_err(|_| End::Released)?;
                }
                // One sign may wait; a far end that sends pings faster than we write needs no answer to each.
                Some(Frame::Ping) => drop(signs.try_send(Sign::Ping)),
                Some(Frame::Pong) => drop(signs.try_send(Sign::Pong)),
                None => break,
            }
        }
    }
}

async fn writing(
    mut write: impl AsyncWrite + Unpin,
    keep_alive: KeepAlive,
    mut signs: mpsc::Receiver<Sign>,
    mut outgoing: mpsc::Receiver<Bytes>,
) -> Result<(), End> {
    let mut due = PingTimer::new(keep_alive);
    loop {
        tokio::select! {
            biased;
            message = outgoing.recv() => match message {
                Some(bytes) => write.write_all(&bytes).await?,
                None => return Err(End::Released),
            },
            Some(sign) = signs.recv() => match sign {
                Sign::Ping => write.write_all(b"\r\n").await?,
                Sign::Pong => due.answered(),
            },
            is_silent = due.wait() => {
                if is_silent {
                    return Err(End::Silent);
                }
                write.write_all(b"\r\n\r\n").await?;
            }
        }
        write.flush().await?;
    }
}

/// When the next ping, or the last moment of its pong, is due.
struct PingTimer {
    keep_alive: KeepAlive,
    at: tokio::time::Instant,
    is_waiting: bool,
}

impl PingTimer {
    fn new(keep_alive: KeepAlive) -> Self {
        let mut timer = Self {
            keep_alive,
            at: tokio::time::Instant::now(),
            is_waiting: false,
        };
        timer.answered();
        timer
    }

    fn answered(&mut self) {
        if let KeepAlive::Ours(interval, _) = self.keep_alive {
            self.is_waiting = false;
            self.at = tokio::time::Instant::now() + interval;
        }
    }

    /// Waits for the next moment to act; true when a pong did not come.
    async fn wait(&mut self) -> bool {
        let KeepAlive::Ours(_, patience) = self.keep_alive else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(self.at).await;
        let is_silent = self.is_waiting;
        self.is_waiting = true;
        self.at = tokio::time::Instant::now() + patience;
        is_silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip_core::flow::{FlowKind, Transport};

    const OPTIONS: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bKx\r\nFrom: <sip:c@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

    fn flow() -> Flow {
        let address = "127.0.0.1:5060".parse().unwrap();
        Flow {
            transport: Transport::Tcp,
            local: address,
            remote: address,
            connection: None,
            kind: FlowKind::Phone,
        }
    }

    #[tokio::test]
    async fn messages_pass_both_ways_and_pings_are_answered() {
        let (near, mut far) = tokio::io::duplex(4096);
        let (arrivals, mut arrived) = mpsc::channel(4);
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let task = tokio::spawn(carry(near, flow(), KeepAlive::Theirs, queue, arrivals));

        far.write_all(format!("\r\n\r\n{OPTIONS}").as_bytes()).await.unwrap();
        assert!(matches!(arrived.recv().await, Some(Arrival::Message { .. })));
        let mut pong = [0; 2];
        far.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"\r\n");

        outgoing.send(Bytes::from_static(b"hello")).await.unwrap();
        let mut hello = [0; 5];
        far.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"hello");
        drop(outgoing);
        assert!(matches!(task.await.unwrap(), End::Released));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_pong_ends() {
        let (near, mut far) = tokio::io::duplex(4096);
        let (arrivals, _arrived) = mpsc::channel(4);
        let (_outgoing, queue) = mpsc::channel(QUEUE);
        let keep_alive = KeepAlive::Ours(Duration::from_secs(10), Duration::from_secs(5));
        let task = tokio::spawn(carry(near, flow(), keep_alive, queue, arrivals));
        let mut ping = [0; 4];
        far.read_exact(&mut ping).await.unwrap();
        far.write_all(b"\r\n").await.unwrap();
        far.read_exact(&mut ping).await.unwrap();
        assert!(matches!(task.await.unwrap(), End::Silent));
    }
}
