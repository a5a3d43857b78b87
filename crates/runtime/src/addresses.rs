//! The addresses of this machine: what a process that listens on all of them tells others.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// Gives the addresses at which others reach a socket that is bound to `bound`: itself, unless it is a wildcard, which
/// stands for all addresses of its family on interfaces that are up. Those of the loopback come only when there are no
/// others; link-local ones never, since they mean nothing without their interface.
///
/// # Errors
/// When the system does not tell its interfaces.
pub fn reachable(bound: SocketAddr) -> io::Result<Vec<SocketAddr>> {
    if !bound.ip().is_unspecified() {
        return Ok(vec![bound]);
    }
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
    let chosen = choose(own, bound.is_ipv6());
    Ok(chosen.into_iter().map(|ip| SocketAddr::new(ip, bound.port())).collect())
}

/// A wildcard of IPv6 takes IPv4 too, as systems are set up.
fn choose(own: BTreeSet<IpAddr>, is_ipv6: bool) -> Vec<IpAddr> {
    let is_meant = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_link_local(),
        IpAddr::V6(ip) => is_ipv6 && !ip.is_unicast_link_local(),
    };
    let (loopback, others): (Vec<_>, Vec<_>) = own.into_iter().filter(is_meant).partition(IpAddr::is_loopback);
    if others.is_empty() { loopback } else { others }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(own: &[&str], is_ipv6: bool) -> Vec<String> {
        let own = own.iter().map(|ip| ip.parse().unwrap()).collect();
        choose(own, is_ipv6).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_wildcard_stands_for_what_others_can_reach() {
        let own = ["127.0.0.1", "::1", "192.0.2.7", "169.254.3.4", "2001:db8::7", "fe80::1"];
        assert_eq!(chosen(&own, true), ["192.0.2.7", "2001:db8::7"]);
        assert_eq!(chosen(&own, false), ["192.0.2.7"]);
        assert_eq!(chosen(&["127.0.0.1", "::1"], true), ["127.0.0.1", "::1"]);
    }

    #[test]
    fn another_address_stands_for_itself() {
        let bound = "192.0.2.7:6084".parse().unwrap();
        assert_eq!(reachable(bound).unwrap(), [bound]);
    }

    #[test]
    fn this_machine_has_an_address() {
        let bound = "0.0.0.0:6084".parse().unwrap();
        assert!(reachable(bound).unwrap().iter().all(|address| address.port() == 6084));
    }
}
