//! Mutual TLS between components: TLS 1.3 only, both ends are ours.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pki_types::{CertificateDer, PrivateKeyDer};
use rustls::client::Resumption;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::role::{Role, Roles};

/// What a component certificate says.
pub(crate) struct Names {
    pub(crate) roles: Roles,
    not_before: i64,
    not_after: i64,
}

impl Names {
    pub(crate) fn is_valid_at(&self, now: SystemTime) -> bool {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        i64::try_from(seconds).is_ok_and(|seconds| (self.not_before..=self.not_after).contains(&seconds))
    }
}

/// Reads a certificate.
pub(crate) fn names(certificate: &CertificateDer<'_>) -> Result<Names, X509Error> {
    let (_, certificate) = parse_x509_certificate(certificate).map_err(|_| X509Error::InvalidCertificate)?;
    let names = certificate.subject_alternative_name()?;
    let names = names.map_or(&[][..], |extension| &extension.value.general_names);
    let roles = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Role::of_server_name(name),
        _ => None,
    });
    Ok(Names {
        roles: roles.collect(),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
    })
}

/// Whether one of the authorities has signed the certificate.
pub(crate) fn is_issued_by(certificate: &CertificateDer<'_>, authorities: &[CertificateDer<'_>]) -> bool {
    let Ok((_, certificate)) = parse_x509_certificate(certificate) else {
        return false;
    };
    authorities.iter().any(|authority| {
        parse_x509_certificate(authority)
            .is_ok_and(|(_, authority)| certificate.verify_signature(Some(authority.public_key())).is_ok())
    })
}

/// Makes both ends' settings. Nothing is resumed: a certificate is looked at with each connection.
pub(crate) fn configs(
    authorities: Vec<CertificateDer<'static>>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<(Arc<ServerConfig>, Arc<ClientConfig>), rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority)?;
    }
    let roots = Arc::new(roots);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;

    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(VERSIONS)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.clone()], key.clone_key())?;
    server.alpn_protocols = vec![HTTP2.to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;

    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS)?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)?;
    client.alpn_protocols = vec![HTTP2.to_vec()];
    client.resumption = Resumption::disabled();
    Ok((Arc::new(server), Arc::new(client)))
}

static VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

// RFC 9113 §3.2.
const HTTP2: &[u8] = b"h2";
