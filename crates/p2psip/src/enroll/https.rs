//! One request to an enrollment server.
//!
//! A server proves itself by a certificate for the overlay's name under an enrollment CA of the document (RFC 6940 §11.3). Before
//! there is a document nobody can be believed, and nothing secret is sent: [`Client::unverified`] only fetches one.

use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, IF_NONE_MATCH};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use identity::{Sign as _, Signer};
use overlay_config::Document;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// Where an enrollment server is: the host and port of a URL, whatever its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    host: String,
    port: u16,
}

/// Why a request was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpsError {
    #[error("{url} is no address of an enrollment server: it is of the form https://HOST:PORT")]
    Url { url: String },
    #[error("cannot reach {url}: {source}; is the bootstrap service running, and its port open?")]
    Connect { url: String, source: io::Error },
    #[error("{url} is no enrollment server of this overlay, or either clock is wrong: {source}")]
    Tls { url: String, source: io::Error },
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    #[error("the overlay's name {overlay} cannot stand in a server's certificate")]
    Name { overlay: String },
    #[error("{url} broke off: {source}")]
    Http {
        url: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{url} did not answer within {limit:?}", limit = ATTEMPT)]
    TimedOut { url: String },
    #[error("{url} refused: {}", advice(token))]
    Refused { url: String, token: String },
    #[error("{url} answered {status}: {text}")]
    Status {
        url: String,
        status: StatusCode,
        text: String,
    },
}

/// Asks servers of one overlay.
pub(crate) struct Client {
    tls: TlsConnector,
    /// Whom a server must be; none before there is a document.
    name: Option<ServerName<'static>>,
}

/// A request to a server.
struct Question<'a> {
    method: Method,
    path: &'a str,
    body: Bytes,
    /// The tag of what is known already.
    known: Option<String>,
    /// How many octets an answer may have.
    most: usize,
}

impl<'a> Question<'a> {
    fn get(path: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            body: Bytes::new(),
            known: None,
            most: MAX_ANSWER,
        }
    }
}

impl Server {
    /// Reads a URL; its path is not looked at.
    pub(crate) fn of(url: &str) -> Result<Self, HttpsError> {
        let wrong = || HttpsError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        match (uri.scheme_str(), uri.host()) {
            (Some("https"), Some(host)) => Ok(Self {
                host: host.to_owned(),
                port: uri.port_u16().unwrap_or(443),
            }),
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "https://{}:{}", self.host, self.port)
    }
}

