//! The private certification authority of one peer, or of one site.

use std::path::Path;
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use pki_types::CertificateDer;
use pki_types::pem::PemObject as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use zeroize::Zeroizing;

use super::CredentialsError;
use super::files::{self, CA, CA_KEY};
use super::identity::{ComponentIdentity, Pem};
use crate::Role;

/// Issues the certificates of one peer's components and of its operator. Whoever has its key may play every role.
pub struct ComponentAuthority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl ComponentAuthority {
    /// Makes a new authority, for 10 years.
    ///
    /// # Errors
    /// When the library fails.
    pub fn generate() -> Result<Self, CredentialsError> {
        Self::new(KeyPair::generate()?)
    }

    /// Makes the authority of a site, which follows from its secret: processes that share nothing but the secret issue themselves
    /// certificates that the others believe. The secret is as good as the authority's key.
    ///
    /// # Errors
    /// When the library fails.
    pub fn of_site(secret: &str) -> Result<Self, CredentialsError> {
        let seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), SITE);
        let octets = Zeroizing::new([ED25519_PKCS8, seed.as_ref()].concat());
        Self::new(KeyPair::try_from(octets.as_slice())?)
    }

    fn new(key: KeyPair) -> Result<Self, CredentialsError> {
        let mut parameters = parameters();
        // Its key in its name: a certificate of another peer's authority is refused for its issuer.
        let id = parameters.key_identifier(&key);
        let id: String = id.iter().take(4).map(|octet| format!("{octet:02x}")).collect();
        let name = format!("p2psip components {id}");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = parameters.self_signed(&key)?.pem();
        Ok(Self {
            certificate,
            issuer: Issuer::new(parameters, key),
        })
    }

    /// Issues a new key and certificate for `role`, for 10 years.
    ///
    /// # Errors
    /// When the library fails.
    pub fn issue(&self, role: Role) -> Result<ComponentIdentity, CredentialsError> {
        let key = KeyPair::generate()?;
        let mut parameters = parameters();
        parameters.distinguished_name.push(DnType::CommonName, role.name());
        parameters.subject_alt_names = vec![rcgen::SanType::DnsName(role.server_name().try_into()?)];
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Every component is at the one end of some connections and may be at the other end of more.
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        parameters.use_authority_key_identifier_extension = true;
        let certificate = parameters.signed_by(&key, &self.issuer)?.pem();
        ComponentIdentity::made(Pem {
            ca: self.certificate.clone(),
            certificate,
            key: Zeroizing::new(key.serialize_pem()),
        })
    }

    /// Reads what [`store`](Self::store) wrote.
    ///
    /// # Errors
    /// [`CredentialsError::Missing`] when nothing is there; others when it cannot be used.
    pub fn load(folder: &Path) -> Result<Self, CredentialsError> {
        let certificate = files::read(&folder.join(CA))?;
        let path = folder.join(CA_KEY);
        let key = KeyPair::from_pem(&files::read_secret(&path)?).map_err(|error| files::unusable(&path, &error))?;
        let path = folder.join(CA);
        let der = CertificateDer::from_pem_slice(certificate.as_bytes());
        let der = der.map_err(|error| files::unusable(&path, &error))?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|error| files::unusable(&path, &error))?;
        Ok(Self { certificate, issuer })
    }

    /// Writes key and certificate into a folder of their own, which only this user may enter.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn store(&self, folder: &Path) -> Result<(), CredentialsError> {
        files::make_private(folder)?;
        let key = Zeroizing::new(self.issuer.key().serialize_pem());
        files::write(&folder.join(CA_KEY), &key)?;
        files::write(&folder.join(CA), &self.certificate)
    }
}

impl std::fmt::Debug for ComponentAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ComponentAuthority").finish_non_exhaustive()
    }
}

/// What all certificates of components have in common.
fn parameters() -> CertificateParams {
    let now = SystemTime::now();
    let mut parameters = CertificateParams::default();
    parameters.not_before = (now - BACKDATED).into();
    parameters.not_after = (now + LIFE).into();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters
}

/// No other use of a site's secret authenticates these octets.
const SITE: &[u8] = b"p2psip component authority of a site";
/// The octets before the 32 of an Ed25519 key in PKCS #8 (RFC 8410 §7).
const ED25519_PKCS8: &[u8] = &[
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// They are replaced with the peer's authority, not renewed: nobody but the peer's own processes believes them.
const LIFE: Duration = Duration::from_secs(3653 * 24 * 3600);
/// Two clocks that are off by a day each, and an hour, as for the certificates of the overlay.
const BACKDATED: Duration = Duration::from_secs(49 * 3600);
