//! How often one address may connect.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// A bucket of tokens for each address that connected lately.
#[derive(Default)]
pub(crate) struct Throttle {
    buckets: HashMap<IpAddr, Bucket>,
}

struct Bucket {
    /// In thousandths of a connection.
    left: u64,
    at_ms: u64,
}

impl Throttle {
    /// Takes one connection out of the address's bucket, if there is one left.
    pub(crate) fn admits(&mut self, now_ms: u64, from: IpAddr) -> bool {
        if self.buckets.len() >= MAX_BUCKETS && !self.buckets.contains_key(&from) {
            self.buckets.retain(|_, bucket| bucket.filled(now_ms) < FULL);
            if self.buckets.len() >= MAX_BUCKETS {
                return false;
            }
        }
        let bucket = self.buckets.entry(from).or_insert(Bucket {
            left: FULL,
            at_ms: now_ms,
        });
        let left = bucket.filled(now_ms);
        (bucket.left, bucket.at_ms) = (left.saturating_sub(ONE), now_ms);
        left >= ONE
    }
}

impl Bucket {
    /// What is in it by now.
    fn filled(&self, now_ms: u64) -> u64 {
        let elapsed = now_ms.saturating_sub(self.at_ms);
        elapsed.saturating_mul(PER_SECOND).saturating_add(self.left).min(FULL)
    }
}

/// What counts as one address: with IPv6 a host has a whole network of 64 bits.
pub(crate) fn origin(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

/// Thousandths: one token a millisecond is one connection a second.
const ONE: u64 = 1000;
/// A rack of edges behind one address starts at once, and polls once a minute each.
const FULL: u64 = 128 * ONE;
/// Connections a second in the long run, in thousandths a millisecond.
const PER_SECOND: u64 = 16;
/// Addresses known at once, some 40 octets each. When all have connected within seconds, newcomers wait.
const MAX_BUCKETS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_connects_too_often_waits_and_others_do_not() {
        let mut throttle = Throttle::default();
        let [busy, other] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        let admitted = (0..200).filter(|_| throttle.admits(0, busy)).count();
        assert_eq!(admitted, 128);
        assert!(throttle.admits(0, other));
        let later = (0..200).filter(|_| throttle.admits(1000, busy)).count();
        assert_eq!(later, 16);
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let mut throttle = Throttle::default();
        for host in 0..u32::try_from(MAX_BUCKETS).unwrap() {
            assert!(throttle.admits(0, IpAddr::from(host.to_be_bytes())));
        }
        let newcomer = "192.0.2.1".parse().unwrap();
        assert!(!throttle.admits(0, newcomer));
        assert!(throttle.admits(1000, newcomer));
        assert_eq!(throttle.buckets.len(), 1);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let of = |text: &str| origin(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
