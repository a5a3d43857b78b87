//! The streams of the overlays beside the service: through which of them it feeds the ring.
//!
//! One is active and gets what waits; the others stand by. When the active one ends, refuses again and again, or acknowledges
//! nothing for a while, the next takes over, and what was not acknowledged is sent through that. A value: it says what to send,
//! again and through which stream, and sends nothing itself.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, Instant};

use wire::NodeId;

pub(crate) struct Feeds {
    /// By number, in the order in which they were opened.
    streams: BTreeMap<u64, Stream>,
    active: Option<u64>,
    numbers: u64,
    /// Everything up to this id was sent through the active stream, or before it.
    sent: u64,
    /// Refused items and when they are tried again.
    refused: BTreeMap<u64, Retry>,
    retry_after: Duration,
}

struct Stream {
    node_id: NodeId,
    /// Items sent through it and not acknowledged.
    in_flight: BTreeSet<u64>,
    /// Since when it owes an acknowledgement.
    silent_since: Instant,
    /// Refusals since it last stored something.
    refusals: u32,
}

struct Retry {
    at: Instant,
    is_outdated: bool,
}

/// An overlay's answer about an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stored,
    /// It holds a later storage_time: the same message would be refused again.
    Outdated,
    Refused,
}

/// The fate of the active stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// Another stream is active now.
    Over,
    /// There is no stream any more.
    Lost,
}

/// A stream that was opened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) number: u64,
    /// The older stream of the same overlay, which ends.
    pub(crate) replaced: Option<u64>,
    pub(crate) change: Change,
}

impl Feeds {
    /// An item that an overlay refuses is tried again after `retry_after`.
    pub(crate) fn new(retry_after: Duration) -> Feeds {
        Feeds {
            streams: BTreeMap::new(),
            active: None,
            numbers: 0,
            sent: 0,
            refused: BTreeMap::new(),
            retry_after,
        }
    }

    /// Takes a further stream, unless there are too many.
    pub(crate) fn attach(&mut self, now: Instant, node_id: NodeId) -> Option<Attached> {
        let mut older = self.streams.iter().filter(|(_, stream)| stream.node_id == node_id);
        let replaced = older.next().map(|(number, _)| *number);
        if replaced.is_none() && self.streams.len() >= MAX_FEEDS {
            return None;
        }
        self.numbers += 1;
        let number = self.numbers;
        let stream = Stream {
            node_id,
            in_flight: BTreeSet::new(),
            silent_since: now,
            refusals: 0,
        };
        self.streams.insert(number, stream);
        let mut change = replaced.map_or(Change::None, |replaced| self.detach(now, replaced));
        if self.active.is_none() {
            change = self.activate(now, number);
        }
        Some(Attached {
            number,
            replaced,
            change,
        })
    }

    /// A stream has ended.
    pub(crate) fn detach(&mut self, now: Instant, number: u64) -> Change {
        if self.streams.remove(&number).is_none() || self.active != Some(number) {
            return Change::None;
        }
        match self.after(number) {
            Some(next) => self.activate(now, next),
            None => {
                self.active = None;
                self.start_over();
                Change::Lost
            }
        }
    }

    /// The stream that gets what is to be sent.
    pub(crate) fn active(&self) -> Option<u64> {
        self.active
    }

    /// After which item the next one is to be sent, if the active stream has room for one.
    pub(crate) fn sent_up_to(&self) -> Option<u64> {
        let stream = self.streams.get(&self.active?)?;
        (stream.in_flight.len() < WINDOW).then_some(self.sent)
    }

    /// Takes an item in its turn; tells whether it is to be sent now, through the active stream.
    pub(crate) fn send(&mut self, now: Instant, id: u64) -> bool {
        self.sent = id;
        let stream = self.active.and_then(|number| self.streams.get_mut(&number));
        let Some(stream) = stream.filter(|_| !self.refused.contains_key(&id)) else {
            return false;
        };
        if stream.in_flight.is_empty() {
            stream.silent_since = now;
        }
        stream.in_flight.insert(id)
    }

