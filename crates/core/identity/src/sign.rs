//! The two signatures of RELOAD: over messages (RFC 6940 §6.3.4) and over stored values (§7.1).
//!
//! Algorithms are numbered as in TLS 1.2, hash before signature: 4/3 is ECDSA P-256 with SHA-256
//! (the value is DER), 4/1 is RSA PKCS#1 v1.5 with SHA-256, 8/7 is Ed25519 (RFC 8422 §5.1.3: the
//! hash is intrinsic). Others are refused.

use std::sync::Arc;

use bytes::Bytes;
use pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use webpki::EndEntityCert;
use wire::{
    Encode, GenericCertificate, KindId, NodeId, ResourceId, SecurityBlock, Signature, SignatureAndHash, SignerIdentity,
    StoredData, StoredDataValue, TransactionId, overlay_hash,
};

use crate::certificate::Certificate;
use crate::error::Error;
use crate::key::{Key, KeyError};
use crate::verifier::{Identity, Use, Verifier, node_id_hash};

/// Something that signs as a node: a key with its certificate.
pub trait Sign: Send + Sync {
    /// Signs the input.
    fn sign(&self, input: &[u8]) -> Vec<u8>;
    /// Returns the algorithm it signs with.
    fn algorithm(&self) -> SignatureAndHash;
    /// Returns how signatures name its certificate.
    fn identity(&self) -> &SignerIdentity;
    /// Returns the certificates that others need to verify: the leaf first.
    fn certificates(&self) -> &[Bytes];
    /// Returns the Node-ID it signs as.
    fn node_id(&self) -> NodeId;
}

/// A key, its certificate and the CAs that must travel with it.
#[derive(Debug, Clone)]
pub struct Signer {
    key: Key,
    node_id: NodeId,
    identity: SignerIdentity,
    certificates: Vec<Bytes>,
    until_ms: u64,
}

impl Signer {
    /// Makes a signer from a key, its certificate, and the CAs below the `root-cert`, if any.
    ///
    /// Of several Node-IDs in the certificate it uses the first.
    ///
    /// # Errors
    /// When the certificate is not for this key, or names no node.
    pub fn new(key: Key, certificate: &Certificate, issuers: &[Bytes]) -> Result<Signer, KeyError> {
        let [node_id, others @ ..] = certificate.node_ids() else {
            return Err(KeyError::Mismatch);
        };
        if key.public().spki() != certificate.public_key() {
            return Err(KeyError::Mismatch);
        }
        let (hash_alg, node_id) = (SignerIdentity::SHA256, *node_id);
        // RFC 6940 §6.3.4: the form depends on how many Node-IDs the certificate has.
        let identity = if others.is_empty() {
            SignerIdentity::CertHash {
                hash_alg,
                hash: Bytes::copy_from_slice(&certificate.hash()),
            }
        } else {
            let hash = Bytes::copy_from_slice(&node_id_hash(&node_id, certificate));
            SignerIdentity::CertHashNodeId { hash_alg, hash }
        };
        let certificates = std::iter::once(certificate.der()).chain(issuers).cloned().collect();
        Ok(Signer {
            key,
            node_id,
            identity,
            certificates,
            until_ms: certificate.not_after_ms(),
        })
    }

    /// Returns when its certificate ends, in Unix milliseconds.
    #[must_use]
    pub fn until_ms(&self) -> u64 {
        self.until_ms
    }

    /// Returns its key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }
}

impl Sign for Signer {
    fn sign(&self, input: &[u8]) -> Vec<u8> {
        self.key.sign(input)
    }

    fn algorithm(&self) -> SignatureAndHash {
        if self.key.is_ed25519() {
            SignatureAndHash::ED25519
        } else {
            SignatureAndHash::ECDSA_SHA256
        }
    }

    fn identity(&self) -> &SignerIdentity {
        &self.identity
    }

    fn certificates(&self) -> &[Bytes] {
        &self.certificates
    }

    fn node_id(&self) -> NodeId {
        self.node_id
    }
}

/// Signs message contents, and adds the signer's certificates.
///
/// A message that carries stored values needs their certificates in the bucket too (RFC 6940
/// §6.3.4); the caller adds them.
#[must_use]
pub fn sign_message(signer: &dyn Sign, overlay: &str, transaction_id: TransactionId, contents: &[u8]) -> SecurityBlock {
    let input = message_input(overlay, transaction_id, contents, signer.identity());
    security_block(signer, &input)
}

/// Verifies the signature of message contents and the certificate behind it.
///
/// # Errors
/// When the certificate does not entitle to this use, or the signature does not verify.
#[allow(
    clippy::too_many_arguments,
    reason = "the parts of the signature's input, and what verification depends on"
)]
pub fn verify_message(
    verifier: &Verifier,
    overlay: &str,
    transaction_id: TransactionId,
    contents: &[u8],
    security: &SecurityBlock,
    now_ms: u64,
    use_: Use,
) -> Result<Arc<Identity>, Error> {
    let identity = verifier.verify_signer(&security.signature.identity, &bucket(security), now_ms, use_)?;
    let input = message_input(overlay, transaction_id, contents, &security.signature.identity);
    verify_signature(&identity.certificate, &security.signature, &input)?;
    Ok(identity)
}

/// Signs a value for its place.
#[must_use]
pub fn sign_value(
    signer: &dyn Sign,
    resource: ResourceId,
    kind: KindId,
    storage_time: u64,
    value: &StoredDataValue,
) -> Signature {
    signature(
        signer,
        &value_input(resource, kind, storage_time, value, signer.identity()),
    )
}

