//! How often one address may connect.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A bucket of connections for each address that connected lately: what is known of one is when it will be full again.
///
/// When there are too many buckets, the one that is full soonest is forgotten: its address connected least, and a newcomer is
/// never refused for those who connected more.
#[derive(Default)]
pub(crate) struct Throttle {
    full_at: HashMap<IpAddr, Instant>,
    soonest: BTreeSet<(Instant, IpAddr)>,
}

impl Throttle {
    /// Takes one connection out of the address's bucket, if there is one left.
    pub(crate) fn admits(&mut self, now: Instant, from: IpAddr) -> bool {
        while let Some((full_at, address)) = self.soonest.first().copied().filter(|(full_at, _)| *full_at <= now) {
            self.forget(full_at, address);
        }
        let known = self.full_at.get(&from).copied();
        if known.is_none()
            && self.full_at.len() >= MAX_BUCKETS
            && let Some((full_at, address)) = self.soonest.first().copied()
        {
            self.forget(full_at, address);
        }
        let full_at = known.unwrap_or(now).max(now) + ONE;
        if full_at.saturating_duration_since(now) > ONE * BURST {
            return false;
        }
        if let Some(known) = known {
            self.forget(known, from);
        }
        self.full_at.insert(from, full_at);
        self.soonest.insert((full_at, from));
        true
    }

    fn forget(&mut self, full_at: Instant, address: IpAddr) {
        self.full_at.remove(&address);
        self.soonest.remove(&(full_at, address));
    }
}

/// In the long run 16 connections a second: one comes back after so long.
const ONE: Duration = Duration::from_micros(62_500);
/// A rack of edges behind one address starts at once, and polls once a minute each.
const BURST: u32 = 128;
/// Addresses known at once, some 100 octets each.
const MAX_BUCKETS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> IpAddr {
        IpAddr::from(u32::try_from(number).unwrap().to_be_bytes())
    }

    #[test]
    fn an_address_that_connects_too_often_waits_and_others_do_not() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let admitted = (0..200).filter(|_| throttle.admits(now, address(1))).count();
        assert_eq!(admitted, 128);
        assert!(throttle.admits(now, address(2)));
        let second = now + Duration::from_secs(1);
        let later = (0..200).filter(|_| throttle.admits(second, address(1))).count();
        assert_eq!(later, 16);
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..1000 {
            assert!(throttle.admits(now, address(number)));
        }
        assert!(throttle.admits(now + ONE, address(1)));
        assert_eq!((throttle.full_at.len(), throttle.soonest.len()), (1, 1));
    }

    /// Strangers from everywhere do not keep a newcomer out, and one who floods is not forgotten for them.
    #[test]
    fn a_full_table_keeps_nobody_out_and_forgets_no_flood() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let greedy = address(0);
        while throttle.admits(now, greedy) {}
        for number in 1..=MAX_BUCKETS + 1000 {
            assert!(throttle.admits(now, address(number)), "{number}");
        }
        assert_eq!(
            (throttle.full_at.len(), throttle.soonest.len()),
            (MAX_BUCKETS, MAX_BUCKETS)
        );
        assert!(!throttle.admits(now, greedy));
    }
}
