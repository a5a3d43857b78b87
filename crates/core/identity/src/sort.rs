//! Tells an overlay's certificates apart by what is in them, for people who look at them. Whether one counts, and for what, is
//! the [`Verifier`](crate::Verifier)'s to say.

use crate::certificate::{Certificate, Purposes};
use crate::issue::renewal_due_ms;
use crate::rules::{CONFIGURATION_ROOT, ENROLLMENT_CA};

/// The sorts of certificate that an overlay has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Issues configuration signers; kept off line.
    ConfigurationRoot,
    /// Signs configuration documents or Kinds.
    ConfigurationSigner,
    /// Issues what nodes need.
    EnrollmentCa,
    /// TLS of an enrollment service.
    EnrollmentServer,
    /// A peer.
    Peer,
    /// A user's own client.
    Client,
    /// The link of an edge.
    EdgeLink,
    /// An edge's own small CA.
    DelegatedSigner,
    /// A user at an edge.
    Minted,
    /// Signs one user's record.
    UserRecord,
}

impl Sort {
    /// Tells what a certificate is. Some look alike, and only who issued them tells: with an unknown `issuer`, a signer of
    /// values is `None`, and a configuration signer passes for a node. So is `None` what is no certificate of an overlay.
    #[must_use]
    pub fn of(certificate: &Certificate, issuer: Option<&Certificate>) -> Option<Self> {
        if certificate.is_ca() {
            return Self::of_authority(certificate);
        }
        let issuer = issuer
            .filter(|issuer| issuer.is_named_issuer_of(certificate))
            .and_then(Self::of_authority);
        match certificate.purposes() {
            None if certificate.uris().is_empty() => None,
            None if issuer == Some(Self::ConfigurationRoot) => Some(Self::ConfigurationSigner),
            None => Some(if certificate.has_own_name() {
                Self::Peer
            } else {
                Self::Client
            }),
            Some(purposes) if purposes.sip_domain => Some(Self::EdgeLink),
            Some(Purposes::DOCUMENT_SIGNING_ONLY) => match issuer {
                Some(Self::DelegatedSigner) => Some(Self::Minted),
                Some(Self::EnrollmentCa) => Some(Self::UserRecord),
                _ => None,
            },
            Some(purposes) if purposes.tls && issuer == Some(Self::EnrollmentCa) => {
                (!certificate.hosts().is_empty()).then_some(Self::EnrollmentServer)
            }
            Some(_) => None,
        }
    }

    /// When a certificate of this sort is replaced by itself, in Unix milliseconds; `None` where a person does that, or nobody.
    #[must_use]
    pub fn renewal_ms(self, certificate: &Certificate) -> Option<u64> {
        match self {
            Self::EnrollmentServer
            | Self::Peer
            | Self::Client
            | Self::EdgeLink
            | Self::UserRecord
            | Self::DelegatedSigner => Some(renewal_due_ms(certificate)),
            Self::ConfigurationRoot | Self::ConfigurationSigner | Self::EnrollmentCa | Self::Minted => None,
        }
    }

    fn of_authority(certificate: &Certificate) -> Option<Self> {
        let path_length = certificate.path_length()?;
        if certificate.purposes() == Some(Purposes::DOCUMENT_SIGNING_ONLY) && certificate.uris().len() == 1 {
            return Some(Self::DelegatedSigner);
        }
        let is_root = certificate.is_self_issued() && certificate.is_named_by_key() && certificate.uris().is_empty();
        match u8::try_from(path_length) {
            Ok(CONFIGURATION_ROOT) if is_root => Some(Self::ConfigurationRoot),
            Ok(ENROLLMENT_CA) if is_root => Some(Self::EnrollmentCa),
            _ => None,
        }
    }
}
