//! The part of a message that only its destination reads (RFC 6940 §6.3.3).

use bytes::Bytes;

use crate::{
    body::Body,
    codec::{DecodeError, Encode, Reader},
    hex,
    message_code::MessageCode,
    model::{Models, WellKnown},
};

structure! {
    /// What is asked or answered.
    pub struct MessageContents {
        /// Which body it is.
        pub code: MessageCode,
        /// The body's octets.
        #[serde(serialize_with = "hex::bytes")]
        pub body: Bytes = opaque32,
        /// Extensions.
        pub extensions: Vec<MessageExtension> = list32,
    }
}

structure! {
    /// Something added to a message.
    pub struct MessageExtension {
        /// MessageExtensionType (RFC 6940 §14.14).
        pub kind: u16,
        /// Whether who does not know it must refuse the message.
        pub critical: bool,
        /// Its value.
        #[serde(serialize_with = "hex::bytes")]
        pub contents: Bytes = opaque32,
    }
}

impl MessageExtension {
    /// In an Update: the sender has pushed all that it holds of the receiver's range (docs/deviations.md). Not critical.
    pub const RANGE_COMPLETE: u16 = 0x8001;
    /// In a Ping over a link: the sender was a peer before and waits for the ring to be formed again
    /// (docs/deviations.md). Without contents, not critical.
    pub const WAITING_FOR_RING: u16 = 0x8002;
}

impl MessageContents {
    /// Makes contents without extensions.
    #[must_use]
    pub fn of(body: &Body) -> Self {
        Self {
            code: body.code(),
            body: body.to_bytes(),
            extensions: Vec::new(),
        }
    }

    /// Reads the body; stored data is read with the well-known Kinds.
    ///
    /// # Errors
    /// [`DecodeError`], with octets counted from the body's start.
    pub fn body(&self) -> Result<Body, DecodeError> {
        self.body_with(&WellKnown)
    }

    /// Reads the body; `models` tells the data model of each Kind.
    ///
    /// # Errors
    /// [`DecodeError`], with octets counted from the body's start.
    pub fn body_with(&self, models: &dyn Models) -> Result<Body, DecodeError> {
        Body::read(self.code, Reader::with_models(&self.body, models))
    }
}
