//! Who stays connected when there are more callers than places.
//!
//! Anybody may connect, and a connection that says nothing costs its maker nothing. So nobody is refused: when an address has its
//! share, or all places are taken, the oldest connection of the address with the most gives its place to the newcomer. An honest
//! one needs its place for as long as a handshake and a request take.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// Connections, in the order of their arrival, each with what ends it.
pub(crate) struct Places<T> {
    open: BTreeMap<u64, (IpAddr, T)>,
    by_origin: HashMap<IpAddr, BTreeSet<u64>>,
    next: u64,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self {
            open: BTreeMap::new(),
            by_origin: HashMap::new(),
            next: 0,
        }
    }
}

impl<T> Places<T> {
    /// Gives a place to a new connection; returns the one that has to end for it.
    pub(crate) fn take(&mut self, origin: IpAddr, connection: T) -> Option<T> {
        let number_of_origin = self.by_origin.get(&origin).map_or(0, BTreeSet::len);
        let gives_way = if number_of_origin >= OF_ONE_ORIGIN {
            self.oldest_of(origin)
        } else if self.open.len() >= MAX_CONNECTIONS {
            self.oldest_of_the_greediest()
        } else {
            None
        };
        let ended = gives_way.and_then(|oldest| self.leave(oldest));
        self.open.insert(self.next, (origin, connection));
        self.by_origin.entry(origin).or_default().insert(self.next);
        self.next += 1;
        ended
    }

    /// Frees the place of the connection that has ended, unless it had to give way before.
    pub(crate) fn free(&mut self, is_it: impl Fn(&T) -> bool) {
        let ended = self.open.iter().find(|(_, (_, connection))| is_it(connection));
        if let Some(number) = ended.map(|(number, _)| *number) {
            self.leave(number);
        }
    }

    fn leave(&mut self, number: u64) -> Option<T> {
        let (origin, connection) = self.open.remove(&number)?;
        if let Some(of_origin) = self.by_origin.get_mut(&origin) {
            of_origin.remove(&number);
            if of_origin.is_empty() {
                self.by_origin.remove(&origin);
            }
        }
        Some(connection)
    }

    fn oldest_of(&self, origin: IpAddr) -> Option<u64> {
        self.by_origin.get(&origin)?.first().copied()
    }

    fn oldest_of_the_greediest(&self) -> Option<u64> {
        let most = self.by_origin.values().map(BTreeSet::len).max()?;
        let greediest = self.by_origin.values().filter(|of_origin| of_origin.len() == most);
        greediest.filter_map(BTreeSet::first).min().copied()
    }
}

/// Connections at once, some 30 KiB each.
const MAX_CONNECTIONS: usize = 512;
/// Of these, from one address: as many as it may make at once, so that a rack of edges that starts takes no place from itself.
const OF_ONE_ORIGIN: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> IpAddr {
        IpAddr::from(u32::try_from(number).unwrap().to_be_bytes())
    }

    #[test]
    fn an_address_has_its_share_and_its_oldest_gives_way() {
        let mut places = Places::default();
        for number in 0..OF_ONE_ORIGIN {
            assert_eq!(places.take(address(1), number), None);
        }
        assert_eq!(places.take(address(2), 999), None);
        assert_eq!(places.take(address(1), 1000), Some(0));
        places.free(|number| *number == 1);
        assert_eq!(places.take(address(1), 1001), None);
        assert_eq!(places.take(address(1), 1002), Some(2));
    }

    #[test]
    fn strangers_in_all_places_keep_nobody_out() {
        let mut places = Places::default();
        for number in 0..MAX_CONNECTIONS {
            // One has two thirds of its share, the others have a connection each.
            let origin = if number % 6 == 5 { 0 } else { number + 1 };
            assert_eq!(places.take(address(origin), number), None);
        }
        let honest = address(1_000_000);
        assert_eq!(places.take(honest, 5000), Some(5));
        assert_eq!(places.take(honest, 5001), Some(11));
        // All have one: the oldest of all goes, which has had the longest time.
        let mut places = Places::default();
        for number in 0..MAX_CONNECTIONS {
            assert_eq!(places.take(address(number), number), None);
        }
        assert_eq!(places.take(honest, 5000), Some(0));
        assert_eq!(places.open.len(), MAX_CONNECTIONS);
    }

    #[test]
    fn a_place_is_free_once_and_leaves_nothing_behind() {
        let mut places = Places::default();
        places.take(address(1), 1);
        places.free(|number| *number == 1);
        places.free(|number| *number == 1);
        assert!(places.open.is_empty() && places.by_origin.is_empty());
    }
}
