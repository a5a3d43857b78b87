//! Where each peer of `dev` listens.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

/// The addresses of one peer; those of peer n are raised by 10·(n − 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    /// SIP for phones, UDP and TCP.
    pub(crate) sip: SocketAddr,
    /// SIP between edges.
    pub(crate) edge: SocketAddr,
    /// RELOAD.
    pub(crate) reload: SocketAddr,
    /// HTTPS of the bootstrap service, at peer 1 only.
    pub(crate) https: SocketAddr,
    /// `/livez`, `/readyz` and `/metrics`.
    pub(crate) admin: SocketAddr,
}

/// A port that is taken, or an address that is not this machine's.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for {what} of peer {peer} (key {key}): {source}; {}", advice(.source)
)]
pub(crate) struct PortError {
    address: SocketAddr,
    what: &'static str,
    key: &'static str,
    peer: u16,
    source: io::Error,
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "end the program that has it, or give another address with --bind",
        io::ErrorKind::AddrNotAvailable => "give an address of this machine with --bind",
        io::ErrorKind::PermissionDenied => "this user may not listen there",
        _ => "the system refuses it",
    }
}

impl Ports {
    /// The ports of peer `number`, counted from 1.
    pub(crate) fn of(bind: IpAddr, number: u16) -> Self {
        let at = |port: u16| SocketAddr::new(bind, port + STEP * (number - 1));
        Self {
            sip: at(SIP),
            edge: at(EDGE),
            reload: at(RELOAD),
            https: at(HTTPS),
            admin: at(ADMIN),
        }
    }

    /// Opens each port and closes it again, so that nothing is begun which could not go on.
    pub(crate) fn probe(&self, peer: u16) -> Result<(), PortError> {
        let tcp = |address: SocketAddr| TcpListener::bind(address).map(drop);
        let udp = |address: SocketAddr| UdpSocket::bind(address).map(drop);
        let all = [
            (
                self.sip,
                "SIP",
                "sip_edge.bind",
                udp(self.sip).and_then(|()| tcp(self.sip)),
            ),
            (self.edge, "SIP between edges", "sip_edge.edge_bind", tcp(self.edge)),
            (self.reload, "RELOAD", "overlay.bind", tcp(self.reload)),
            (
                self.https,
                "HTTPS",
                "bootstrap.https_bind",
                if peer == FIRST { tcp(self.https) } else { Ok(()) },
            ),
            (self.admin, "/readyz", "admin.bind", tcp(self.admin)),
        ];
        for (address, what, key, outcome) in all {
            outcome.map_err(|source| PortError {
                address,
                what,
                key,
                peer,
                source,
            })?;
        }
        Ok(())
    }
}

const SIP: u16 = 5060;
/// SIP between edges has no registered port.
const EDGE: u16 = 5062;
/// RFC 6940 §14.2.
const RELOAD: u16 = 6084;
const HTTPS: u16 = 8443;
/// The peer with the bootstrap service.
pub(crate) const FIRST: u16 = 1;
const ADMIN: u16 = 9090;
const STEP: u16 = 10;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_peer_is_ten_ports_higher() {
        let text = |number| {
            let ports = Ports::of(Ipv4Addr::LOCALHOST.into(), number);
            format!("{} {} {} {}", ports.sip, ports.edge, ports.reload, ports.admin)
        };
        assert_eq!(text(1), "127.0.0.1:5060 127.0.0.1:5062 127.0.0.1:6084 127.0.0.1:9090");
        assert_eq!(text(64), "127.0.0.1:5690 127.0.0.1:5692 127.0.0.1:6714 127.0.0.1:9720");
    }

    #[test]
    fn a_port_in_use_is_named_with_its_key() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let ports = Ports {
            sip: free,
            edge: free,
            reload: taken.local_addr().unwrap(),
            https: free,
            admin: free,
        };
        let error = ports.probe(3).unwrap_err().to_string();
        assert!(error.contains(&taken.local_addr().unwrap().to_string()), "{error}");
        assert!(error.contains("RELOAD of peer 3 (key overlay.bind)"), "{error}");
    }
}
