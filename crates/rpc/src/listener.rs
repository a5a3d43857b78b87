//! The door of a server: one type for both sockets.

use std::io::{self, ErrorKind};

use futures_util::stream;

use crate::served::Served;
use crate::tcp::TcpSocket;
use crate::unix::UnixSocket;
use crate::{Address, ComponentIdentity, http2};

/// A socket that is bound and not yet served.
#[derive(Debug)]
pub struct Listener(Socket);

#[derive(Debug)]
enum Socket {
    Unix(UnixSocket),
    Tcp(TcpSocket),
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process answers there.
    #[error("{address} is in use by a running process: end that, or choose another address")]
    InUse {
        /// The address.
        address: Address,
    },
    /// The path names something else.
    #[error("{address}: the file there is not a socket: choose another path")]
    NotASocket {
        /// The address.
        address: Address,
    },
    /// TCP goes with mutual TLS only.
    #[error("{address}: TCP needs component certificates: name their folder, or use unix:/path")]
    NoIdentity {
        /// The address.
        address: Address,
    },
    /// The system refused.
    #[error("cannot listen at {address}: {source}{}", advice(.source))]
    Io {
        /// The address.
        address: Address,
        /// What it said.
        source: io::Error,
    },
}

impl Listener {
    /// Opens a socket. A Unix socket gets mode 0600, and replaces the file left behind by a process that is gone; TCP shows
    /// `identity` to its callers and admits those whom the same authority has certified.
    ///
    /// # Errors
    /// [`BindError`] names the address and says what to do.
    ///
    /// # Cancel safety
    /// Dropping it leaves nothing open.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn bind(address: &Address, identity: Option<&ComponentIdentity>) -> Result<Self, BindError> {
        match (address, identity) {
            (Address::Unix(path), _) => UnixSocket::bind(path).map(Socket::Unix),
            (Address::Tcp { host, port }, Some(identity)) => {
                let bound = TcpSocket::bind(host, *port, identity.clone()).await;
                bound.map(Socket::Tcp).map_err(|source| BindError::io(address, source))
            }
            (Address::Tcp { .. }, None) => Err(BindError::NoIdentity {
                address: address.clone(),
            }),
        }
        .map(Self)
    }

    /// Where it is; with the port that the system chose, if that was left to it.
    #[must_use]
    pub fn address(&self) -> &Address {
        match &self.0 {
            Socket::Unix(socket) => socket.address(),
            Socket::Tcp(socket) => socket.address(),
        }
    }
}

impl Served {
    /// Serves a socket until [`close`](Served::close) has run. The socket itself is gone as soon as the server drains.
    ///
    /// # Errors
    /// When the server cannot go on.
    ///
    /// # Cancel safety
    /// Dropping it closes the socket; connections end with the runtime.
    pub async fn serve(self, listener: Listener) -> Result<(), tonic::transport::Error> {
        match listener.0 {
            Socket::Unix(socket) => {
                let accept = async |mut socket: UnixSocket| Some((Ok(socket.accept().await), socket));
                http2::serve(self, stream::unfold(socket, accept)).await
            }
            Socket::Tcp(socket) => {
                let accept = async |mut socket: TcpSocket| Some((Ok(socket.accept().await), socket));
                http2::serve(self, stream::unfold(socket, accept)).await
            }
        }
    }
}

impl BindError {
    pub(crate) fn io(address: &Address, source: io::Error) -> Self {
        let address = address.clone();
        match source.kind() {
            ErrorKind::AddrInUse => Self::InUse { address },
            _ => Self::Io { address, source },
        }
    }
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::NotFound => "; the folder of the socket must exist",
        ErrorKind::PermissionDenied => "; choose a folder or port that this user may use",
        ErrorKind::AddrNotAvailable => "; choose an address of this host",
        _ => "",
    }
}
