//! The store's own time.
//!
//! Values age in milliseconds that the store counts itself: by the monotonic clock while it runs, and across a restart by
//! what the calendar says has passed. A step of the calendar in a running process, or a board that forgets the date, then
//! neither kills nor revives a value.
//!
//! The calendar at a start may be wrong, so how long the store was down is *in doubt* until the overlay has said it, or a
//! day of running has passed. Until then what has ended by the own time is hidden and not deleted, and the own time may
//! be corrected in both directions.
//!
//! ```text
//!  start --> in doubt --[word of three clocks, or 24 h]--> agreed: what has ended is deleted; no more corrections
//!            a correction of more than 49 h to a longer downtime takes three clocks; to a shorter one, any
//! ```

use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::{Decode, DecodeError, Encode, Now, Reader, Writer};

use crate::{check::CLOCK_SLACK, correction::Correction};

/// The own time, and what is needed to continue it after a restart.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// Own time at `instant`.
    own_ms: u64,
    instant: Instant,
    /// What three clocks or more said last, as long as the own time has gone on from there without a guess.
    agreed: Option<Mark>,
    doubt: Option<Doubt>,
}

/// Two times of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    unix_ms: u64,
    own_ms: u64,
}

/// For how long the store was down is not known for certain.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    since: Instant,
    /// What this host's calendar showed before the first downtime that is in doubt.
    calendar: Mark,
}

/// A clock on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    own_ms: u64,
    unix_ms: u64,
    agreed: Option<Mark>,
    /// The calendar before what was in doubt.
    doubted: Option<Mark>,
}

impl Clock {
    pub(crate) fn start(now: Now, saved: Option<Saved>) -> Self {
        let instant = now.instant;
        // A new store counts from the calendar, so that its own time can stand in for a calendar that was lost. It holds
        // nothing that could have ended.
        let Some(saved) = saved else {
            return Self {
                own_ms: now.unix_ms,
                instant,
                agreed: None,
                doubt: None,
            };
        };
        let calendar = Mark {
            unix_ms: saved.unix_ms,
            own_ms: saved.own_ms,
        };
        Self {
            own_ms: calendar.continued(now.unix_ms),
            instant,
            agreed: saved.agreed,
            doubt: Some(Doubt {
                since: instant,
                calendar: saved.doubted.unwrap_or(calendar),
            }),
        }
    }

    pub(crate) fn own_ms(&self, now: Now) -> u64 {
        self.own_ms
            .saturating_add(milliseconds(now.instant.saturating_duration_since(self.instant)))
    }

    /// Whether what has ended is to be hidden only.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// This process was stopped for a while since then, and did not notice for how long: the overlay has to say it.
    pub(crate) fn doubt_again(&mut self, now: Now, since: Instant) {
        if self.is_in_doubt() {
            return;
        }
        self.own_ms = self.own_ms(Now { instant: since, ..now });
        self.instant = since;
        // From here on the calendar says nothing about the gap. It may only have been set.
        let calendar = Mark {
            unix_ms: now.unix_ms,
            own_ms: self.own_ms(now),
        };
        let since = now.instant;
        self.doubt = Some(Doubt { since, calendar });
    }

    /// Takes the time of the overlay, or, as the only voice, what the own calendar shows now.
    pub(crate) fn hear(&mut self, now: Now, unix_ms: u64, voices: u32) -> Correction {
        let is_agreed = voices >= ENOUGH_VOICES;
        let agreed = self.agreed.filter(|_| is_agreed);
        let by = self.doubt.map_or(0, |doubt| {
            let said = agreed.unwrap_or(doubt.calendar).continued(unix_ms);
            let by = i128::from(said) - i128::from(self.own_ms(now));
            let by = i64::try_from(by).unwrap_or(0);
            match by.unsigned_abs() {
                off if off <= milliseconds(TOLERANCE) => 0,
                // The shorter downtime counts: a value that is kept too long does little harm.
                off if off > milliseconds(CLOCK_SLACK) && agreed.is_none() => by.min(0),
                _ => by,
            }
        });
        let since_ms = self.own_ms;
        self.own_ms = self.own_ms.saturating_add_signed(by);
        if is_agreed {
            self.doubt = None;
            let own_ms = self.own_ms(now);
            self.agreed = Some(Mark { unix_ms, own_ms });
        }
        Correction { by, since_ms }
    }

