//! One node's end of all its links.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use identity::{Identity, Key};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, KeyLogFile, ServerConfig, SupportedProtocolVersion};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use wire::NodeId;

use crate::certificate::Certificate;
use crate::connection::Connection;
use crate::error::{LinkError, PeerError, SetupError};
use crate::verifier::Verifier;

/// Makes and accepts links in the name of one certificate; clones share it.
#[derive(Clone)]
pub struct Endpoint {
    verifier: Verifier,
    certificate: Arc<Certificate>,
    provider: Arc<CryptoProvider>,
    server: Arc<ServerConfig>,
    has_key_log: bool,
}

impl Endpoint {
    /// Makes an endpoint that shows `chain` (DER, leaf first) and judges others by `verifier`.
    ///
    /// # Errors
    /// When the key cannot be used or is not the leaf's.
    pub fn new(verifier: Arc<identity::Verifier>, chain: &[Bytes], key: &Key) -> Result<Self, SetupError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = Arc::new(Certificate::new(chain, key, &provider)?);
        let verifier = Verifier::new(verifier, provider.clone());
        let server = server_config(&verifier, &certificate, &provider, false)?;
        Ok(Self {
            verifier,
            certificate,
            provider,
            server,
            has_key_log: false,
        })
    }

    /// Shows another certificate in links to come, in all clones. Open links stay as they are.
    ///
    /// # Errors
    /// As [`new`](Self::new); nothing changes then.
    pub fn renew(&self, chain: &[Bytes], key: &Key) -> Result<(), SetupError> {
        self.certificate.renew(chain, key, &self.provider)
    }

    /// Writes the secrets of each link to the file that `SSLKEYLOGFILE` names, so that Wireshark can read it. Only for
    /// development: whoever has the file has the traffic.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_key_log(mut self) -> Result<Self, SetupError> {
        self.has_key_log = true;
        self.server = server_config(&self.verifier, &self.certificate, &self.provider, true)?;
        Ok(self)
    }

    /// Makes a link to `remote`; with `expected`, to that node and no other.
    ///
    /// # Errors
    /// When nobody answers within 3 s, or the other end is not who it should be.
    ///
    /// # Cancel safety
    /// Dropping it closes what has been opened.
    pub async fn connect(&self, remote: SocketAddr, expected: Option<NodeId>) -> Result<Connection, LinkError> {
        within(remote, async {
            let stream = TcpStream::connect(remote).await;
            let stream = stream.map_err(|source| LinkError::Connect {
                remote,
                source: Arc::new(source),
            })?;
            self.secure_outgoing(stream, remote, expected).await
        })
        .await
    }

    /// Secures a connection that was accepted. The caller runs it beside its accept loop: the other end may take its time.
    ///
    /// # Errors
    /// When the other end does not finish within 3 s, or is no node of the overlay.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection.
    pub async fn accept(&self, stream: TcpStream) -> Result<Connection, LinkError> {
        let remote = stream.peer_addr().unwrap_or(UNKNOWN);
        let acceptor = TlsAcceptor::from(self.server.clone());
        within(remote, async {
            self.finish(remote, &self.verifier, stream, async |stream| {
                acceptor.accept(stream).await.map(TlsStream::Server)
            })
            .await
        })
        .await
    }

    /// Secures a connection that was dialled.
    async fn secure_outgoing(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        expected: Option<NodeId>,
    ) -> Result<Connection, LinkError> {
        let verifier = self.verifier.expecting(expected);
        let connector = TlsConnector::from(self.client_config(&verifier, remote)?);
        // Not sent (no SNI) and not looked at: the verifier knows whom to expect.
        let name = ServerName::IpAddress(remote.ip().into());
        self.finish(remote, &verifier, stream, async |stream| {
            connector.connect(name, stream).await.map(TlsStream::Client)
        })
        .await
    }

    /// Sets the socket up, shakes hands, and asks who is there.
    async fn finish(
        &self,
        remote: SocketAddr,
        verifier: &Verifier,
        stream: TcpStream,
        shake: impl AsyncFnOnce(TcpStream) -> io::Result<TlsStream<TcpStream>>,
    ) -> Result<Connection, LinkError> {
        let tls = |source: io::Error| failed(remote, source);
        prepare(&stream).map_err(tls)?;
        let local = stream.local_addr().map_err(tls)?;
        let stream = shake(stream).await.map_err(tls)?;
        let peer = self
            .peer_of(verifier, &stream)
            .map_err(|source| LinkError::Peer { remote, source })?;
        Ok(Connection::new(peer, remote, local, stream))
    }

    /// The identity that the handshake has just verified; the verifier remembers it.
    fn peer_of(&self, verifier: &Verifier, stream: &TlsStream<TcpStream>) -> Result<Arc<Identity>, PeerError> {
        let (_, session) = stream.get_ref();
        let (leaf, others) = session
            .peer_certificates()
            .unwrap_or_default()
            .split_first()
            .ok_or_else(|| PeerError::Refused {
                expected: None,
                found: Vec::new(),
                source: identity::Error::SignerNotFound,
            })?;
        verifier.identify(leaf, others, UnixTime::now())
    }

    /// The expected node differs from link to link, so each has a configuration of its own.
    fn client_config(&self, verifier: &Verifier, remote: SocketAddr) -> Result<Arc<ClientConfig>, LinkError> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone());
        let builder = builder.with_protocol_versions(VERSIONS);
        let builder = builder.map_err(|error| failed(remote, io::Error::other(error)))?;
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier.clone()))
            .with_client_cert_resolver(self.certificate.clone());
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        if self.has_key_log {
            config.key_log = Arc::new(KeyLogFile::new());
        }
        Ok(Arc::new(config))
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("has_key_log", &self.has_key_log)
            .finish_non_exhaustive()
    }
}

