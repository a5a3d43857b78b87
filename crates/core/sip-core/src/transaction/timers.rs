//! Timers as rows: each transaction owns two, so that none has to be searched for.

use std::collections::BTreeSet;
use std::time::Instant;

use super::key::{ClientId, ServerId};

/// Whose timer fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Client(ClientId),
    Server(ServerId),
}

/// Which of the two: something is to be sent (Timers A, E, G, and the 100 that is due), or a state ends (all others).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    Send,
    End,
}

/// All rows, by deadline.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: BTreeSet<(Instant, Owner, Slot)>,
}

impl Rows {
    /// Moves one timer: `at` is its present deadline, as its owner remembers it.
    pub(super) fn set(&mut self, at: &mut Option<Instant>, owner: Owner, slot: Slot, to: Option<Instant>) {
        if let Some(old) = at.take() {
            self.rows.remove(&(old, owner, slot));
        }
        if let Some(new) = to {
            self.rows.insert((new, owner, slot));
        }
        *at = to;
    }

    /// Returns the earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.rows.first().map(|row| row.0)
    }

    /// Takes out one row that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Owner, Slot)> {
        let first = *self.rows.first()?;
        if first.0 > now {
            return None;
        }
        self.rows.remove(&first);
        Some((first.1, first.2))
    }
}
