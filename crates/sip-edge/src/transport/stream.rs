//! One connection that carries SIP: a phone's TCP connection, or the mutual TLS connection with another edge.
//!
//! What was received is answered although the stream ends or cannot be read on: reading and writing end apart.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sip_core::flow::Flow;
use sip_core::message::{Frame, FrameError, Framer, Message, Method};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Arrival;
use super::half::{FREE, Half};

/// Messages that wait to be written to a phone, and to a node.
const PHONE_QUEUE: usize = 64;
const NODE_QUEUE: usize = 256;
/// A phone's first whole message comes within this time.
const FIRST: Duration = Duration::from_secs(10);
/// From the first octet of a message to its last.
const WHOLE: Duration = Duration::from_secs(30);
/// How long answers may still be written after the last that can be read.
const LINGER: Duration = Duration::from_secs(2);

/// What a connection may do, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// From the connection to its first whole message.
    pub(super) first: Option<Duration>,
    /// From the first octet of a message to its last.
    pub(super) message: Duration,
    /// Octets read at once.
    pub(super) read: usize,
    /// Messages that wait to be written. A far end that reads slower loses its connection: what it would get is late anyway.
    pub(super) queue: usize,
    pub(super) keep_alive: KeepAlive,
}

/// How a connection is kept alive.
#[derive(Debug, Clone, Copy)]
pub(super) enum KeepAlive {
    /// The far end does it, if anyone: phones (RFC 5626 §4.4.1).
    Theirs,
    /// We do, on connections between edges: a ping at this interval, a pong within the second duration (RFC 5626 §3.5.1).
    Ours(Duration, Duration),
}

/// Of phones: unknown senders, which get little time and little memory.
pub(super) const PHONE: Rules = Rules {
    first: Some(FIRST),
    message: WHOLE,
    read: FREE,
    queue: PHONE_QUEUE,
    keep_alive: KeepAlive::Theirs,
};

/// Of nodes, which have proved who they are.
pub(super) const NODE: Rules = Rules {
    first: None,
    message: WHOLE,
    read: 16 * 1024,
    queue: NODE_QUEUE,
    keep_alive: KeepAlive::Ours(Duration::from_secs(10), Duration::from_secs(5)),
};

/// What a connection needs besides its stream.
pub(super) struct Carried {
    pub(super) flow: Flow,
    pub(super) rules: Rules,
    /// Dropping its sender ends the connection after what waits is written.
    pub(super) outgoing: mpsc::Receiver<Bytes>,
    pub(super) arrivals: mpsc::Sender<Arrival>,
    /// Ends the connection at once.
    pub(super) cut: CancellationToken,
    pub(super) half: Half,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("closed by the far end")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("no whole message in time")]
    Late,
    #[error("too much memory in half messages")]
    Memory,
    #[error("no answer to a keep-alive")]
    Silent,
    #[error("closed by us")]
    Released,
    #[error("its place was needed, or it was idle for too long")]
    Cut,
}

impl End {
    /// What a metric calls it.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Closed | Self::Io(_) => "closed",
            Self::Frame(_) => "malformed",
            Self::Late => "late",
            Self::Memory => "memory",
            Self::Silent => "silent",
            Self::Released => "released",
            Self::Cut => "cut",
        }
    }
}

/// Carries messages until the connection ends, and says why it did.
pub(super) async fn carry<S>(stream: S, carried: Carried) -> End
where
    S: AsyncRead + AsyncWrite,
{
    let cut = carried.cut.clone();
    let carrying = both_ways(stream, carried);
    tokio::select! {
        biased;
        () = cut.cancelled() => End::Cut,
        end = carrying => end,
    }
}

async fn both_ways<S>(stream: S, carried: Carried) -> End
where
    S: AsyncRead + AsyncWrite,
{
    let Carried {
        flow,
        rules,
        outgoing,
        arrivals,
        half,
        ..
    } = carried;
    let (mut read, mut write) = tokio::io::split(stream);
    let (signs, signs_seen) = mpsc::channel(1);
    let owed = AtomicUsize::new(0);
    let end = {
        let writing = writing(&mut write, rules.keep_alive, signs_seen, outgoing, &owed);
        tokio::pin!(writing);
        let reader = Reader {
            flow,
            rules,
            arrivals,
            signs,
            half,
            owed: &owed,
        };
        let end = tokio::select! {
            end = reader.run(&mut read) => end,
            end = &mut writing => return end,
        };
        if matches!(end, End::Io(_) | End::Released) {
            return end;
        }
        // RFC 3261 §18.3, §21.4.1: a stream that cannot be read on still gets what is due, the 400 too.
        if tokio::time::timeout(LINGER, &mut writing).await.is_err() {
            return end;
        }
        end
    };
    // Closing a socket with unread octets resets the connection, and the far end may lose the answers.
    let _ = tokio::time::timeout(LINGER, async {
        write.shutdown().await?;
        discard(&mut read, rules.read).await
    })
    .await;
    end
}

async fn discard(mut read: impl AsyncRead + Unpin, octets: usize) -> io::Result<()> {
    let mut buffer = vec![0; octets];
    while read.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// What the reading half tells the writing half; when it is dropped, nothing more is read.
#[derive(Debug)]
enum Sign {
    Ping,
    Pong,
}

/// The reading half.
struct Reader<'a> {
    flow: Flow,
    rules: Rules,
    arrivals: mpsc::Sender<Arrival>,
    signs: mpsc::Sender<Sign>,
    half: Half,
    /// Requests that have no final answer yet.
    owed: &'a AtomicUsize,
}

