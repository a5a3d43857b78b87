//! The edge's own clock, by which its registrations and entries end.
//!
//! It counts the milliseconds that the edge has run, sleep of the machine included, and goes on at the next start from what was
//! on disk. So a lifetime is a duration (RFC 3261 §10.3, §20.19): it neither ends nor goes on because a calendar was set.

use std::time::{Duration, Instant};

use wire::Now;

/// The clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uptime {
    start: Instant,
    /// What it showed then.
    start_ms: u64,
    /// How long the edge was down before, as far as the calendar tells.
    pub(crate) downtime: Option<Duration>,
}

/// One moment: as it is counted here, and as it is named to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) own_ms: u64,
    pub(crate) unix_ms: u64,
}

impl Uptime {
    /// Goes on from what the last run has left.
    pub(crate) fn start(now: Now, saved: Option<Moment>) -> Self {
        let downtime = saved.and_then(|saved| now.unix_ms.checked_sub(saved.unix_ms));
        Self {
            start: now.instant,
            start_ms: saved.map_or(0, |saved| saved.own_ms),
            downtime: downtime.map(Duration::from_millis),
        }
    }

    /// Reads it.
    pub(crate) fn at(&self, now: Now) -> Moment {
        let since = now.instant.saturating_duration_since(self.start).as_millis();
        Moment {
            own_ms: self.start_ms.saturating_add(u64::try_from(since).unwrap_or(u64::MAX)),
            unix_ms: now.unix_ms,
        }
    }
}

impl Moment {
    /// Names another moment of the own clock in the calendar.
    pub(crate) fn in_calendar(self, own_ms: u64) -> u64 {
        match own_ms.checked_sub(self.own_ms) {
            Some(ahead) => self.unix_ms.saturating_add(ahead),
            None => self.unix_ms.saturating_sub(self.own_ms - own_ms),
        }
    }

    /// Names a later moment of the calendar on the own clock; one that has passed is now.
    pub(crate) fn on_own_clock(self, unix_ms: u64) -> u64 {
        self.own_ms.saturating_add(unix_ms.saturating_sub(self.unix_ms))
    }

    // own clock(64) | calendar(64)
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        [self.own_ms.to_be_bytes(), self.unix_ms.to_be_bytes()].concat()
    }

    pub(crate) fn from_bytes(octets: &[u8]) -> Option<Self> {
        let (own_ms, unix_ms) = octets.split_first_chunk()?;
        Some(Self {
            own_ms: u64::from_be_bytes(*own_ms),
            unix_ms: u64::from_be_bytes(unix_ms.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const HOUR_MS: u64 = 3_600_000;
    const UNIX: u64 = 1_800_000_000_000;

    #[test]
    fn a_calendar_that_is_set_moves_nothing() {
        let start = Now {
            instant: Instant::now(),
            unix_ms: UNIX,
        };
        let clock = Uptime::start(start, None);
        for unix_ms in [0, UNIX - 1000 * HOUR_MS, UNIX + 1000 * HOUR_MS] {
            let now = Now {
                instant: start.instant + HOUR,
                unix_ms,
            };
            assert_eq!(
                clock.at(now),
                Moment {
                    own_ms: HOUR_MS,
                    unix_ms
                }
            );
        }
    }

    #[test]
    fn it_goes_on_at_the_next_start_and_the_downtime_is_only_told() {
        let saved = Moment {
            own_ms: 7 * HOUR_MS,
            unix_ms: UNIX,
        };
        let saved = Moment::from_bytes(&saved.to_bytes());
        let at = |unix_ms| Now {
            instant: Instant::now(),
            unix_ms,
        };
        for (unix_ms, downtime) in [(UNIX + HOUR_MS, Some(HOUR)), (UNIX - 1, None)] {
            let now = at(unix_ms);
            let clock = Uptime::start(now, saved);
            assert_eq!(clock.at(now).own_ms, 7 * HOUR_MS);
            assert_eq!(clock.downtime, downtime);
        }
        assert_eq!(Moment::from_bytes(b"short"), None);
    }

    #[test]
    fn an_end_is_named_in_the_calendar() {
        let now = Moment {
            own_ms: 10,
            unix_ms: UNIX,
        };
        assert_eq!((now.in_calendar(15), now.in_calendar(3)), (UNIX + 5, UNIX - 7));
    }
}
