//! Network addresses (RFC 6940 §6.3.1.1).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use bytes::Bytes;
use serde::Serialize;

use crate::{
    codec::{Decode, DecodeError, Encode, Fault, Reader, Writer, forms::read_within},
    hex,
};

/// RFC 6940's IpAddressPort.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressPort {
    /// IPv4.
    V4(SocketAddrV4),
    /// IPv6.
    V6(SocketAddrV6),
    /// A type that this implementation does not know.
    Other {
        /// AddressType, from 3.
        kind: u8,
        /// The address behind the length.
        #[serde(serialize_with = "hex::bytes")]
        address: Bytes,
    },
}

/// AddressType values.
const IPV4: u8 = 1;
const IPV6: u8 = 2;

impl AddressPort {
    /// Gives the address, if it is one of IP.
    #[must_use]
    pub const fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::V4(address) => Some(SocketAddr::V4(*address)),
            Self::V6(address) => Some(SocketAddr::V6(*address)),
            Self::Other { .. } => None,
        }
    }
}

impl From<SocketAddr> for AddressPort {
    /// Leaves out scope and flow, which mean nothing elsewhere.
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::V4(address),
            SocketAddr::V6(address) => Self::V6(SocketAddrV6::new(*address.ip(), address.port(), 0, 0)),
        }
    }
}

impl Encode for AddressPort {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::V4(_) => IPV4,
            Self::V6(_) => IPV6,
            Self::Other { kind, .. } => *kind,
        }
        .encode(out);
        out.vector(1, |out| match self {
            Self::V4(address) => {
                out.octets(&address.ip().octets());
                address.port().encode(out);
            }
            Self::V6(address) => {
                out.octets(&address.ip().octets());
                address.port().encode(out);
            }
            Self::Other { address, .. } => out.octets(address),
        });
    }
}

impl Decode for AddressPort {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.at();
        let kind = u8::decode(reader)?;
        read_within(reader, 1, |inner| match kind {
            0 => Err(DecodeError::new(at, Fault::Value(0))),
            IPV4 => Ok(Self::V4(SocketAddrV4::new(
                Ipv4Addr::from(inner.array::<4>()?),
                u16::decode(inner)?,
            ))),
            IPV6 => {
                let ip = Ipv6Addr::from(inner.array::<16>()?);
                Ok(Self::V6(SocketAddrV6::new(ip, u16::decode(inner)?, 0, 0)))
            }
            // RFC 6940 §6.3.1.1: who does not know a type can read past it.
            _ => Ok(Self::Other {
                kind,
                address: inner.take_rest(),
            }),
        })
    }
}
