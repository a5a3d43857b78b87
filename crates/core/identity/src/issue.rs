//! Makes every certificate of an overlay.
//!
//! Two sorts of self-signed CA stand in a configuration document, told apart by their path length:
//! a configuration root (0) and enrollment CAs (1). Everything else is issued below them by an
//! [`Authority`] after the table [`Profile`]. Dates, serial numbers, key ids and usages are set here
//! and never come from an applicant.

mod template;

use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use wire::NodeId;

use crate::certificate::{Certificate, CertificateError};
use crate::key::{Key, KeyError, PublicKey};
use crate::name::user_and_domain;
use crate::rules::{CONFIGURATION_ROOT, ENROLLMENT_CA};

pub(crate) use template::Template;

/// A sort of certificate that an authority issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Signs configuration documents or Kinds; issued by a configuration root.
    ConfigurationSigner,
    /// A peer or a client; issued by an enrollment CA.
    Node,
    /// The link certificate of an edge; issued by an enrollment CA.
    Edge,
    /// An edge's own small CA, for its own Node-ID only; issued by an enrollment CA.
    DelegatedSigner,
    /// A user at an edge; issued by that edge's delegated signer.
    Minted,
    /// Signs one user's record; issued by an enrollment CA.
    UserRecord,
}

/// Whom a certificate is for.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The public key.
    pub key: &'a PublicKey,
    /// The Node-ID.
    pub node_id: NodeId,
    /// The name of the overlay.
    pub overlay: &'a str,
    /// The user name; `None` stands for the node's own, `<Node-ID>@<overlay>`.
    pub user: Option<&'a str>,
}

/// A serial number: nine random octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serial([u8; 9]);

/// A CA's key with its certificate.
pub struct Authority {
    certificate: Certificate,
    key: Key,
    issuer: rcgen::Issuer<'static, Key>,
    /// How long certificates of nodes and enrollment servers live.
    node_life: Duration,
}

/// Why a certificate was not issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The key does not fit.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate that was made cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The CA may not issue this sort.
    #[error("this CA may not issue a certificate of profile {profile:?}: {what}")]
    WrongAuthority {
        /// The sort that was asked for.
        profile: Profile,
        /// What does not fit.
        what: &'static str,
    },
    /// A name cannot stand in a certificate.
    #[error("name cannot stand in a certificate: {what}")]
    Name {
        /// Which one, and why.
        what: &'static str,
    },
    /// The library failed.
    #[error("certificate could not be made: {reason}")]
    Encoding {
        /// What the library says.
        reason: String,
    },
}

/// Makes the self-signed certificate of a configuration root, for 10 years.
///
/// # Errors
/// When the library fails.
pub fn configuration_root(key: &Key, now_ms: u64, serial: Serial) -> Result<Authority, IssueError> {
    root(key, CONFIGURATION_ROOT, days(3653), now_ms, serial)
}

/// Makes the self-signed certificate of an enrollment CA, for 2 years.
///
/// # Errors
/// When the library fails.
pub fn enrollment_ca(key: &Key, now_ms: u64, serial: Serial) -> Result<Authority, IssueError> {
    root(key, ENROLLMENT_CA, days(731), now_ms, serial)
}

impl Authority {
    /// Takes up a CA again.
    ///
    /// # Errors
    /// When the certificate is not a CA's or not for this key.
    pub fn new(key: Key, certificate: Certificate) -> Result<Authority, IssueError> {
        if !certificate.is_ca() || key.public().spki() != certificate.public_key() {
            return Err(IssueError::Key(KeyError::Mismatch));
        }
        let der = pki_types::CertificateDer::from(certificate.der().as_ref());
        let issuer = rcgen::Issuer::from_ca_cert_der(&der, key.clone()).map_err(encoding)?;
        Ok(Authority {
            certificate,
            key,
            issuer,
            node_life: NODE_LIFE,
        })
    }

    /// Lets the certificates of nodes and enrollment servers live for so long, and delegated signers for two thirds of it.
    pub fn set_node_life(&mut self, node_life: Duration) {
        self.node_life = node_life;
    }

    /// Returns its certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Returns its key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Issues a certificate; it never outlives the CA.
    ///
    /// # Errors
    /// When this CA may not issue that profile, or a name cannot stand in a certificate.
    pub fn issue(
        &self,
        profile: Profile,
        subject: &Subject<'_>,
        now_ms: u64,
        serial: Serial,
    ) -> Result<Certificate, IssueError> {
        self.check(profile, subject)?;
        self.sign(&self.template(profile, subject, now_ms)?, subject.key, serial)
    }

    /// What the table says about a profile.
    pub(crate) fn template(
        &self,
        profile: Profile,
        subject: &Subject<'_>,
        now_ms: u64,
    ) -> Result<Template, IssueError> {
        let mut template = Template::leaf(subject.node_id, subject.overlay);
        match profile {
            Profile::DelegatedSigner => template.make_authority(CONFIGURATION_ROOT),
            _ => template.users.push(user_of(subject)?),
        }
        template.purposes = purposes(profile);
        template.valid_for(now_ms, self.life(profile), &self.certificate);
        Ok(template)
    }

    /// Issues the TLS certificate of an enrollment server for these host names.
    ///
    /// # Errors
    /// When this is no enrollment CA, or a name cannot stand in a certificate.
    pub fn issue_server(
        &self,
        key: &PublicKey,
        hosts: &[&str],
        now_ms: u64,
        serial: Serial,
    ) -> Result<Certificate, IssueError> {
        if self.certificate.path_length() != Some(u32::from(ENROLLMENT_CA)) {
            return Err(IssueError::Name {
                what: "only an enrollment CA names enrollment servers",
            });
        }
        let mut template = Template {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            key_usages: vec![rcgen::KeyUsagePurpose::DigitalSignature],
            ..Template::default()
        };
        template.purposes = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        template.valid_for(now_ms, self.node_life, &self.certificate);
        self.sign(&template, key, serial)
    }

