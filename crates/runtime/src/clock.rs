//! The clock that lifetimes are counted by.
//!
//! A lifetime is a duration (RFC 3261 §10.3, §20.19): a registration, a nonce or a route ends when so much time has passed,
//! whatever the calendar says. The calendar is set by people and by other machines, in both directions, and the system's
//! monotonic clock stands still while the machine sleeps. The *boot-time* clock does neither, and everything that ends is
//! counted by it. The calendar is read where a moment has to be named to others: in a Date, a storage time, a certificate.
//!
//! Its readings are [`Instant`]s, so that they can be used like those of the monotonic clock: the same at the start of the
//! process, and ahead of them by the time that the machine has slept since. The two must not be mixed: what is given to a
//! core, and waited for with [`sleep_until`], comes from [`now`].

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) monotonic: Instant,
    pub(crate) since_boot: Duration,
}

impl Reading {
    pub(crate) fn take() -> Self {
        let monotonic = Instant::now();
        // Linux has had it since 2.6.39. A system without it counts on while it is awake.
        let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
        Self {
            monotonic,
            since_boot: since_boot.unwrap_or_else(|_| monotonic.saturating_duration_since(start().monotonic)),
        }
    }

    /// This moment as an instant that has not stood still since the start.
    fn instant(self, start: Self) -> Instant {
        start.monotonic + self.since_boot.saturating_sub(start.since_boot)
    }

    /// The moment on this clock that an instant of the monotonic clock stands for.
    fn translated(self, start: Self, monotonic: Instant) -> Instant {
        let now = self.instant(start);
        match monotonic.checked_duration_since(self.monotonic) {
            Some(ahead) => now + ahead,
            None => now.checked_sub(self.monotonic - monotonic).unwrap_or(start.monotonic),
        }
    }
}

/// Reads the clock.
#[must_use]
pub fn now() -> Instant {
    Reading::take().instant(start())
}

/// Says how long this process had run at a moment of this clock.
#[must_use]
pub fn uptime(at: Instant) -> Duration {
    at.saturating_duration_since(start().monotonic)
}

/// Gives the moment of this clock for one of the monotonic clock, such as the deadline of a call.
#[must_use]
pub fn of_monotonic(instant: Instant) -> Instant {
    Reading::take().translated(start(), instant)
}

/// Reads the calendar: milliseconds since 1970-01-01 UTC.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Waits until a moment of this clock. Timers of the runtime stand still with the machine, so the clock is looked at now and
/// then: what has ended during a sleep is noticed soon after it.
///
/// # Cancel safety
/// Nothing is lost.
pub async fn sleep_until(wake: Instant) {
    loop {
        let left = wake.saturating_duration_since(now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

/// Waits for so long on this clock.
///
/// # Cancel safety
/// Nothing is lost.
pub async fn sleep(duration: Duration) {
    // As far away as anything is waited for, if it is too far to be said.
    let wake = now().checked_add(duration);
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

fn start() -> Reading {
    static START: OnceLock<Reading> = OnceLock::new();
    *START.get_or_init(|| Reading {
        monotonic: Instant::now(),
        since_boot: clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from),
    })
}

/// The longest that a machine is awake again without notice.
const LOOK: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);

    fn awake_since() -> Reading {
        Reading {
            monotonic: Instant::now(),
            since_boot: 5 * HOUR,
        }
    }

    /// So much time has passed, a part of it asleep.
    fn later(start: Reading, awake: Duration, asleep: Duration) -> Reading {
        Reading {
            monotonic: start.monotonic + awake,
            since_boot: start.since_boot + awake + asleep,
        }
    }

    #[test]
    fn it_runs_like_the_monotonic_clock_while_the_machine_is_awake() {
        let start = awake_since();
        let reading = later(start, HOUR, Duration::ZERO);
        assert_eq!(reading.instant(start), reading.monotonic);
    }

    #[test]
    fn it_runs_on_while_the_machine_sleeps() {
        let start = awake_since();
        let reading = later(start, MINUTE, HOUR);
        assert_eq!(reading.instant(start), start.monotonic + MINUTE + HOUR);
        // A lifetime of ten minutes that began before the sleep is over.
        assert!(reading.instant(start) > start.monotonic + 10 * MINUTE);
    }

    #[test]
    fn deadlines_of_the_monotonic_clock_keep_their_distance() {
        let start = awake_since();
        let reading = later(start, MINUTE, HOUR);
        let deadline = reading.monotonic + MINUTE;
        assert_eq!(reading.translated(start, deadline), reading.instant(start) + MINUTE);
        let missed = reading.monotonic - MINUTE;
        assert_eq!(reading.translated(start, missed), reading.instant(start) - MINUTE);
    }

    #[test]
    fn a_process_reads_it_and_never_backwards() {
        let before = now();
        assert!(uptime(before) <= uptime(now()));
        assert!(of_monotonic(Instant::now()) >= before);
    }

    #[tokio::test]
    async fn what_is_over_is_not_waited_for_and_a_moment_is() {
        sleep_until(now()).await;
        let begin = now();
        sleep(Duration::from_millis(20)).await;
        assert!(now().saturating_duration_since(begin) >= Duration::from_millis(20));
    }
}
