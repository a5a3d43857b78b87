//! Log lines that strangers can cause: each cause speaks at most once in ten seconds, and says how often it was held back.
//!
//! Without it a flood of bad input is a flood of log lines, which fills the disk and hides the line that matters.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// One cause. [`warn_seldom!`](crate::warn_seldom) makes one for each place that it is written at.
#[derive(Debug)]
pub struct Seldom {
    /// In milliseconds of this process; 0 before the first time.
    next: AtomicU64,
    held_back: AtomicU64,
}

impl Seldom {
    /// A cause that has not spoken yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
        }
    }

    /// Says whether it may speak now, and how often it was held back since it last did.
    pub fn speaks(&self) -> Option<u64> {
        static START: OnceLock<Instant> = OnceLock::new();
        let since_start = START.get_or_init(Instant::now).elapsed();
        self.speaks_at(u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX))
    }

    fn speaks_at(&self, now: u64) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        // Of two threads at the same moment one speaks.
        let is_first = now >= next
            && self
                .next
                .compare_exchange(next, now.saturating_add(PAUSE), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_first {
            return Some(self.held_back.swap(0, Ordering::Relaxed));
        }
        self.held_back.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl Default for Seldom {
    fn default() -> Self {
        Self::new()
    }
}

/// `tracing::warn!` that speaks at most once in ten seconds at each place that it is written at; the field `held_back` counts
/// the lines that were left out before this one.
#[macro_export]
macro_rules! warn_seldom {
    ($($arguments:tt)+) => {{
        static CAUSE: $crate::Seldom = $crate::Seldom::new();
        if let Some(held_back) = CAUSE.speaks() {
            ::tracing::warn!(held_back, $($arguments)+);
        }
    }};
}

/// Milliseconds between two lines of one cause.
const PAUSE: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_speaks_once_in_ten_seconds_and_counts_the_rest() {
        let cause = Seldom::new();
        assert_eq!(cause.speaks_at(0), Some(0));
        assert_eq!(cause.speaks_at(1), None);
        assert_eq!(cause.speaks_at(9_999), None);
        assert_eq!(cause.speaks_at(10_000), Some(2));
        assert_eq!(cause.speaks_at(10_001), None);
        assert_eq!(cause.speaks_at(60_000), Some(1));
    }
}
