//! The store's own time.
//!
//! Values age in milliseconds that the store counts itself: by the monotonic clock while it runs, and across a restart
//! by the longest of what the calendar and the overlay say has passed. A step of the calendar in a running process, or
//! a board that forgets the date, then neither kills nor revives a value.

use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::{Decode, DecodeError, Encode, Now, Reader, Writer};

/// The own time, and what is needed to continue it after a restart.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// Own time at `instant`.
    own_ms: u64,
    instant: Instant,
    /// What the overlay said, and the own time then.
    heard: Option<(u64, u64)>,
    /// The first word of the overlay after a restart tells how long the store was down.
    asks_overlay: bool,
}

/// A clock on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    own_ms: u64,
    unix_ms: u64,
    heard: Option<(u64, u64)>,
}

impl Clock {
    pub(crate) fn start(now: Now, saved: Option<Saved>) -> Self {
        // A new store counts from the calendar, so that its own time can stand in for a calendar that was lost.
        let own_ms = match saved {
            Some(saved) => saved.own_ms.saturating_add(now.unix_ms.saturating_sub(saved.unix_ms)),
            None => now.unix_ms,
        };
        let heard = saved.and_then(|saved| saved.heard);
        Self {
            own_ms,
            instant: now.instant,
            heard,
            asks_overlay: heard.is_some(),
        }
    }

    pub(crate) fn own_ms(&self, now: Now) -> u64 {
        self.own_ms
            .saturating_add(milliseconds(now.instant.saturating_duration_since(self.instant)))
    }

    /// Takes the time of the overlay.
    pub(crate) fn hear(&mut self, now: Now, unix_ms: u64) {
        let own_ms = self.own_ms(now);
        let behind = match self.heard {
            Some((then, own_then)) if self.asks_overlay => {
                unix_ms.saturating_sub(then.saturating_add(own_ms.saturating_sub(own_then)))
            }
            _ => 0,
        };
        self.own_ms = own_ms.saturating_add(behind);
        self.instant = now.instant;
        self.heard = Some((unix_ms, self.own_ms));
        self.asks_overlay = false;
    }

    pub(crate) fn save(&self, now: Now) -> Saved {
        Saved {
            own_ms: self.own_ms(now),
            unix_ms: now.unix_ms,
            heard: self.heard,
        }
    }
}

impl Saved {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::new();
        self.own_ms.encode(&mut out);
        self.unix_ms.encode(&mut out);
        if let Some((unix_ms, own_ms)) = self.heard {
            unix_ms.encode(&mut out);
            own_ms.encode(&mut out);
        }
        out.into_bytes()
    }

    pub(crate) fn decode(octets: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(octets);
        let own_ms = u64::decode(&mut reader)?;
        let unix_ms = u64::decode(&mut reader)?;
        let heard = match reader.left() {
            0 => None,
            _ => Some((u64::decode(&mut reader)?, u64::decode(&mut reader)?)),
        };
        reader.finish()?;
        Ok(Self { own_ms, unix_ms, heard })
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const HOUR_MS: u64 = 3_600_000;

    fn at(instant: Instant, unix_ms: u64) -> Now {
        Now { instant, unix_ms }
    }

    fn epoch() -> Now {
        #[allow(
            clippy::disallowed_methods,
            reason = "any instant will do, there is no other way to one"
        )]
        at(Instant::now(), 1_000 * HOUR_MS)
    }

    #[test]
    fn a_step_of_the_calendar_in_a_running_process_changes_nothing() {
        let start = epoch();
        let clock = Clock::start(start, None);
        let stepped = at(start.instant + HOUR, start.unix_ms + 500 * HOUR_MS);
        assert_eq!(clock.own_ms(stepped), start.unix_ms + HOUR_MS);
    }

    #[test]
    fn downtime_is_what_the_calendar_says() {
        let start = epoch();
        let saved = Clock::start(start, None).save(start);
        let again = start.plus(HOUR * 2);
        assert_eq!(
            Clock::start(again, Some(saved)).own_ms(again),
            start.unix_ms + 2 * HOUR_MS
        );
    }

    #[test]
    fn downtime_is_what_the_overlay_says_if_the_calendar_was_lost() {
        let start = epoch();
        let mut clock = Clock::start(start, None);
        clock.hear(start, start.unix_ms + 5);
        let saved = Saved::decode(&clock.save(start).encode()).unwrap();

        let again = at(start.instant, 0);
        let mut clock = Clock::start(again, Some(saved));
        assert_eq!(clock.own_ms(again), start.unix_ms);
        clock.hear(again, start.unix_ms + 5 + 3 * HOUR_MS);
        assert_eq!(clock.own_ms(again), start.unix_ms + 3 * HOUR_MS);
        clock.hear(again, start.unix_ms + 90 * HOUR_MS);
        assert_eq!(
            clock.own_ms(again),
            start.unix_ms + 3 * HOUR_MS,
            "only the first word after a restart counts"
        );
    }
}