    /// Ends the doubt when so much time has passed that nobody will say more. Tells whether it has ended now.
    pub(crate) fn give_up_doubt(&mut self, now: Now) -> bool {
        let is_over = self.doubt.is_some_and(|doubt| doubt.since + DOUBT <= now.instant);
        if is_over {
            self.doubt = None;
            self.agreed = None;
        }
        is_over
    }

    pub(crate) fn save(&self, now: Now) -> Saved {
        Saved {
            own_ms: self.own_ms(now),
            unix_ms: now.unix_ms,
            agreed: self.agreed,
            doubted: self.doubt.map(|doubt| doubt.calendar),
        }
    }
}

impl Mark {
    /// The own time when the calendar shows that.
    fn continued(self, unix_ms: u64) -> u64 {
        self.own_ms.saturating_add(unix_ms.saturating_sub(self.unix_ms))
    }
}

impl Saved {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::new();
        self.own_ms.encode(&mut out);
        self.unix_ms.encode(&mut out);
        let flag = |mark: Option<Mark>, flag: u8| mark.map_or(0, |_| flag);
        (flag(self.agreed, AGREED) | flag(self.doubted, DOUBTED)).encode(&mut out);
        for mark in [self.agreed, self.doubted].into_iter().flatten() {
            mark.unix_ms.encode(&mut out);
            mark.own_ms.encode(&mut out);
        }
        out.into_bytes()
    }

    pub(crate) fn decode(octets: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(octets);
        let own_ms = u64::decode(&mut reader)?;
        let unix_ms = u64::decode(&mut reader)?;
        let mark = |reader: &mut Reader<'_>| {
            let (unix_ms, own_ms) = (u64::decode(reader)?, u64::decode(reader)?);
            Ok(Mark { unix_ms, own_ms })
        };
        let mut saved = Self {
            own_ms,
            unix_ms,
            agreed: None,
            doubted: None,
        };
        match reader.left() {
            // The first versions wrote no flags, and a mark that a single clock may have stood behind.
            0 => {}
            A_MARK => drop(mark(&mut reader)?),
            _ => {
                let flags = u8::decode(&mut reader)?;
                saved.agreed = (flags & AGREED != 0).then(|| mark(&mut reader)).transpose()?;
                saved.doubted = (flags & DOUBTED != 0).then(|| mark(&mut reader)).transpose()?;
            }
        }
        reader.finish()?;
        Ok(saved)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Which marks follow on the disk.
const AGREED: u8 = 1;
const DOUBTED: u8 = 2;

/// Octets of a mark.
const A_MARK: usize = 16;

/// Clocks that it takes to know the time, the own one included: one of three may be wrong.
const ENOUGH_VOICES: u32 = 3;

/// After so long a store that hears no other clock believes its own calendar.
const DOUBT: Duration = Duration::from_secs(24 * 3600);

