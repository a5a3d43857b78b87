//! The wiring over TCP with mutual TLS, for components of different hosts or containers.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::http2::{ACCEPT_PAUSE, Accepted};
use crate::other::OtherComponent;
use crate::role::{Caller, Role};
use crate::{Address, ComponentIdentity, tls};

/// A listening socket. Callers prove their roles in the handshake.
#[derive(Debug)]
pub(crate) struct TcpSocket {
    listener: TcpListener,
    address: Address,
    identity: ComponentIdentity,
    handshakes: JoinSet<Option<Accepted<Stream>>>,
}

type Stream = server::TlsStream<TcpStream>;

impl TcpSocket {
    pub(crate) async fn bind(host: &str, port: u16, identity: ComponentIdentity) -> io::Result<Self> {
        let listener = match TcpListener::bind((host, port)).await {
            // A kernel without IPv6 (`ipv6.disable=1`): its wildcard means that of IPv4, as for all other sockets.
            Err(error) if is_wildcard(host) && error.raw_os_error() == Some(NO_IPV6) => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?
            }
            bound => bound?,
        };
        let address = Address::Tcp {
            host: host.into(),
            // Chosen by the system, if 0 was asked for.
            port: listener.local_addr()?.port(),
        };
        Ok(Self {
            listener,
            address,
            identity,
            handshakes: JoinSet::new(),
        })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for the next caller who has shaken hands.
    pub(crate) async fn accept(&mut self) -> Accepted<Stream> {
        loop {
            tokio::select! {
                Some(shaken) = self.handshakes.join_next() => {
                    if let Ok(Some(accepted)) = shaken {
                        return accepted;
                    }
                }
                arrived = self.listener.accept(), if self.handshakes.len() < HANDSHAKES => match arrived {
                    Ok((stream, remote)) => drop(self.handshakes.spawn(admit(stream, remote, self.identity.clone()))),
                    Err(error) => {
                        tracing::warn!(%error, address = %self.address, "cannot accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

/// Shakes hands with one caller; tells the log of one who failed.
async fn admit(stream: TcpStream, remote: SocketAddr, identity: ComponentIdentity) -> Option<Accepted<Stream>> {
    let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "no handshake in time"));
    let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, shake(stream, &identity));
    match shaken.await.unwrap_or_else(late) {
        Ok(accepted) => Some(accepted),
        // Whoever only looks whether the port is open says nothing at all.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
        Err(error) => {
            tracing::warn!(%remote, %error, "caller without a certificate of this peer refused");
            None
        }
    }
}

async fn shake(stream: TcpStream, identity: &ComponentIdentity) -> io::Result<Accepted<Stream>> {
    stream.set_nodelay(true)?;
    let credentials = identity.current().await;
    let stream = TlsAcceptor::from(Arc::clone(&credentials.server))
        .accept(stream)
        .await?;
    // Once a connection, not once a call. rustls has verified that there is one.
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let names = certificate.and_then(|certificate| tls::names(certificate).ok());
    let roles = names.map(|names| names.roles).unwrap_or_default();
    Ok(Accepted {
        stream,
        caller: Caller::Tls(roles),
    })
}

/// The client's end; the server must prove that it plays `role`.
pub(crate) async fn dial(
    host: &str,
    port: u16,
    role: Role,
    identity: &ComponentIdentity,
) -> io::Result<BufReader<client::TlsStream<TcpStream>>> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let credentials = identity.current().await;
    let name = ServerName::try_from(role.server_name()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::clone(&credentials.client));
    let stream = connector.connect(name, stream).await;
    let stream = stream.map_err(|error| OtherComponent::of(role, &error).map_or(error, io::Error::other))?;
    // In TLS 1.3 the server judges the client's certificate after the client has finished. It speaks first in HTTP/2
    // (RFC 9113 §3.4); until then its refusal can still be told as what it is.
    let mut stream = BufReader::with_capacity(PEEK, stream);
    if stream.fill_buf().await?.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the server"));
    }
    Ok(stream)
}

fn is_wildcard(host: &str) -> bool {
    host.parse() == Ok(Ipv6Addr::UNSPECIFIED)
}

/// EAFNOSUPPORT of Linux.
const NO_IPV6: i32 = 97;
/// Handshakes at once: for all components of a peer and a crowd of strangers. When it is reached, callers wait in the
/// system's queue, at most until the slowest has used up its time.
const HANDSHAKES: usize = 64;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(1);
/// Octets read ahead while connecting; later reads are larger and pass the buffer by.
const PEEK: usize = 16;
