//! Messages in pieces (RFC 6940 §6.7): split where they start, put together where they end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use wire::{Fragment, NodeId, Packet, TransactionId};

/// Splits a packet that is too long for one frame.
pub(crate) fn split(packet: Packet) -> Vec<Packet> {
    if packet.payload.len() <= PIECE || !packet.header.fragment.is_whole() {
        return vec![packet];
    }
    let mut rest = packet.payload;
    let mut offset = 0;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let payload = rest.split_to(rest.len().min(PIECE));
        let mut header = packet.header.clone();
        // RFC 6940 §6.3.2: the offset counts from the end of the forwarding header.
        header.fragment = Fragment::new(offset, rest.is_empty());
        offset += u32::try_from(payload.len()).expect("a piece is short");
        pieces.push(Packet { header, payload });
    }
    pieces
}

/// Which pieces belong together. Requests and answers share a transaction id, so `to` is part of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The transaction.
    pub(crate) transaction: TransactionId,
    /// The first node of the way here.
    pub(crate) from: NodeId,
    /// The local node or client that the pieces are for.
    pub(crate) to: NodeId,
}

/// Messages that are not complete yet.
pub(crate) struct Reassembly {
    partials: BTreeMap<Key, Partial>,
    octets: usize,
    longest: usize,
}

struct Partial {
    since: Instant,
    pieces: BTreeMap<u32, Packet>,
    end: Option<u32>,
    octets: usize,
}

impl Reassembly {
    /// Takes messages up to `longest` octets.
    pub(crate) fn new(longest: usize) -> Self {
        Self {
            partials: BTreeMap::new(),
            octets: 0,
            longest,
        }
    }

    /// Adds a piece; returns the message once it is complete.
    pub(crate) fn add(&mut self, now: Instant, key: Key, packet: Packet) -> Option<Packet> {
        self.forget_old(now);
        let Fragment { offset, last, .. } = packet.header.fragment;
        let length = packet.payload.len();
        let end = offset.checked_add(u32::try_from(length).ok()?)?;
        if length == 0 || usize::try_from(end).ok()? > self.longest {
            return None;
        }
        if !self.partials.contains_key(&key) && self.partials.len() >= MOST_PARTIALS {
            return None;
        }
        let partial = self.partials.entry(key).or_insert_with(|| Partial {
            since: now,
            pieces: BTreeMap::new(),
            end: None,
            octets: 0,
        });
        if self.octets + length > MOST_OCTETS || partial.pieces.len() >= MOST_PIECES {
            return None;
        }
        if last {
            partial.end = Some(end);
        }
        let replaced = partial.pieces.insert(offset, packet).map_or(0, |old| old.payload.len());
        partial.octets = partial.octets + length - replaced;
        self.octets = self.octets + length - replaced;
        let whole = partial.join()?;
        self.forget(key);
        Some(whole)
    }

    fn forget_old(&mut self, now: Instant) {
        let old: Vec<Key> = self
            .partials
            .iter()
            .filter(|(_, partial)| now.saturating_duration_since(partial.since) >= LIFETIME)
            .map(|(key, _)| *key)
            .collect();
        for key in old {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: Key) {
        if let Some(partial) = self.partials.remove(&key) {
            self.octets -= partial.octets;
        }
    }
}

impl Partial {
    /// The whole message, if nothing is missing.
    fn join(&self) -> Option<Packet> {
        let end = self.end?;
        let mut reached = 0_u32;
        let mut payload = BytesMut::new();
        for (offset, piece) in &self.pieces {
            let skip = usize::try_from(reached.checked_sub(*offset)?).ok()?;
            let fresh: Bytes = piece.payload.slice(skip.min(piece.payload.len())..);
            reached += u32::try_from(fresh.len()).ok()?;
            payload.extend_from_slice(&fresh);
        }
        if reached != end {
            return None;
        }
        let mut header = self.pieces.first_key_value()?.1.header.clone();
        header.fragment = Fragment::WHOLE;
        Some(Packet {
            header,
            payload: payload.freeze(),
        })
    }
}

/// Longer payloads are split, so that urgent messages on the same link need not wait for them.
const PIECE: usize = 16 * 1024;

// RFC 6940 §6.7: pieces that do not meet within the longest lifetime of a request are given up.
const LIFETIME: Duration = Duration::from_secs(15);

/// Beyond this new messages in pieces are dropped; their senders send them again.
const MOST_PARTIALS: usize = 256;

/// The pieces of one message: RFC 6940 §6.7 asks for at least 256 octets in each.
const MOST_PIECES: usize = 256;

/// All pieces together; beyond this they are dropped.
const MOST_OCTETS: usize = 8 * 1024 * 1024;

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test begins at any time")]
mod tests {
    use super::*;

    fn packet(octets: usize) -> Packet {
        let header = wire::ForwardingHeader {
            overlay: 1,
            configuration_sequence: 1,
            version: wire::VERSION,
            ttl: 9,
            fragment: Fragment::WHOLE,
            transaction_id: TransactionId(7),
            max_response_length: 0,
            via_list: Vec::new(),
            destination_list: Vec::new(),
            options: Vec::new(),
        };
        let payload: Vec<u8> = (0..octets).map(|n| n.to_le_bytes()[0]).collect();
        Packet {
            header,
            payload: Bytes::from(payload),
        }
    }

    const KEY: Key = Key {
        transaction: TransactionId(7),
        from: NodeId::ZERO,
        to: NodeId::WILDCARD,
    };

    #[test]
    fn a_message_is_whole_again_whatever_the_order_of_its_pieces() {
        let now = Instant::now();
        let whole = packet(40_000);
        let mut pieces = split(whole.clone());
        assert_eq!(pieces.len(), 3);
        pieces.swap(0, 2);
        let mut reassembly = Reassembly::new(65536);
        assert_eq!(reassembly.add(now, KEY, pieces[0].clone()), None);
        assert_eq!(reassembly.add(now, KEY, pieces[1].clone()), None);
        assert_eq!(reassembly.add(now, KEY, pieces[1].clone()), None);
        assert_eq!(reassembly.add(now, KEY, pieces[2].clone()), Some(whole));
        assert_eq!(reassembly.octets, 0);
    }

    #[test]
    fn pieces_are_forgotten_after_a_while_and_bounded() {
        let now = Instant::now();
        let pieces = split(packet(40_000));
        let mut reassembly = Reassembly::new(65536);
        assert_eq!(reassembly.add(now, KEY, pieces[0].clone()), None);
        assert_eq!(reassembly.add(now + LIFETIME, KEY, pieces[1].clone()), None);
        assert_eq!(reassembly.add(now + LIFETIME, KEY, pieces[2].clone()), None);
        for n in 0..1000 {
            let key = Key {
                transaction: TransactionId(n),
                ..KEY
            };
            reassembly.add(now + LIFETIME, key, pieces[0].clone());
        }
        assert!(reassembly.partials.len() <= MOST_PARTIALS && reassembly.octets <= MOST_OCTETS);
        let mut small = Reassembly::new(20_000);
        assert_eq!(small.add(now, KEY, pieces[1].clone()), None);
        assert!(small.partials.is_empty());
    }
}
