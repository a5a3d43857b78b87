//! Which TCP connections of phones may stay: a pure table.
//!
//! A connection is *held* while it carries something: a registration, a transaction under way, a call that stands. Connections that
//! are not held are cheap to make, so each address has few places for them, and the oldest of them makes room for a new one. A
//! held connection never does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use runtime::site;
use sip_core::flow::ConnectionId;

/// Connections of phones at most; further ones are closed at once. Phones then try again, or another edge.
const MOST: usize = 8192;
/// From here on each new connection takes the place of the oldest one that is not held.
const CROWDED: usize = MOST / 4 * 3;
/// Connections of one site that are not held.
const OF_ONE_SITE: usize = 16;
/// A connection that is not held and brings nothing ends after so long.
const IDLE: Duration = Duration::from_secs(120);

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Places {
    table: BTreeMap<ConnectionId, Place>,
    /// Those that are not held, the oldest first: numbers rise.
    free: BTreeSet<ConnectionId>,
    sites: BTreeMap<IpAddr, BTreeSet<ConnectionId>>,
}

#[derive(Debug)]
struct Place {
    site: IpAddr,
    heard: Instant,
    is_held: bool,
}

/// No place is left, and none can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Places {
    /// Gives a place to a new connection; returns the one that has to end for it. `is_scarce` says that this process has few
    /// descriptors left.
    ///
    /// # Errors
    /// When every place is held.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        id: ConnectionId,
        remote: IpAddr,
        is_scarce: bool,
    ) -> Result<Option<ConnectionId>, Full> {
        let site = site(remote);
        let of_site = self.sites.get(&site);
        let gives_way = match of_site {
            Some(of_site) if of_site.len() >= OF_ONE_SITE => of_site.first().copied(),
            _ if is_scarce || self.table.len() >= CROWDED => self.free.first().copied(),
            _ => None,
        };
        if gives_way.is_none() && (is_scarce || self.table.len() >= MOST) {
            return Err(Full);
        }
        if let Some(oldest) = gives_way {
            self.leave(oldest);
        }
        let place = Place {
            site,
            heard: now,
            is_held: false,
        };
        self.table.insert(id, place);
        self.free.insert(id);
        self.sites.entry(site).or_default().insert(id);
        Ok(gives_way)
    }

    /// Frees the place of a connection that has ended.
    pub(crate) fn leave(&mut self, id: ConnectionId) {
        if let Some(place) = self.table.remove(&id) {
            self.unlist(id, place.site);
        }
    }

    /// Notes that something came or went on a connection.
    pub(crate) fn heard(&mut self, now: Instant, id: ConnectionId) {
        if let Some(place) = self.table.get_mut(&id) {
            place.heard = now;
        }
    }

    /// Notes that a connection is held from now on.
    pub(crate) fn hold(&mut self, id: ConnectionId) {
        let Some(place) = self.table.get_mut(&id).filter(|place| !place.is_held) else {
            return;
        };
        place.is_held = true;
        let site = place.site;
        self.unlist(id, site);
    }

    /// Whether a connection is held.
    pub(crate) fn is_held(&self, id: ConnectionId) -> bool {
        self.table.get(&id).is_some_and(|place| place.is_held)
    }

    /// Looks at all connections anew; returns those that have been idle for too long, which have left by then.
    pub(crate) fn review(&mut self, now: Instant, is_held: impl Fn(ConnectionId) -> bool) -> Vec<ConnectionId> {
        let mut idle = Vec::new();
        for (id, place) in &mut self.table {
            let was_held = std::mem::replace(&mut place.is_held, is_held(*id));
            match (was_held, place.is_held) {
                (false, true) => {
                    self.free.remove(id);
                    remove_from(&mut self.sites, place.site, *id);
                }
                (true, false) => {
                    self.free.insert(*id);
                    self.sites.entry(place.site).or_default().insert(*id);
                }
                _ => {}
            }
            if place.is_held {
                place.heard = now;
            } else if now.saturating_duration_since(place.heard) >= IDLE {
                idle.push(*id);
            }
        }
        for id in &idle {
            self.leave(*id);
        }
        idle
    }

    fn unlist(&mut self, id: ConnectionId, site: IpAddr) {
        self.free.remove(&id);
        remove_from(&mut self.sites, site, id);
    }
}

