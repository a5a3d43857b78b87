//! Private keys that sign, and public keys that certificates are made for.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use rcgen::{PublicKeyData, SigningKey};
use sha2::{Digest, Sha256};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

/// A private key: ECDSA P-256, or Ed25519 where signatures must repeat exactly.
///
/// Copies share one key; its bytes are wiped with the last of them.
#[derive(Clone)]
pub struct Key(Arc<Inner>);

struct Inner {
    pair: Pair,
    pkcs8: Zeroizing<Vec<u8>>,
}

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are no PKCS#8 key of a supported algorithm.
    #[error("private key is not PKCS#8 with ECDSA P-256 or Ed25519")]
    Unsupported,
    /// The text is no PEM.
    #[error("private key is not PEM")]
    NotPem,
    /// The random source or the library failed.
    #[error("key could not be made")]
    Generation,
    /// A certificate request could not be read, or its own signature is wrong.
    #[error("certificate request is malformed: {reason}")]
    Request {
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate that is for another key, or names no node.
    #[error("certificate is not for this key, or names no node")]
    Mismatch,
    /// A public key of an algorithm that is not verified in an overlay.
    #[error("public key is not ECDSA P-256, Ed25519, or RSA of 2048 to 8192 bits")]
    PublicKey,
}

impl Key {
    /// Makes a new ECDSA P-256 key.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn generate() -> Result<Key, KeyError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Generation)?;
        Key::from_pkcs8(pkcs8.as_ref())
    }

    /// Makes the Ed25519 key of a seed; its signatures are deterministic.
    #[must_use]
    #[allow(clippy::missing_panics_doc, reason = "the encoding is fixed and always valid")]
    pub fn ed25519_from_seed(seed: [u8; 32]) -> Key {
        let mut pkcs8 = Zeroizing::new(ED25519_PKCS8.to_vec());
        pkcs8.extend_from_slice(&seed);
        Key::from_pkcs8(&pkcs8).expect("every 32 bytes are an Ed25519 seed")
    }

    /// Reads a key in PKCS#8 DER.
    ///
    /// # Errors
    /// When it is malformed or of another algorithm.
    pub fn from_pkcs8(der: &[u8]) -> Result<Key, KeyError> {
        let pair = match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der) {
            Ok(pair) => Pair::P256(pair),
            Err(_) => {
                Pair::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| KeyError::Unsupported)?)
            }
        };
        Ok(Key(Arc::new(Inner {
            pair,
            pkcs8: Zeroizing::new(der.to_vec()),
        })))
    }

    /// Reads a key in PEM ("PRIVATE KEY", PKCS#8).
    ///
    /// # Errors
    /// When it is no PEM, malformed, or of another algorithm.
    pub fn from_pem(pem: &str) -> Result<Key, KeyError> {
        use pki_types::pem::PemObject;
        let der = pki_types::PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::NotPem)?;
        Key::from_pkcs8(der.secret_pkcs8_der())
    }

    /// Returns the key in PKCS#8 DER: a secret.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.0.pkcs8
    }

    /// Returns the key in PEM: a secret.
    ///
    /// # Errors
    /// When the library cannot write it.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let der = pki_types::PrivatePkcs8KeyDer::from(self.pkcs8());
        let pair =
            rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, self.algorithm()).map_err(|_| KeyError::Unsupported)?;
        Ok(Zeroizing::new(pair.serialize_pem()))
    }

    /// Returns its public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey {
            spki: self.subject_public_key_info(),
            raw: self.der_bytes().to_vec(),
            algorithm: self.algorithm(),
        }
    }

    /// Makes a certificate request (PKCS#10) that asks for nothing but its key.
    ///
    /// # Errors
    /// When the library cannot sign it.
    pub fn request(&self) -> Result<Vec<u8>, KeyError> {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        let request = parameters.serialize_request(self).map_err(|error| KeyError::Request {
            reason: error.to_string(),
        })?;
        Ok(request.der().to_vec())
    }

    /// Tells whether it is an Ed25519 key.
    #[must_use]
    pub fn is_ed25519(&self) -> bool {
        matches!(self.0.pair, Pair::Ed25519(_))
    }

    /// Signs `input`: ECDSA as DER with SHA-256, or Ed25519, both as in TLS.
    #[must_use]
    #[allow(
        clippy::missing_panics_doc,
        reason = "only a failing random source makes signing fail"
    )]
    pub fn sign(&self, input: &[u8]) -> Vec<u8> {
        match &self.0.pair {
            Pair::P256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), input);
                signature.expect("the system's random source works").as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.sign(input).as_ref().to_vec(),
        }
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        match &self.0.pair {
            Pair::P256(pair) => pair.public_key().as_ref(),
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
        }
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match &self.0.pair {
            Pair::P256(_) => &rcgen::PKCS_ECDSA_P256_SHA256,
            Pair::Ed25519(_) => &rcgen::PKCS_ED25519,
        }
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Key::sign(self, message))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = if self.is_ed25519() { "Ed25519" } else { "P-256" };
        f.debug_struct("Key")
            .field("algorithm", &algorithm)
            .finish_non_exhaustive()
    }
}