impl Client {
    /// Believes any server; what it says must prove itself.
    pub(crate) fn unverified() -> Result<Self, HttpsError> {
        let provider = provider();
        let verifier = Arc::new(Anybody(Arc::clone(&provider)));
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self {
            tls: connector(config),
            name: None,
        })
    }

    /// Believes the enrollment servers of a document and nobody else, and shows them the certificate of `node`.
    pub(crate) fn of(document: &Document, node: Option<&Signer>) -> Result<Self, HttpsError> {
        let mut roots = RootCertStore::empty();
        // The configuration root issues signers of documents and no servers.
        let enrollment_cas = document.root_certs.iter().filter(|ca| ca.path_length() == Some(1));
        for certificate in enrollment_cas {
            roots.add(CertificateDer::from(certificate.der().to_vec()))?;
        }
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match node {
            None => builder.with_no_client_auth(),
            Some(node) => {
                let chain = node.certificates().iter().map(|der| CertificateDer::from(der.to_vec()));
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(node.key().pkcs8().to_vec()));
                builder.with_client_auth_cert(chain.collect(), key)?
            }
        };
        // RFC 6940 §11.3: the server's certificate matches the overlay name.
        let overlay = document.overlay.clone();
        let name = ServerName::try_from(overlay.clone()).map_err(|_| HttpsError::Name { overlay })?;
        Ok(Self {
            tls: connector(config),
            name: Some(name),
        })
    }

    /// Fetches what stands at `path`.
    pub(crate) async fn get(&self, server: &Server, path: &str) -> Result<Bytes, HttpsError> {
        self.within(server, self.ask(server, Question::get(path))).await
    }

    /// Fetches what stands at `path`, of at most so many octets, if there is anything newer than what has this tag.
    pub(crate) async fn get_newer(
        &self,
        server: &Server,
        path: &str,
        known: Option<String>,
        most: usize,
    ) -> Result<Option<Bytes>, HttpsError> {
        let question = Question {
            known,
            most,
            ..Question::get(path)
        };
        match self.within(server, self.ask(server, question)).await {
            Ok(answer) => Ok(Some(answer)),
            Err(HttpsError::Status {
                status: StatusCode::NOT_MODIFIED | StatusCode::NOT_FOUND,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Posts a message to `path` and returns the answer.
    pub(crate) async fn post(&self, server: &Server, path: &str, body: Vec<u8>) -> Result<Bytes, HttpsError> {
        let question = Question {
            method: Method::POST,
            body: body.into(),
            ..Question::get(path)
        };
        self.within(server, self.ask(server, question)).await
    }

    async fn within(
        &self,
        server: &Server,
        answer: impl Future<Output = Result<Bytes, HttpsError>>,
    ) -> Result<Bytes, HttpsError> {
        let late = |_| HttpsError::TimedOut {
            url: server.to_string(),
        };
        tokio::time::timeout(ATTEMPT, answer).await.map_err(late)?
    }

    async fn ask(&self, server: &Server, question: Question<'_>) -> Result<Bytes, HttpsError> {
        let url = || server.to_string();
        let bare = server.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, server.port)).await;
        let stream = stream.map_err(|source| HttpsError::Connect { url: url(), source })?;
        // Nobody looks at the name of a server that is not verified.
        let anybody = ServerName::IpAddress(Ipv6Addr::UNSPECIFIED.into());
        let name = self.name.clone().unwrap_or(anybody);
        let stream = self.tls.connect(name, stream).await;
        let stream = stream.map_err(|source| HttpsError::Tls { url: url(), source })?;

        let broken = |source: Box<dyn std::error::Error + Send + Sync>| HttpsError::Http { url: url(), source };
        let mut request = Request::builder()
            .method(question.method)
            .uri(question.path)
            .header(HOST, format!("{}:{}", server.host, server.port));
        if let Some(tag) = question.known {
            request = request.header(IF_NONE_MATCH, format!("\"{tag}\""));
        }
        let request = request
            .body(Full::new(question.body))
            .map_err(|error| broken(error.into()))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(error.into()))?;
        let _driven = AbortOnDropHandle::new(tokio::spawn(connection));
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| broken(error.into()))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, question.most)
            .collect()
            .await
            .map_err(broken)?
            .to_bytes();
        let text = || {
            String::from_utf8_lossy(&body)
                .chars()
                .take(MAX_TEXT)
                .collect::<String>()
        };
        match head.status {
            StatusCode::OK => Ok(body),
            StatusCode::FORBIDDEN => Err(HttpsError::Refused {
                url: url(),
                token: text(),
            }),
            status => Err(HttpsError::Status {
                url: url(),
                status,
                text: text(),
            }),
        }
    }
}

/// What to do about a refusal (RFC 6940 §11.3).
fn advice(token: &str) -> String {
    match token {
        "failed_authentication" => {
            "the token is unknown, used, revoked or expired, or this node is not (or no longer) one of the overlay: ask for a \
             new token"
        }
        "not_covered" => "the token was made for other nodes: ask for one for a peer, or for more edges",
        "bad_CSR" => "it does not understand the request: are both sides of one version?",
        other => return other.to_owned(),
    }
    .to_owned()
}

fn connector(mut config: ClientConfig) -> TlsConnector {
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Takes any certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// For connecting, TLS, request and answer together.
const ATTEMPT: Duration = Duration::from_secs(10);
/// A document has at most 256 KiB, certificates half a KiB each.
const MAX_ANSWER: usize = 1 << 20;
/// Of a text that is shown.
const MAX_TEXT: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_https_urls_of_any_path() {
        let shown = |url: &str| Server::of(url).map(|server| server.to_string()).ok();
        assert_eq!(
            shown("https://a.test:8443/enroll").as_deref(),
            Some("https://a.test:8443")
        );
        assert_eq!(shown("https://[::1]:8443").as_deref(), Some("https://[::1]:8443"));
        assert_eq!(shown("https://a.test").as_deref(), Some("https://a.test:443"));
        assert_eq!(shown("http://a.test:8443"), None);
        assert_eq!(shown("a.test"), None);
    }
}
