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

/// Messages that are not complete yet. Each link has a share, and each node that messages come from has one of that; where
/// a share is used up, its own oldest message goes, so that nobody takes room from others.
pub(crate) struct Reassembly {
    partials: BTreeMap<Key, Partial>,
    /// Counts the partials, so that the oldest can be told.
    next_age: u64,
    longest: usize,
}

struct Partial {
    age: u64,
    since: Instant,
    /// The link that the first piece came over.
    link: NodeId,
    pieces: BTreeMap<u32, Packet>,
    end: Option<u32>,
    octets: usize,
}

/// Room for unfinished messages.
struct Share {
    messages: usize,
    octets: usize,
}

impl Reassembly {
    /// Takes messages up to `longest` octets.
    pub(crate) fn new(longest: usize) -> Self {
        Self {
            partials: BTreeMap::new(),
            next_age: 0,
            longest,
        }
    }

    /// Takes longer messages from now on, or none so long.
    pub(crate) fn set_longest(&mut self, longest: usize) {
        self.longest = longest;
    }

    /// Adds a piece that came over the link to `link`; returns the message once it is complete.
    pub(crate) fn add(&mut self, now: Instant, link: NodeId, key: Key, packet: Packet) -> Option<Packet> {
        self.forget_old(now);
        let Fragment { offset, last, .. } = packet.header.fragment;
        let length = packet.payload.len();
        let end = offset.checked_add(u32::try_from(length).ok()?)?;
        let is_too_short = length == 0 || !last && length < SHORTEST_PIECE;
        if is_too_short || usize::try_from(end).ok()? > self.longest {
            return None;
        }
        let age = self.next_age;
        let partial = self.partials.entry(key).or_insert_with(|| Partial {
            age,
            since: now,
            link,
            pieces: BTreeMap::new(),
            end: None,
            octets: 0,
        });
        if partial.age == age {
            self.next_age += 1;
        }
        if partial.pieces.len() >= MOST_PIECES {
            return None;
        }
        if last {
            partial.end = Some(end);
        }
        let replaced = partial.pieces.insert(offset, packet).map_or(0, |old| old.payload.len());
        partial.octets = partial.octets + length - replaced;
        if let Some(whole) = partial.join() {
            self.partials.remove(&key);
            return Some(whole);
        }
        let link = partial.link;
        self.make_room(link, key.from);
        None
    }

    /// Drops the oldest messages of whoever has more than its share.
    fn make_room(&mut self, link: NodeId, origin: NodeId) {
        let longest = self.longest;
        let is_of_origin = |key: &Key, partial: &Partial| partial.link == link && key.from == origin;
        self.shrink(&OF_ORIGIN.at_least(longest), &is_of_origin);
        self.shrink(&OF_LINK.at_least(longest), &|_, partial| partial.link == link);
        while self.exceeds(&IN_ALL, &|_, _| true) {
            let Some(greediest) = self.greediest_link() else { return };
            self.forget_oldest(&|_, partial| partial.link == greediest);
        }
    }

    fn shrink(&mut self, share: &Share, is_counted: &dyn Fn(&Key, &Partial) -> bool) {
        while self.exceeds(share, is_counted) {
            self.forget_oldest(is_counted);
        }
    }

    fn exceeds(&self, share: &Share, is_counted: &dyn Fn(&Key, &Partial) -> bool) -> bool {
        let counted = || self.partials.iter().filter(|(key, partial)| is_counted(key, partial));
        let octets: usize = counted().map(|(_, partial)| partial.octets).sum();
        counted().count() > share.messages || octets > share.octets
    }

    fn forget_oldest(&mut self, is_counted: &dyn Fn(&Key, &Partial) -> bool) {
        let counted = self.partials.iter().filter(|(key, partial)| is_counted(key, partial));
        let oldest = counted.min_by_key(|(_, partial)| partial.age).map(|(key, _)| *key);
        if let Some(oldest) = oldest {
            self.partials.remove(&oldest);
        }
    }

    fn greediest_link(&self) -> Option<NodeId> {
        let mut octets: BTreeMap<NodeId, usize> = BTreeMap::new();
        for partial in self.partials.values() {
            *octets.entry(partial.link).or_default() += partial.octets;
        }
        octets
            .into_iter()
            .max_by_key(|(_, octets)| *octets)
            .map(|(link, _)| link)
    }

    fn forget_old(&mut self, now: Instant) {
        self.partials
            .retain(|_, partial| now.saturating_duration_since(partial.since) < LIFETIME);
    }
}

