//! How large the ring was, and whether a peer that is alone may act as if that were right.
//!
//! The only peer of a ring may acknowledge a Store without a copy. But one that has just lost several others cannot
//! tell whether they are gone or it is cut off: it stays where it is, so that they can join it again, and acknowledges
//! nothing until somebody has. So the size counts that the ring had for a while before this peer was alone, and it is
//! kept over a restart.

use std::time::{Duration, Instant};

use wire::Now;

use crate::core::Core;

/// The size of the ring.
#[derive(Default)]
pub(crate) struct Company {
    /// Peers of the ring, this one among them, as far as its tables reach.
    ring_size: usize,
    /// To how many the ring has shrunk, and since when.
    shrunk: Option<(usize, Instant)>,
}

impl Company {
    pub(crate) fn new(ring_size: usize) -> Self {
        Self {
            ring_size,
            shrunk: None,
        }
    }

    /// How many peers the ring had, lately and for long enough.
    pub(crate) fn ring_size(&self) -> usize {
        self.ring_size
    }

    /// Whether a peer may take the ring for its own when nobody else is there.
    pub(crate) fn may_be_alone(&self) -> bool {
        self.ring_size <= 2
    }

    fn count(&mut self, now: Instant, peers: usize) {
        if let Some((fewer, since)) = self.shrunk
            && now.saturating_duration_since(since) >= SETTLED
        {
            self.ring_size = fewer;
            self.shrunk = None;
        }
        if peers >= self.ring_size {
            self.ring_size = peers;
            self.shrunk = None;
        } else if peers == 1 {
            self.shrunk = None;
        } else if self.shrunk.is_none_or(|(fewer, _)| fewer != peers) {
            self.shrunk = Some((peers, now));
        }
    }
}

impl Core {
    /// Takes note of how many others there are. Tells whether the size of the ring is another now.
    pub(crate) fn count_company(&mut self, now: Now) -> bool {
        let before = self.company.ring_size;
        if self.chord.is_member() {
            self.company.count(now.instant, self.chord.neighbors().count() + 1);
        }
        self.company.ring_size != before
    }

    /// Whether this peer is alone because the last ring that it knew had no more than two peers.
    pub(crate) fn is_rightly_alone(&self) -> bool {
        self.chord.is_alone() && self.company.may_be_alone()
    }
}

/// A ring of this size for so long was meant to be so; shorter, and it was on its way to fall apart.
const SETTLED: Duration = Duration::from_secs(5);

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test begins at any time")]
mod tests {
    use super::*;

    fn after(counts: &[(u64, usize)]) -> Company {
        let start = Instant::now();
        let mut company = Company::new(0);
        for (second, peers) in counts {
            company.count(start + Duration::from_secs(*second), *peers);
        }
        company
    }

    #[test]
    fn a_ring_that_falls_apart_at_once_keeps_its_size() {
        assert_eq!(after(&[(0, 5), (1, 3), (2, 2), (3, 1), (60, 1)]).ring_size(), 5);
    }

    #[test]
    fn a_ring_that_stayed_small_is_small() {
        assert_eq!(after(&[(0, 5), (1, 2), (7, 1)]).ring_size(), 2);
        assert_eq!(after(&[(0, 5), (1, 4), (4, 3), (6, 3)]).ring_size(), 5);
        assert_eq!(after(&[(0, 5), (1, 3), (6, 3)]).ring_size(), 3);
    }

    #[test]
    fn a_ring_that_grows_is_larger_at_once() {
        let company = after(&[(0, 1), (1, 2), (1, 3)]);
        assert_eq!(company.ring_size(), 3);
        assert!(!company.may_be_alone());
    }
}
