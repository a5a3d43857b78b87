//! Probe (RFC 6940 §6.4.2.5).

use bytes::Bytes;
use serde::Serialize;

use crate::{
    codec::{Decode, DecodeError, Encode, Fault, Reader, Writer, forms::read_within},
    hex,
};

structure! {
    /// Asks for facts about a peer.
    pub struct ProbeReq {
        /// ProbeInformationType of each.
        pub requested_info: Vec<u8> = list8,
    }
}

structure! {
    /// Brings the facts.
    pub struct ProbeAns {
        /// The facts.
        pub probe_info: Vec<ProbeInformation> = list16,
    }
}

/// A fact about a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeInformation {
    /// The part of the ring that it is responsible for, in parts per billion.
    ResponsibleSet(u32),
    /// The number of resources that it stores.
    NumResources(u32),
    /// For how many seconds it has been up.
    Uptime(u32),
    /// A type that this implementation does not know.
    Other {
        /// ProbeInformationType, from 4.
        kind: u8,
        /// The value behind the length.
        #[serde(serialize_with = "hex::bytes")]
        value: Bytes,
    },
}

impl ProbeInformation {
    /// ProbeInformationType of [`ProbeInformation::ResponsibleSet`].
    pub const RESPONSIBLE_SET: u8 = 1;
    /// ProbeInformationType of [`ProbeInformation::NumResources`].
    pub const NUM_RESOURCES: u8 = 2;
    /// ProbeInformationType of [`ProbeInformation::Uptime`].
    pub const UPTIME: u8 = 3;
}

impl Encode for ProbeInformation {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::ResponsibleSet(_) => Self::RESPONSIBLE_SET,
            Self::NumResources(_) => Self::NUM_RESOURCES,
            Self::Uptime(_) => Self::UPTIME,
            Self::Other { kind, .. } => *kind,
        }
        .encode(out);
        out.vector(1, |out| match self {
            Self::ResponsibleSet(number) | Self::NumResources(number) | Self::Uptime(number) => number.encode(out),
            Self::Other { value, .. } => out.octets(value),
        });
    }
}

impl Decode for ProbeInformation {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.at();
        let kind = u8::decode(reader)?;
        read_within(reader, 1, |inner| match kind {
            0 => Err(DecodeError::new(at, Fault::Value(0))),
            Self::RESPONSIBLE_SET => u32::decode(inner).map(Self::ResponsibleSet),
            Self::NUM_RESOURCES => u32::decode(inner).map(Self::NumResources),
            Self::UPTIME => u32::decode(inner).map(Self::Uptime),
            // RFC 6940 §6.4.2.5.2: the structure allows for unknown types.
            _ => Ok(Self::Other {
                kind,
                value: inner.take_rest(),
            }),
        })
    }
}
