//! The client's end: a connection to a server that stands at one of several addresses.
//!
//! The addresses are of servers that are alike, in the order of preference; a name may lead to several. Whichever answered last is
//! asked first, so that all calls and streams of a channel go to the same server until that is gone.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use crate::channel::Wiring;
use crate::http2::{self, ConnectFailure};
use crate::{Address, ComponentIdentity, Role, tcp};

/// Where servers are, and what they must prove.
pub(crate) struct Servers {
    places: Vec<Place>,
    role: Role,
    /// Where to begin, counted over the places that names have led to.
    turn: AtomicUsize,
}

/// An address with what is shown there.
#[derive(Clone)]
enum Place {
    Unix(PathBuf),
    Tcp {
        host: String,
        port: u16,
        identity: ComponentIdentity,
    },
}

/// The octets of a connection, whatever carries them.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Opened = Pin<Box<dyn Stream>>;

impl Servers {
    /// The servers at these addresses.
    ///
    /// # Errors
    /// The address that needs an identity to show, where there is none.
    pub(crate) fn at(addresses: &[Address], role: Role, identity: Option<&ComponentIdentity>) -> Result<Self, Address> {
        let place = |address: &Address| match (address, identity) {
            (Address::Unix(path), _) => Ok(Place::Unix(path.clone())),
            (Address::Tcp { host, port }, Some(identity)) => Ok(Place::Tcp {
                host: host.clone(),
                port: *port,
                identity: identity.clone(),
            }),
            (Address::Tcp { .. }, None) => Err(address.clone()),
        };
        let places: Result<Vec<Place>, Address> = addresses.iter().map(place).collect();
        Ok(Self {
            places: places?,
            role,
            turn: AtomicUsize::new(0),
        })
    }

    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn wiring(self) -> Wiring {
        let servers = Arc::new(self);
        http2::wiring(move || Arc::clone(&servers).connect())
    }

    /// Tries each place once.
    async fn connect(self: Arc<Self>) -> Result<Opened, ConnectFailure> {
        let mut found = Vec::new();
        let mut failure = None;
        for place in &self.places {
            match place.found().await {
                Ok(places) => found.extend(places),
                Err(source) => failure = Some(place.failed(source)),
            }
        }
        let begin = self.turn.load(Ordering::Relaxed);
        for turn in (0..found.len()).map(|step| begin.wrapping_add(step)) {
            let Some(place) = turn.checked_rem(found.len()).and_then(|index| found.get(index)) else {
                continue;
            };
            match tokio::time::timeout(CONNECT_TIMEOUT, place.open(self.role)).await {
                Ok(Ok(stream)) => {
                    self.turn.store(turn, Ordering::Relaxed);
                    return Ok(stream);
                }
                Ok(Err(source)) => failure = Some(place.failed(source)),
                Err(_) => failure = Some(place.failed(late())),
            }
        }
        Err(failure.unwrap_or_else(ConnectFailure::nowhere))
    }
}

impl Place {
    /// The places that a name leads to now.
    async fn found(&self) -> io::Result<Vec<Self>> {
        let Self::Tcp { host, port, identity } = self else {
            return Ok(vec![self.clone()]);
        };
        let looked_up = tokio::net::lookup_host((host.as_str(), *port));
        let addresses = tokio::time::timeout(CONNECT_TIMEOUT, looked_up)
            .await
            .map_err(|_| late())??;
        let place = |address: std::net::SocketAddr| Self::Tcp {
            host: address.ip().to_string(),
            port: address.port(),
            identity: identity.clone(),
        };
        Ok(addresses.take(MOST_ADDRESSES).map(place).collect())
    }

    async fn open(&self, role: Role) -> io::Result<Opened> {
        Ok(match self {
            Self::Unix(path) => Box::pin(UnixStream::connect(path).await?),
            Self::Tcp { host, port, identity } => Box::pin(tcp::dial(host, *port, role, identity).await?),
        })
    }

    fn failed(&self, source: io::Error) -> ConnectFailure {
        let address = match self {
            Self::Unix(path) => Address::Unix(path.clone()),
            Self::Tcp { host, port, .. } => Address::Tcp {
                host: host.clone(),
                port: *port,
            },
        };
        ConnectFailure::at(&address, source)
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer to a connect")
}

/// TCP and TLS together. A stopped server is connected to by its kernel and never shakes hands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 16;
