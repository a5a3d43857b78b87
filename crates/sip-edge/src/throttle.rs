//! How many look-ups one address may cause, by names that are not known here and passwords that do not fit: a flood of REGISTERs must not become a
//! flood in the overlay.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Look-ups that an address may cause at once: a site behind one address whose phones all come back after a power cut.
const BURST: u32 = 1000;
/// One look-up more after each of these.
const INTERVAL: Duration = Duration::from_millis(5);
/// Addresses watched at most; beyond it those that have done nothing for long are forgotten, and an unwatched address is let through.
const ADDRESSES: usize = 20_000;

/// One bucket for each address.
#[derive(Debug, Default)]
pub(crate) struct Throttle(BTreeMap<IpAddr, Bucket>);

#[derive(Debug)]
struct Bucket {
    used: u32,
    at: Instant,
}

impl Throttle {
    /// Says whether `address` may cause one more look-up, and counts it.
    pub(crate) fn allows(&mut self, now: Instant, address: IpAddr) -> bool {
        if self.0.len() >= ADDRESSES && !self.0.contains_key(&address) {
            self.0.retain(|_, bucket| bucket.used_at(now) > 0);
            if self.0.len() >= ADDRESSES {
                return true;
            }
        }
        let bucket = self.0.entry(address).or_insert(Bucket { used: 0, at: now });
        *bucket = Bucket {
            used: bucket.used_at(now),
            at: now,
        };
        let allows = bucket.used < BURST;
        bucket.used += u32::from(allows);
        allows
    }
}

impl Bucket {
    fn used_at(&self, now: Instant) -> u32 {
        let regained = now.saturating_duration_since(self.at).as_millis() / INTERVAL.as_millis();
        self.used.saturating_sub(u32::try_from(regained).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_the_rate_and_forgiven_with_time() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let flood = "192.0.2.1".parse().unwrap();
        assert_eq!(
            (0..2 * BURST).filter(|_| throttle.allows(now, flood)).count(),
            BURST as usize
        );
        assert!(throttle.allows(now, "192.0.2.2".parse().unwrap()));
        let later = now + INTERVAL * 10;
        assert_eq!((0..20).filter(|_| throttle.allows(later, flood)).count(), 10);
    }
}