impl Reader<'_> {
    async fn run(mut self, mut read: impl AsyncRead + Unpin) -> End {
        let mut framer = Framer::new();
        let mut buffer = vec![0; self.rules.read];
        let mut limits = Limits::new(self.rules);
        loop {
            let length = match limits.within(read.read(&mut buffer)).await {
                None => return End::Late,
                Some(Err(error)) => return error.into(),
                Some(Ok(0)) => return End::Closed,
                Some(Ok(length)) => length,
            };
            framer.push(buffer.get(..length).unwrap_or_default());
            let has_message = match self.take(&mut framer).await {
                Ok(has_message) => has_message,
                Err(end) => return end,
            };
            if !self.half.holds(framer.buffered()) {
                return End::Memory;
            }
            limits.heard(has_message, framer.buffered() > 0);
        }
    }

    /// Passes on what is whole; says whether there was a message.
    async fn take(&mut self, framer: &mut Framer) -> Result<bool, End> {
        let mut has_message = false;
        loop {
            match framer.next()? {
                Some(Frame::Message(message)) => {
                    has_message = true;
                    self.pass(message).await?;
                }
                // One sign may wait; a far end that sends pings faster than we write needs no answer to each.
                Some(Frame::Ping) => drop(self.signs.try_send(Sign::Ping)),
                Some(Frame::Pong) => drop(self.signs.try_send(Sign::Pong)),
                None => return Ok(has_message),
            }
        }
    }

    async fn pass(&mut self, message: Message) -> Result<(), End> {
        if message.is_request() && message.method() != Method::Ack {
            self.owed.fetch_add(1, Ordering::Relaxed);
        }
        // A full queue holds the reader back, and with it the far end, through TCP.
        let arrival = Arrival::Message {
            flow: self.flow.clone(),
            message: Box::new(message),
        };
        self.arrivals.send(arrival).await.map_err(|_| End::Released)
    }
}

/// Until when a whole message must be there.
struct Limits {
    rules: Rules,
    first: Option<Instant>,
    half: Option<Instant>,
}

impl Limits {
    fn new(rules: Rules) -> Self {
        Self {
            rules,
            first: rules.first.map(|first| Instant::now() + first),
            half: None,
        }
    }

    async fn within<T>(&self, reading: impl Future<Output = T>) -> Option<T> {
        match self.first.into_iter().chain(self.half).min() {
            Some(end) => tokio::time::timeout_at(end, reading).await.ok(),
            None => Some(reading.await),
        }
    }

    fn heard(&mut self, has_message: bool, has_half: bool) {
        if has_message {
            self.first = None;
            self.half = None;
        }
        self.half = match self.half {
            _ if !has_half => None,
            None => Some(Instant::now() + self.rules.message),
            begun => begun,
        };
    }
}

async fn writing(
    mut write: impl AsyncWrite + Unpin,
    keep_alive: KeepAlive,
    mut signs: mpsc::Receiver<Sign>,
    mut outgoing: mpsc::Receiver<Bytes>,
    owed: &AtomicUsize,
) -> End {
    let mut due = PingTimer::new(keep_alive);
    let mut is_reading = true;
    loop {
        let octets = tokio::select! {
            biased;
            message = outgoing.recv() => match message {
                Some(octets) => {
                    if is_final(&octets) {
                        let less = |owed: usize| Some(owed.saturating_sub(1));
                        let _ = owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
                    }
                    octets
                }
                None => return End::Released,
            },
            // Nothing waits, nothing is due, and nothing can come.
            () = std::future::ready(()), if !is_reading && owed.load(Ordering::Relaxed) == 0 => return End::Released,
            sign = signs.recv(), if is_reading => match sign {
                Some(Sign::Ping) => Bytes::from_static(b"\r\n"),
                Some(Sign::Pong) => {
                    due.answered();
                    continue;
                }
                None => {
                    is_reading = false;
                    continue;
                }
            },
            is_silent = due.wait(), if is_reading => {
                if is_silent {
                    return End::Silent;
                }
                Bytes::from_static(b"\r\n\r\n")
            }
        };
        let written = async {
            write.write_all(&octets).await?;
            write.flush().await
        };
        if let Err(error) = written.await {
            return error.into();
        }
    }
}

/// Says whether these octets are a final response (RFC 3261 §7.2).
fn is_final(octets: &[u8]) -> bool {
    octets.starts_with(b"SIP/2.0 ") && octets.get(8).is_some_and(|class| (b'2'..=b'6').contains(class))
}

/// When the next ping, or the last moment of its pong, is due.
struct PingTimer {
    keep_alive: KeepAlive,
    at: Instant,
    is_waiting: bool,
}

impl PingTimer {
    fn new(keep_alive: KeepAlive) -> Self {
        let mut timer = Self {
            keep_alive,
            at: Instant::now(),
            is_waiting: false,
        };
        timer.answered();
        timer
    }

    fn answered(&mut self) {
        if let KeepAlive::Ours(interval, _) = self.keep_alive {
            self.at = Instant::now() + interval;
            self.is_waiting = false;
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
        self.at = Instant::now() + patience;
        is_silent
    }
}

#[cfg(test)]
mod tests;