/// The public key a certificate is made for.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    spki: Vec<u8>,
    raw: Vec<u8>,
    algorithm: &'static rcgen::SignatureAlgorithm,
}

impl PublicKey {
    /// Takes the public key, and nothing else, out of a certificate request (PKCS#10).
    ///
    /// The request's signature proves that the applicant has the key. Whatever else it asks for
    /// (a CA, names, usages) is not even read.
    ///
    /// # Errors
    /// When the request is malformed, its signature is wrong, or the key is of another algorithm.
    pub fn from_request(der: &[u8]) -> Result<PublicKey, KeyError> {
        let refuse = |reason: &dyn fmt::Display| KeyError::Request {
            reason: reason.to_string(),
        };
        if der.len() > MAX_REQUEST {
            return Err(refuse(&format_args!("{} bytes are more than {MAX_REQUEST}", der.len())));
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|error| refuse(&error))?;
        if !rest.is_empty() {
            return Err(refuse(&"bytes follow it"));
        }
        let key = PublicKey::from_spki(request.certification_request_info.subject_pki.raw)?;
        request.verify_signature().map_err(|error| refuse(&error))?;
        Ok(key)
    }

    /// Reads a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// When it is malformed or of an algorithm that is not verified in an overlay.
    pub fn from_spki(der: &[u8]) -> Result<PublicKey, KeyError> {
        use x509_parser::public_key::PublicKey as Parsed;
        let (_, info) = x509_parser::x509::SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::PublicKey)?;
        if let Ok(Parsed::RSA(rsa)) = info.parsed()
            && !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&rsa.key_size())
        {
            return Err(KeyError::PublicKey);
        }
        let parsed = rcgen::SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::PublicKey)?;
        let algorithm = parsed.algorithm();
        if ![
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ED25519,
            &rcgen::PKCS_RSA_SHA256,
        ]
        .contains(&algorithm)
        {
            return Err(KeyError::PublicKey);
        }
        Ok(PublicKey {
            spki: der.to_vec(),
            raw: parsed.der_bytes().to_vec(),
            algorithm,
        })
    }

    /// Returns it as SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Returns its key id: the first 8 bytes of SHA-256 of the SubjectPublicKeyInfo.
    #[must_use]
    pub fn key_id(&self) -> [u8; 8] {
        let mut id = [0; 8];
        for (slot, byte) in id.iter_mut().zip(Sha256::digest(&self.spki)) {
            *slot = byte;
        }
        id
    }
}

impl PublicKeyData for PublicKey {
    fn subject_public_key_info(&self) -> Vec<u8> {
        self.spki.clone()
    }

    fn der_bytes(&self) -> &[u8] {
        &self.raw
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.algorithm
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?})", self.key_id())
    }
}

/// PKCS#8 v1 around a 32-byte Ed25519 seed (RFC 8410 §7), without the seed.
const ED25519_PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// No certificate request of a supported key is larger.
const MAX_REQUEST: usize = 8192;
const MIN_RSA_BITS: usize = 2048;
const MAX_RSA_BITS: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ed25519_signatures_repeat() {
        let key = Key::ed25519_from_seed([7; 32]);
        assert!(key.is_ed25519());
        assert_eq!(key.sign(b"message"), Key::ed25519_from_seed([7; 32]).sign(b"message"));
        assert_ne!(key.public(), Key::ed25519_from_seed([8; 32]).public());
    }

    #[test]
    fn keys_survive_der_and_pem() {
        for key in [Key::generate().unwrap(), Key::ed25519_from_seed([1; 32])] {
            let again = Key::from_pkcs8(key.pkcs8()).unwrap();
            assert_eq!(again.public(), key.public());
            let again = Key::from_pem(&key.to_pem().unwrap()).unwrap();
            assert_eq!(again.public(), key.public());
            assert_eq!(again.is_ed25519(), key.is_ed25519());
        }
        assert_eq!(Key::from_pkcs8(b"nonsense").unwrap_err(), KeyError::Unsupported);
        assert_eq!(Key::from_pem("nonsense").unwrap_err(), KeyError::NotPem);
    }

    #[test]
    fn request_gives_the_key_and_its_signature_is_checked() {
        for key in [Key::generate().unwrap(), Key::ed25519_from_seed([1; 32])] {
            let mut request = key.request().unwrap();
            assert_eq!(PublicKey::from_request(&request).unwrap(), key.public());
            *request.last_mut().unwrap() ^= 1;
            assert!(PublicKey::from_request(&request).is_err());
            assert!(PublicKey::from_request(&request[..40]).is_err());
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(
            format!("{:?}", Key::ed25519_from_seed([7; 32])),
            "Key { algorithm: \"Ed25519\", .. }"
        );
    }
}
