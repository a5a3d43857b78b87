//! How structures become octets and back: RFC 6940 §6.3.1's presentation language.
//!
//! A structure is written once, as a table of its fields, by `structure!`; each field names its form where it is not
//! the type's own: `opaque8|16|32` for octets and `list8|16|32` for elements behind a length of so many bits.
//! All lengths count octets, never elements.

#[macro_use]
mod structure;

mod error;
pub(crate) mod forms;
mod reader;
mod writer;

use bytes::Bytes;

use crate::model::Models;

pub use error::{DecodeError, Fault, TooLong};
pub use reader::Reader;
pub use writer::Writer;

/// Something with a form on the wire.
pub trait Encode {
    /// Appends the octets.
    fn encode(&self, out: &mut Writer);

    /// Gives the octets. What exceeds a vector's ceiling is left out (see [`Writer`]); where a peer's data can make a
    /// vector that long, use [`Encode::checked_bytes`].
    fn to_bytes(&self) -> Bytes {
        let mut out = Writer::new();
        self.encode(&mut out);
        out.into_bytes()
    }

    /// Gives the octets, or refuses if a vector exceeds its ceiling.
    ///
    /// # Errors
    /// [`TooLong`] when a vector has more octets than its length field can say.
    fn checked_bytes(&self) -> Result<Bytes, TooLong> {
        let mut out = Writer::new();
        self.encode(&mut out);
        out.checked()
    }
}

/// Something that can be read from the wire.
pub trait Decode: Sized {
    /// Takes one from the front of what is left.
    ///
    /// # Errors
    /// [`DecodeError`] with the octet at which the bytes stop making sense.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Reads one that fills the bytes exactly; stored data is read with the well-known Kinds.
    ///
    /// # Errors
    /// [`DecodeError`], also when bytes are left over.
    fn from_bytes(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }

    /// Reads one that fills the bytes exactly; `models` tells the data model of each Kind.
    ///
    /// # Errors
    /// [`DecodeError`], also when bytes are left over.
    fn from_bytes_with(bytes: &Bytes, models: &dyn Models) -> Result<Self, DecodeError> {
        let mut reader = Reader::with_models(bytes, models);
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Encode for $type {
            fn encode(&self, out: &mut Writer) {
                out.octets(&self.to_be_bytes());
            }
        }

        impl Decode for $type {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.array().map(Self::from_be_bytes)
            }
        }
    )*};
}

number!(u8, u16, u32, u64);

// RFC 6940 §6.3.1.1: a Boolean is one octet, 0 or 1.
impl Encode for bool {
    fn encode(&self, out: &mut Writer) {
        out.octets(&[u8::from(*self)]);
    }
}

impl Decode for bool {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.at();
        match u8::decode(reader)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::new(at, Fault::Value(u64::from(other)))),
        }
    }
}
