//! One X.509 certificate, read once.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use wire::NodeId;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::name::ReloadUri;

/// A parsed certificate; copies are cheap. Parsing says nothing about trust.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    der: Bytes,
    hash: [u8; 32],
    issuer: Vec<u8>,
    subject: Vec<u8>,
    public_key: Vec<u8>,
    not_before_ms: u64,
    not_after_ms: u64,
    extensions: Extensions,
    node_ids: Vec<NodeId>,
}

/// What the extensions say.
#[derive(Default)]
struct Extensions {
    /// The CA's path length, `None` when unlimited; absent in a leaf.
    authority: Option<Option<u32>>,
    subject_key_id: Option<Vec<u8>>,
    authority_key_id: Option<Vec<u8>>,
    key_usage: Option<KeyUsage>,
    purposes: Option<Purposes>,
    uris: Vec<ReloadUri>,
    users: Vec<String>,
    hosts: Vec<String>,
    has_other_names: bool,
}

/// The bits of the KeyUsage extension that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyUsage {
    pub(crate) digital_signature: bool,
    pub(crate) key_cert_sign: bool,
}

/// The extended key usages that matter here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Purposes {
    /// serverAuth, clientAuth or any.
    pub(crate) tls: bool,
    /// documentSigning (RFC 9336).
    pub(crate) document_signing: bool,
    /// sipDomain (RFC 5924): an edge.
    pub(crate) sip_domain: bool,
    /// One that is not used here.
    pub(crate) other: bool,
}

/// Why bytes are not a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// More bytes than any certificate of an overlay has.
    #[error("certificate of {size} bytes is larger than {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// It is not DER, or not X.509.
    #[error("certificate is malformed: {reason}")]
    Malformed {
        /// What the parser says.
        reason: String,
    },
    /// Bytes follow the certificate.
    #[error("{count} bytes follow the certificate")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
}

impl Certificate {
    /// Reads one certificate in DER, and nothing after it.
    ///
    /// # Errors
    /// When the bytes are too many, malformed, or more than the certificate.
    pub fn from_der(der: &[u8]) -> Result<Certificate, CertificateError> {
        Certificate::from_bytes(Bytes::copy_from_slice(der))
    }

    /// Reads one certificate in DER without copying it.
    ///
    /// # Errors
    /// As [`Certificate::from_der`].
    pub fn from_bytes(der: Bytes) -> Result<Certificate, CertificateError> {
        if der.len() > MAX_CERTIFICATE {
            return Err(CertificateError::TooLarge {
                size: der.len(),
                limit: MAX_CERTIFICATE,
            });
        }
        let (rest, x509) = X509Certificate::from_der(&der).map_err(malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::TrailingBytes { count: rest.len() });
        }
        let extensions = Extensions::read(&x509)?;
        let node_ids = extensions.uris.iter().map(|uri| uri.node_id).collect();
        Ok(Certificate(Arc::new(Inner {
            hash: Sha256::digest(&der).into(),
            issuer: x509.issuer().as_raw().to_vec(),
            subject: x509.subject().as_raw().to_vec(),
            public_key: x509.public_key().raw.to_vec(),
            not_before_ms: unix_ms(x509.validity().not_before.timestamp()),
            not_after_ms: unix_ms(x509.validity().not_after.timestamp()),
            extensions,
            node_ids,
            der: der.clone(),
        })))
    }

    /// Returns the certificate in DER.
    #[must_use]
    pub fn der(&self) -> &Bytes {
        &self.0.der
    }

    /// Returns SHA-256 of the DER.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.0.hash
    }

    /// Returns the Node-IDs of its reload URIs, whatever overlay these name.
    #[must_use]
    pub fn node_ids(&self) -> &[NodeId] {
        &self.0.node_ids
    }

    /// Returns its reload URIs.
    #[must_use]
    pub fn uris(&self) -> &[ReloadUri] {
        &self.0.extensions.uris
    }

    /// Returns the user name (the rfc822Name), if there is exactly one.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self.users() {
            [user] => Some(user),
            _ => None,
        }
    }

    /// Returns the start of its validity in Unix milliseconds.
    #[must_use]
    pub fn not_before_ms(&self) -> u64 {
        self.0.not_before_ms
    }

    /// Returns the end of its validity in Unix milliseconds.
    #[must_use]
    pub fn not_after_ms(&self) -> u64 {
        self.0.not_after_ms
    }

    /// Tells whether it is a CA's.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.0.extensions.authority.is_some()
    }

    /// Returns the path length of a CA that limits it.
    #[must_use]
    pub fn path_length(&self) -> Option<u32> {
        self.0.extensions.authority.flatten()
    }

    /// Tells whether it is an edge's link certificate (purpose sipDomain, RFC 5924).
    #[must_use]
    pub fn is_edge(&self) -> bool {
        self.purposes().is_some_and(|purposes| purposes.sip_domain)
    }

    /// Returns its public key as SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.0.public_key
    }

    /// Returns the host names in it: those of a server.
    #[must_use]
    pub fn hosts(&self) -> &[String] {
        &self.0.extensions.hosts
    }

    /// Returns the id of its key, if it names one.
    #[must_use]
    pub fn key_id(&self) -> Option<&[u8]> {
        self.0.extensions.subject_key_id.as_deref()
    }

    /// Returns the id of its issuer's key, if it names one.
    #[must_use]
    pub fn issuer_key_id(&self) -> Option<&[u8]> {
        self.0.extensions.authority_key_id.as_deref()
    }

    /// Tells whether this certificate looks like the issuer of `other`: same name, same key id.
    #[must_use]
    pub fn is_named_issuer_of(&self, other: &Certificate) -> bool {
        self.0.subject == other.0.issuer && self.0.extensions.subject_key_id == other.0.extensions.authority_key_id
    }

    pub(crate) fn users(&self) -> &[String] {
        &self.0.extensions.users
    }

    pub(crate) fn has_other_names(&self) -> bool {
        self.0.extensions.has_other_names
    }

    pub(crate) fn key_usage(&self) -> Option<KeyUsage> {
        self.0.extensions.key_usage
    }

    pub(crate) fn purposes(&self) -> Option<Purposes> {
        self.0.extensions.purposes
    }

    /// Tells whether it names itself as its issuer.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.0.subject == self.0.issuer
    }

    /// Tells whether its subject is the id of its key in hex, as that of every CA of an overlay.
    pub(crate) fn is_named_by_key(&self) -> bool {
        // One common name: its text is the end of the encoding.
        self.key_id()
            .is_some_and(|id| self.0.subject.ends_with(wire::hex::encode(id).as_bytes()))
    }

    /// Tells whether its user name is the node's own and no user's.
    pub(crate) fn has_own_name(&self) -> bool {
        let own = |uri: &ReloadUri| format!("{}@{}", uri.node_id, uri.overlay);
        matches!(self.uris(), [uri] if self.user() == Some(&own(uri)))
    }
}

