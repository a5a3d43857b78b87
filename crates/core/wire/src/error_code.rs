//! Numbers and names of refusals (RFC 6940 §14.9).

use std::fmt;

use serde::{Serialize, Serializer};

use crate::codec::{Decode, DecodeError, Encode, Reader, Writer};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// Why a request was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
            /// A number that RFC 6940 does not name.
            Other(u16),
        }

        impl ErrorCode {
            /// Every code that RFC 6940 names.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Number on the wire.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::Other(number) => number,
                }
            }

            /// Name in RFC 6940's table, if it is there.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => Some($name),)*
                    Self::Other(_) => None,
                }
            }
        }

        impl From<u16> for ErrorCode {
            fn from(number: u16) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    other => Self::Other(other),
                }
            }
        }
    };
}

codes! {
    /// The requester may not do that.
    Forbidden = 0x2, "Error_Forbidden";
    /// No such resource, node or application.
    NotFound = 0x3, "Error_Not_Found";
    /// No response came in time.
    RequestTimeout = 0x4, "Error_Request_Timeout";
    /// The generation counter is not the stored one; the text is a StoreAns.
    GenerationCounterTooLow = 0x5, "Error_Generation_Counter_Too_Low";
    /// Another overlay, algorithm or parameter.
    IncompatibleWithOverlay = 0x6, "Error_Incompatible_with_Overlay";
    /// A critical option is not known.
    UnsupportedForwardingOption = 0x7, "Error_Unsupported_Forwarding_Option";
    /// The value exceeds the Kind's limits.
    DataTooLarge = 0x8, "Error_Data_Too_Large";
    /// The storage time precedes the stored value's.
    DataTooOld = 0x9, "Error_Data_Too_Old";
    /// No hops left.
    TtlExceeded = 0xa, "Error_TTL_Exceeded";
    /// The request is too large.
    MessageTooLarge = 0xb, "Error_Message_Too_Large";
    /// A Kind is not known; the text is [`crate::UnknownKinds`].
    UnknownKind = 0xc, "Error_Unknown_Kind";
    /// A critical extension is not known.
    UnknownExtension = 0xd, "Error_Unknown_Extension";
    /// The answer exceeds the requester's limit.
    ResponseTooLarge = 0xe, "Error_Response_Too_Large";
    /// The requester's configuration document is old.
    ConfigTooOld = 0xf, "Error_Config_Too_Old";
    /// The answerer's configuration document is old.
    ConfigTooNew = 0x10, "Error_Config_Too_New";
    /// An Attach between the two is under way.
    InProgress = 0x11, "Error_In_Progress";
    /// For experiments.
    ExpA = 0x12, "Error_Exp_A";
    /// For experiments.
    ExpB = 0x13, "Error_Exp_B";
    /// Something else is wrong with the message.
    InvalidMessage = 0x14, "Error_Invalid_Message";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Error_{:#x}", self.number()),
        }
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Encode for ErrorCode {
    fn encode(&self, out: &mut Writer) {
        self.number().encode(out);
    }
}

impl Decode for ErrorCode {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u16::decode(reader).map(Self::from)
    }
}
