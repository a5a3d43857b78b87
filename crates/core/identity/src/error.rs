//! Why a certificate or a signature does not count.

use wire::NodeId;

use crate::certificate::CertificateError;
use crate::verifier::Use;

/// Why a certificate or a signature was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A certificate could not be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The bucket holds more certificates than any honest message needs.
    #[error("{count} certificates in one bucket, more than {limit}")]
    BucketTooLarge {
        /// How many there are.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// No certificate of the bucket, and none verified before, has the signer's hash.
    #[error("signer's certificate is not in the bucket")]
    SignerNotFound,
    /// The object carries no signer identity.
    #[error("object is not signed")]
    NotSigned,
    /// The signer identity's form or hash algorithm does not fit (RFC 6940 §6.3.4).
    #[error("signer identity is malformed: {what}")]
    SignerIdentity {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The leaf does not have the profile of RFC 6940 §11.3.
    #[error("certificate does not name an overlay member: {what}")]
    Profile {
        /// What is wrong with it.
        what: &'static str,
    },
    /// No chain leads from the certificate to a `root-cert`.
    #[error("no chain to a root certificate of the overlay: {reason}")]
    NoPath {
        /// What the path builder says.
        reason: String,
    },
    /// A certificate of the chain is not valid at this time.
    #[error("certificate chain is valid from {from_ms} to {until_ms} (Unix ms), not at {now_ms}")]
    NotValidNow {
        /// The latest start in the chain.
        from_ms: u64,
        /// The earliest end in the chain.
        until_ms: u64,
        /// The time of the check.
        now_ms: u64,
    },
    /// The chain has a shape that does not entitle to this use.
    #[error("certificate chain does not entitle to {use_:?}: {what}")]
    Shape {
        /// What was asked for.
        use_: Use,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A delegated signer issued something that it may not.
    #[error("delegated signer exceeds its authority: {what}")]
    Delegation {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The document bans a node that the chain names.
    #[error("node {node_id} is banned by the configuration document")]
    BadNode {
        /// The banned node.
        node_id: NodeId,
    },
    /// The CA is no longer a `root-cert` of the document.
    #[error("issuing CA is not a root certificate of the configuration document")]
    WithdrawnCa,
    /// The signature algorithm is not one of the three that are verified.
    #[error("signature algorithm {hash}/{signature} (TLS numbers) is not supported")]
    Algorithm {
        /// The number of the hash algorithm.
        hash: u8,
        /// The number of the signature algorithm.
        signature: u8,
    },
    /// The signature does not verify.
    #[error("signature does not verify")]
    BadSignature,
}
