//! The reason why a component cannot begin: told in its readiness always, in the log once a minute.

use std::time::{Duration, Instant};

use runtime::{Component, State, clock};
use tracing::warn;

/// Told of one wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    told: Option<Instant>,
}

impl Waiting {
    /// Says what is waited for.
    pub(super) fn tell(&mut self, component: &Component, reason: String) {
        let now = clock::now();
        if self.told.is_none_or(|told| now >= told + EVERY) {
            self.told = Some(now);
            warn!(reason, "cannot begin yet");
        }
        component.tell(State {
            reasons: vec![reason],
            ..State::default()
        });
    }
}

const EVERY: Duration = Duration::from_secs(60);
