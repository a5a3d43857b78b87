//! What goes into a certificate, field by field.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod,
    KeyUsagePurpose, SanType, SerialNumber,
};
use wire::{NodeId, hex};

use super::{IssueError, Serial};
use crate::certificate::Certificate;
use crate::key::PublicKey;
use crate::name::ReloadUri;

/// A certificate to be made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Template {
    /// The names in the subjectAltName.
    pub(crate) uris: Vec<ReloadUri>,
    pub(crate) users: Vec<String>,
    pub(crate) hosts: Vec<String>,
    /// The path length of a CA; absent in a leaf.
    pub(crate) authority: Option<BasicConstraints>,
    pub(crate) key_usages: Vec<KeyUsagePurpose>,
    /// The key id as common name; otherwise the subject is empty.
    pub(crate) subject_is_key_id: bool,
    pub(crate) purposes: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) not_before_ms: u64,
    pub(crate) not_after_ms: u64,
}

impl Template {
    /// Starts a certificate that names a node.
    pub(crate) fn leaf(node_id: NodeId, overlay: &str) -> Template {
        Template {
            uris: vec![ReloadUri {
                node_id,
                overlay: overlay.to_owned(),
            }],
            key_usages: vec![KeyUsagePurpose::DigitalSignature],
            ..Template::default()
        }
    }

    /// Makes it a CA's, with its key id as name.
    pub(crate) fn make_authority(&mut self, path_length: u8) {
        self.authority = Some(BasicConstraints::Constrained(path_length));
        self.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        self.subject_is_key_id = true;
    }

    /// Sets the dates: life counts from the issue, the start lies before it.
    pub(crate) fn set_dates(&mut self, now_ms: u64, life: Duration) {
        self.not_before_ms = now_ms.saturating_sub(milliseconds(BACKDATED));
        self.not_after_ms = now_ms.saturating_add(milliseconds(life));
    }

    /// Sets the dates, the end not beyond the issuer's.
    pub(crate) fn valid_for(&mut self, now_ms: u64, life: Duration, issuer: &Certificate) {
        self.set_dates(now_ms, life);
        self.not_after_ms = self.not_after_ms.min(issuer.not_after_ms());
    }

    /// Sets everything that rcgen would choose by itself.
    pub(crate) fn parameters(&self, key: &PublicKey, serial: Serial) -> Result<CertificateParams, IssueError> {
        let key_id = key.key_id();
        let mut parameters = CertificateParams::default();
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        parameters.not_before = epoch + Duration::from_secs((self.not_before_ms / 1000).min(LAST_SECOND));
        parameters.not_after = epoch + Duration::from_secs((self.not_after_ms / 1000).min(LAST_SECOND));
        parameters.serial_number = Some(SerialNumber::from_slice(&serial.0));
        parameters.distinguished_name = DistinguishedName::new();
        if self.subject_is_key_id {
            parameters
                .distinguished_name
                .push(DnType::CommonName, hex::encode(&key_id));
        }
        parameters.subject_alt_names = self.names()?;
        parameters.extended_key_usages = self.purposes.clone();
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_identifier_method = KeyIdMethod::PreSpecified(key_id.to_vec());
        parameters.is_ca = self.authority.map_or(IsCa::NoCa, IsCa::Ca);
        parameters.key_usages = self.key_usages.clone();
        Ok(parameters)
    }

    fn names(&self) -> Result<Vec<SanType>, IssueError> {
        let mut names = Vec::new();
        for uri in &self.uris {
            let text = uri.to_string();
            if ReloadUri::parse(&text).as_ref() != Some(uri) {
                return Err(IssueError::Name {
                    what: "an overlay name has letters, digits, '-', '.', '_' and '~'",
                });
            }
            names.push(SanType::URI(ia5(text)?));
        }
        for user in &self.users {
            names.push(SanType::Rfc822Name(ia5(user.clone())?));
        }
        for host in &self.hosts {
            names.push(SanType::DnsName(ia5(host.clone())?));
        }
        Ok(names)
    }
}

/// The moment of issue, from which lives are counted.
pub(crate) fn issued_ms(certificate: &Certificate) -> u64 {
    certificate.not_before_ms().saturating_add(milliseconds(BACKDATED))
}

fn ia5(text: String) -> Result<rcgen::string::Ia5String, IssueError> {
    text.try_into().map_err(|_| IssueError::Name {
        what: "names are ASCII",
    })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Two clocks that are off by a day each, and an hour: verifiers allow no tolerance, so issuers
/// backdate.
const BACKDATED: Duration = Duration::from_secs(49 * 3600);
/// RFC 5280 §4.1.2.5: dates end with the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;
