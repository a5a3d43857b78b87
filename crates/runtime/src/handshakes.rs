//! Handshakes of connections that came in: many at a time, and nobody keeps the others out.
//!
//! Until a handshake is done nothing is known of the far end but its address, so addresses share the places. Where one has
//! used up its share, its own oldest handshake makes room; where all places are taken, the oldest of the address that has most.
//! A newcomer is never refused: a handshake that means it takes a few round trips, one that only occupies a place lasts until its
//! time is over. Addresses that are known from before have places of their own, which no number of strangers takes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};

use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, error};

/// Handshakes in progress, whose outcomes are `T`.
#[derive(Debug)]
pub struct Handshakes<T> {
    tasks: JoinSet<T>,
    /// The oldest first.
    open: VecDeque<Open>,
    known: HashSet<IpAddr>,
}

#[derive(Debug)]
struct Open {
    site: IpAddr,
    is_known: bool,
    task: AbortHandle,
}

impl<T> Default for Handshakes<T> {
    fn default() -> Self {
        Self {
            tasks: JoinSet::new(),
            open: VecDeque::new(),
            known: HashSet::new(),
        }
    }
}

impl<T: Send + 'static> Handshakes<T> {
    /// Names the addresses that are known from before.
    pub fn know(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.known = addresses.into_iter().map(site).collect();
    }

    /// Begins a handshake with `remote`. It should end by itself after a few seconds.
    pub fn begin(&mut self, remote: IpAddr, handshake: impl Future<Output = T> + Send + 'static) {
        let site = site(remote);
        let is_known = self.known.contains(&site);
        if let Some(given_up) = self.gives_way(site, is_known).and_then(|index| self.open.remove(index)) {
            debug!(address = %given_up.site, "handshake given up for a newer one");
            given_up.task.abort();
        }
        let task = self.tasks.spawn(handshake);
        self.open.push_back(Open { site, is_known, task });
    }

    /// The outcome of the next handshake that ends; waits while there is none.
    ///
    /// # Cancel safety
    /// Nothing is lost if it is dropped.
    pub async fn next(&mut self) -> T {
        loop {
            let (id, outcome) = match self.tasks.join_next_with_id().await {
                Some(Ok((id, outcome))) => (id, Some(outcome)),
                Some(Err(failed)) => {
                    if failed.is_panic() {
                        error!(error = %failed, "handshake panicked");
                    }
                    (failed.id(), None)
                }
                None => std::future::pending().await,
            };
            self.open.retain(|open| open.task.id() != id);
            if let Some(outcome) = outcome {
                return outcome;
            }
        }
    }

    /// Which handshake makes room for one more with a site, of those that share the places.
    fn gives_way(&self, site: IpAddr, is_known: bool) -> Option<usize> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for open in self.open.iter().filter(|open| open.is_known == is_known) {
            *counts.entry(open.site).or_default() += 1;
        }
        let of_site = counts.get(&site).copied().unwrap_or_default();
        let (most, places) = (counts.values().copied().max()?, counts.values().sum::<usize>());
        let has_its_share = of_site >= MOST_OF_ONE;
        if !has_its_share && places < if is_known { MOST_OF_KNOWN } else { MOST } {
            return None;
        }
        let is_it = |open: &Open| {
            let count = counts.get(&open.site).copied();
            open.is_known == is_known
                && if has_its_share {
                    open.site == site
                } else {
                    count == Some(most)
                }
        };
        self.open.iter().position(is_it)
    }
}

/// The address that counts: with IPv6 the /64 that one host can choose its addresses from.
#[must_use]
pub fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// Handshakes at a time: 85 strangers a second who say nothing for 3 s each.
const MOST: usize = 256;

/// Of these, with one address: enough for honest nodes behind one translator, and beside a stranger there.
const MOST_OF_ONE: usize = 64;

/// Handshakes at a time with addresses that are known from before: all neighbours of a peer come back at once.
const MOST_OF_KNOWN: usize = 32;

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    #[tokio::test]
    async fn one_address_takes_no_place_from_others() {
        let mut handshakes = Handshakes::default();
        handshakes.begin(address(1), pending::<u32>());
        for _ in 0..1000 {
            handshakes.begin(address(2), pending());
        }
        assert_eq!(handshakes.open.len(), 1 + MOST_OF_ONE);
        assert_eq!(handshakes.open.front().map(|open| open.site), Some(address(1)));
    }

    #[tokio::test]
    async fn the_greediest_address_makes_room_when_all_places_are_taken() {
        let mut handshakes = Handshakes::default();
        handshakes.begin(address(1), pending::<u32>());
        for n in 0..1000 {
            handshakes.begin(address(2 + n % 100), pending());
        }
        assert_eq!(handshakes.open.len(), MOST);
        assert_eq!(handshakes.open.front().map(|open| open.site), Some(address(1)));
        handshakes.begin(address(500), ready(7));
        assert_eq!(handshakes.next().await, 7);
        assert!(handshakes.open.iter().all(|open| open.site != address(500)));
    }

    #[tokio::test]
    async fn strangers_from_everywhere_take_no_place_of_those_that_are_known() {
        let mut handshakes = Handshakes::default();
        handshakes.know([address(1)]);
        handshakes.begin(address(1), pending::<u32>());
        for n in 0..1000 {
            handshakes.begin(address(2 + n), pending());
        }
        assert_eq!(handshakes.open.len(), 1 + MOST);
        assert_eq!(handshakes.open.front().map(|open| open.site), Some(address(1)));
        for _ in 0..100 {
            handshakes.begin(address(1), pending());
        }
        assert_eq!(handshakes.open.len(), MOST_OF_KNOWN + MOST);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let of = |text: &str| site(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
