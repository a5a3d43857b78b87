//! W3C trace context in a forwarding option (D10 of docs/deviations.md).
//!
//! ```text
//! version(8) = 0 | trace id(128) | span id(64) | flags(8)
//! ```

use serde::{Serialize, Serializer};

use crate::{
    codec::{Decode, DecodeError, Encode, Fault, Reader, Writer},
    hex,
    option::ForwardingOption,
};

/// The trace and the span that a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TraceContext {
    /// The trace; all zeros is none.
    #[serde(serialize_with = "octets")]
    pub trace_id: [u8; 16],
    /// The sender's span; each hop puts its own here.
    #[serde(serialize_with = "octets")]
    pub span_id: [u8; 8],
    /// Bit 0: the trace is recorded.
    pub flags: u8,
}

impl TraceContext {
    /// ForwardingOptionType, in the range of RFC 6940 §14.12 that needs no standard.
    pub const OPTION: u8 = 224;

    /// Reads the option if it is one, and of version 0.
    #[must_use]
    pub fn from_option(option: &ForwardingOption) -> Option<Self> {
        if option.kind == Self::OPTION {
            Self::from_bytes(&option.value).ok()
        } else {
            None
        }
    }

    /// Makes the option of a request.
    #[must_use]
    pub fn to_option(&self) -> ForwardingOption {
        ForwardingOption {
            kind: Self::OPTION,
            flags: ForwardingOption::RESPONSE_COPY,
            value: self.to_bytes(),
        }
    }
}

/// The only version there is.
const VERSION: u8 = 0;

impl Encode for TraceContext {
    fn encode(&self, out: &mut Writer) {
        VERSION.encode(out);
        out.octets(&self.trace_id);
        out.octets(&self.span_id);
        self.flags.encode(out);
    }
}

impl Decode for TraceContext {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.at();
        let version = u8::decode(reader)?;
        if version != VERSION {
            return Err(DecodeError::new(at, Fault::Value(u64::from(version))));
        }
        Ok(Self {
            trace_id: reader.array()?,
            span_id: reader.array()?,
            flags: u8::decode(reader)?,
        })
    }
}

fn octets<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(octets))
}
