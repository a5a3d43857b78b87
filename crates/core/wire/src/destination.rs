//! Where messages go and where they came through (RFC 6940 §6.3.2.2).
//!
//! ```text
//! 0 type(7) | length(8) | node: 16 octets; resource, opaque: length(8), octets
//! 1 identifier(15)
//! ```

use bytes::Bytes;
use serde::Serialize;

use crate::{
    codec::{
        Decode, DecodeError, Encode, Fault, Reader, Writer,
        forms::{opaque8, read_within, write_opaque},
    },
    hex,
    id::{NodeId, ResourceId},
};

/// One element of a Destination List or Via List.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// The node of that name.
    Node(NodeId),
    /// The peer responsible for that place; only last in a Destination List, never in a Via List.
    Resource(ResourceId),
    /// Something that only the peer that wrote it understands.
    #[serde(serialize_with = "hex::bytes")]
    Opaque(Bytes),
    /// The same in two octets; the top bit is always set.
    Compact(u16),
    /// A type that this implementation does not know, with its data.
    Other {
        /// DestinationType, 4 to 127.
        kind: u8,
        /// The data behind the length.
        #[serde(serialize_with = "hex::bytes")]
        data: Bytes,
    },
}

/// DestinationType values.
const NODE: u8 = 1;
const RESOURCE: u8 = 2;
const OPAQUE: u8 = 3;

/// Marks the form of two octets.
const COMPACT: u16 = 0x8000;

impl From<NodeId> for Destination {
    fn from(node: NodeId) -> Self {
        Self::Node(node)
    }
}

impl From<ResourceId> for Destination {
    fn from(resource: ResourceId) -> Self {
        Self::Resource(resource)
    }
}

impl Encode for Destination {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Compact(identifier) => return (identifier | COMPACT).encode(out),
            Self::Node(_) => NODE.encode(out),
            Self::Resource(_) => RESOURCE.encode(out),
            Self::Opaque(_) => OPAQUE.encode(out),
            Self::Other { kind, .. } => (kind & 0x7f).encode(out),
        }
        // The length counts the inner form, so its own length octet too.
        out.vector(1, |out| match self {
            Self::Node(node) => node.encode(out),
            Self::Resource(resource) => resource.encode(out),
            Self::Opaque(data) => write_opaque(out, 1, data),
            Self::Other { data, .. } => out.octets(data),
            Self::Compact(_) => {}
        });
    }
}

impl Decode for Destination {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.at();
        if reader.peek().is_some_and(|octet| octet & 0x80 != 0) {
            return u16::decode(reader).map(Self::Compact);
        }
        let kind = u8::decode(reader)?;
        read_within(reader, 1, |inner| match kind {
            0 => Err(DecodeError::new(at, Fault::Value(0))),
            NODE => NodeId::decode(inner).map(Self::Node),
            RESOURCE => ResourceId::decode(inner).map(Self::Resource),
            OPAQUE => opaque8::read(inner).map(Self::Opaque),
            // RFC 6940 §6.3.2.2: the length lets a node skip a type that it does not know.
            _ => Ok(Self::Other {
                kind,
                data: inner.take_rest(),
            }),
        })
    }
}
