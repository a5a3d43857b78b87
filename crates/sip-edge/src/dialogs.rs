//! How many calls stand, as far as this edge has seen: answered through it, and no BYE yet.
//!
//! A proxy keeps no state of a dialog, and a phone that dies sends no BYE; so this is a count for a graph, from which nothing follows, and
//! an entry ends after a time.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

/// A call without a BYE is counted for so long.
const LIFE: Duration = Duration::from_secs(12 * 3600);
/// Calls counted at most.
const MOST: usize = 65_536;

/// The calls, by a hash of their Call-IDs: whoever calls chooses those, and their length.
#[derive(Debug, Default)]
pub(crate) struct Dialogs {
    hasher: RandomState,
    since: HashMap<u64, Instant>,
}

impl Dialogs {
    /// Notes that a call was answered.
    pub(crate) fn answered(&mut self, now: Instant, call_id: &str) {
        if self.since.len() < MOST {
            self.since.insert(self.hasher.hash_one(call_id), now);
        }
    }

    /// Notes that a call was ended.
    pub(crate) fn ended(&mut self, call_id: &str) {
        self.since.remove(&self.hasher.hash_one(call_id));
    }

    /// Counts those that stand.
    pub(crate) fn count(&mut self, now: Instant) -> usize {
        self.since
            .retain(|_, since| now.saturating_duration_since(*since) < LIFE);
        self.since.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_counts_until_its_bye_or_for_half_a_day() {
        let (mut dialogs, now) = (Dialogs::default(), Instant::now());
        dialogs.answered(now, "one");
        dialogs.answered(now, "one");
        dialogs.answered(now + LIFE / 2, "two");
        dialogs.answered(now + LIFE / 2, "three");
        assert_eq!(dialogs.count(now + LIFE / 2), 3);
        dialogs.ended("two");
        dialogs.ended("unknown");
        assert_eq!(dialogs.count(now + LIFE), 1);
    }
}
