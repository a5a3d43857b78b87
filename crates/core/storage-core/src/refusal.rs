//! Why a request is refused, as RELOAD says it.

use bytes::Bytes;
use wire::{DecodeError, Encode, ErrorCode, KindId, StoreAns, UnknownKinds};

use crate::api::Answer;

/// A request that is not carried out; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The body makes no sense.
    Malformed(String),
    /// A Kind has no definition (RFC 6940 §7.4.1.2).
    UnknownKinds(Vec<KindId>),
    /// Signature, signer or time do not allow it.
    Forbidden(String),
    /// The generation counter is not the stored one.
    Generation(StoreAns),
    /// Something as new or newer is held.
    TooOld(StoreAns),
    /// The owner of a record lacks something of it that is held here.
    Needed(String),
    /// A limit of the Kind or of the store is exceeded.
    TooLarge(String),
    /// The document is older than the one in force.
    OldDocument(String),
}

impl Refusal {
    pub(crate) fn into_answer(self) -> Answer {
        let (code, info) = match self {
            Self::Malformed(text) => (ErrorCode::InvalidMessage, text.into()),
            Self::UnknownKinds(kinds) => (ErrorCode::UnknownKind, UnknownKinds { kinds }.to_bytes()),
            Self::Forbidden(text) => (ErrorCode::Forbidden, text.into()),
            // RFC 6940 §7.4.1.2: error_info is a StoreAns with the right counters and no replicas.
            Self::Generation(answer) => (ErrorCode::GenerationCounterTooLow, answer.to_bytes()),
            Self::TooOld(answer) => (ErrorCode::DataTooOld, answer.to_bytes()),
            Self::Needed(text) => (ErrorCode::DataTooOld, text.into()),
            Self::TooLarge(text) => (ErrorCode::DataTooLarge, text.into()),
            Self::OldDocument(text) => (ErrorCode::ConfigTooOld, Bytes::from(text)),
        };
        Answer::Refused {
            code: code.number(),
            info,
        }
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}