    pub(crate) fn sign(&self, template: &Template, key: &PublicKey, serial: Serial) -> Result<Certificate, IssueError> {
        let parameters = template.parameters(key, serial)?;
        let certificate = parameters.signed_by(key, &self.issuer).map_err(encoding)?;
        Ok(Certificate::from_der(certificate.der())?)
    }

    /// How long a certificate lives, counted from its issue.
    fn life(&self, profile: Profile) -> Duration {
        match profile {
            Profile::ConfigurationSigner => days(365),
            Profile::Node | Profile::Edge => self.node_life,
            Profile::DelegatedSigner => self.node_life * 2 / 3,
            Profile::UserRecord => days(90),
            Profile::Minted => days(10),
        }
    }

    /// Each profile has its issuer: a certificate from another would be void at every verifier.
    fn check(&self, profile: Profile, subject: &Subject<'_>) -> Result<(), IssueError> {
        let refuse = |what| Err(IssueError::WrongAuthority { profile, what });
        let own = &self.certificate;
        match profile {
            Profile::ConfigurationSigner
                if own.path_length() != Some(u32::from(CONFIGURATION_ROOT)) || !own.uris().is_empty() =>
            {
                refuse("it is not a configuration root")
            }
            Profile::Minted if own.path_length() != Some(0) || own.node_ids() != [subject.node_id] => {
                refuse("it is not the delegated signer of that node")
            }
            Profile::Node | Profile::Edge | Profile::DelegatedSigner | Profile::UserRecord
                if own.path_length() != Some(u32::from(ENROLLMENT_CA)) =>
            {
                refuse("it is not an enrollment CA")
            }
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl Serial {
    /// Takes nine octets that were drawn at random.
    #[must_use]
    pub const fn new(octets: [u8; 9]) -> Serial {
        Serial(octets)
    }

    /// Draws one from the system's random source.
    ///
    /// # Errors
    /// When that fails.
    pub fn generate() -> Result<Serial, KeyError> {
        let mut octets = [0; 9];
        SystemRandom::new()
            .fill(&mut octets)
            .map_err(|_| KeyError::Generation)?;
        Ok(Serial(octets))
    }
}

/// Tells when a certificate is due for renewal, in Unix milliseconds: after a third of its life from its issue, so that the
/// services that issue it may be away for the rest; a delegated signer after a sixth, since what it signs ends with it.
#[must_use]
pub fn renewal_due_ms(certificate: &Certificate) -> u64 {
    let issued_ms = template::issued_ms(certificate);
    let life_ms = certificate.not_after_ms().saturating_sub(issued_ms);
    let is_delegated_signer = certificate.is_ca() && !certificate.uris().is_empty();
    issued_ms.saturating_add(life_ms / if is_delegated_signer { 6 } else { 3 })
}

/// Makes the Node-ID of a new node.
///
/// RFC 6940 §11.3: it is cryptographically random and chosen by the enrollment server.
///
/// # Errors
/// When the system's random source fails.
pub fn random_node_id() -> Result<NodeId, KeyError> {
    loop {
        let mut octets = [0; 16];
        SystemRandom::new()
            .fill(&mut octets)
            .map_err(|_| KeyError::Generation)?;
        let node_id = NodeId::from(octets);
        if node_id.is_name() {
            return Ok(node_id);
        }
    }
}

fn root(key: &Key, path_length: u8, life: Duration, now_ms: u64, serial: Serial) -> Result<Authority, IssueError> {
    let mut template = Template::default();
    template.make_authority(path_length);
    template.set_dates(now_ms, life);
    self_signed(key, &template, serial)
}

pub(crate) fn self_signed(key: &Key, template: &Template, serial: Serial) -> Result<Authority, IssueError> {
    let certificate = template
        .parameters(&key.public(), serial)?
        .self_signed(key)
        .map_err(encoding)?;
    Authority::new(key.clone(), Certificate::from_der(certificate.der())?)
}

fn user_of(subject: &Subject<'_>) -> Result<String, IssueError> {
    let user = match subject.user {
        Some(user) => user.to_owned(),
        None => format!("{}@{}", subject.node_id, subject.overlay),
    };
    match user_and_domain(&user) {
        Some(_) => Ok(user),
        None => Err(IssueError::Name {
            what: "a user name is printable ASCII of the form user@domain",
        }),
    }
}

fn purposes(profile: Profile) -> Vec<rcgen::ExtendedKeyUsagePurpose> {
    use rcgen::ExtendedKeyUsagePurpose as Purpose;
    match profile {
        Profile::ConfigurationSigner | Profile::Node => Vec::new(),
        // id-kp-sipDomain (RFC 5924) marks an edge: it may act for the SIP domain.
        Profile::Edge => vec![
            Purpose::ServerAuth,
            Purpose::ClientAuth,
            Purpose::Other(SIP_DOMAIN.to_vec()),
        ],
        // Every TLS library that checks purposes along a chain refuses id-kp-documentSigning (RFC 9336).
        Profile::DelegatedSigner | Profile::Minted | Profile::UserRecord => {
            vec![Purpose::Other(DOCUMENT_SIGNING.to_vec())]
        }
    }
}

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 3600)
}

fn encoding(error: rcgen::Error) -> IssueError {
    IssueError::Encoding {
        reason: error.to_string(),
    }
}

/// How long certificates of nodes live, unless the operator wants something else.
pub const NODE_LIFE: Duration = days(90);
const SIP_DOMAIN: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 20];
const DOCUMENT_SIGNING: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 36];
