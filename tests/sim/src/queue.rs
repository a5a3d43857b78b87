//! Simulated time: events in order of their time, and of their scheduling where times are equal.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use wire::Now;

/// Events to come.
#[derive(Debug)]
pub struct Queue<E> {
    origin: Instant,
    elapsed: Duration,
    next: u64,
    events: BTreeMap<(Duration, u64), E>,
}

impl<E> Queue<E> {
    /// Makes an empty queue at time zero.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it reads the clock, once")]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
            elapsed: Duration::ZERO,
            next: 0,
            events: BTreeMap::new(),
        }
    }

    /// Tells the simulated time.
    #[must_use]
    pub fn now(&self) -> Now {
        Now {
            instant: self.origin,
            unix_ms: EPOCH_MS,
        }
        .plus(self.elapsed)
    }

    /// Tells how much simulated time has passed.
    #[must_use]
    pub const fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Schedules an event some time from now.
    pub fn after(&mut self, wait: Duration, event: E) {
        self.at(self.elapsed + wait, event);
    }

    /// Schedules an event at a time since the start, now at the earliest.
    pub fn at(&mut self, time: Duration, event: E) {
        self.next += 1;
        self.events.insert((time.max(self.elapsed), self.next), event);
    }

    /// Turns a moment of a core into time since the start.
    #[must_use]
    pub fn time_of(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.origin)
    }

    /// Takes the next event if it is not after `end`; otherwise the time becomes `end`.
    pub fn pop(&mut self, end: Duration) -> Option<E> {
        let due = self.events.first_key_value().is_some_and(|((time, _), _)| *time <= end);
        if !due {
            self.elapsed = self.elapsed.max(end);
            return None;
        }
        let ((time, _), event) = self.events.pop_first()?;
        self.elapsed = time;
        Some(event)
    }
}

/// Calendar time at the start of each run: 2026-01-01.
pub const EPOCH_MS: u64 = 1_767_225_600_000;
