//! The time as cores get it.

use std::time::{Duration, Instant};

/// One moment on both clocks: the monotonic one for timers, the calendar for storage times and certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time.
    pub instant: Instant,
    /// Milliseconds since 1970-01-01 UTC, as RELOAD counts `storage_time` (RFC 6940 §7).
    pub unix_ms: u64,
}

impl Now {
    /// Moves both clocks forward.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let milliseconds = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self {
            instant: self.instant + by,
            unix_ms: self.unix_ms.saturating_add(milliseconds),
        }
    }
}
