//! A UDP socket that knows which of its addresses a datagram came to.
//!
//! A phone must see answers, and the Record-Route that later requests follow, from the very address that it used. On a wildcard bind only the
//! packet information of the kernel tells, so it is read with each datagram and given back with each answer.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Octets of kernel buffer asked for in each direction: about 4000 requests of 1 kB, so that a burst survives a busy moment.
const KERNEL_BUFFER: usize = 4 << 20;

/// One bound socket.
#[derive(Debug)]
pub(crate) struct Socket {
    io: UdpSocket,
    local: SocketAddr,
}

/// Where a datagram came from and to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    pub(crate) length: usize,
    pub(crate) remote: SocketAddr,
    pub(crate) local: SocketAddr,
}

impl Socket {
    /// Binds `address`; an IPv6 socket takes IPv6 only, so that both families can be bound side by side.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
        }
        // The kernel grants what its limits allow; less is not an error.
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
        let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let io = UdpSocket::from_std(socket.into())?;
        let local = io.local_addr()?;
        Ok(Self { io, local })
    }

    /// The bound address.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Asks to be woken when there is something to read, unless there is already.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_recv_ready(context)
    }

    /// Reads one datagram.
    ///
    /// # Errors
    /// `WouldBlock` when none is there.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.io.try_io(Interest::READABLE, || self.try_receive(buffer))
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut control = nix::cmsg_space!(libc::in6_pktinfo);
        let mut slices = [IoSliceMut::new(buffer)];
        let message =
            recvmsg::<SockaddrStorage>(self.io.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty())?;
        let remote = message.address.as_ref().and_then(socket_address);
        let local = message.cmsgs()?.find_map(destination).unwrap_or(self.local.ip());
        let remote =
            remote.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "datagram without a source address"))?;
        Ok(Received {
            length: message.bytes,
            remote,
            local: SocketAddr::new(local, self.local.port()),
        })
    }

    /// Waits for the news that a datagram did not arrive, and returns the addresses that it was sent from and to.
    ///
    /// # Cancel safety
    /// Nothing is lost when dropped.
    pub(crate) async fn undelivered(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        loop {
            let news = self.io.async_io(Interest::ERROR, || self.try_undelivered()).await?;
            if let Some(addresses) = news {
                return Ok(addresses);
            }
        }
    }

    /// Reads one entry of the socket's error queue; `None` when it is none that the sender has to know.
    fn try_undelivered(&self) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
        let mut control = nix::cmsg_space!(libc::in6_pktinfo, [u8; EXTENDED_ERROR]);
        let fd = self.io.as_raw_fd();
        let message = recvmsg::<SockaddrStorage>(fd, &mut [], Some(&mut control), MsgFlags::MSG_ERRQUEUE)?;
        let remote = message.address.as_ref().and_then(socket_address);
        let (mut local, mut is_undelivered) = (self.local.ip(), false);
        for part in message.cmsgs()? {
            match part {
                ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
                    is_undelivered = is_delivery_failure(&error);
                }
                other => local = destination(other).unwrap_or(local),
            }
        }
        let local = SocketAddr::new(local, self.local.port());
        Ok(remote.filter(|_| is_undelivered).map(|remote| (local, remote)))
    }

    /// Sends one datagram from `from`, one of this socket's addresses.
    ///
    /// # Errors
    /// `WouldBlock` when the kernel's buffer is full: the datagram is dropped, as a network may, and the transaction's timer sends it again.
    pub(crate) fn send(&self, from: IpAddr, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        match self.try_send(from, to, bytes) {
            // The kernel tells the next user of the socket of an earlier datagram's end; the error queue says which one it was.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.try_send(from, to, bytes),
            result => result,
        }
    }

    fn try_send(&self, from: IpAddr, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.io.try_io(Interest::WRITABLE, || {
            let slices = [IoSlice::new(bytes)];
            let target = SockaddrStorage::from(to);
            let sent = match from {
                IpAddr::V4(ip) if !ip.is_unspecified() => {
                    let info = libc::in_pktinfo {
                        ipi_ifindex: 0,
                        ipi_spec_dst: libc::in_addr {
                            s_addr: u32::from_ne_bytes(ip.octets()),
                        },
                        ipi_addr: libc::in_addr { s_addr: 0 },
                    };
                    sendmsg(
                        self.io.as_raw_fd(),
                        &slices,
                        &[ControlMessage::Ipv4PacketInfo(&info)],
                        MsgFlags::empty(),
                        Some(&target),
                    )
                }
                IpAddr::V6(ip) if !ip.is_unspecified() => {
                    let info = libc::in6_pktinfo {
                        ipi6_addr: libc::in6_addr { s6_addr: ip.octets() },
                        ipi6_ifindex: 0,
                    };
                    sendmsg(
                        self.io.as_raw_fd(),
                        &slices,
                        &[ControlMessage::Ipv6PacketInfo(&info)],
                        MsgFlags::empty(),
                        Some(&target),
                    )
                }
                IpAddr::V4(_) | IpAddr::V6(_) => {
                    sendmsg(self.io.as_raw_fd(), &slices, &[], MsgFlags::empty(), Some(&target))
                }
            };
            sent.map(|_| ()).map_err(io::Error::from)
        })
    }
}

