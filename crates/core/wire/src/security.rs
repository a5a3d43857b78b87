//! Certificates and signatures (RFC 6940 §6.3.4).

use bytes::Bytes;
use serde::Serialize;

use crate::{
    codec::{
        Decode, DecodeError, Encode, Fault, Reader, Writer,
        forms::{opaque8, read_within, write_opaque},
    },
    hex,
};

structure! {
    /// What ends a message: a bucket of certificates, and the signature over the contents.
    pub struct SecurityBlock {
        /// All that is needed to verify the signatures in the message.
        pub certificates: Vec<GenericCertificate> = list16,
        /// Signature over overlay, transaction id, contents and identity.
        pub signature: Signature,
    }
}

structure! {
    /// A certificate.
    #[derive(Hash, PartialOrd, Ord)]
    pub struct GenericCertificate {
        /// CertificateType of RFC 6091.
        pub kind: u8,
        /// DER, for X.509.
        #[serde(serialize_with = "hex::bytes")]
        pub certificate: Bytes = opaque16,
    }
}

impl GenericCertificate {
    /// The only type that RFC 6940 uses.
    pub const X509: u8 = 0;

    /// Makes one of DER.
    #[must_use]
    pub const fn x509(der: Bytes) -> Self {
        Self {
            kind: Self::X509,
            certificate: der,
        }
    }
}

structure! {
    /// A signature with what is needed to find its key.
    #[derive(Hash)]
    pub struct Signature {
        /// The algorithms.
        pub algorithm: SignatureAndHash,
        /// Whose it is.
        pub identity: SignerIdentity,
        /// The signature itself.
        #[serde(serialize_with = "hex::bytes")]
        pub value: Bytes = opaque16,
    }
}

impl Signature {
    /// The empty signature of a value that a storing node made up for a gap (RFC 6940 §7.4.2.2).
    #[must_use]
    pub const fn none() -> Self {
        Self {
            algorithm: SignatureAndHash::ANONYMOUS,
            identity: SignerIdentity::None,
            value: Bytes::new(),
        }
    }
}

structure! {
    /// TLS's SignatureAndHashAlgorithm; the hash comes first.
    #[derive(Copy, Hash)]
    pub struct SignatureAndHash {
        /// HashAlgorithm.
        pub hash: u8,
        /// SignatureAlgorithm.
        pub signature: u8,
    }
}

impl SignatureAndHash {
    /// No signature at all: {0, 0}.
    pub const ANONYMOUS: Self = Self { hash: 0, signature: 0 };
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub const RSA_SHA256: Self = Self { hash: 4, signature: 1 };
    /// ECDSA with SHA-256.
    pub const ECDSA_SHA256: Self = Self { hash: 4, signature: 3 };
    /// Ed25519, which brings its own hash (RFC 8422 §5.1.3: intrinsic is 8).
    pub const ED25519: Self = Self { hash: 8, signature: 7 };
}

/// Which certificate a signature was made under.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SignerIdentity {
    /// Hash of a certificate that has one Node-ID.
    CertHash {
        /// HashAlgorithm.
        hash_alg: u8,
        /// The hash.
        #[serde(serialize_with = "hex::bytes")]
        hash: Bytes,
    },
    /// Hash of the Node-ID and a certificate that has several.
    CertHashNodeId {
        /// HashAlgorithm.
        hash_alg: u8,
        /// The hash.
        #[serde(serialize_with = "hex::bytes")]
        hash: Bytes,
    },
    /// Nobody.
    None,
    /// A type that this implementation does not know.
    Other {
        /// SignerIdentityType, from 4.
        kind: u8,
        /// The value behind the length.
        #[serde(serialize_with = "hex::bytes")]
        value: Bytes,
    },
}

/// SignerIdentityType values.
const CERT_HASH: u8 = 1;
const CERT_HASH_NODE_ID: u8 = 2;
const NONE: u8 = 3;

impl SignerIdentity {
    /// HashAlgorithm of TLS that stands for SHA-256.
    pub const SHA256: u8 = 4;
}

impl Encode for SignerIdentity {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::CertHash { .. } => CERT_HASH,
            Self::CertHashNodeId { .. } => CERT_HASH_NODE_ID,
            Self::None => NONE,
            Self::Other { kind, .. } => *kind,
        }
        .encode(out);
        out.vector(2, |out| match self {
            Self::CertHash { hash_alg, hash } | Self::CertHashNodeId { hash_alg, hash } => {
                hash_alg.encode(out);
                write_opaque(out, 1, hash);
            }
            Self::None => {}
            Self::Other { value, .. } => out.octets(value),
        });
    }
}

impl Decode for SignerIdentity {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.at();
        let kind = u8::decode(reader)?;
        read_within(reader, 2, |inner| match kind {
            0 => Err(DecodeError::new(at, Fault::Value(0))),
            CERT_HASH => Ok(Self::CertHash {
                hash_alg: u8::decode(inner)?,
                hash: opaque8::read(inner)?,
            }),
            CERT_HASH_NODE_ID => Ok(Self::CertHashNodeId {
                hash_alg: u8::decode(inner)?,
                hash: opaque8::read(inner)?,
            }),
            NONE => Ok(Self::None),
            // RFC 6940 §6.3.4: the structure may be extended with new types.
            _ => Ok(Self::Other {
                kind,
                value: inner.take_rest(),
            }),
        })
    }
}
