//! How much a credential enrolls within a time: counted by the clock of durations, and from the start of the service.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(super) struct Pace<K> {
    within: Duration,
    /// When each was enrolled; what is long over is forgotten with the next.
    recent: BTreeMap<K, Vec<Instant>>,
}

impl<K: Ord> Pace<K> {
    pub(super) fn new(within: Duration) -> Self {
        Self {
            within,
            recent: BTreeMap::new(),
        }
    }

    pub(super) fn count(&self, now: Instant, of: &K) -> usize {
        let recent = self.recent.get(of).into_iter().flatten();
        recent.filter(|at| is_within(now, **at, self.within)).count()
    }

    pub(super) fn note(&mut self, now: Instant, of: K) {
        let within = self.within;
        self.recent.retain(|_, recent| {
            recent.retain(|at| is_within(now, *at, within));
            !recent.is_empty()
        });
        self.recent.entry(of).or_default().push(now);
    }
}

fn is_within(now: Instant, at: Instant, within: Duration) -> bool {
    now.saturating_duration_since(at) < within
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn what_is_over_counts_no_more_and_is_forgotten() {
        let (mut pace, now) = (Pace::new(HOUR), Instant::now());
        pace.note(now, "a");
        pace.note(now + HOUR / 2, "a");
        pace.note(now, "b");
        let almost = now + HOUR - Duration::from_millis(1);
        assert_eq!((pace.count(almost, &"a"), pace.count(almost, &"b")), (2, 1));
        assert_eq!((pace.count(now + HOUR, &"a"), pace.count(now + HOUR, &"b")), (1, 0));
        pace.note(now + HOUR, "c");
        assert_eq!(pace.recent.len(), 2);
    }
}
