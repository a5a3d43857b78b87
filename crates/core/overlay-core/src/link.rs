//! One link to another node: framing, acknowledgements, two lanes, and the question whether anyone is there.
//!
//! RFC 6940 §6.6.2 frames messages on TLS as well, and acknowledges every frame. Nothing is retransmitted
//! there (§6.6.5), but the ACKs measure the round trip, and a missing one is the first sign of a dead peer:
//!
//! ```text
//!   fine --[frame unacknowledged for its patience]--> suspect --[nothing heard for 300 ms]--> dead
//!    ^                                                   |
//!    +-----------[the oldest frame is acknowledged]------+
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use identity::Class;

use wire::framing::{DATA_HEADER, Decoder, FramingError};
use wire::{Decode, Encode, FramedMessage, NodeId, Packet};

use crate::api::LinkId;
use crate::rtt::RoundTrip;

/// What a frame is, which decides what happens to it when there is no room, and when the link dies.
#[derive(Clone, Debug)]
pub(crate) enum Cargo {
    /// A request of this node: its transaction sends it again.
    Own,
    /// A request passed on, or signed by a client: it is routed again when the link dies, and shed first when the
    /// link is full.
    Forwarded(Box<Carried>),
    /// An answer: never shed.
    Answer,
    /// Hand-over and repair: goes after everything else; its sender limits it.
    Bulk,
}

/// A message as it was before this hop changed its header.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    /// The message.
    pub(crate) packet: Packet,
    /// Who sent it here; none if it began here.
    pub(crate) from: Option<NodeId>,
    /// Whether it goes after everything else.
    pub(crate) is_bulk: bool,
}

impl Carried {
    /// A message that began here.
    pub(crate) fn ours(packet: Packet) -> Self {
        Self {
            packet,
            from: None,
            is_bulk: false,
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) peer: NodeId,
    pub(crate) class: Class,
    pub(crate) remote: SocketAddr,
    /// Whether this node began the connection.
    pub(crate) is_initiator: bool,
}

/// What came in.
#[derive(Default)]
pub(crate) struct Received {
    /// Whole frames' contents, in order.
    pub(crate) messages: Vec<Bytes>,
    /// Encoded ACKs to send back.
    pub(crate) acknowledgements: Vec<Bytes>,
    /// Whether the link is trusted again.
    pub(crate) is_cleared: bool,
}

/// What a link's timer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// Nothing was heard for a while: ask.
    Idle,
    /// A frame is overdue: ask, and use the link for nothing else.
    Suspect,
    /// Nobody is there.
    Dead,
}

/// A connection whose peer proved its Node-ID.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) peer: NodeId,
    /// What the certificate of the far end entitles to.
    pub(crate) class: Class,
    pub(crate) remote: SocketAddr,
    pub(crate) is_initiator: bool,
    decoder: Decoder,
    next_sequence: u32,
    latest_received: Option<u32>,
    received_mask: u32,
    in_flight: VecDeque<InFlight>,
    in_flight_octets: usize,
    urgent: VecDeque<Queued>,
    bulk: VecDeque<Queued>,
    queued_octets: usize,
    round_trip: RoundTrip,
    last_heard: Instant,
    suspect_since: Option<Instant>,
    asked_at: Option<Instant>,
    /// The number of the document under which the far end last asked or answered itself.
    pub(crate) document: Option<u16>,
    /// The version of the program at the far end, if it told.
    pub(crate) software: Option<String>,
}

struct Queued {
    message: Bytes,
    cargo: Cargo,
}

struct InFlight {
    sequence: u32,
    sent: Instant,
    octets: usize,
    cargo: Cargo,
}

impl Link {
    pub(crate) fn new(now: Instant, id: LinkId, end: End, longest: usize) -> Self {
        let End {
            peer,
            class,
            remote,
            is_initiator,
        } = end;
        Self {
            id,
            peer,
            class,
            remote,
            is_initiator,
            decoder: Decoder::new(longest),
            // RFC 6940 §6.6.2: sequence numbers start at 0.
            next_sequence: 0,
            latest_received: None,
            received_mask: 0,
            in_flight: VecDeque::new(),
            in_flight_octets: 0,
            urgent: VecDeque::new(),
            bulk: VecDeque::new(),
            queued_octets: 0,
            round_trip: RoundTrip::default(),
            last_heard: now,
            suspect_since: None,
            asked_at: None,
            document: None,
            software: None,
        }
    }

    pub(crate) fn set_longest(&mut self, longest: usize) {
        self.decoder.set_limit(longest);
    }

