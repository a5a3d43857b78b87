//! The time of the overlay: what the own clock and those of linked peers say together.
//!
//! Each peer with a link is one voice, and the own clock is one. The middle voice is the time. As long as fewer than half
//! of the clocks are wrong, the middle lies between two right ones, whatever the wrong ones say. Of an even number the
//! middle that is nearer to the own clock counts, so half of them being wrong does not mislead a right clock either.
//!
//! ```text
//!  offsets:   -9 h      0      +2 s     +3 s    +10 years        five voices: +2 s
//!             -9 h      0      +2 s             +10 years        four: 0 and +2 s are in the middle, 0 is nearer
//! ```
//!
//! Clocks that do not agree decide nothing: of two that differ, neither is known to be the right one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wire::{NodeId, Now};

/// What the clocks of linked nodes said, one entry for each link at most.
#[derive(Default)]
pub(crate) struct Clocks {
    heard: BTreeMap<NodeId, Reading>,
}

/// What a clock said at one moment. It is taken to go on from there, so a step of the own calendar does not move it.
struct Reading {
    unix_ms: u64,
    at: Instant,
}

/// What the clocks say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No other clock was heard.
    Alone,
    /// Most of them agree.
    Time(OverlayTime),
    /// They contradict each other.
    Undecided,
}

/// The time of the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OverlayTime {
    pub(crate) unix_ms: u64,
    /// The clocks that were weighed, the own one included.
    pub(crate) voices: u32,
}

impl Clocks {
    /// A node told the time over its link.
    pub(crate) fn hear(&mut self, now: Now, node: NodeId, unix_ms: u64) {
        let at = now.instant;
        self.heard.insert(node, Reading { unix_ms, at });
    }

    /// The link to a node has ended, and with it what its clock said.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.heard.remove(&node);
    }

    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.heard.contains_key(&node)
    }

    /// Weighs the own clock and those of some peers.
    pub(crate) fn verdict(&self, now: Now, peers: impl IntoIterator<Item = NodeId>) -> Verdict {
        let readings = peers.into_iter().filter_map(|peer| self.heard.get(&peer));
        let mut offsets: Vec<i128> = readings.map(|reading| reading.offset(now)).collect();
        if offsets.is_empty() {
            return Verdict::Alone;
        }
        offsets.push(0);
        let voices = offsets.len();
        let middle = middle(&mut offsets);
        let in_agreement = offsets
            .iter()
            .filter(|offset| offset.abs_diff(middle) <= CLOCKS_AGREE.as_millis());
        if in_agreement.count() * 2 <= voices {
            return Verdict::Undecided;
        }
        Verdict::Time(OverlayTime {
            unix_ms: u64::try_from(i128::from(now.unix_ms) + middle).unwrap_or(0),
            voices: u32::try_from(voices).unwrap_or(u32::MAX),
        })
    }
}

impl Reading {
    /// How far this clock is ahead of the own calendar, in milliseconds.
    fn offset(&self, now: Now) -> i128 {
        let since = now.instant.saturating_duration_since(self.at).as_millis();
        let there = i128::from(self.unix_ms) + i128::try_from(since).unwrap_or(i128::MAX / 2);
        there - i128::from(now.unix_ms)
    }
}

/// The middle one; of an even number the middle one nearer to zero. There is at least one.
fn middle(offsets: &mut [i128]) -> i128 {
    offsets.sort_unstable();
    let (below, above) = (offsets.len().saturating_sub(1) / 2, offsets.len() / 2);
    let middles = [below, above].into_iter().filter_map(|at| offsets.get(at));
    middles.copied().min_by_key(|offset| offset.unsigned_abs()).unwrap_or(0)
}

/// Voices that a large correction takes: one of three may be wrong.
pub(crate) const ENOUGH_VOICES: u32 = 3;

