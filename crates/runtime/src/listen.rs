//! The listening sockets of all components: one way to bind, one way to accept.
//!
//! The defaults name the wildcard of IPv6, which takes IPv4 too. A kernel without IPv6 (`ipv6.disable=1`) cannot bind it; there it
//! means the wildcard of IPv4.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::OnceLock;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// A bound TCP socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    pause: Duration,
}

/// An address that cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}: {source}")]
pub struct Error {
    /// The address.
    pub address: SocketAddr,
    /// What the system says.
    pub source: io::Error,
}

/// Whether the wildcard of IPv6 takes IPv4 too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// Both, at one socket.
    Both,
    /// IPv6 alone; IPv4 has a socket of its own.
    Apart,
}

impl Listener {
    /// Binds `address`.
    ///
    /// # Errors
    /// With the address.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(address: SocketAddr, families: Families) -> Result<Self, Error> {
        let [address] = usable([address]);
        let socket = tcp(address, families).map_err(|source| Error { address, source })?;
        Ok(Self {
            socket,
            pause: FIRST_PAUSE,
        })
    }

    /// Binds each of the addresses, or none. A wildcard of IPv6 takes IPv4 too, unless the list has one of IPv4 for the same port.
    ///
    /// # Errors
    /// With the address that could not be had.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<Self>, Error> {
        let usable = all_usable(addresses);
        let each = usable.iter().map(|address| {
            let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            let families = if usable.contains(&v4) {
                Families::Apart
            } else {
                Families::Both
            };
            Self::bind(*address, families)
        });
        each.collect()
    }

    /// The address, with the port that the system chose if that was left to it.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits for the next connection. A connection that broke at once, and a lack of descriptors, are waited out: the socket stays.
    ///
    /// # Cancel safety
    /// Nothing is lost when dropped.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok(accepted) => {
                    self.pause = FIRST_PAUSE;
                    return accepted;
                }
                Err(error) => {
                    let address = self.socket.local_addr().ok();
                    crate::warn_seldom!(?address, %error, "connection not accepted");
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// Replaces wildcards of IPv6 by those of IPv4 where this kernel has no IPv6, and drops what is then there twice.
#[must_use]
pub fn all_usable(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    replaced(addresses, has_ipv6())
}

/// As [`all_usable`], for a fixed number of addresses.
fn usable<const N: usize>(addresses: [SocketAddr; N]) -> [SocketAddr; N] {
    let has_ipv6 = has_ipv6();
    addresses.map(|address| on_this_kernel(address, has_ipv6))
}

fn replaced(addresses: &[SocketAddr], has_ipv6: bool) -> Vec<SocketAddr> {
    let mut usable = Vec::with_capacity(addresses.len());
    for address in addresses {
        let address = on_this_kernel(*address, has_ipv6);
        // With port 0 the system chooses another one for each.
        if address.port() == 0 || !usable.contains(&address) {
            usable.push(address);
        }
    }
    usable
}

fn on_this_kernel(address: SocketAddr, has_ipv6: bool) -> SocketAddr {
    if address.is_ipv6() && address.ip().is_unspecified() && !has_ipv6 {
        return SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    }
    address
}

/// Looks once whether the kernel knows IPv6, and logs it if not.
fn has_ipv6() -> bool {
    static HAS_IPV6: OnceLock<bool> = OnceLock::new();
    *HAS_IPV6.get_or_init(|| {
        let Err(error) = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) else {
            return true;
        };
        tracing::info!(%error, "no IPv6 here: [::] means 0.0.0.0");
        false
    })
}

fn tcp(address: SocketAddr, families: Families) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(families == Families::Apart || !address.ip().is_unspecified())?;
    }
    // A restart must not wait for the last connections of the process before it.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Connections that the system keeps until they are accepted.
const BACKLOG: i32 = 1024;
/// After a failed accept; doubled each time in a row, since a lack of descriptors may last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(addresses: &[&str], has_ipv6: bool) -> Vec<String> {
        let addresses: Vec<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        replaced(&addresses, has_ipv6).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_ipv6_its_wildcard_means_that_of_ipv4() {
        let both = ["0.0.0.0:5060", "[::]:5060"];
        assert_eq!(texts(&both, true), both);
        assert_eq!(texts(&both, false), ["0.0.0.0:5060"]);
        assert_eq!(texts(&["[::]:9090"], false), ["0.0.0.0:9090"]);
    }

    #[test]
    fn an_address_that_was_named_is_not_replaced() {
        let named = ["[2001:db8::1]:5060", "192.0.2.1:5060"];
        assert_eq!(texts(&named, false), named);
    }

    #[tokio::test]
    async fn one_wildcard_takes_both_families_and_two_share_them() {
        let mut both = Listener::bind((Ipv6Addr::UNSPECIFIED, 0).into(), Families::Both).unwrap();
        let port = both.address().unwrap().port();
        let dialed = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        dialed.unwrap();
        both.accept().await;
        drop(both);
        let list = [
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        ];
        assert_eq!(Listener::bind_all(&list).unwrap().len(), 2);
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_named() {
        let error = Listener::bind_all(&["192.0.2.1:1".parse().unwrap()]).unwrap_err();
        assert!(error.to_string().contains("192.0.2.1:1"), "{error}");
    }
}