impl Extensions {
    fn read(x509: &X509Certificate<'_>) -> Result<Extensions, CertificateError> {
        // RFC 5280 §4.2: an extension appears at most once; the map refuses a second one.
        x509.extensions_map().map_err(malformed)?;
        let mut read = Extensions::default();
        for extension in x509.iter_extensions() {
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(constraints) => {
                    read.authority = constraints.ca.then_some(constraints.path_len_constraint);
                }
                ParsedExtension::SubjectKeyIdentifier(id) => read.subject_key_id = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    read.authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                ParsedExtension::KeyUsage(usage) => {
                    read.key_usage = Some(KeyUsage {
                        digital_signature: usage.digital_signature(),
                        key_cert_sign: usage.key_cert_sign(),
                    });
                }
                ParsedExtension::ExtendedKeyUsage(usage) => read.purposes = Some(Purposes::read(usage)),
                ParsedExtension::SubjectAlternativeName(names) => {
                    names.general_names.iter().for_each(|name| read.add_name(name));
                }
                ParsedExtension::ParseError { error } => {
                    return Err(CertificateError::Malformed {
                        reason: error.to_string(),
                    });
                }
                _ => {}
            }
        }
        Ok(read)
    }

    fn add_name(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::RFC822Name(user) => self.users.push((*user).to_owned()),
            GeneralName::URI(uri) => match ReloadUri::parse(uri) {
                Some(uri) => self.uris.push(uri),
                None => self.has_other_names = true,
            },
            GeneralName::DNSName(host) => {
                self.hosts.push((*host).to_owned());
                self.has_other_names = true;
            }
            _ => self.has_other_names = true,
        }
    }
}

impl Purposes {
    fn read(usage: &x509_parser::extensions::ExtendedKeyUsage<'_>) -> Purposes {
        let is_known = |oid: &x509_parser::der_parser::oid::Oid<'_>| {
            oid.as_bytes() == DOCUMENT_SIGNING || oid.as_bytes() == SIP_DOMAIN
        };
        let has = |wanted: &[u8]| usage.other.iter().any(|oid| oid.as_bytes() == wanted);
        Purposes {
            tls: usage.any || usage.server_auth || usage.client_auth,
            document_signing: has(DOCUMENT_SIGNING),
            sip_domain: has(SIP_DOMAIN),
            other: usage.code_signing
                || usage.email_protection
                || usage.time_stamping
                || usage.ocsp_signing
                || usage.other.iter().any(|oid| !is_known(oid)),
        }
    }

    /// Exactly documentSigning and nothing else.
    pub(crate) const DOCUMENT_SIGNING_ONLY: Purposes = Purposes {
        tls: false,
        document_signing: true,
        sip_domain: false,
        other: false,
    };
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Certificate) -> bool {
        self.0.hash == other.0.hash
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("node_ids", &self.0.node_ids)
            .field("is_ca", &self.is_ca())
            .field("not_after_ms", &self.0.not_after_ms)
            .finish_non_exhaustive()
    }
}

fn malformed(error: impl fmt::Display) -> CertificateError {
    CertificateError::Malformed {
        reason: error.to_string(),
    }
}

/// A date before 1970 counts as 1970.
fn unix_ms(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)
}

/// The largest certificate that is read; those of an overlay have less than 1 KiB, a chain of
/// RSA-8192 certificates of another implementation stays below this.
pub(crate) const MAX_CERTIFICATE: usize = 8192;
/// id-kp-documentSigning, 1.3.6.1.5.5.7.3.36 (RFC 9336), as DER contents.
const DOCUMENT_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 36];
/// id-kp-sipDomain, 1.3.6.1.5.5.7.3.20 (RFC 5924), as DER contents.
const SIP_DOMAIN: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 20];