impl Share {
    /// One message of the longest sort always finds room.
    fn at_least(&self, octets: usize) -> Self {
        Self {
            messages: self.messages,
            octets: self.octets.max(octets),
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

/// The pieces of one message: RFC 6940 §6.7 asks for at least 256 octets in each.
const MOST_PIECES: usize = 256;
const SHORTEST_PIECE: usize = 256;

const IN_ALL: Share = Share {
    messages: MOST_PARTIALS,
    octets: MOST_OCTETS,
};

const OF_LINK: Share = Share {
    messages: MOST_OF_LINK,
    octets: MOST_OCTETS_OF_LINK,
};

const OF_ORIGIN: Share = Share {
    messages: MOST_OF_LINK / 4,
    octets: MOST_OCTETS_OF_LINK / 4,
};

/// All unfinished messages; beyond this the oldest of the link that holds most octets goes.
const MOST_PARTIALS: usize = 256;
const MOST_OCTETS: usize = 8 * 1024 * 1024;

/// Those that came over one link, and a quarter for those of one node: pieces of a message follow each other, so few are
/// unfinished at a time.
const MOST_OF_LINK: usize = 16;
const MOST_OCTETS_OF_LINK: usize = 1024 * 1024;

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

    const LINK: NodeId = NodeId::new([1; 16]);
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
        assert_eq!(reassembly.add(now, LINK, KEY, pieces[0].clone()), None);
        assert_eq!(reassembly.add(now, LINK, KEY, pieces[1].clone()), None);
        assert_eq!(reassembly.add(now, LINK, KEY, pieces[1].clone()), None);
        assert_eq!(reassembly.add(now, LINK, KEY, pieces[2].clone()), Some(whole));
        assert!(reassembly.partials.is_empty());
    }

    #[test]
    fn pieces_are_forgotten_after_a_while_and_never_too_long() {
        let now = Instant::now();
        let pieces = split(packet(40_000));
        let mut reassembly = Reassembly::new(65536);
        assert_eq!(reassembly.add(now, LINK, KEY, pieces[0].clone()), None);
        assert_eq!(reassembly.add(now + LIFETIME, LINK, KEY, pieces[1].clone()), None);
        assert_eq!(reassembly.add(now + LIFETIME, LINK, KEY, pieces[2].clone()), None);
        let mut small = Reassembly::new(20_000);
        assert_eq!(small.add(now, LINK, KEY, pieces[1].clone()), None);
        assert!(small.partials.is_empty());
    }

    /// Begins messages of one node over one link.
    fn begin(reassembly: &mut Reassembly, link: u8, origin: u8, messages: std::ops::Range<u64>, octets: usize) {
        for n in messages {
            let key = Key {
                transaction: TransactionId(n),
                from: NodeId::new([origin; 16]),
                to: NodeId::WILDCARD,
            };
            let mut piece = packet(octets);
            piece.header.fragment = Fragment::new(0, false);
            reassembly.add(Instant::now(), NodeId::new([link; 16]), key, piece);
        }
    }

    #[test]
    fn nobody_takes_room_from_others() {
        let mut reassembly = Reassembly::new(65536);
        let now = Instant::now();
        let honest = split(packet(40_000));
        assert_eq!(reassembly.add(now, LINK, KEY, honest[0].clone()), None);
        // One node over one link, then many nodes over one link, then over all the links that they have.
        begin(&mut reassembly, 2, 2, 0..1000, 300);
        assert_eq!(reassembly.partials.len(), 1 + 4);
        for origin in 0..250 {
            begin(&mut reassembly, 2, origin, 0..4, 60_000);
        }
        let octets: usize = reassembly.partials.values().map(|partial| partial.octets).sum();
        assert!(reassembly.partials.len() <= 1 + 16 && octets <= 16_384 + MOST_OCTETS_OF_LINK);
        for link in 2..250 {
            for origin in 0..5 {
                begin(&mut reassembly, link, origin, 0..4, 60_000);
            }
        }
        let octets: usize = reassembly.partials.values().map(|partial| partial.octets).sum();
        assert!(reassembly.partials.len() <= MOST_PARTIALS && octets <= MOST_OCTETS);
        assert_eq!(reassembly.add(now, LINK, KEY, honest[1].clone()), None);
        assert!(reassembly.add(now, LINK, KEY, honest[2].clone()).is_some());
    }

    #[test]
    fn a_piece_that_is_too_short_is_refused() {
        let mut reassembly = Reassembly::new(65536);
        begin(&mut reassembly, 2, 2, 0..4, SHORTEST_PIECE - 1);
        assert!(reassembly.partials.is_empty());
    }
}