    /// Notes what an overlay says of an item; tells whether that counts, which it does of a stream that it was sent through.
    pub(crate) fn acknowledged(&mut self, now: Instant, number: u64, item: (u64, Verdict)) -> bool {
        let (id, verdict) = item;
        let Some(stream) = self.streams.get_mut(&number) else {
            return false;
        };
        if !stream.in_flight.remove(&id) {
            return false;
        }
        stream.silent_since = now;
        match verdict {
            Verdict::Stored => {
                stream.refusals = 0;
                self.refused.remove(&id);
                return true;
            }
            // The overlay does what it should.
            Verdict::Outdated => {}
            Verdict::Refused => stream.refusals += 1,
        }
        // A refusal by one that stands by now does not count: the item was sent again through another.
        if self.active == Some(number) {
            let retry = Retry {
                at: now + self.retry_after,
                is_outdated: verdict == Verdict::Outdated,
            };
            self.refused.insert(id, retry);
        }
        true
    }

    /// Changes over if the active stream does not serve and another stands by.
    pub(crate) fn judge(&mut self, now: Instant) -> Change {
        let Some((number, stream)) = self.of_active() else {
            return Change::None;
        };
        let is_silent = stream.silent_until().is_some_and(|until| until <= now);
        match self.after(number) {
            Some(next) if next != number && (is_silent || stream.refusals >= MAX_REFUSALS) => self.activate(now, next),
            _ => Change::None,
        }
    }

    /// Refused items whose time has come: those to be signed anew. The others are sent again in their turn.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<u64> {
        let is_due = |_: &u64, retry: &mut Retry| retry.at <= now;
        let due: Vec<_> = self.refused.extract_if(.., is_due).collect();
        let mut outdated = Vec::new();
        for (id, retry) in due {
            match retry.is_outdated {
                true => outdated.push(id),
                // Everything after it is in flight or waits behind it.
                false => self.sent = self.sent.min(id.saturating_sub(1)),
            }
        }
        outdated
    }

    /// When to call [`Self::judge`] and [`Self::due`].
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let of_active = self.of_active().filter(|_| self.streams.len() > 1);
        let silent = of_active.and_then(|(_, stream)| stream.silent_until());
        self.refused.values().map(|retry| retry.at).chain(silent).min()
    }

    fn of_active(&self) -> Option<(u64, &Stream)> {
        let number = self.active?;
        Some((number, self.streams.get(&number)?))
    }

    /// The next stream in turn: after the youngest comes the oldest.
    fn after(&self, number: u64) -> Option<u64> {
        let younger = self.streams.range((Bound::Excluded(number), Bound::Unbounded));
        younger.chain(&self.streams).map(|(number, _)| *number).next()
    }

    fn activate(&mut self, now: Instant, number: u64) -> Change {
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.silent_since = now;
            stream.refusals = 0;
        }
        self.active = Some(number);
        self.start_over();
        Change::Over
    }

    fn start_over(&mut self) {
        self.sent = 0;
        self.refused.clear();
    }
}

impl Stream {
    /// When it is taken for dead; not at all while it owes nothing. Overlays store one record after the other, so each
    /// acknowledgement shows that the next is on its way.
    fn silent_until(&self) -> Option<Instant> {
        (!self.in_flight.is_empty()).then_some(self.silent_since + SILENCE)
    }
}

/// Overlays of one site; beyond it a further one is not needed.
const MAX_FEEDS: usize = 64;
/// Items that an overlay has not acknowledged: enough to keep its stores busy.
pub(crate) const WINDOW: usize = 32;
/// An overlay that acknowledges nothing for so long gives way to one that stands by.
const SILENCE: Duration = Duration::from_secs(10);
/// One that refuses so often in a row does, too.
const MAX_REFUSALS: u32 = 3;