/// Whether an address is one of this machine's: only those can be bound.
pub(crate) fn is_own(address: IpAddr) -> bool {
    std::net::UdpSocket::bind(SocketAddr::new(address, 0)).is_ok()
}

/// The address that the kernel would send from toward `remote`; nothing is sent.
pub(super) fn source_toward(remote: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if remote.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = std::net::UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}

fn socket_address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(SocketAddr::from((v4.ip(), v4.port())));
    }
    storage
        .as_sockaddr_in6()
        .map(|v6| SocketAddr::from((v6.ip(), v6.port())))
}

fn destination(message: ControlMessageOwned) -> Option<IpAddr> {
    match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes())),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(info.ipi6_addr.s6_addr)),
        _ => None,
    }
}

/// RFC 3261 §18.4: unreachable hosts, networks, ports and protocols, and parameter problems, are told to the sender; the end of a datagram's hops and
/// its size are not.
fn is_delivery_failure(error: &libc::sock_extended_err) -> bool {
    match (error.ee_origin, error.ee_type, error.ee_code) {
        (libc::SO_EE_ORIGIN_ICMP, V4_UNREACHABLE, V4_FRAGMENTATION_NEEDED) => false,
        (libc::SO_EE_ORIGIN_ICMP, V4_UNREACHABLE | V4_PARAMETER_PROBLEM, _) => true,
        (libc::SO_EE_ORIGIN_ICMP6, V6_UNREACHABLE | V6_PARAMETER_PROBLEM, _) => true,
        _ => false,
    }
}

/// RFC 792 and RFC 4443: types and codes of ICMP.
const V4_UNREACHABLE: u8 = 3;
const V4_FRAGMENTATION_NEEDED: u8 = 4;
const V4_PARAMETER_PROBLEM: u8 = 12;
const V6_UNREACHABLE: u8 = 1;
const V6_PARAMETER_PROBLEM: u8 = 4;

/// Octets of an error as the kernel tells it: what it is, and who said so.
const EXTENDED_ERROR: usize = size_of::<libc::sock_extended_err>() + size_of::<libc::sockaddr_in6>();

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo(bind: &str, phone: &str, called: IpAddr) {
        let edge = Socket::bind(bind.parse().unwrap()).unwrap();
        let phone = UdpSocket::bind(phone).await.unwrap();
        phone
            .send_to(b"ping", SocketAddr::new(called, edge.local().port()))
            .await
            .unwrap();
        let mut buffer = [0; 64];
        std::future::poll_fn(|context| edge.poll_readable(context))
            .await
            .unwrap();
        let received = edge.receive(&mut buffer).unwrap();
        assert_eq!(received.local.ip(), called);
        edge.send(received.local.ip(), received.remote, b"pong").unwrap();
        let (length, from) = phone.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..length], from.ip()), (&b"pong"[..], called));
    }

    #[tokio::test]
    async fn a_wildcard_socket_answers_from_the_address_that_was_called() {
        echo("0.0.0.0:0", "127.0.0.1:0", "127.0.0.7".parse().unwrap()).await;
    }

    #[tokio::test]
    async fn ipv6_works_the_same() {
        echo("[::]:0", "[::1]:0", "::1".parse().unwrap()).await;
    }

    #[test]
    fn only_addresses_of_this_machine_are_its_own() {
        for (address, expected) in [
            ("127.0.0.7", true),
            ("::1", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_own(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_told_and_hinders_no_other_datagram() {
        for (bind, local) in [("0.0.0.0:0", "127.0.0.7"), ("[::]:0", "::1")] {
            let edge = Socket::bind(bind.parse().unwrap()).unwrap();
            let local: IpAddr = local.parse().unwrap();
            let phone = UdpSocket::bind(SocketAddr::new(local, 0)).await.unwrap();
            let closed = std::net::UdpSocket::bind(SocketAddr::new(local, 0))
                .unwrap()
                .local_addr()
                .unwrap();
            edge.io.writable().await.unwrap();
            edge.send(local, closed, b"lost").unwrap();
            // On the loopback the refusal is back before the next datagram leaves.
            edge.send(local, phone.local_addr().unwrap(), b"kept").unwrap();
            let told = edge.undelivered().await.unwrap();
            assert_eq!(told, (SocketAddr::new(local, edge.local().port()), closed));
            let mut buffer = [0; 8];
            assert_eq!(phone.recv(&mut buffer).await.unwrap(), 4);
        }
    }
}
