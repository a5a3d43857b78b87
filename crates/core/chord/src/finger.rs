//! The finger table (RFC 6940 §10.7.4.2, §10.7.4.3): long ways across the ring.
//!
//! Interval `i`, from 1, holds the places from own + 2^(128-i) to own + 2^(129-i) - 1. Any peer with a link may serve
//! as finger; this module only looks for more where an interval has too few. Intervals that the successor list covers
//! hold no surprise and are never searched, so a small ring costs nothing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use wire::{NodeId, ResourceId};

use crate::{chord::Chord, ring::distance};

/// When each interval may be searched again.
#[derive(Debug)]
pub(crate) struct Searches {
    intervals: BTreeMap<u32, Pace>,
    at: Instant,
    is_under_way: bool,
}

#[derive(Clone, Copy, Debug)]
struct Pace {
    at: Instant,
    failures: u32,
}

/// One search: an Attach to a random place in an interval.
#[derive(Debug)]
pub(crate) struct Search {
    interval: u32,
    pub(crate) place: ResourceId,
    /// Peers of the interval that were known when it began.
    known: Vec<NodeId>,
}

impl Searches {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            intervals: BTreeMap::new(),
            at: now,
            is_under_way: false,
        }
    }

    /// Names the time of the next search.
    pub(crate) const fn at(&self) -> Instant {
        self.at
    }

    /// Forgets all paces.
    pub(crate) fn reset(&mut self, now: Instant) {
        *self = Self::new(now + PACE);
    }

    /// Has the interval of a lost peer searched soon.
    pub(crate) fn handle_lost(&mut self, own: NodeId, node: NodeId) {
        self.intervals.remove(&interval_of(own, node));
    }
}

impl Chord {
    /// Begins one search if it is time for it and something is missing.
    pub(crate) fn search_finger(&mut self) {
        if !self.is_member() || self.now < self.searches.at {
            return;
        }
        self.searches.at = self.now + PACE;
        if self.searches.is_under_way {
            return;
        }
        let missing: Vec<u32> = (1..=self.interval_count())
            .filter(|interval| self.is_missing(*interval))
            .collect();
        // RFC 6940 §10.7.4.2: each candidate with probability one half, nearest to the far side of the ring first.
        let chosen = missing
            .iter()
            .find(|_| self.random.next().is_multiple_of(2))
            .or(missing.last());
        let Some(interval) = chosen.copied() else { return };
        let place = self.random_place(interval);
        let known = self.fingers_in(interval);
        self.searches.is_under_way = true;
        self.attach_finger(Search { interval, place, known });
    }

    /// Takes the outcome of a search.
    pub(crate) fn end_search(&mut self, search: &Search, found: Option<NodeId>) {
        self.searches.is_under_way = false;
        let interval = self.settings.ping_interval;
        let failures = self
            .searches
            .intervals
            .get(&search.interval)
            .map_or(0, |pace| pace.failures);
        let is_new = |node: &NodeId| interval_of(self.own, *node) == search.interval && !search.known.contains(node);
        let (wait, failures) = match found {
            Some(node) if is_new(&node) => (PACE, 0),
            // Nobody new there: the interval holds no more than we know.
            Some(_) => (interval, 0),
            None => (
                (AFTER_FAILURE * 2u32.pow(failures.min(MAX_DOUBLINGS))).min(interval),
                failures + 1,
            ),
        };
        let at = self.now + wait + self.random.below(wait / 4);
        self.searches.intervals.insert(search.interval, Pace { at, failures });
    }

    /// Counts the intervals: as many as reach the last successor, at least 16, at most 128 (RFC 6940 §10.7.4.3).
    fn interval_count(&self) -> u32 {
        self.successors.last().map_or(MIN_INTERVALS, |last| {
            interval_of(self.own, *last).clamp(MIN_INTERVALS, MAX_INTERVALS)
        })
    }

    /// The time until an interval is searched again may have become shorter.
    pub(crate) fn hasten_searches(&mut self) {
        let latest = self.now + self.settings.ping_interval;
        for pace in self.searches.intervals.values_mut() {
            pace.at = pace.at.min(latest);
        }
    }

    fn is_missing(&self, interval: u32) -> bool {
        let is_due = self
            .searches
            .intervals
            .get(&interval)
            .is_none_or(|pace| pace.at <= self.now);
        is_due && !self.is_covered(interval) && self.fingers_in(interval).len() < self.settings.fingers_per_interval
    }

    /// Tells whether the successor list names everyone in an interval.
    fn is_covered(&self, interval: u32) -> bool {
        let Some(last) = self.successors.last() else {
            return true;
        };
        self.is_closed || end(interval) <= distance(self.own.to_u128(), last.to_u128())
    }

    fn fingers_in(&self, interval: u32) -> Vec<NodeId> {
        self.fingers()
            .filter(|node| interval_of(self.own, *node) == interval)
            .collect()
    }

    fn random_place(&mut self, interval: u32) -> ResourceId {
        let start = end(interval) / 2 + 1;
        let step = self.random.wide() % start;
        ResourceId::from_u128(self.own.to_u128().wrapping_add(start).wrapping_add(step))
    }
}

/// Finds the interval that a node stands in. This node itself counts to the last one.
fn interval_of(own: NodeId, node: NodeId) -> u32 {
    (distance(own.to_u128(), node.to_u128()).leading_zeros() + 1).min(MAX_INTERVALS)
}

/// Distance of the last place of an interval.
const fn end(interval: u32) -> u128 {
    u128::MAX >> (interval - 1)
}

// RFC 6940 §10.7.4.3.
const MIN_INTERVALS: u32 = 16;
const MAX_INTERVALS: u32 = 128;

/// Least time between two searches.
const PACE: Duration = Duration::from_secs(1);

/// Wait after a failed search; doubled after each further one.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

const MAX_DOUBLINGS: u32 = 8;
