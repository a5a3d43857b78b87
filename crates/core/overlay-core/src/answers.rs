//! Answers that are kept for a while, so that a repeated request is not carried out twice.
//!
//! RFC 6940 §6.2.1: a request that arrives again within its lifetime gets an equivalent answer. Requests that
//! change nothing are simply carried out again and never come here.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use wire::{NodeId, SecurityBlock, TransactionId};

/// Who asked, and which of its transactions it was.
pub(crate) type Key = (NodeId, TransactionId);

/// A finished answer: the parts that do not depend on the way back.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) contents: Bytes,
    pub(crate) security: SecurityBlock,
}

/// What is known of a request that has just arrived.
pub(crate) enum Seen {
    /// It is new, and now on record as pending.
    First,
    /// It is being carried out; the answer will come.
    Pending,
    /// It has been answered.
    Answered(Kept),
}

/// A request on record.
#[derive(Default)]
struct Entry {
    /// None while it is being carried out.
    kept: Option<Kept>,
}

impl Entry {
    fn octets(&self) -> usize {
        OVERHEAD + self.kept.as_ref().map_or(0, |kept| kept.contents.len())
    }
}

/// The answers of the last seconds. When there are too many, the oldest of whoever asked most goes.
#[derive(Default)]
pub(crate) struct Answers {
    entries: BTreeMap<Key, Entry>,
    /// All of them, the oldest first.
    order: VecDeque<(Instant, Key)>,
    octets: usize,
    /// The octets of each signer's.
    by_signer: BTreeMap<NodeId, usize>,
}

impl Answers {
    /// Looks a request up and records it if it is new.
    pub(crate) fn arrived(&mut self, now: Instant, key: Key) -> Seen {
        self.forget_old(now);
        match self.entries.get(&key) {
            Some(Entry { kept: Some(kept), .. }) => Seen::Answered(kept.clone()),
            Some(Entry { kept: None, .. }) => Seen::Pending,
            None => {
                self.put(key, Entry::default());
                self.order.push_back((now, key));
                self.shrink();
                Seen::First
            }
        }
    }

    /// Keeps the answer of a request that is on record.
    pub(crate) fn answered(&mut self, key: Key, kept: Kept) {
        if self.is_pending(key) && self.take(key).is_some() {
            self.put(key, Entry { kept: Some(kept) });
            self.shrink();
        }
    }

    /// Takes a request off the record: it will not be answered, so a repetition may try again.
    pub(crate) fn abandoned(&mut self, key: Key) {
        if self.is_pending(key) {
            let row = self.order.iter().rposition(|(_, other)| *other == key);
            row.into_iter().for_each(|row| self.forget(row));
        }
    }

    fn is_pending(&self, key: Key) -> bool {
        self.entries.get(&key).is_some_and(|entry| entry.kept.is_none())
    }

    fn put(&mut self, key: Key, entry: Entry) {
        self.octets += entry.octets();
        *self.by_signer.entry(key.0).or_default() += entry.octets();
        self.entries.insert(key, entry);
    }

    fn take(&mut self, key: Key) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        let octets = entry.octets();
        self.octets -= octets;
        if let Some(of_signer) = self.by_signer.get_mut(&key.0) {
            *of_signer -= octets;
            if *of_signer == 0 {
                self.by_signer.remove(&key.0);
            }
        }
        Some(entry)
    }

    fn forget_old(&mut self, now: Instant) {
        while self
            .order
            .front()
            .is_some_and(|(since, _)| now.saturating_duration_since(*since) >= LIFETIME)
        {
            self.forget(0);
        }
    }

    fn shrink(&mut self) {
        while self.order.len() > MOST_ENTRIES || self.octets > MOST_OCTETS {
            let greediest = self.by_signer.iter().max_by_key(|(_, octets)| **octets);
            let signer = greediest.map(|(signer, _)| *signer);
            let oldest = self.order.iter().position(|(_, key)| Some(key.0) == signer);
            self.forget(oldest.unwrap_or(0));
        }
    }

    fn forget(&mut self, row: usize) {
        if let Some((_, key)) = self.order.remove(row) {
            self.take(key);
        }
    }
}

// RFC 6940 §6.2.1: the longest lifetime of a request.
const LIFETIME: Duration = Duration::from_secs(15);

/// At 270 requests a second the record is full. What is forgotten is carried out again if it comes again, and an identical
/// Store is a success in storage too.
const MOST_ENTRIES: usize = 4096;

/// An upper limit for the answers themselves.
const MOST_OCTETS: usize = 8 * 1024 * 1024;

/// What an entry takes besides its contents: signature, certificates and keys.
const OVERHEAD: usize = 1024;

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test begins at any time")]
mod tests {
    use super::*;

    fn kept(octets: usize) -> Kept {
        let security = SecurityBlock {
            certificates: Vec::new(),
            signature: wire::Signature::none(),
        };
        Kept {
            contents: Bytes::from(vec![0; octets]),
            security,
        }
    }

    fn key(n: u64) -> Key {
        (NodeId::new([1; 16]), TransactionId(n))
    }

    #[test]
    fn a_repetition_waits_and_then_gets_the_same_answer() {
        let now = Instant::now();
        let mut answers = Answers::default();
        assert!(matches!(answers.arrived(now, key(1)), Seen::First));
        assert!(matches!(answers.arrived(now, key(1)), Seen::Pending));
        answers.answered(key(1), kept(3));
        assert!(matches!(answers.arrived(now, key(1)), Seen::Answered(kept) if kept.contents.len() == 3));
        assert!(matches!(answers.arrived(now + LIFETIME, key(1)), Seen::First));
    }

    #[test]
    fn an_abandoned_request_that_comes_again_is_remembered_anew() {
        let now = Instant::now();
        let later = now + LIFETIME / 2;
        let mut answers = Answers::default();
        answers.arrived(now, key(1));
        answers.abandoned(key(1));
        assert!(matches!(answers.arrived(later, key(1)), Seen::First));
        answers.answered(key(1), kept(3));
        assert!(matches!(answers.arrived(now + LIFETIME, key(1)), Seen::Answered(_)));
        assert!(matches!(answers.arrived(later + LIFETIME, key(1)), Seen::First));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_large() {
        let now = Instant::now();
        let mut answers = Answers::default();
        for n in 0..5000 {
            answers.arrived(now, key(n));
        }
        assert_eq!(answers.entries.len(), MOST_ENTRIES);
        for n in 4900..5000 {
            answers.answered(key(n), kept(1024 * 1024));
        }
        assert!(answers.octets <= MOST_OCTETS);
        for n in 0..5000 {
            answers.abandoned(key(n));
        }
        let held: usize = answers.entries.values().map(Entry::octets).sum();
        assert_eq!((answers.order.len(), answers.octets), (answers.entries.len(), held));
    }

    #[test]
    fn whoever_asks_most_forgets_its_own() {
        let now = Instant::now();
        let mut answers = Answers::default();
        let honest = (NodeId::new([2; 16]), TransactionId(1));
        answers.arrived(now, honest);
        answers.answered(honest, kept(3));
        for n in 0..10_000 {
            answers.arrived(now, key(n));
            answers.answered(key(n), kept(5000));
        }
        assert!(matches!(answers.arrived(now, honest), Seen::Answered(_)));
    }
}
