//! Handshakes of connections that came in: many at a time, and nobody keeps the others out.
//!
//! Until a handshake is done nothing is known of the far end but its address, so addresses share the places. Where one has
//! used up its share, its own oldest handshake makes room; where all places are taken, the oldest of the address that has most.
//! A newcomer is never refused: a handshake that means it takes a few round trips, one that only occupies a place lasts until its
//! time is over.

use std::collections::{HashMap, VecDeque};
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
}

#[derive(Debug)]
struct Open {
    site: IpAddr,
    task: AbortHandle,
}

impl<T> Default for Handshakes<T> {
    fn default() -> Self {
        Self {
            tasks: JoinSet::new(),
            open: VecDeque::new(),
        }
    }
}

impl<T: Send + 'static> Handshakes<T> {
    /// Begins a handshake with `remote`. It should end by itself after a few seconds.
    pub fn begin(&mut self, remote: IpAddr, handshake: impl Future<Output = T> + Send + 'static) {
        let site = site(remote);
        if let Some(given_up) = self.gives_way(site).and_then(|index| self.open.remove(index)) {
            debug!(address = %given_up.site, "handshake given up for a newer one");
            given_up.task.abort();
        }
        let task = self.tasks.spawn(handshake);
        self.open.push_back(Open { site, task });
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

    /// Which handshake makes room for one more with a site.
    fn gives_way(&self, site: IpAddr) -> Option<usize> {
        let oldest_of = |site: IpAddr| self.open.iter().position(|open| open.site == site);
        if self.open.iter().filter(|open| open.site == site).count() >= MOST_OF_ONE {
            return oldest_of(site);
        }
        if self.open.len() < MOST {
            return None;
        }
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for open in &self.open {
            *counts.entry(open.site).or_default() += 1;
        }
        let most = counts.values().max()?;
        self.open.iter().position(|open| counts.get(&open.site) == Some(most))
    }
}

/// What counts as one address: with IPv6 the /64 that one host can choose its addresses from.
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

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let of = |text: &str| site(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
