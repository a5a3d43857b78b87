//! Bounds the tries of those who guess.

use std::collections::BTreeMap;

use crate::error::Refused;

/// Counts wrong credentials by what they were tried for.
#[derive(Default)]
pub(super) struct Limiter {
    windows: BTreeMap<String, Window>,
}

struct Window {
    since_ms: u64,
    failures: u32,
}

impl Limiter {
    /// Refuses who failed too often within the last minute.
    pub(super) fn check(&mut self, now_ms: u64, name: &str) -> Result<(), Refused> {
        self.windows
            .retain(|_, window| now_ms.abs_diff(window.since_ms) < WINDOW_MS);
        match self.windows.get(name) {
            Some(window) if window.failures >= MAX_FAILURES => Err(Refused::TooManyFailures),
            None if self.windows.len() >= MAX_NAMES => Err(Refused::TooManyFailures),
            _ => Ok(()),
        }
    }

    pub(super) fn failed(&mut self, now_ms: u64, name: &str) {
        let window = self.windows.entry(name.to_owned()).or_insert(Window {
            since_ms: now_ms,
            failures: 0,
        });
        window.failures = window.failures.saturating_add(1);
    }
}

const WINDOW_MS: u64 = 60_000;
/// Ten guesses a minute find no password worth the name.
const MAX_FAILURES: u32 = 10;
/// Names in one window; when it is full, nobody new is let in for a minute.
const MAX_NAMES: usize = 1024;
