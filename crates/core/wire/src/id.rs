//! Identifiers: two that live on the ring, two that do not.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};
use sha1::{Digest, Sha1};

use crate::{
    codec::{Decode, DecodeError, Encode, Fault, Reader, Writer},
    hex,
};

/// Why a text is not a ring identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an identifier has 32 hex digits")]
pub struct NotAnId;

macro_rules! ring_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// All zeros.
            pub const ZERO: Self = Self([0; 16]);

            /// Makes one of sixteen octets.
            #[must_use]
            pub const fn new(octets: [u8; 16]) -> Self {
                Self(octets)
            }

            /// Shows the sixteen octets.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Reads the place on the ring as a number.
            #[must_use]
            pub const fn to_u128(self) -> u128 {
                u128::from_be_bytes(self.0)
            }

            /// Makes one of a place on the ring.
            #[must_use]
            pub const fn from_u128(place: u128) -> Self {
                Self(place.to_be_bytes())
            }

            /// First eight hex digits, for logs.
            #[must_use]
            pub fn short(&self) -> String {
                hex::encode(self.0.first_chunk::<4>().expect("sixteen octets"))
            }
        }

        impl From<[u8; 16]> for $name {
            fn from(octets: [u8; 16]) -> Self {
                Self(octets)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = NotAnId;

            fn try_from(octets: &[u8]) -> Result<Self, NotAnId> {
                octets.try_into().map(Self).map_err(|_| NotAnId)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let octets = hex::decode(text).ok_or(NotAnId)?;
                octets.as_slice().try_into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(&self.0))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

ring_id!(
    /// Name of a node on the ring.
    NodeId
);

ring_id!(
    /// Place of a resource on the ring.
    ResourceId
);

impl NodeId {
    /// Whoever receives it: for the direct neighbour only, never forwarded (RFC 6940 §6.1.1).
    pub const WILDCARD: Self = Self([0xff; 16]);

    /// Tells whether it can name a node: neither all zeros nor the wildcard.
    #[must_use]
    pub fn is_name(&self) -> bool {
        *self != Self::ZERO && *self != Self::WILDCARD
    }
}

impl ResourceId {
    /// Hashes a resource name.
    // RFC 6940 §10.2: the first (most significant) 128 bits of SHA-1.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let hash: [u8; 20] = Sha1::digest(name).into();
        Self(*hash.first_chunk::<16>().expect("twenty octets"))
    }

    /// Sees the place as a node's.
    #[must_use]
    pub const fn as_node_id(&self) -> NodeId {
        NodeId(self.0)
    }
}

impl From<NodeId> for ResourceId {
    fn from(node: NodeId) -> Self {
        Self(node.0)
    }
}

impl From<ResourceId> for NodeId {
    fn from(resource: ResourceId) -> Self {
        Self(resource.0)
    }
}

// RFC 6940 §6.3.1.1: a NodeId is a fixed-length array, so no length octet.
impl Encode for NodeId {
    fn encode(&self, out: &mut Writer) {
        out.octets(&self.0);
    }
}

impl Decode for NodeId {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }
}

// RFC 6940 §6.3.1.1: a ResourceId is a vector, so a length octet precedes it.
impl Encode for ResourceId {
    fn encode(&self, out: &mut Writer) {
        out.octets(&[16]);
        out.octets(&self.0);
    }
}

impl Decode for ResourceId {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.at();
        match u8::decode(reader)? {
            16 => reader.array().map(Self),
            length => Err(DecodeError::new(at, Fault::Value(u64::from(length)))),
        }
    }
}

/// Number of a Kind of stored data (RFC 6940 §14.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct KindId(pub u32);

impl KindId {
    /// SIP-REGISTRATION (RFC 7904 §9.1).
    pub const SIP_REGISTRATION: Self = Self(1);
    /// TURN-SERVICE (RFC 6940 §9).
    pub const TURN_SERVICE: Self = Self(2);
    /// CERTIFICATE_BY_NODE (RFC 6940 §8).
    pub const CERTIFICATE_BY_NODE: Self = Self(3);
    /// CERTIFICATE_BY_USER (RFC 6940 §8).
    pub const CERTIFICATE_BY_USER: Self = Self(0x10);
    /// A user's record, in the private range of RFC 6940 §14.6.
    pub const P2PSIP_USER: Self = Self(0xf000_0001);
    /// The storage probe's value, in the private range of RFC 6940 §14.6.
    pub const P2PSIP_PROBE: Self = Self(0xf000_0002);
}

impl fmt::Display for KindId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Encode for KindId {
    fn encode(&self, out: &mut Writer) {
        self.0.encode(out);
    }
}

impl Decode for KindId {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u32::decode(reader).map(Self)
    }
}

/// Number that ties a response to its request (RFC 6940 §6.3.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub u64);

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for TransactionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Encode for TransactionId {
    fn encode(&self, out: &mut Writer) {
        self.0.encode(out);
    }
}

impl Decode for TransactionId {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u64::decode(reader).map(Self)
    }
}

/// Hashes an overlay's name as the forwarding header carries it.
// RFC 6940 §6.3.2: the lower 32 bits of SHA-1, that is its last four octets.
#[must_use]
pub fn overlay_hash(name: &str) -> u32 {
    let hash: [u8; 20] = Sha1::digest(name.as_bytes()).into();
    u32::from_be_bytes(*hash.last_chunk::<4>().expect("twenty octets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_id_takes_the_front_of_the_hash_and_the_overlay_its_end() {
        assert_eq!(
            ResourceId::of(b"alice@dht.example.org").to_string(),
            "90966b01081c98be2c7e87a0b9a016ac"
        );
        assert_eq!(overlay_hash("overlay.example.org"), 0x9aa3_2b8d);
    }

    #[test]
    fn text_is_read_strictly() {
        let id: NodeId = "90966b01081c98be2c7e87a0b9a016ac".parse().unwrap();
        assert_eq!(id.short(), "90966b01");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in [
            "",
            "90",
            "90966b01081c98be2c7e87a0b9a016ag",
            "90966b01081c98be2c7e87a0b9a016ac00",
        ] {
            assert_eq!(bad.parse::<NodeId>(), Err(NotAnId), "{bad}");
        }
    }
}
