//! The part of a message that every hop reads (RFC 6940 §6.3.2).
//!
//! ```text
//! "RELO"(32) | overlay(32) | configuration sequence(16) | version(8) | ttl(8) | fragment(32) | length(32) |
//! transaction id(64) | max response length(32) | octets of the three lists(3 x 16) | via | destination | options
//! ```

use serde::{Serialize, Serializer};

use crate::{
    codec::{
        Decode, DecodeError, Encode, Fault, Reader, Writer,
        forms::{read_all, write_list},
    },
    destination::Destination,
    id::TransactionId,
    option::ForwardingOption,
};

/// First four octets of each message.
pub const RELO_TOKEN: u32 = 0xd245_4c4f;

/// Version 1.0, times ten.
pub const VERSION: u8 = 10;

/// Configuration sequence that only a ConfigUpdate may carry (RFC 6940 §6.3.2.1).
pub const CONFIGURATION_ANY: u16 = 0xffff;

/// What a message needs on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForwardingHeader {
    /// [`crate::overlay_hash`] of the overlay's name.
    #[serde(serialize_with = "as_hex")]
    pub overlay: u32,
    /// Sequence number of the sender's configuration document.
    pub configuration_sequence: u16,
    /// Always [`VERSION`] in what we send; a node refuses others.
    pub version: u8,
    /// Hops left.
    pub ttl: u8,
    /// Which part of the message follows.
    pub fragment: Fragment,
    /// Ties the response to the request.
    pub transaction_id: TransactionId,
    /// Most octets of a response; 0 for any.
    pub max_response_length: u32,
    /// Through whom the message came.
    pub via_list: Vec<Destination>,
    /// Through whom and to whom the message goes.
    pub destination_list: Vec<Destination>,
    /// Options.
    pub options: Vec<ForwardingOption>,
}

/// Place of a part in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fragment {
    /// Octets of the payload before this part, 24 bits.
    pub offset: u32,
    /// Whether this is the last, or only, part.
    pub last: bool,
    /// Six bits without a meaning; zero in what we send.
    pub reserved: u8,
}

/// Bits of the fragment field.
const HISTORIC: u32 = 0x8000_0000;
const LAST: u32 = 0x4000_0000;
const RESERVED_SHIFT: u32 = 24;
const RESERVED_MASK: u32 = 0x3f;
const OFFSET_MASK: u32 = 0x00ff_ffff;

impl Fragment {
    /// A message in one piece.
    pub const WHOLE: Self = Self {
        offset: 0,
        last: true,
        reserved: 0,
    };

    /// Makes a part that starts `offset` octets into the payload.
    #[must_use]
    pub const fn new(offset: u32, last: bool) -> Self {
        Self {
            offset,
            last,
            reserved: 0,
        }
    }

    /// Tells whether the message is in one piece.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.offset == 0 && self.last
    }
}

impl Encode for Fragment {
    fn encode(&self, out: &mut Writer) {
        let reserved = (u32::from(self.reserved) & RESERVED_MASK) << RESERVED_SHIFT;
        let last = if self.last { LAST } else { 0 };
        (HISTORIC | last | reserved | (self.offset & OFFSET_MASK)).encode(out);
    }
}

impl Decode for Fragment {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.at();
        let field = u32::decode(reader)?;
        // RFC 6940 §6.7: without the high bit the rest has no meaning here.
        if field & HISTORIC == 0 {
            return Err(DecodeError::new(at, Fault::Value(u64::from(field))));
        }
        let [bits, ..] = field.to_be_bytes();
        Ok(Self {
            offset: field & OFFSET_MASK,
            last: field & LAST != 0,
            reserved: bits & 0x3f,
        })
    }
}

impl ForwardingHeader {
    /// Octets before the lists.
    pub const FIXED: usize = 38;

    /// Appends the header of a message with so many octets behind it.
    pub(crate) fn write(&self, payload: usize, out: &mut Writer) {
        let lists = self.lists();
        let length = Self::FIXED + lists.iter().map(|list| list.len().saturating_sub(2)).sum::<usize>() + payload;
        RELO_TOKEN.encode(out);
        self.overlay.encode(out);
        self.configuration_sequence.encode(out);
        self.version.encode(out);
        self.ttl.encode(out);
        self.fragment.encode(out);
        u32::try_from(length).unwrap_or(u32::MAX).encode(out);
        self.transaction_id.encode(out);
        self.max_response_length.encode(out);
        // RFC 6940 §6.3.2: the three lengths stand together before the three lists.
        for list in &lists {
            out.octets(list.get(..2).unwrap_or_default());
        }
        for list in &lists {
            out.octets(list.get(2..).unwrap_or_default());
        }
    }

    /// Takes a header and the length that it gives for the whole message.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<(Self, u32), DecodeError> {
        let at = reader.at();
        if u32::decode(reader)? != RELO_TOKEN {
            return Err(DecodeError::new(at, Fault::NoToken));
        }
        let overlay = u32::decode(reader)?;
        let configuration_sequence = u16::decode(reader)?;
        let version = u8::decode(reader)?;
        let ttl = u8::decode(reader)?;
        let fragment = Fragment::decode(reader)?;
        let length = u32::decode(reader)?;
        let transaction_id = TransactionId::decode(reader)?;
        let max_response_length = u32::decode(reader)?;
        let via = u16::decode(reader)?;
        let destination = u16::decode(reader)?;
        let options = u16::decode(reader)?;
        let header = Self {
            overlay,
            configuration_sequence,
            version,
            ttl,
            fragment,
            transaction_id,
            max_response_length,
            via_list: list(reader, via, "via_list")?,
            destination_list: list(reader, destination, "destination_list")?,
            options: list(reader, options, "options")?,
        };
        Ok((header, length))
    }

    /// The three lists, each behind its length.
    fn lists(&self) -> [bytes::Bytes; 3] {
        fn one<T: Encode>(list: &[T]) -> bytes::Bytes {
            let mut out = Writer::new();
            write_list(&mut out, 2, list);
            out.into_bytes()
        }
        [one(&self.via_list), one(&self.destination_list), one(&self.options)]
    }
}

fn list<T: Decode>(reader: &mut Reader<'_>, length: u16, field: &'static str) -> Result<Vec<T>, DecodeError> {
    let part = reader.part(usize::from(length)).map_err(|error| error.within(field))?;
    read_all(part).map_err(|error| error.within(field))
}

fn as_hex<S: Serializer>(number: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:08x}"))
}
