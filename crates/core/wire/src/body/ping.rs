//! Ping (RFC 6940 §6.5.3).

use bytes::Bytes;

use crate::hex;

structure! {
    /// Asks whether the way is open.
    #[derive(Default)]
    pub struct PingReq {
        /// Ballast.
        #[serde(serialize_with = "hex::bytes")]
        pub padding: Bytes = opaque16,
    }
}

structure! {
    /// Says that it is.
    #[derive(Copy)]
    pub struct PingAns {
        /// Random, so that answers can be told apart.
        pub response_id: u64,
        /// When the answer was made, in milliseconds since 1970.
        pub time: u64,
    }
}