/// Clocks that are no further apart agree: every member may be a day off at either end (docs/deviations.md D15), and an
/// hour is left for the way. Beyond it their values are refused, so their operators have to know.
const CLOCKS_AGREE: Duration = Duration::from_secs(49 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const DAY: i64 = 24 * 3_600_000;
    const YEAR: i64 = 365 * DAY;
    /// Half of the time that right clocks are apart in these tests.
    const RIGHT: i64 = 60_000;
    const DRAWS: usize = 4000;

    fn epoch() -> Now {
        #[allow(
            clippy::disallowed_methods,
            reason = "any instant will do, there is no other way to one"
        )]
        let instant = Instant::now();
        Now {
            instant,
            unix_ms: 1_800_000_000_000,
        }
    }

    fn peer(number: usize) -> NodeId {
        NodeId::from_u128(u128::try_from(number).unwrap() + 1)
    }

    /// What a peer makes of clocks that are so far ahead of its own.
    fn verdict(now: Now, offsets: &[i64]) -> Verdict {
        let mut clocks = Clocks::default();
        for (number, offset) in offsets.iter().enumerate() {
            clocks.hear(now, peer(number), now.unix_ms.saturating_add_signed(*offset));
        }
        clocks.verdict(now, (0..offsets.len()).map(peer))
    }

    fn ahead(now: Now, verdict: Verdict) -> Option<i64> {
        match verdict {
            Verdict::Time(time) => Some(i64::try_from(time.unix_ms).unwrap() - i64::try_from(now.unix_ms).unwrap()),
            Verdict::Alone | Verdict::Undecided => None,
        }
    }

    fn between(random: &mut Random, most: i64) -> i64 {
        let span = u64::try_from(2 * most + 1).unwrap();
        i64::try_from(random.next_u64() % span).unwrap() - most
    }

    /// Some minutes, some days or some years.
    fn wrong(random: &mut Random) -> i64 {
        let most = [10 * RIGHT, 5 * DAY, 20 * YEAR][usize::try_from(random.next_u64() % 3).unwrap()];
        between(random, most)
    }

    #[test]
    fn wrong_clocks_do_not_mislead_a_right_one() {
        let now = epoch();
        let mut random = Random::new(26);
        for count in 2..=9_usize {
            let (mut misled, mut undecided) = (0, 0);
            for _ in 0..DRAWS {
                let liars = usize::try_from(random.next_u64()).unwrap_or(usize::MAX) % count.div_ceil(2);
                let own = between(&mut random, RIGHT);
                let right: Vec<i64> = (0..count - liars - 1)
                    .map(|_| between(&mut random, RIGHT) - own)
                    .collect();
                let lies: Vec<i64> = (0..liars).map(|_| wrong(&mut random)).collect();
                let all: Vec<i64> = right.iter().chain(&lies).copied().collect();
                let least = right.iter().copied().min().unwrap_or(0).min(0);
                let most = right.iter().copied().max().unwrap_or(0).max(0);
                match ahead(now, verdict(now, &all)) {
                    Some(ahead) => misled += usize::from(ahead < least || ahead > most),
                    None => undecided += 1,
                }
            }
            assert_eq!(misled, 0, "of {DRAWS} with {count} clocks");
            assert_eq!(undecided, 0, "of {DRAWS} with {count} clocks");
        }
    }

    #[test]
    fn half_of_the_clocks_do_not_mislead_a_right_one_either() {
        let now = epoch();
        let mut random = Random::new(27);
        for count in [2, 4, 6, 8] {
            for _ in 0..DRAWS {
                let lies: Vec<i64> = (0..count / 2).map(|_| wrong(&mut random)).collect();
                let right = vec![0; count / 2 - 1];
                let all: Vec<i64> = right.into_iter().chain(lies).collect();
                let ahead = ahead(now, verdict(now, &all));
                assert!(ahead.is_none_or(|ahead| ahead == 0), "{all:?}: {ahead:?}");
            }
        }
    }

    #[test]
    fn a_wrong_clock_is_told_by_two_right_ones() {
        let now = epoch();
        let expected = OverlayTime {
            unix_ms: now.unix_ms - u64::try_from(10 * YEAR).unwrap(),
            voices: 3,
        };
        assert_eq!(verdict(now, &[-10 * YEAR, -10 * YEAR]), Verdict::Time(expected));
    }

    #[test]
    fn two_clocks_that_differ_decide_nothing() {
        let now = epoch();
        assert_eq!(verdict(now, &[3 * DAY]), Verdict::Undecided);
        assert_eq!(verdict(now, &[-3 * DAY]), Verdict::Undecided);
        assert_eq!(ahead(now, verdict(now, &[DAY])), Some(0));
        assert_eq!(verdict(now, &[0, 3 * DAY, 3 * DAY]), Verdict::Undecided);
        assert_eq!(verdict(now, &[]), Verdict::Alone);
    }

    #[test]
    fn a_step_of_the_own_calendar_does_not_move_the_others() {
        let now = epoch();
        let mut clocks = Clocks::default();
        for number in 0..2 {
            clocks.hear(now, peer(number), now.unix_ms);
        }
        let stepped = Now {
            instant: now.instant + Duration::from_secs(1),
            unix_ms: now.unix_ms.saturating_add_signed(10 * YEAR),
        };
        let expected = OverlayTime {
            unix_ms: now.unix_ms + 1000,
            voices: 3,
        };
        assert_eq!(clocks.verdict(stepped, (0..2).map(peer)), Verdict::Time(expected));
    }

    #[test]
    fn only_peers_with_a_link_have_a_voice() {
        let now = epoch();
        let mut clocks = Clocks::default();
        for number in 0..5 {
            clocks.hear(now, peer(number), now.unix_ms + 3_600_000);
        }
        clocks.forget(peer(0));
        let verdict = clocks.verdict(now, [peer(0), peer(1)]);
        assert!(matches!(verdict, Verdict::Time(OverlayTime { voices: 2, .. })));
    }
}
