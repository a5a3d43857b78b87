//! The one rustls verifier, for both ends.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use identity::{Certificate, Identity, Use};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use wire::NodeId;

use crate::error::PeerError;

/// Judges the certificate at the other end. Names of hosts mean nothing here: a link leads to a Node-ID.
#[derive(Clone)]
pub(crate) struct Verifier {
    identities: Arc<identity::Verifier>,
    provider: Arc<CryptoProvider>,
    /// Whom an outgoing link is for.
    expected: Option<NodeId>,
    /// Whether a client without a certificate is let in too.
    is_optional: bool,
}

impl Verifier {
    pub(crate) fn new(identities: Arc<identity::Verifier>, provider: Arc<CryptoProvider>) -> Self {
        Self {
            identities,
            provider,
            expected: None,
            is_optional: false,
        }
    }

    /// Lets clients without a certificate in too; one that shows a certificate is judged as ever.
    pub(crate) fn optional(self) -> Self {
        Self {
            is_optional: true,
            ..self
        }
    }

    pub(crate) fn expecting(&self, expected: Option<NodeId>) -> Self {
        Self {
            expected,
            ..self.clone()
        }
    }

    /// Verifies a chain, leaf first.
    pub(crate) fn identify(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Arc<Identity>, PeerError> {
        let others: Vec<_> = others.iter().map(|der| Bytes::copy_from_slice(der)).collect();
        let now_ms = now.as_secs().saturating_mul(1000);
        let identity = self
            .identities
            .verify(leaf, &others, now_ms, Use::Node)
            .map_err(|source| {
                let found = Certificate::from_der(leaf)
                    .map(|leaf| leaf.node_ids().to_vec())
                    .unwrap_or_default();
                PeerError::Refused {
                    expected: self.expected,
                    found,
                    source,
                }
            })?;
        // RFC 6940 §6.5.1.11, §6.5.1.13: the certificate must be that of the node which the Attach was for.
        match self.expected {
            Some(expected) if !identity.is_node(&expected) => Err(PeerError::OtherNode {
                expected,
                found: identity.node_ids.clone(),
            }),
            _ => Ok(identity),
        }
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let error = |error| CertificateError::Other(OtherError(Arc::new(error)));
        self.identify(leaf, others, now)
            .map(drop)
            .map_err(|source| error(source).into())
    }

    fn tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(leaf, others, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls12(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A node has one certificate; there is nothing to choose by.
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        !self.is_optional
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(leaf, others, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls12(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

/// Judges clients of a server that serves strangers too, but asks nodes of the overlay for their certificates.
#[must_use]
pub fn client_verifier(verifier: Arc<identity::Verifier>) -> Arc<dyn ClientCertVerifier> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Arc::new(Verifier::new(verifier, provider).optional())
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

/// The three algorithms of certificates; RSA signs with PSS in TLS 1.3 (RFC 8446 §4.2.3).
const SCHEMES: [SignatureScheme; 4] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA256,
];
