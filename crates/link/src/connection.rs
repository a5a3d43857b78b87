//! An established link.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use identity::Identity;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// A stream of octets to a known node. Use [`tokio::io::split`] for its halves.
///
/// Whoever owns it closes it when its peer's certificate ends ([`until_ms`](Self::until_ms)) or is withdrawn; resumption is
/// off, so a new link always means a new look at the certificate.
#[derive(Debug)]
pub struct Connection {
    peer: Arc<Identity>,
    remote: SocketAddr,
    local: SocketAddr,
    stream: TlsStream<TcpStream>,
}

impl Connection {
    pub(crate) fn new(
        peer: Arc<Identity>,
        remote: SocketAddr,
        local: SocketAddr,
        stream: TlsStream<TcpStream>,
    ) -> Self {
        Self {
            peer,
            remote: canonical(remote),
            local: canonical(local),
            stream,
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Arc<Identity> {
        &self.peer
    }

    /// The address of the other end.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// The address of this end.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// When the link must be closed: the earliest end of the peer's certificates, in milliseconds since 1970.
    #[must_use]
    pub fn until_ms(&self) -> u64 {
        self.peer.until_ms
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// An IPv6 socket that takes IPv4 too names addresses of IPv4 in a form that means nothing to others (RFC 4291 §2.5.5.2).
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
