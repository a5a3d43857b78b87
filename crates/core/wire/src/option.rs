//! Options of the forwarding header (RFC 6940 §6.3.2.3).

use bytes::Bytes;

use crate::hex;

structure! {
    /// One option: type, flags, length, value.
    #[derive(Hash)]
    pub struct ForwardingOption {
        /// ForwardingOptionType (RFC 6940 §14.12).
        pub kind: u8,
        /// Any of the three flags below; none in a response.
        pub flags: u8,
        /// The value, whose form depends on the type.
        #[serde(serialize_with = "hex::bytes")]
        pub value: Bytes = opaque16,
    }
}

impl ForwardingOption {
    /// Who forwards the message without understanding the option must refuse it.
    pub const FORWARD_CRITICAL: u8 = 0x01;
    /// Who answers without understanding the option must refuse the request.
    pub const DESTINATION_CRITICAL: u8 = 0x02;
    /// Who answers copies the option, with all flags cleared.
    pub const RESPONSE_COPY: u8 = 0x04;

    /// Tells whether any of these flags is set.
    #[must_use]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Gives the copy that goes into a response, if the option asks for one.
    #[must_use]
    pub fn response_copy(&self) -> Option<Self> {
        self.has(Self::RESPONSE_COPY).then(|| Self {
            flags: 0,
            ..self.clone()
        })
    }
}