/// Differences that are not worth writing each value anew.
const TOLERANCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const HOUR_MS: u64 = 3_600_000;
    const YEARS_MS: u64 = 10 * 365 * 24 * HOUR_MS;

    fn at(instant: Instant, unix_ms: u64) -> Now {
        Now { instant, unix_ms }
    }

    fn epoch() -> Now {
        #[allow(
            clippy::disallowed_methods,
            reason = "any instant will do, there is no other way to one"
        )]
        at(Instant::now(), 1_000_000 * HOUR_MS)
    }

    /// A clock that three voices have set, as it is on the disk.
    fn agreed(start: Now) -> Saved {
        let mut clock = Clock::start(start, None);
        clock.hear(start, start.unix_ms + 5, 3);
        Saved::decode(&clock.save(start).encode()).unwrap()
    }

    /// How long the store was down, in hours, as the clock sees it.
    fn down(clock: &Clock, start: Now, again: Now) -> u64 {
        (clock.own_ms(again) - start.unix_ms + HOUR_MS / 2) / HOUR_MS
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
        let clock = Clock::start(again, Some(saved));
        assert_eq!(clock.own_ms(again), start.unix_ms + 2 * HOUR_MS);
        assert!(clock.is_in_doubt());
    }

    #[test]
    fn downtime_is_what_the_overlay_says_if_the_calendar_was_lost() {
        let start = epoch();
        let again = at(start.instant, 0);
        let mut clock = Clock::start(again, Some(agreed(start)));
        assert_eq!(down(&clock, start, again), 0);
        let word = start.unix_ms + 5 + 300 * HOUR_MS;
        assert_eq!(clock.hear(again, word, 3).by, i64::try_from(300 * HOUR_MS).unwrap());
        assert_eq!(down(&clock, start, again), 300);
        clock.hear(again, start.unix_ms + 900 * HOUR_MS, 3);
        assert_eq!(
            down(&clock, start, again),
            300,
            "only the first word after a restart counts"
        );
    }

    #[test]
    fn a_calendar_that_is_years_ahead_is_corrected_by_three_clocks() {
        let start = epoch();
        let again = at(start.instant, start.unix_ms + YEARS_MS);
        let mut clock = Clock::start(again, Some(agreed(start)));
        assert!(clock.is_in_doubt());
        clock.hear(again, start.unix_ms + 2 * HOUR_MS, 3);
        assert_eq!((down(&clock, start, again), clock.is_in_doubt()), (2, false));
    }

    #[test]
    fn fewer_than_three_clocks_make_a_downtime_shorter_only() {
        let start = epoch();
        let again = start.plus(HOUR);
        let mut clock = Clock::start(again, Some(agreed(start)));
        clock.hear(again, again.unix_ms + YEARS_MS, 2);
        assert_eq!((down(&clock, start, again), clock.is_in_doubt()), (1, true));
        clock.hear(again, again.unix_ms + 4 * HOUR_MS, 2);
        assert_eq!(down(&clock, start, again), 5, "a small correction is believed");
        clock.hear(again, again.unix_ms, 1);
        assert_eq!(down(&clock, start, again), 1, "and taken back");

        let ahead = at(start.instant, start.unix_ms + YEARS_MS);
        let mut clock = Clock::start(ahead, Some(agreed(start)));
        clock.hear(ahead, start.unix_ms + 2 * HOUR_MS, 2);
        assert_eq!((down(&clock, start, ahead), clock.is_in_doubt()), (2, true));
    }

    #[test]
    fn a_downtime_of_before_stays_in_doubt_until_it_is_agreed_on() {
        let start = epoch();
        let ahead = at(start.instant, start.unix_ms + YEARS_MS);
        let first = Clock::start(ahead, Some(agreed(start)));
        let saved = Saved::decode(&first.save(ahead).encode()).unwrap();
        let again = at(start.instant, start.unix_ms + YEARS_MS + HOUR_MS);
        let mut clock = Clock::start(again, Some(saved));
        clock.hear(again, start.unix_ms + 2 * HOUR_MS, 3);
        assert_eq!((down(&clock, start, again), clock.is_in_doubt()), (2, false));
    }

    #[test]
    fn nobody_is_waited_for_longer_than_a_day() {
        let start = epoch();
        let mut clock = Clock::start(start, Some(agreed(start)));
        assert!(!clock.give_up_doubt(start.plus(HOUR * 23)) && clock.is_in_doubt());
        assert!(clock.give_up_doubt(start.plus(HOUR * 24)) && !clock.is_in_doubt());
        assert!(!clock.give_up_doubt(start.plus(HOUR * 25)), "it is said once");
    }

    #[test]
    fn clocks_of_the_first_versions_are_read() {
        let first = Saved::decode(&Bytes::from(
            wire::hex::decode("00000000000000070000000000000009").unwrap(),
        ));
        let plain = Saved {
            own_ms: 7,
            unix_ms: 9,
            agreed: None,
            doubted: None,
        };
        assert_eq!(first, Ok(plain));
        let octets = wire::hex::decode("0000000000000007000000000000000900000000000000050000000000000003").unwrap();
        assert_eq!(Saved::decode(&Bytes::from(octets)), Ok(plain));
    }
}
