//! ConfigUpdate (RFC 6940 §6.5.4).

use bytes::Bytes;
use serde::Serialize;

use crate::{
    codec::{
        Decode, DecodeError, Encode, Fault, Reader, Writer,
        forms::{opaque16, read_list, read_opaque, read_within, write_list, write_opaque},
    },
    hex,
};

/// Brings a newer configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigUpdateReq {
    /// A configuration document.
    Config(#[serde(serialize_with = "hex::bytes")] Bytes),
    /// Definitions of Kinds, as signed kind-block elements.
    Kind(#[serde(serialize_with = "hex::many")] Vec<Bytes>),
    /// A type that this implementation does not know.
    Other {
        /// ConfigUpdateType, from 3.
        kind: u8,
        /// The data behind the length.
        #[serde(serialize_with = "hex::bytes")]
        data: Bytes,
    },
}

/// ConfigUpdateType values.
const CONFIG: u8 = 1;
const KIND: u8 = 2;

/// Octets of the length of the document, and of the list of Kinds.
const WIDTH: usize = 3;

impl Encode for ConfigUpdateReq {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Config(_) => CONFIG,
            Self::Kind(_) => KIND,
            Self::Other { kind, .. } => *kind,
        }
        .encode(out);
        out.vector(4, |out| match self {
            Self::Config(document) => write_opaque(out, WIDTH, document),
            Self::Kind(kinds) => {
                let kinds: Vec<_> = kinds.iter().cloned().map(KindDescription).collect();
                write_list(out, WIDTH, &kinds);
            }
            Self::Other { data, .. } => out.octets(data),
        });
    }
}

impl Decode for ConfigUpdateReq {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.at();
        let kind = u8::decode(reader)?;
        read_within(reader, 4, |inner| match kind {
            0 => Err(DecodeError::new(at, Fault::Value(0))),
            CONFIG => read_opaque(inner, WIDTH).map(Self::Config),
            KIND => {
                let kinds: Vec<KindDescription> = read_list(inner, WIDTH)?;
                Ok(Self::Kind(
                    kinds.into_iter().map(|KindDescription(text)| text).collect(),
                ))
            }
            // RFC 6940 §6.5.4.1: the structure allows for unknown types.
            _ => Ok(Self::Other {
                kind,
                data: inner.take_rest(),
            }),
        })
        .map_err(|error| error.within("ConfigUpdateReq"))
    }
}

/// One kind-block on the wire.
struct KindDescription(Bytes);

impl Encode for KindDescription {
    fn encode(&self, out: &mut Writer) {
        write_opaque(out, 2, &self.0);
    }
}

impl Decode for KindDescription {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        opaque16::read(reader).map(Self)
    }
}

structure! {
    /// Has taken the configuration.
    #[derive(Copy, Default)]
    pub struct ConfigUpdateAns {}
}
