//! Times that this process has not lived through.
//!
//! A machine that sleeps stops the monotonic clock and not the boot-time clock. A hypervisor that pauses a guest stops both,
//! and only the calendar shows it, once it is set right. Either way the rest of the world has gone on: what was true before
//! has to be asked anew, as after a restart.
//!
//! A calendar that somebody sets looks like a pause. That is harmless: asking anew costs a few messages.

use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior};

use crate::clock::{self, Reading};

/// Looks at three clocks now and then.
#[derive(Debug)]
pub struct Gaps {
    every: Interval,
    before: Look,
}

/// The clocks did not advance alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last moment before it, on the clock that lifetimes are counted by.
    pub since: Instant,
    /// How long the machine has slept.
    pub slept: Duration,
    /// How far the calendar went beyond that, in milliseconds.
    pub calendar_ms: i64,
}

/// Three clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Look {
    reading: Reading,
    instant: Instant,
    unix_ms: u64,
}

impl Gaps {
    /// Begins to look.
    ///
    /// # Panics
    /// Outside of a runtime with timers.
    #[must_use]
    pub fn begin() -> Self {
        let mut every = tokio::time::interval(LOOK);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            every,
            before: Look::take(),
        }
    }

    /// Waits for the next gap.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Gap {
        loop {
            self.every.tick().await;
            let after = Look::take();
            let before = std::mem::replace(&mut self.before, after);
            if let Some(gap) = after.gap_since(before) {
                let Gap { slept, calendar_ms, .. } = gap;
                tracing::info!(?slept, calendar_ms, "clocks have not advanced alike");
                return gap;
            }
        }
    }
}

impl Look {
    fn take() -> Self {
        Self {
            reading: Reading::take(),
            instant: clock::now(),
            unix_ms: clock::unix_ms(),
        }
    }

    fn gap_since(self, before: Self) -> Option<Gap> {
        let since_boot = self.reading.since_boot.saturating_sub(before.reading.since_boot);
        let awake = self
            .reading
            .monotonic
            .saturating_duration_since(before.reading.monotonic);
        let slept = since_boot.saturating_sub(awake);
        let calendar = i128::from(self.unix_ms) - i128::from(before.unix_ms);
        let beyond = calendar - i128::try_from(since_boot.as_millis()).unwrap_or(i128::MAX);
        let is_gap = slept > SHORTEST || beyond.unsigned_abs() > SHORTEST.as_millis();
        is_gap.then_some(Gap {
            since: before.instant,
            slept,
            calendar_ms: i64::try_from(beyond).unwrap_or(i64::MAX),
        })
    }
}

/// How often the clocks are compared.
const LOOK: Duration = Duration::from_secs(10);

/// A shorter gap is none: others have hardly noticed it.
const SHORTEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);
    const HOUR: Duration = Duration::from_secs(3600);

    fn first() -> Look {
        let monotonic = Instant::now();
        Look {
            reading: Reading {
                monotonic,
                since_boot: 5 * HOUR,
            },
            instant: monotonic,
            unix_ms: 1_800_000_000_000,
        }
    }

    fn later(before: Look, awake: Duration, slept: Duration, calendar: Duration) -> Look {
        let since_boot = before.reading.since_boot + awake + slept;
        Look {
            reading: Reading {
                monotonic: before.reading.monotonic + awake,
                since_boot,
            },
            instant: before.instant + awake + slept,
            unix_ms: before.unix_ms + u64::try_from(calendar.as_millis()).unwrap(),
        }
    }

    #[test]
    fn a_machine_that_is_awake_has_no_gap() {
        let before = first();
        assert_eq!(later(before, TEN, Duration::ZERO, TEN).gap_since(before), None);
        // A busy machine looks late, and a calendar is adjusted by some seconds.
        assert_eq!(later(before, HOUR, Duration::ZERO, HOUR + TEN).gap_since(before), None);
    }

    #[test]
    fn sleep_is_a_gap() {
        let before = first();
        let gap = later(before, TEN, HOUR, TEN + HOUR).gap_since(before);
        let expected = Gap {
            since: before.instant,
            slept: HOUR,
            calendar_ms: 0,
        };
        assert_eq!(gap, Some(expected));
    }

    #[test]
    fn a_pause_shows_in_the_calendar_alone() {
        let before = first();
        let gap = later(before, TEN, Duration::ZERO, TEN + HOUR).gap_since(before);
        assert_eq!(
            gap.map(|gap| (gap.slept, gap.calendar_ms)),
            Some((Duration::ZERO, 3_600_000))
        );
    }

    #[test]
    fn a_calendar_that_is_set_back_is_a_gap_too() {
        let before = first();
        let mut after = later(before, TEN, Duration::ZERO, TEN);
        after.unix_ms -= 3_600_000;
        assert_eq!(after.gap_since(before).map(|gap| gap.calendar_ms), Some(-3_600_000));
    }
}
