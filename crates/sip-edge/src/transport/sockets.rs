//! The sockets of an edge, bound before anything runs.

use std::io;
use std::net::SocketAddr;

use runtime::listen::{self, Families, Listener};

use super::udp;

/// UDP and TCP for phones, and the port for other edges.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) udp: Vec<udp::Socket>,
    pub(crate) tcp: Vec<Listener>,
    pub(crate) edges: Vec<Listener>,
}

impl Bound {
    /// Binds the phones' addresses, UDP and TCP each, and the edges' addresses.
    ///
    /// # Errors
    /// With the address that could not be bound.
    pub(crate) fn bind(phones: &[SocketAddr], edges: &[SocketAddr]) -> Result<Self, listen::Error> {
        let mut bound = Self {
            udp: Vec::new(),
            tcp: Vec::new(),
            edges: Listener::bind_all(edges)?,
        };
        for address in listen::all_usable(phones) {
            let socket = udp::Socket::bind(address).map_err(|source| listen::Error { address, source })?;
            // With port 0 the system chooses; TCP then takes the same one.
            let address = SocketAddr::new(address.ip(), socket.local().port());
            bound.tcp.push(Listener::bind(address, Families::Apart)?);
            bound.udp.push(socket);
        }
        Ok(bound)
    }

    /// The addresses for phones and for edges, with the ports that the system chose.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn addresses(&self) -> io::Result<(Vec<SocketAddr>, Vec<SocketAddr>)> {
        let edges = self.edges.iter().map(Listener::address);
        Ok((
            self.udp.iter().map(udp::Socket::local).collect(),
            edges.collect::<io::Result<_>>()?,
        ))
    }
}