fn server_config(
    verifier: &Verifier,
    certificate: &Arc<Certificate>,
    provider: &Arc<CryptoProvider>,
    has_key_log: bool,
) -> Result<Arc<ServerConfig>, SetupError> {
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let mut config = builder
        .with_protocol_versions(VERSIONS)
        .map_err(SetupError::Key)?
        .with_client_cert_verifier(Arc::new(verifier.clone()))
        .with_cert_resolver(certificate.clone());
    // A resumed session would skip the look at a certificate that has been banned meanwhile.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    if has_key_log {
        config.key_log = Arc::new(KeyLogFile::new());
    }
    Ok(Arc::new(config))
}

/// Small messages leave at once, and a vanished host is noticed although nothing is sent back.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(USER_TIMEOUT))
}

/// Keeps the verifier's own reason when it was the verifier that said no.
fn failed(remote: SocketAddr, source: io::Error) -> LinkError {
    let tls = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) = tls
        && let Some(peer) = other.0.downcast_ref::<PeerError>()
    {
        return LinkError::Peer {
            remote,
            source: peer.clone(),
        };
    }
    LinkError::Tls {
        remote,
        source: Arc::new(source),
    }
}

async fn within(
    remote: SocketAddr,
    setup: impl Future<Output = Result<Connection, LinkError>>,
) -> Result<Connection, LinkError> {
    let timed_out = |_| LinkError::TimedOut {
        remote,
        limit: SETUP_LIMIT,
    };
    tokio::time::timeout(SETUP_LIMIT, setup).await.map_err(timed_out)?
}

// RFC 6940 §6.6 names TLS 1.2 (RFC 5246); two of ours speak 1.3.
static VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// For TCP and TLS together. TCP sends a lost SYN again after 1 s.
const SETUP_LIMIT: Duration = Duration::from_secs(3);

/// How long octets may stay unacknowledged by the other host before the connection is given up.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// Stands in messages for a connection that was gone before it was looked at.
const UNKNOWN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
