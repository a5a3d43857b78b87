//! Bootstrap services among themselves: how one proves to another that it is of this overlay, and asks it.
//!
//! Each proves itself as an enrollment server does to a node (RFC 6940 §11.3): by a certificate for the overlay's name, right
//! under an enrollment CA of the document. No node has one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use identity::{Certificate, Key, Trust, Verifier};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerifier as _};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// Judges clients: a node by its own certificate, a bootstrap service by that of an enrollment server.
#[derive(Debug)]
pub(super) struct Clients {
    nodes: Arc<dyn ClientCertVerifier>,
    verifier: Arc<Verifier>,
}

impl Clients {
    pub(super) fn new(verifier: &Arc<Verifier>) -> Arc<Clients> {
        Arc::new(Clients {
            nodes: link::client_verifier(Arc::clone(verifier)),
            verifier: Arc::clone(verifier),
        })
    }
}

/// Checks whether a certificate is that of a bootstrap service of the overlay.
pub(super) fn check_service(trust: &Trust, leaf: &[u8], now: UnixTime) -> Result<(), rustls::Error> {
    let name = name(trust)?;
    let roots = Arc::new(roots(trust)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
    let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
    // Nothing between it and the CA: delegated signers of edges are CAs too.
    verifier
        .verify_server_cert(&CertificateDer::from(leaf), &[], &name, &[], now)
        .map(drop)
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.nodes.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.nodes.verify_client_cert(leaf, others, now).or_else(|error| {
            let is_service = check_service(&self.verifier.trust(), leaf, now);
            // Faults of a node's certificate are told as ever.
            is_service.map(|()| ClientCertVerified::assertion()).map_err(|_| error)
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.nodes.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.nodes.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.nodes.supported_verify_schemes()
    }
}

/// Asks other services of the overlay.
pub(crate) struct ServiceClient {
    tls: TlsConnector,
    name: ServerName<'static>,
}

/// Why a service was not asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("it is no URL of the form https://HOST:PORT")]
    Url,
    #[error("it did not answer within {ATTEMPT:?}")]
    TimedOut,
    #[error("it cannot be reached: {0}")]
    Connect(std::io::Error),
    #[error("it proves not to be a service of this overlay, or does not believe that this is one: {0}")]
    Tls(#[from] rustls::Error),
    #[error("it broke off: {0}")]
    Http(#[from] hyper::Error),
    #[error("its answer is too long or broke off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("its answer cannot be read: {0}")]
    Answer(String),
}

impl ServiceClient {
    /// Believes the services of an overlay, and shows them a certificate of this one, if they can know it.
    pub(crate) fn new(trust: &Trust, own: Option<(Key, Certificate)>) -> Result<ServiceClient, AskError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(trust)?);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some((key, certificate)) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()));
                let chain = vec![CertificateDer::from(certificate.der().to_vec())];
                builder.with_client_auth_cert(chain, key)?
            }
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(ServiceClient {
            tls: TlsConnector::from(Arc::new(config)),
            name: name(trust)?,
        })
    }

    /// Fetches what stands at a path of the service with this URL, whose own path does not count.
    pub(crate) async fn get(&self, url: &str, path: &str) -> Result<Bytes, AskError> {
        self.ask(url, (Method::GET, path), Bytes::new()).await
    }

    /// Posts a message.
    pub(crate) async fn post(&self, url: &str, path: &str, body: Vec<u8>) -> Result<Bytes, AskError> {
        self.ask(url, (Method::POST, path), body.into()).await
    }

    async fn ask(&self, url: &str, what: (Method, &str), body: Bytes) -> Result<Bytes, AskError> {
        let asking = tokio::time::timeout(ATTEMPT, self.ask_for_ever(url, what, body));
        asking.await.map_err(|_| AskError::TimedOut)?
    }

    async fn ask_for_ever(&self, url: &str, what: (Method, &str), body: Bytes) -> Result<Bytes, AskError> {
        let (method, path) = what;
        let uri: Uri = url.parse().map_err(|_| AskError::Url)?;
        let host = uri
            .host()
            .filter(|_| uri.scheme_str() == Some("https"))
            .ok_or(AskError::Url)?;
        let port = uri.port_u16().unwrap_or(HTTPS);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, port)).await.map_err(AskError::Connect)?;
        let stream = self.tls.connect(self.name.clone(), stream).await;
        let stream = stream.map_err(AskError::Connect)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, format!("{host}:{port}"));
        let request = request.body(Full::new(body)).map_err(|_| AskError::Url)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let _driven = AbortOnDropHandle::new(tokio::spawn(connection));
        let (head, body) = sender.send_request(request).await?.into_parts();
        if head.status != StatusCode::OK {
            return Err(AskError::Status(head.status));
        }
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(AskError::Body)?;
        Ok(body.to_bytes())
    }
}

/// The enrollment CAs; the configuration root issues signers of documents and no servers.
fn roots(trust: &Trust) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in trust.anchors.iter().filter(|anchor| anchor.path_length() == Some(1)) {
        roots.add(CertificateDer::from(certificate.der().to_vec()))?;
    }
    Ok(roots)
}

fn name(trust: &Trust) -> Result<ServerName<'static>, rustls::Error> {
    ServerName::try_from(trust.overlay.clone()).map_err(|error| rustls::Error::General(error.to_string()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// For connecting, TLS, request and answer together: as long as the server allows.
const ATTEMPT: Duration = Duration::from_secs(10);
/// The port of https.
const HTTPS: u16 = 443;
/// 1 MiB of changes and their framing; a document is smaller.
const MAX_ANSWER: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use identity::issue::{Profile, Serial, Subject, enrollment_ca};
    use wire::NodeId;

    use super::*;

    const OVERLAY: &str = "overlay.example.org";

    #[test]
    fn a_service_is_who_has_the_certificate_of_an_enrollment_server() {
        let now = UnixTime::now();
        let now_ms = now.as_secs() * 1000;
        let new_authority = || enrollment_ca(&Key::generate().unwrap(), now_ms, Serial::generate().unwrap()).unwrap();
        let (authority, stranger) = (new_authority(), new_authority());
        let trust = Trust {
            overlay: OVERLAY.to_owned(),
            anchors: vec![authority.certificate().clone()],
            ..Trust::default()
        };
        let key = Key::generate().unwrap().public();
        let server = |authority: &identity::issue::Authority, host| {
            let issued = authority.issue_server(&key, &[host], now_ms, Serial::generate().unwrap());
            issued.unwrap()
        };
        let node = |profile| {
            let subject = Subject {
                key: &key,
                node_id: NodeId::from([1; 16]),
                overlay: OVERLAY,
                user: None,
            };
            let issued = authority.issue(profile, &subject, now_ms, Serial::generate().unwrap());
            issued.unwrap()
        };
        for (certificate, expected) in [
            (server(&authority, OVERLAY), true),
            (server(&authority, "other.example.org"), false),
            (server(&stranger, OVERLAY), false),
            (node(Profile::Node), false),
            (node(Profile::Edge), false),
            (node(Profile::DelegatedSigner), false),
        ] {
            assert_eq!(check_service(&trust, certificate.der(), now).is_ok(), expected);
        }
    }
}
