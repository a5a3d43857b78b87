//! The addresses and names of this machine: what a process that listens on all of them tells others, and is called by others.
//!
//! Both change while a process runs: a laptop gets another address, a container's name is known to DNS only later. One place looks,
//! and the components follow it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use tokio::time::{Instant, timeout};

mod advertised;
mod host;

pub use advertised::{Advertised, NotAdvertised};
pub use host::{host_name, host_names};

/// Gives the addresses of the interfaces that are up.
///
/// # Errors
/// When the system does not tell its interfaces.
pub fn own() -> io::Result<BTreeSet<IpAddr>> {
    let mut own = BTreeSet::new();
    for interface in getifaddrs()? {
        if !interface.flags.contains(InterfaceFlags::IFF_UP) {
            continue;
        }
        let Some(address) = interface.address else { continue };
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        let v6 = address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
        own.extend(v4.or(v6));
    }
    Ok(own)
}

/// Gives the addresses at which others reach sockets that are bound to `bound`: themselves, unless they are wildcards, which
/// stand for all addresses of their family in `own`. Those of the loopback come only when there are no others; link-local ones
/// never, since they mean nothing without their interface.
#[must_use]
pub fn reachable(bound: &[SocketAddr], own: &BTreeSet<IpAddr>) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for bound in bound {
        let chosen = match bound.ip().is_unspecified() {
            true => choose(own, bound.is_ipv6()),
            false => vec![bound.ip()],
        };
        for ip in chosen {
            let address = SocketAddr::new(ip, bound.port());
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    addresses
}

/// A wildcard of IPv6 takes IPv4 too, as listeners are bound here.
fn choose(own: &BTreeSet<IpAddr>, is_ipv6: bool) -> Vec<IpAddr> {
    let is_meant = |ip: &&IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_link_local(),
        IpAddr::V6(ip) => is_ipv6 && !ip.is_unicast_link_local(),
    };
    let (loopback, others): (Vec<_>, Vec<_>) = own.iter().filter(is_meant).partition(|ip| ip.is_loopback());
    if others.is_empty() { loopback } else { others }
}

/// Follows the addresses of the interfaces.
#[derive(Debug)]
pub struct Interfaces {
    known: BTreeSet<IpAddr>,
}

impl Interfaces {
    /// Looks for the first time.
    ///
    /// # Errors
    /// When the system does not tell its interfaces.
    pub fn new() -> io::Result<Self> {
        Ok(Self { known: own()? })
    }

    /// The addresses, as last seen.
    #[must_use]
    pub fn known(&self) -> &BTreeSet<IpAddr> {
        &self.known
    }

