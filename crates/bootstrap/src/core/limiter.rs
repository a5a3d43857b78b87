//! Bounds the tries of those who guess.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::error::Refused;

/// Counts wrong credentials, by what they were tried for or where they came from.
///
/// When the table is full, the entry with the fewest failures goes: whoever fills it with strange names forgets itself, and
/// nobody is refused for lack of room.
pub(super) struct Failures<K> {
    windows: BTreeMap<K, Window>,
}

struct Window {
    since: Instant,
    failures: u32,
}

impl<K> Default for Failures<K> {
    fn default() -> Self {
        Self {
            windows: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Failures<K> {
    /// Refuses who failed too often within the last minute.
    pub(super) fn check(&self, now: Instant, of: &K) -> Result<(), Refused> {
        match self.windows.get(of) {
            Some(window) if window.failures >= MAX_FAILURES && window.lasts(now) => Err(Refused::TooManyFailures),
            _ => Ok(()),
        }
    }

    pub(super) fn failed(&mut self, now: Instant, of: K) {
        match self.windows.get_mut(&of) {
            Some(window) if window.lasts(now) => window.failures = window.failures.saturating_add(1),
            Some(window) => *window = Window::new(now),
            None => {
                self.make_room(now);
                self.windows.insert(of, Window::new(now));
            }
        }
    }

    fn make_room(&mut self, now: Instant) {
        if self.windows.len() >= MAX_ENTRIES {
            self.windows.retain(|_, window| window.lasts(now));
        }
        while self.windows.len() >= MAX_ENTRIES {
            let least = self
                .windows
                .iter()
                .min_by_key(|(_, window)| (window.failures, window.since));
            let Some(of) = least.map(|(of, _)| of.clone()) else {
                return;
            };
            self.windows.remove(&of);
        }
    }
}

impl Window {
    fn new(now: Instant) -> Window {
        Window {
            since: now,
            failures: 1,
        }
    }

    fn lasts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < WINDOW
    }
}

const WINDOW: Duration = Duration::from_secs(60);
/// Ten guesses a minute find no password worth the name.
const MAX_FAILURES: u32 = 10;
/// Names, and addresses, that failed within a minute; each is at most a few hundred octets.
const MAX_ENTRIES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_often_waits_for_a_minute() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for _ in 0..MAX_FAILURES {
            assert_eq!(failures.check(now, &"alice"), Ok(()));
            failures.failed(now, "alice");
        }
        let almost = now + WINDOW - Duration::from_millis(1);
        assert_eq!(failures.check(almost, &"alice"), Err(Refused::TooManyFailures));
        assert_eq!(failures.check(almost, &"bob"), Ok(()));
        assert_eq!(failures.check(now + WINDOW, &"alice"), Ok(()));
        failures.failed(now + WINDOW, "alice");
        assert_eq!(failures.windows["alice"].failures, 1);
    }

    /// Strangers fill the table: nobody is refused for it, and one who guesses is not forgotten for those who failed once.
    #[test]
    fn a_full_table_forgets_who_failed_least() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        let name = |number: usize| format!("stranger{number}");
        let guesser = "alice".to_owned();
        for _ in 0..MAX_FAILURES {
            failures.failed(now, guesser.clone());
        }
        for number in 0..3 * MAX_ENTRIES {
            assert_eq!(failures.check(now, &name(number)), Ok(()));
            failures.failed(now, name(number));
        }
        assert_eq!(failures.windows.len(), MAX_ENTRIES);
        assert_eq!(failures.check(now, &guesser), Err(Refused::TooManyFailures));
        assert_eq!(failures.check(now, &"bob".to_owned()), Ok(()));
        // A window that is over gives way first.
        failures.failed(now + WINDOW, "bob".to_owned());
        assert_eq!(failures.windows.len(), 1);
    }
}
