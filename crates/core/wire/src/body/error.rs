//! Refusals (RFC 6940 §6.3.3.1).

use bytes::Bytes;

use crate::{error_code::ErrorCode, hex, id::KindId};

structure! {
    /// Says why a request was refused.
    pub struct ErrorResponse {
        /// The reason.
        pub code: ErrorCode,
        /// Text in UTF-8, or what the code asks for.
        #[serde(serialize_with = "hex::bytes")]
        pub info: Bytes = opaque16,
    }
}

structure! {
    /// What the text of [`ErrorCode::UnknownKind`] is (RFC 6940 §7.4.1.2).
    pub struct UnknownKinds {
        /// The Kinds.
        pub kinds: Vec<KindId> = list8,
    }
}