    pub(crate) fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// Whether a frame is overdue.
    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect_since.is_some()
    }

    /// All octets that wait for this link, sent ones without an ACK included.
    pub(crate) fn load(&self) -> usize {
        self.queued_octets + self.in_flight_octets
    }

    /// Puts a message in its lane. Returns how many messages were shed to make room, or, as an error, that even an
    /// answer finds no room: the peer reads nothing, and the link has failed.
    pub(crate) fn enqueue(&mut self, message: Bytes, cargo: Cargo) -> Result<u64, Stuffed> {
        let mut shed = 0;
        if self.load() + message.len() > ROOM {
            if matches!(cargo, Cargo::Forwarded(_)) {
                return Ok(1);
            }
            shed = self.shed_forwarded(message.len());
            if self.load() + message.len() > 2 * ROOM {
                return Err(Stuffed);
            }
        }
        self.queued_octets += message.len();
        let lane = if matches!(cargo, Cargo::Bulk) {
            &mut self.bulk
        } else {
            &mut self.urgent
        };
        lane.push_back(Queued { message, cargo });
        Ok(shed)
    }

    fn shed_forwarded(&mut self, room_for: usize) -> u64 {
        let mut excess = (self.load() + room_for).saturating_sub(ROOM);
        let mut shed = 0;
        let mut octets = 0;
        self.urgent.retain(|queued| {
            let goes = excess > 0 && matches!(queued.cargo, Cargo::Forwarded(_));
            if goes {
                excess = excess.saturating_sub(queued.message.len());
                octets += queued.message.len();
                shed += 1;
            }
            !goes
        });
        self.queued_octets -= octets;
        shed
    }

    /// The next frame to write, urgent ones first, while few enough octets are on the way.
    pub(crate) fn next_frame(&mut self, now: Instant) -> Option<Bytes> {
        if self.in_flight_octets >= WINDOW {
            return None;
        }
        let Queued { message, cargo } = self.urgent.pop_front().or_else(|| self.bulk.pop_front())?;
        let octets = message.len();
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        self.queued_octets -= octets;
        self.in_flight_octets += octets;
        self.in_flight.push_back(InFlight {
            sequence,
            sent: now,
            octets,
            cargo,
        });
        Some(FramedMessage::Data { sequence, message }.to_bytes())
    }

    /// Takes bytes off the connection.
    ///
    /// # Errors
    ///
    /// What is not a frame, or a longer one than allowed, ends the link (RFC 6940 §6.6).
    pub(crate) fn receive(&mut self, now: Instant, bytes: &[u8]) -> Result<Received, Box<Broken>> {
        let mut received = Received::default();
        self.last_heard = now;
        self.asked_at = None;
        self.decoder.push(bytes);
        while let Some(frame) = self.decoder.next_frame().map_err(|error| self.broken(error))? {
            match frame {
                FramedMessage::Data { sequence, message } => {
                    received.acknowledgements.push(self.acknowledge(sequence));
                    received.messages.push(message);
                }
                FramedMessage::Ack { sequence, .. } => self.acknowledged(now, sequence),
            }
        }
        if self.suspect_since.is_some() && !self.is_overdue(now) {
            self.suspect_since = None;
            received.is_cleared = true;
        }
        Ok(received)
    }

    // RFC 6940 §6.6: the sender of a message that is too long is told so, if its header can be read.
    fn broken(&self, error: FramingError) -> Box<Broken> {
        let is_too_long = matches!(error, FramingError::TooLarge { .. });
        let begun = self.decoder.pending().get(DATA_HEADER..).filter(|_| is_too_long);
        Box::new(Broken {
            error,
            too_long: begun.and_then(begun_packet),
        })
    }

    // RFC 6940 §6.6.2: an ACK names the frame and, in a mask, which of the 32 before it arrived; bit N-M-1 stands for
    // frame M (docs/deviations.md D2).
    fn acknowledge(&mut self, sequence: u32) -> Bytes {
        let step = self.latest_received.map_or(0, |latest| sequence.wrapping_sub(latest));
        self.received_mask = match step {
            0 => 0,
            1..=31 => (self.received_mask << step) | (1 << (step - 1)),
            32 => 1 << 31,
            _ => 0,
        };
        self.latest_received = Some(sequence);
        FramedMessage::Ack {
            sequence,
            received: self.received_mask,
        }
        .to_bytes()
    }

    // TCP keeps the order: an ACK speaks for all frames before it, whatever its mask says.
    fn acknowledged(&mut self, now: Instant, sequence: u32) {
        let Some(position) = self.in_flight.iter().position(|frame| frame.sequence == sequence) else {
            return;
        };
        for frame in self.in_flight.drain(..=position) {
            self.in_flight_octets -= frame.octets;
            if frame.sequence == sequence {
                self.round_trip.measured(now.saturating_duration_since(frame.sent));
            }
        }
    }

    fn overdue_at(&self) -> Option<Instant> {
        self.in_flight
            .front()
            .map(|frame| frame.sent + self.round_trip.patience())
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.overdue_at().is_some_and(|at| at <= now)
    }

    /// When the timer has to look again.
    pub(crate) fn deadline(&self) -> Instant {
        if let Some(since) = self.suspect_since {
            return since.max(self.last_heard) + SILENCE;
        }
        let idle = self.asked_at.unwrap_or(self.last_heard) + IDLE;
        self.overdue_at().map_or(idle, |overdue| overdue.min(idle))
    }

    /// The deadline has come.
    pub(crate) fn alarm(&mut self, now: Instant) -> Option<Alarm> {
        if let Some(since) = self.suspect_since {
            return (since.max(self.last_heard) + SILENCE <= now).then_some(Alarm::Dead);
        }
        if self.is_overdue(now) {
            self.suspect_since = Some(now);
            return Some(Alarm::Suspect);
        }
        if self.asked_at.unwrap_or(self.last_heard) + IDLE <= now {
            self.asked_at = Some(now);
            return Some(Alarm::Idle);
        }
        None
    }

    /// The messages passed on that were not acknowledged: they are routed again when the link has died.
    pub(crate) fn into_unacknowledged(self) -> impl Iterator<Item = Carried> {
        let waiting = self.urgent.into_iter().map(|queued| queued.cargo);
        self.in_flight
            .into_iter()
            .map(|frame| frame.cargo)
            .chain(waiting)
            .filter_map(|cargo| match cargo {
                Cargo::Forwarded(carried) => Some(*carried),
                Cargo::Own | Cargo::Answer | Cargo::Bulk => None,
            })
    }
}

