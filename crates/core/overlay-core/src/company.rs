//! Whether a peer that is alone may act as if that were right.
//!
//! The only peer of a ring may acknowledge a Store without a copy. But one that has just lost several others cannot
//! tell whether they are gone or it is cut off: it stays where it is, so that they can join it again, and acknowledges
//! nothing until somebody has.

use std::time::{Duration, Instant};

use wire::Now;

use crate::core::Core;

/// How many others there were, and when.
#[derive(Default)]
pub(crate) struct Company {
    /// When there were at least two others for the last time.
    crowded: Option<Instant>,
    /// Since when there is nobody.
    alone: Option<Instant>,
}

impl Core {
    /// Takes note of how many others there are.
    pub(crate) fn count_company(&mut self, now: Now) {
        if self.chord.neighbors().nth(1).is_some() {
            self.company.crowded = Some(now.instant);
        }
        if self.chord.is_alone() {
            self.company.alone.get_or_insert(now.instant);
        } else {
            self.company.alone = None;
        }
    }

    /// Whether this peer is alone because the last ring that it knew had no more than two peers.
    pub(crate) fn is_rightly_alone(&self) -> bool {
        self.company.alone.is_some_and(|alone| {
            self.company
                .crowded
                .is_none_or(|crowded| alone.saturating_duration_since(crowded) >= SETTLED)
        })
    }
}

/// A ring of this size for so long was meant to be so; shorter, and it was on its way to fall apart.
const SETTLED: Duration = Duration::from_secs(5);
