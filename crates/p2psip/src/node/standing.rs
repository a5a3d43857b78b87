//! Whether this host is one of the bootstrap nodes of the document: only at their addresses do others look for a ring.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use overlay_config::BootstrapNode;
use runtime::addresses::{self, Advertised};

/// Whether a peer with these settings is found at the address of one of the nodes.
pub(crate) async fn is_one_of(nodes: &[BootstrapNode], config: &overlay::Config) -> bool {
    let mut addresses: BTreeSet<IpAddr> = config.bind.iter().map(SocketAddr::ip).collect();
    if addresses.iter().any(IpAddr::is_unspecified) {
        // Without its interfaces a host knows itself by what it was told.
        addresses.extend(addresses::own().unwrap_or_default());
    }
    addresses.extend(config.advertise.iter().filter_map(Advertised::literal));
    let mut names = addresses::host_names(&addresses).await;
    names.extend(config.advertise.iter().filter_map(Advertised::name).map(str::to_owned));
    let own = Own {
        addresses,
        names,
        ports: ports(config),
    };
    for node in nodes.iter().filter(|node| own.ports.contains(&node.port)) {
        if own.is_host(&node.host) || own.has_any(&addresses::lookup(&node.host).await) {
            return true;
        }
    }
    false
}

fn ports(config: &overlay::Config) -> BTreeSet<u16> {
    let bound = config.bind.iter().map(SocketAddr::port);
    bound
        .chain(config.advertise.iter().filter_map(|told| told.port))
        .collect()
}

/// How this host is reached.
struct Own {
    addresses: BTreeSet<IpAddr>,
    names: BTreeSet<String>,
    ports: BTreeSet<u16>,
}

impl Own {
    fn is_host(&self, host: &str) -> bool {
        match host.parse::<IpAddr>() {
            Ok(address) => self.addresses.contains(&address),
            Err(_) => self.names.iter().any(|name| is_shortened(host, name)),
        }
    }

    fn has_any(&self, addresses: &[IpAddr]) -> bool {
        addresses.iter().any(|address| self.addresses.contains(address))
    }
}

/// Whether a host is called by a whole name of it, or by the first parts of one, as resolvers complete it. A host that is called by
/// its first part alone may be another in another domain, so that one stands for itself only.
fn is_shortened(host: &str, name: &str) -> bool {
    let (host, name) = (host.trim_end_matches('.'), name.trim_end_matches('.'));
    let begins = name
        .get(..host.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(host));
    begins && matches!(name.as_bytes().get(host.len()), None | Some(b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_by_the_first_parts_of_its_name() {
        let name = "peer-0.peer.p2psip.svc.cluster.local";
        for host in ["peer-0", "peer-0.peer", "PEER-0.peer.p2psip.svc", name] {
            assert!(is_shortened(host, name), "{host}");
        }
        for host in ["peer-1", "peer", "peer-0.pee", "0.peer", "peer-0.peer.other"] {
            assert!(!is_shortened(host, name), "{host}");
        }
        // A longer name may be of another host that begins alike.
        assert!(!is_shortened("peer-0.peer", "peer-0"));
    }

    #[tokio::test]
    async fn the_port_counts_with_the_address() {
        let config = |bind: &str| overlay::Config {
            bind: vec![bind.parse().unwrap()],
            ..overlay::Config::default()
        };
        let node = |host: &str, port| BootstrapNode {
            host: host.to_owned(),
            port,
        };
        let nodes = [node("127.88.0.1", 6084), node("127.0.0.1", 6094)];
        assert!(is_one_of(&nodes, &config("127.88.0.1:6084")).await);
        assert!(!is_one_of(&nodes, &config("127.88.0.1:6094")).await);
        assert!(is_one_of(&nodes, &config("0.0.0.0:6094")).await);
        assert!(!is_one_of(&[], &config("127.88.0.1:6084")).await);
    }

    #[tokio::test]
    async fn what_others_are_told_counts() {
        let config = overlay::Config {
            advertise: vec!["sip1.example.invalid:7084".parse().unwrap()],
            ..overlay::Config::default()
        };
        let node = BootstrapNode {
            host: "sip1.example.invalid".to_owned(),
            port: 7084,
        };
        assert!(is_one_of(&[node], &config).await);
    }
}