    /// Waits until they change.
    ///
    /// # Cancel safety
    /// Nothing is lost when dropped.
    pub async fn changed(&mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            match own() {
                Ok(now) if now != self.known => {
                    self.known = now;
                    return;
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// The addresses at which others reach some listeners: those that the configuration names, or those of the machine.
#[derive(Debug)]
pub struct Published {
    bound: Vec<SocketAddr>,
    advertised: Vec<Advertised>,
    /// What DNS last said of each that is a name.
    resolved: Vec<Vec<IpAddr>>,
    known: Vec<SocketAddr>,
    next_lookup: Instant,
}

impl Published {
    /// Begins with what is known without DNS, for which nothing waits.
    ///
    /// # Errors
    /// When the system does not tell its interfaces.
    pub fn new(bound: Vec<SocketAddr>, advertised: Vec<Advertised>) -> io::Result<Self> {
        let resolved = advertised
            .iter()
            .map(|one| one.literal().into_iter().collect())
            .collect();
        let mut published = Self {
            bound,
            advertised,
            resolved,
            known: Vec::new(),
            next_lookup: Instant::now(),
        };
        published.known = published.now()?;
        Ok(published)
    }

    /// The addresses, as last seen; empty while a name has none yet.
    #[must_use]
    pub fn known(&self) -> &[SocketAddr] {
        &self.known
    }

    /// Waits until they change. A machine that has none just now keeps its last ones: it is off the network, and may come back.
    ///
    /// # Cancel safety
    /// Nothing is lost when dropped.
    pub async fn changed(&mut self) {
        loop {
            self.look().await;
            let Ok(now) = self.now() else { continue };
            let is_off_line = now.iter().all(|address| address.ip().is_loopback());
            if now == self.known || is_off_line && self.known.iter().any(|address| !address.ip().is_loopback()) {
                continue;
            }
            self.known = now;
            return;
        }
    }

    /// Waits until it is time to look again, and asks DNS.
    async fn look(&mut self) {
        if self.advertised.is_empty() {
            return tokio::time::sleep(LOOK).await;
        }
        if self.advertised.iter().all(|one| one.literal().is_some()) {
            return std::future::pending().await;
        }
        tokio::time::sleep_until(self.next_lookup).await;
        for (advertised, resolved) in self.advertised.iter().zip(&mut self.resolved) {
            let found = advertised.lookup().await;
            // A name that has no address now keeps its last ones.
            if !found.is_empty() {
                *resolved = found;
            }
        }
        self.next_lookup = Instant::now() + LOOKUP;
    }

    fn now(&self) -> io::Result<Vec<SocketAddr>> {
        if self.advertised.is_empty() {
            return Ok(reachable(&self.bound, &own()?));
        }
        let port = self.bound.first().map_or(0, SocketAddr::port);
        let each = self.advertised.iter().zip(&self.resolved);
        let addresses = each.flat_map(|(advertised, resolved)| {
            let port = advertised.port.unwrap_or(port);
            resolved.iter().map(move |ip| SocketAddr::new(*ip, port))
        });
        Ok(addresses.collect())
    }
}

/// Finds the addresses of a host name, and none when it takes too long or there are none. DNS runs on a thread of its own.
pub async fn lookup(host: &str) -> Vec<IpAddr> {
    match timeout(PATIENCE, tokio::net::lookup_host((host, 0))).await {
        Ok(Ok(found)) => {
            let found: BTreeSet<IpAddr> = found.map(|address| address.ip().to_canonical()).collect();
            found.into_iter().take(MOST).collect()
        }
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

/// Between two looks at the interfaces; each costs some microseconds.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at DNS.
const LOOKUP: Duration = Duration::from_secs(30);
/// For one question to DNS.
const PATIENCE: Duration = Duration::from_secs(3);
/// Addresses of one name that count.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(bound: &[&str], own: &[&str]) -> Vec<String> {
        let bound: Vec<_> = bound.iter().map(|text| text.parse().unwrap()).collect();
        let own = own.iter().map(|ip| ip.parse().unwrap()).collect();
        reachable(&bound, &own).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_wildcard_stands_for_what_others_can_reach() {
        let own = ["127.0.0.1", "::1", "192.0.2.7", "169.254.3.4", "2001:db8::7", "fe80::1"];
        assert_eq!(reached(&["[::]:1"], &own), ["192.0.2.7:1", "[2001:db8::7]:1"]);
        assert_eq!(reached(&["0.0.0.0:1"], &own), ["192.0.2.7:1"]);
        assert_eq!(reached(&["[::]:1"], &["127.0.0.1", "::1"]), ["127.0.0.1:1", "[::1]:1"]);
    }

    #[test]
    fn several_listeners_are_told_together() {
        let own = ["192.0.2.7", "2001:db8::7"];
        let bound = ["0.0.0.0:1", "[::]:1", "[2001:db8::7]:2"];
        assert_eq!(
            reached(&bound, &own),
            ["192.0.2.7:1", "[2001:db8::7]:1", "[2001:db8::7]:2"]
        );
    }

    #[test]
    fn this_machine_has_an_address() {
        assert!(!own().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_advertised_is_told_instead() {
        let bound = vec!["0.0.0.0:6084".parse().unwrap()];
        let advertised = ["192.0.2.1", "[2001:db8::1]:7", "localhost:8"];
        let advertised = advertised.map(|text| text.parse().unwrap()).to_vec();
        let mut published = Published::new(bound, advertised).unwrap();
        let literals: Vec<SocketAddr> = ["192.0.2.1:6084", "[2001:db8::1]:7"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        assert_eq!(published.known(), literals);
        published.changed().await;
        assert_eq!(published.known()[..2], literals);
        let others = &published.known()[2..];
        assert!(!others.is_empty() && others.iter().all(|address| address.port() == 8));
    }
}