fn remove_from(sites: &mut BTreeMap<IpAddr, BTreeSet<ConnectionId>>, site: IpAddr, id: ConnectionId) {
    if let Some(of_site) = sites.get_mut(&site) {
        of_site.remove(&id);
        if of_site.is_empty() {
            sites.remove(&site);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + number).to_be_bytes())
    }

    #[test]
    fn one_site_has_sixteen_places_and_its_oldest_gives_way() {
        let (mut places, now) = (Places::default(), Instant::now());
        for id in 0..16 {
            assert_eq!(places.take(now, ConnectionId(id), address(1), false), Ok(None));
        }
        places.hold(ConnectionId(0));
        assert_eq!(places.take(now, ConnectionId(16), address(1), false), Ok(None));
        assert_eq!(
            places.take(now, ConnectionId(17), address(1), false),
            Ok(Some(ConnectionId(1)))
        );
        assert_eq!(places.take(now, ConnectionId(18), address(2), false), Ok(None));
    }

    #[test]
    fn a_prefix_of_ipv6_is_one_site() {
        let same = ["2001:db8::1", "2001:db8::ffff:1"].map(|text| site(text.parse().unwrap()));
        assert_eq!(same[0], same[1]);
        assert_ne!(same[0], site("2001:db8:0:1::1".parse().unwrap()));
        assert_eq!(site("::ffff:10.0.0.1".parse().unwrap()), address(1));
    }

    #[test]
    fn in_a_crowd_the_oldest_that_is_not_held_gives_way() {
        let (mut places, now) = (Places::default(), Instant::now());
        for id in 0..CROWDED {
            let id = u32::try_from(id).unwrap();
            assert_eq!(places.take(now, ConnectionId(id.into()), address(id), false), Ok(None));
        }
        places.hold(ConnectionId(0));
        let next = ConnectionId(CROWDED as u64);
        assert_eq!(
            places.take(now, next, address(99_999), false),
            Ok(Some(ConnectionId(1)))
        );
        assert!(places.is_held(ConnectionId(0)));
    }

    #[test]
    fn when_every_place_is_held_a_new_one_is_refused() {
        let (mut places, now) = (Places::default(), Instant::now());
        for id in 0..MOST {
            let id = u32::try_from(id).unwrap();
            places.take(now, ConnectionId(id.into()), address(id), false).unwrap();
            places.hold(ConnectionId(id.into()));
        }
        let next = ConnectionId(MOST as u64);
        assert_eq!(places.take(now, next, address(99_999), false), Err(Full));
        places.leave(ConnectionId(7));
        assert_eq!(places.take(now, next, address(99_999), false), Ok(None));
    }

    #[test]
    fn with_few_descriptors_left_nothing_grows() {
        let (mut places, now) = (Places::default(), Instant::now());
        assert_eq!(places.take(now, ConnectionId(1), address(1), true), Err(Full));
        places.take(now, ConnectionId(2), address(1), false).unwrap();
        assert_eq!(
            places.take(now, ConnectionId(3), address(2), true),
            Ok(Some(ConnectionId(2)))
        );
    }

    #[test]
    fn an_idle_connection_ends_unless_it_is_held() {
        let (mut places, start) = (Places::default(), Instant::now());
        for id in 1..=3 {
            places.take(start, ConnectionId(id), address(1), false).unwrap();
        }
        places.heard(start + IDLE / 2, ConnectionId(2));
        let holds = |id| id == ConnectionId(3);
        assert_eq!(places.review(start + IDLE, holds), [ConnectionId(1)]);
        // The time of one that was held begins when it is no longer.
        assert_eq!(places.review(start + IDLE * 3 / 2, |_| false), [ConnectionId(2)]);
        assert_eq!(places.review(start + IDLE * 2, |_| false), [ConnectionId(3)]);
        assert!(places.free.is_empty() && places.sites.is_empty());
    }
}