/// The first part of a message, as if it were all of it: enough to refuse the message.
fn begun_packet(octets: &[u8]) -> Option<Packet> {
    let length = u32::try_from(octets.len()).ok()?;
    let mut octets = octets.to_vec();
    octets
        .get_mut(LENGTH_AT..LENGTH_AT + 4)?
        .copy_from_slice(&length.to_be_bytes());
    Packet::from_bytes(&Bytes::from(octets)).ok()
}

/// The bytes of a link cannot be read any further.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(crate) struct Broken {
    #[source]
    error: FramingError,
    /// What was received of a message that is too long, if that is enough to refuse it.
    pub(crate) too_long: Option<Packet>,
}

/// The peer takes nothing any more.
#[derive(Debug, thiserror::Error)]
#[error("a link holds twice its share of unread octets")]
pub(crate) struct Stuffed;

/// Where the forwarding header has its length (RFC 6940 §6.3.2).
const LENGTH_AT: usize = 16;

/// What may wait for one link: forwarded requests are shed first, answers may take as much again.
const ROOM: usize = 1024 * 1024;

/// What may be on the way without an ACK: enough for 25 MB/s at 10 ms, little enough that an urgent message does
/// not wait long behind bulk.
const WINDOW: usize = 256 * 1024;

/// Silence after which a link is asked whether it is alive.
const IDLE: Duration = Duration::from_secs(2);

