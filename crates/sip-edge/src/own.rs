//! What this edge is called: the overlay's domain, configured names, and all that the machine answers to.
//!
//! A phone that is set up with the edge's address or host name as its domain, registrar or proxy means the overlay's domain. The
//! machine's part changes while the edge runs, so a task follows it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use runtime::addresses::{Advertised, Interfaces, Published, host_name, host_names};
use sip_core::aor::Domains;
use sip_core::proxy::Advertise;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::driver::Command;

/// What the machine and DNS say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) addresses: BTreeSet<IpAddr>,
    pub(crate) names: BTreeSet<String>,
    /// Where phones reach this edge, if not at the socket's own address.
    pub(crate) advertise: Vec<Advertise>,
    /// Where other edges reach this one.
    pub(crate) edges: Vec<SocketAddr>,
}

/// Puts together which names and addresses mean this edge: a pure value.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) overlay: String,
    /// Of the configuration.
    pub(crate) names: Vec<String>,
    /// What the sockets are bound to.
    pub(crate) bound: Vec<IpAddr>,
    pub(crate) own: Own,
    /// Addresses that datagrams came to, which no interface has: 127.0.0.7, or one that a router sends here.
    pub(crate) learned: BTreeSet<IpAddr>,
}

impl Names {
    /// The names and addresses, as the cores take them.
    pub(crate) fn domains(&self) -> Domains {
        let names = self.names.iter().chain(&self.own.names);
        let domains = Domains::new([self.overlay.clone()]).with_name(LOOPBACK);
        let domains = names.fold(domains, |domains, name| domains.with_name(name));
        let bound = self.bound.iter().filter(|ip| !ip.is_unspecified()).copied();
        let advertised = self.own.advertise.iter().map(|advertise| advertise.ip);
        bound
            .chain(advertised)
            .chain(self.own.addresses.iter().copied())
            .chain(self.learned.iter().copied())
            .fold(domains, Domains::with_address)
    }

    /// Takes what the machine says now. What was learned may be wrong by then.
    pub(crate) fn set(&mut self, own: Own) {
        self.own = own;
        self.learned.clear();
    }

    /// Takes an address that a message came to; says whether it is new.
    pub(crate) fn learn(&mut self, address: IpAddr) -> bool {
        self.learned.len() < MOST_LEARNED && self.learned.insert(address)
    }
}

/// Follows the machine and DNS.
#[derive(Debug)]
pub(crate) struct Watch {
    interfaces: Interfaces,
    edges: Published,
    phones: Vec<Advertised>,
    own: Own,
}

impl Watch {
    /// Begins with what is known without DNS, for which nothing waits.
    ///
    /// # Errors
    /// When the system does not tell its interfaces.
    pub(crate) fn new(
        phones: Vec<Advertised>,
        bound_edges: Vec<SocketAddr>,
        edges: Vec<Advertised>,
    ) -> io::Result<Self> {
        let (interfaces, edges) = (Interfaces::new()?, Published::new(bound_edges, edges)?);
        let literal = |advertised: &Advertised| {
            let (ip, port) = (advertised.literal()?, advertised.port);
            Some(Advertise { ip, port })
        };
        let own = Own {
            addresses: interfaces.known().clone(),
            names: host_name().into_iter().collect(),
            advertise: phones.iter().filter_map(literal).collect(),
            edges: edges.known().to_vec(),
        };
        Ok(Self {
            interfaces,
            edges,
            phones,
            own,
        })
    }

    /// What is known now.
    pub(crate) fn own(&self) -> &Own {
        &self.own
    }

    /// Tells the driver of each change until it is gone.
    pub(crate) async fn run(mut self, commands: mpsc::WeakSender<Command>) {
        let mut next_lookup = Instant::now();
        loop {
            tokio::select! {
                () = self.interfaces.changed() => next_lookup = Instant::now(),
                () = self.edges.changed() => {}
                () = tokio::time::sleep_until(next_lookup) => {
                    self.own.names = host_names(self.interfaces.known()).await;
                    self.look_up_phones().await;
                    next_lookup = Instant::now() + LOOKUP;
                }
            }
            self.own.addresses.clone_from(self.interfaces.known());
            self.own.edges = self.edges.known().to_vec();
            // A strong sender would keep the driver alive.
            let Some(commands) = commands.upgrade() else { return };
            if commands.send(Command::Own(self.own.clone())).await.is_err() {
                return;
            }
        }
    }

    async fn look_up_phones(&mut self) {
        let mut found = Vec::new();
        for advertised in &self.phones {
            let port = advertised.port;
            found.extend(advertised.lookup().await.into_iter().map(|ip| Advertise { ip, port }));
        }
        // When DNS is down, the last ones stay.
        if !found.is_empty() {
            self.own.advertise = found;
        }
    }
}

/// Each machine calls itself so (RFC 6761 §6.3).
const LOOPBACK: &str = "localhost";
/// Between two looks at host names and DNS.
const LOOKUP: Duration = Duration::from_secs(60);
/// Addresses that are learned at most; the further ones stay unknown until the interfaces change.
const MOST_LEARNED: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            overlay: "example.org".into(),
            names: vec!["sip.example.net".into(), "203.0.113.9".into()],
            bound: vec!["0.0.0.0".parse().unwrap(), "::".parse().unwrap()],
            own: Own {
                addresses: ["192.0.2.7", "2001:db8::7"].map(|ip| ip.parse().unwrap()).into(),
                names: ["box", "box.lan"].map(str::to_owned).into(),
                advertise: vec![Advertise {
                    ip: "203.0.113.5".parse().unwrap(),
                    port: None,
                }],
                edges: Vec::new(),
            },
            learned: BTreeSet::new(),
        }
    }

    fn is_own(names: &Names, host: &str) -> bool {
        let aor = names.domains().aor(&format!("sip:bob@{host}"));
        aor.is_ok_and(|aor| aor.as_str() == "bob@example.org")
    }

    #[test]
    fn an_edge_on_wildcards_is_called_by_all_that_the_machine_answers_to() {
        let names = names();
        for host in [
            "example.org",
            "192.0.2.7",
            "192.0.2.7:5060",
            "[2001:db8::7]",
            "203.0.113.5",
            "203.0.113.9",
            "sip.example.net",
            "BOX",
            "box.lan.",
            "localhost",
        ] {
            assert!(is_own(&names, host), "{host}");
        }
        for host in ["192.0.2.8", "[2001:db8::8]", "0.0.0.0", "other.example", "example.net"] {
            assert!(!is_own(&names, host), "{host}");
        }
    }

    #[test]
    fn another_address_of_the_machine_replaces_the_old_one() {
        let mut names = names();
        assert!(names.learn("127.0.0.7".parse().unwrap()));
        assert!(!names.learn("127.0.0.7".parse().unwrap()));
        assert!(is_own(&names, "127.0.0.7"));
        names.set(Own {
            addresses: ["192.0.2.8".parse().unwrap()].into(),
            ..names.own.clone()
        });
        assert!(is_own(&names, "192.0.2.8"));
        assert!(!is_own(&names, "192.0.2.7") && !is_own(&names, "127.0.0.7"));
    }
}
