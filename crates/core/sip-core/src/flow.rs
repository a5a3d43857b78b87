//! Where a message came from and where one goes.
//!
//! A phone is known by the flow that it used (RFC 5626 §3.3): a connection, or a pair of UDP addresses. Another edge
//! is known by its Node-ID; which connection serves it is the shell's affair.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// A transport of SIP, as the Via header names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP; between edges, mutual TLS under the overlay's authorities.
    Tls,
}

impl Transport {
    /// Tells whether the transport repeats lost messages by itself.
    pub fn is_reliable(self) -> bool {
        !matches!(self, Transport::Udp)
    }

    /// Returns the transport's name in a Via header.
    pub fn via_name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }
}

/// A Node-ID of the overlay, as it stands in host names and certificates of edges.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 16]);

impl NodeId {
    /// Reads exactly 32 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16)
            .ok()
            .map(|value| Self(value.to_be_bytes()))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

/// One connection of a stream transport, numbered by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Who stands at the far end of a flow, as far as the transport can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowKind {
    /// A phone, known by nothing but its address.
    Phone,
    /// A node whose certificate carries the purpose of an edge: it may assert any user of the domain.
    Edge(NodeId),
    /// Any other node of the overlay: it may speak only for the users that its certificate names.
    Stranger {
        /// The node.
        node: NodeId,
        /// The user names (AORs) of its certificate.
        users: Arc<[Arc<str>]>,
    },
}

/// What one host or site can send from: an IPv4 address, or the /64 of an IPv6 address, within which a host chooses freely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site(Ipv6Addr);

impl Site {
    /// Finds the site of an address; one written in IPv6 form counts as the IPv4 address that it is.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped()),
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        }
    }

    /// Returns the octets that stand for it in a hash.
    pub fn octets(self) -> [u8; 16] {
        self.0.octets()
    }
}

/// The way one message came, which is also the way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The transport.
    pub transport: Transport,
    /// The address of this edge that the far end used; never a wildcard.
    pub local: SocketAddr,
    /// The address of the far end.
    pub remote: SocketAddr,
    /// The connection, on stream transports.
    pub connection: Option<ConnectionId>,
    /// Who is at the far end.
    pub kind: FlowKind,
}

/// Where one message is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hop {
    /// Over a flow that exists: a phone's, or the connection that a request of a stranger came on.
    Flow(Flow),
    /// To another edge, over its connection or one that is made for it.
    Edge {
        /// The edge.
        node: NodeId,
        /// The overlay peer that the edge is attached to, where it is known; needed to reach an edge without connection.
        home: Option<NodeId>,
    },
}

impl Hop {
    /// Tells whether the hop's transport repeats lost messages by itself.
    pub fn is_reliable(&self) -> bool {
        match self {
            Hop::Flow(flow) => flow.transport.is_reliable(),
            Hop::Edge { .. } => true,
        }
    }

    /// Returns the edge that the hop leads to.
    pub fn edge(&self) -> Option<NodeId> {
        match self {
            Hop::Edge { node, .. } => Some(*node),
            Hop::Flow(_) => None,
        }
    }

    /// Tells whether both lead to the same place: the same edge, connection, or pair of UDP addresses.
    pub fn is_same_place(&self, other: &Hop) -> bool {
        match (self, other) {
            (Hop::Edge { node, .. }, Hop::Edge { node: other, .. }) => node == other,
            (Hop::Flow(one), Hop::Flow(other)) => match (one.connection, other.connection) {
                (Some(one), Some(other)) => one == other,
                _ => one.transport == other.transport && one.local == other.local && one.remote == other.remote,
            },
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_an_ipv4_address_or_a_network_of_ipv6() {
        let site = |text: &str| Site::of(text.parse().unwrap());
        assert_eq!(site("192.0.2.1"), site("::ffff:192.0.2.1"));
        assert_ne!(site("192.0.2.1"), site("192.0.2.2"));
        assert_eq!(site("2001:db8:0:1::1"), site("2001:db8:0:1:ffff::2"));
        assert_ne!(site("2001:db8:0:1::1"), site("2001:db8:0:2::1"));
    }
}