/// Silence of a suspect after which it is dead: with the patience of 300 ms, a hung peer is found in 0.6 s.
const SILENCE: Duration = Duration::from_millis(300);

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test begins at any time"
)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn link(now: Instant) -> Link {
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 6084));
        let end = End {
            peer: NodeId::new([1; 16]),
            class: Class::Peer,
            remote,
            is_initiator: true,
        };
        Link::new(now, LinkId(2), end, 65536)
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn ack(sequence: u32) -> Bytes {
        FramedMessage::Ack { sequence, received: 0 }.to_bytes()
    }

    fn forwarded() -> Cargo {
        let header = wire::ForwardingHeader {
            overlay: 1,
            configuration_sequence: 1,
            version: wire::VERSION,
            ttl: 1,
            fragment: wire::Fragment::WHOLE,
            transaction_id: wire::TransactionId(1),
            max_response_length: 0,
            via_list: Vec::new(),
            destination_list: Vec::new(),
            options: Vec::new(),
        };
        let packet = Packet {
            header,
            payload: Bytes::new(),
        };
        Cargo::Forwarded(Box::new(Carried::ours(packet)))
    }

    #[test]
    fn an_unacknowledged_frame_makes_a_link_suspect_then_dead() {
        let start = Instant::now();
        let mut link = link(start);
        link.enqueue(Bytes::from_static(b"x"), Cargo::Own).unwrap();
        assert!(link.next_frame(start).is_some());
        assert_eq!(link.alarm(start + ms(299)), None);
        assert_eq!(link.alarm(start + ms(300)), Some(Alarm::Suspect));
        assert_eq!(link.alarm(start + ms(599)), None);
        assert_eq!(link.alarm(start + ms(600)), Some(Alarm::Dead));
    }

    #[test]
    fn an_acknowledgement_clears_a_suspect() {
        let start = Instant::now();
        let mut link = link(start);
        link.enqueue(Bytes::from_static(b"x"), Cargo::Own).unwrap();
        assert!(link.next_frame(start).is_some());
        assert_eq!(link.alarm(start + ms(300)), Some(Alarm::Suspect));
        let received = link.receive(start + ms(400), &ack(0)).unwrap();
        assert!(received.is_cleared);
        assert_eq!(link.alarm(start + ms(700)), None);
    }

    #[test]
    fn an_idle_link_is_asked_every_two_seconds() {
        let start = Instant::now();
        let mut link = link(start);
        assert_eq!(link.alarm(start + ms(1999)), None);
        assert_eq!(link.alarm(start + ms(2000)), Some(Alarm::Idle));
        assert_eq!(link.alarm(start + ms(2001)), None);
        assert_eq!(link.deadline(), start + ms(4000));
    }

    #[test]
    fn bulk_goes_last_and_forwarded_requests_are_shed_first() {
        let start = Instant::now();
        let mut link = link(start);
        let piece = Bytes::from(vec![0; 16 * 1024]);
        for _ in 0..64 {
            assert_eq!(link.enqueue(piece.clone(), forwarded()).unwrap(), 0);
        }
        assert_eq!(link.enqueue(piece.clone(), forwarded()).unwrap(), 1);
        assert_eq!(link.enqueue(piece.clone(), Cargo::Answer).unwrap(), 1);
        assert!(link.load() <= ROOM);
        let mut bulk = super::tests::link(start);
        bulk.enqueue(Bytes::from_static(b"bulk"), Cargo::Bulk).unwrap();
        bulk.enqueue(Bytes::from_static(b"urgent"), Cargo::Own).unwrap();
        assert!(bulk.next_frame(start).unwrap().ends_with(b"urgent"));
        assert!(bulk.next_frame(start).unwrap().ends_with(b"bulk"));
    }

    #[test]
    fn frames_are_acknowledged_with_those_before_them() {
        let start = Instant::now();
        let mut link = link(start);
        let data = |sequence| {
            FramedMessage::Data {
                sequence,
                message: Bytes::from_static(b"x"),
            }
            .to_bytes()
        };
        let masks: Vec<Bytes> = [0, 1, 3]
            .into_iter()
            .flat_map(|sequence| link.receive(start, &data(sequence)).unwrap().acknowledgements)
            .collect();
        let mask = |received, sequence| FramedMessage::Ack { sequence, received }.to_bytes();
        assert_eq!(masks, [mask(0, 0), mask(0b1, 1), mask(0b110, 3)]);
    }

    #[test]
    fn what_was_not_acknowledged_is_routed_again() {
        let start = Instant::now();
        let mut link = link(start);
        link.enqueue(Bytes::from_static(b"sent"), forwarded()).unwrap();
        link.enqueue(Bytes::from_static(b"own"), Cargo::Own).unwrap();
        assert!(link.next_frame(start).is_some());
        link.enqueue(Bytes::from_static(b"waiting"), forwarded()).unwrap();
        assert_eq!(link.into_unacknowledged().count(), 2);
    }

    #[test]
    fn a_message_that_is_too_long_is_known_by_its_beginning() {
        let start = Instant::now();
        let mut link = link(start);
        let Cargo::Forwarded(carried) = forwarded() else {
            panic!("forwarded")
        };
        let long = Packet {
            payload: Bytes::from(vec![0; 70_000]),
            ..carried.packet
        };
        let frame = FramedMessage::Data {
            sequence: 0,
            message: long.to_bytes(),
        }
        .to_bytes();
        let broken = link.receive(start, &frame[..200]).err().unwrap();
        assert_eq!(broken.too_long.unwrap().header, long.header);
    }
}
