//! The part of a message that only its destination reads (RFC 6940 §6.3.3).

use bytes::Bytes;

use crate::{
    body::Body,
    codec::{Decode, DecodeError, Encode, Reader},
    hex,
    id::{KindId, ResourceId},
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
    /// In a Ping to a node that may have cached a value: the value has changed, as [`Changed`] tells
    /// (docs/deviations.md). Not critical.
    pub const CHANGED: u16 = 0x8003;
    /// In an Update: the version of the program that sends it, in ASCII (docs/deviations.md). Not critical.
    pub const SOFTWARE: u16 = 0x8004;
}

structure! {
    /// The contents of an extension of type [`MessageExtension::CHANGED`].
    ///
    /// ```text
    /// length (1) | Resource-ID (16) | Kind-ID (4) | generation_counter (8)
    /// ```
    #[derive(Copy)]
    pub struct Changed {
        /// Where the value is stored.
        pub resource: ResourceId,
        /// Its Kind.
        pub kind: KindId,
        /// The Kind's generation when the sender saw the change; 0 if it did not see it.
        pub generation_counter: u64,
    }
}

impl Changed {
    /// Makes the extension.
    #[must_use]
    pub fn to_extension(&self) -> MessageExtension {
        MessageExtension {
            kind: MessageExtension::CHANGED,
            critical: false,
            contents: self.to_bytes(),
        }
    }

    /// Reads an extension; `None` if it is another one.
    ///
    /// # Errors
    /// [`DecodeError`] if the contents are not what the type demands.
    pub fn from_extension(extension: &MessageExtension) -> Option<Result<Self, DecodeError>> {
        (extension.kind == MessageExtension::CHANGED).then(|| Self::from_bytes(&extension.contents))
    }
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