/// Verifies the signature of a stored value and the certificate behind it.
///
/// # Errors
/// When the value is not signed, the certificate does not entitle to this use, or the signature
/// does not verify.
#[allow(
    clippy::too_many_arguments,
    reason = "the parts of the signature's input, and what verification depends on"
)]
pub fn verify_value(
    verifier: &Verifier,
    resource: ResourceId,
    kind: KindId,
    data: &StoredData,
    bucket: &[Bytes],
    now_ms: u64,
    use_: Use,
) -> Result<Arc<Identity>, Error> {
    let identity = verifier.verify_signer(&data.signature.identity, bucket, now_ms, use_)?;
    let input = value_input(resource, kind, data.storage_time, &data.value, &data.signature.identity);
    verify_signature(&identity.certificate, &data.signature, &input)?;
    Ok(identity)
}

/// Signs bytes that are followed by nothing but the SignerIdentity (RFC 6940 §11.1: documents).
#[must_use]
pub fn sign_blob(signer: &dyn Sign, blob: &[u8]) -> SecurityBlock {
    let input = [blob, &signer.identity().to_bytes()].concat();
    security_block(signer, &input)
}

/// Verifies a signature over bytes that are followed by nothing but the SignerIdentity.
///
/// # Errors
/// When the certificate may not sign documents, or the signature does not verify.
pub fn verify_blob(
    verifier: &Verifier,
    blob: &[u8],
    security: &SecurityBlock,
    now_ms: u64,
) -> Result<Arc<Identity>, Error> {
    let identity = verifier.verify_signer(&security.signature.identity, &bucket(security), now_ms, Use::Config)?;
    let input = [blob, &security.signature.identity.to_bytes()].concat();
    verify_signature(&identity.certificate, &security.signature, &input)?;
    Ok(identity)
}

/// Returns the X.509 certificates of a message's bucket.
#[must_use]
pub fn bucket(security: &SecurityBlock) -> Vec<Bytes> {
    let x509 = security
        .certificates
        .iter()
        .filter(|certificate| certificate.kind == GenericCertificate::X509);
    x509.map(|certificate| certificate.certificate.clone()).collect()
}

fn security_block(signer: &dyn Sign, input: &[u8]) -> SecurityBlock {
    let certificates = signer
        .certificates()
        .iter()
        .map(|der| GenericCertificate::x509(der.clone()))
        .collect();
    SecurityBlock {
        certificates,
        signature: signature(signer, input),
    }
}

fn signature(signer: &dyn Sign, input: &[u8]) -> Signature {
    Signature {
        algorithm: signer.algorithm(),
        identity: signer.identity().clone(),
        value: Bytes::from(signer.sign(input)),
    }
}

/// RFC 6940 §6.3.4: overlay || transaction_id || MessageContents || SignerIdentity.
fn message_input(overlay: &str, transaction_id: TransactionId, contents: &[u8], identity: &SignerIdentity) -> Vec<u8> {
    let identity = identity.to_bytes();
    let mut input = Vec::with_capacity(12 + contents.len() + identity.len());
    input.extend_from_slice(&overlay_hash(overlay).to_be_bytes());
    input.extend_from_slice(&transaction_id.0.to_be_bytes());
    input.extend_from_slice(contents);
    input.extend_from_slice(&identity);
    input
}

/// RFC 6940 §7.1: resource_id || kind || storage_time || StoredDataValue || SignerIdentity.
///
/// The Resource-ID goes in as raw bytes, without its length octet (deviation D1).
fn value_input(
    resource: ResourceId,
    kind: KindId,
    storage_time: u64,
    value: &StoredDataValue,
    identity: &SignerIdentity,
) -> Vec<u8> {
    let mut input = Vec::with_capacity(VALUE_INPUT_HINT);
    input.extend_from_slice(resource.as_bytes());
    input.extend_from_slice(&kind.0.to_be_bytes());
    input.extend_from_slice(&storage_time.to_be_bytes());
    match value {
        // RFC 6940 §7.4.2.2: what is signed always has array index zero, since an append does not
        // know its index yet.
        StoredDataValue::Array { value, .. } => {
            input.extend_from_slice(
                &StoredDataValue::Array {
                    index: 0,
                    value: value.clone(),
                }
                .to_bytes(),
            );
        }
        other => input.extend_from_slice(&other.to_bytes()),
    }
    input.extend_from_slice(&identity.to_bytes());
    input
}

/// Verifies a signature with the public key of a certificate.
fn verify_signature(certificate: &Certificate, signature: &Signature, input: &[u8]) -> Result<(), Error> {
    let algorithm: &dyn SignatureVerificationAlgorithm = match signature.algorithm {
        SignatureAndHash::ECDSA_SHA256 => webpki::aws_lc_rs::ECDSA_P256_SHA256,
        SignatureAndHash::ED25519 => webpki::aws_lc_rs::ED25519,
        SignatureAndHash::RSA_SHA256 => webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
        SignatureAndHash { hash, signature } => return Err(Error::Algorithm { hash, signature }),
    };
    let der = CertificateDer::from(certificate.der().as_ref());
    let end_entity = EndEntityCert::try_from(&der).map_err(|_| Error::BadSignature)?;
    end_entity
        .verify_signature(algorithm, input, &signature.value)
        .map_err(|_| Error::BadSignature)
}

/// Larger than the input for a user record or a registration.
const VALUE_INPUT_HINT: usize = 512;
