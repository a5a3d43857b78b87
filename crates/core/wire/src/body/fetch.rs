//! Fetch (RFC 6940 §7.4.2).

use bytes::Bytes;
use serde::Serialize;

use crate::{
    codec::{
        Decode, DecodeError, Encode, Reader, Writer,
        forms::{list16, opaque16, read_within, write_list, write_opaque},
    },
    hex,
    id::{KindId, ResourceId},
    model::DataModel,
    stored::StoredData,
};

structure! {
    /// Asks for values.
    pub struct FetchReq {
        /// Where they are stored.
        pub resource: ResourceId,
        /// Which.
        pub specifiers: Vec<StoredDataSpecifier> = list16,
    }
}

structure! {
    /// Brings values.
    pub struct FetchAns {
        /// One for each Kind asked for.
        pub kind_responses: Vec<FetchKindResponse> = list32,
    }
}

/// Says which values of a Kind are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredDataSpecifier {
    /// The Kind.
    pub kind: KindId,
    /// Generation that the asker has; 0 for none.
    pub generation: u64,
    /// Which of its values.
    pub model: ModelSpecifier,
}

/// Which values, by the Kind's model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelSpecifier {
    /// The only one.
    Single,
    /// Those of an array within these ranges.
    Array(Vec<ArrayRange>),
    /// Those of a dictionary under these keys; all if there are none.
    Dictionary(#[serde(serialize_with = "hex::many")] Vec<Bytes>),
    /// Of a Kind whose model is not known.
    Opaque(#[serde(serialize_with = "hex::bytes")] Bytes),
}

structure! {
    /// Indices from `first` to `last`, both included.
    #[derive(Copy, Hash)]
    pub struct ArrayRange {
        /// The first.
        pub first: u32,
        /// The last; 0xffffffff for the end.
        pub last: u32,
    }
}

/// A dictionary key on the wire.
struct Key(Bytes);

impl Encode for Key {
    fn encode(&self, out: &mut Writer) {
        write_opaque(out, 2, &self.0);
    }
}

impl Decode for Key {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        opaque16::read(reader).map(Self)
    }
}

impl Encode for StoredDataSpecifier {
    fn encode(&self, out: &mut Writer) {
        self.kind.encode(out);
        self.generation.encode(out);
        out.vector(2, |out| match &self.model {
            ModelSpecifier::Single => {}
            ModelSpecifier::Array(ranges) => write_list(out, 2, ranges),
            ModelSpecifier::Dictionary(keys) => {
                let keys: Vec<_> = keys.iter().cloned().map(Key).collect();
                write_list(out, 2, &keys);
            }
            ModelSpecifier::Opaque(octets) => out.octets(octets),
        });
    }
}

impl Decode for StoredDataSpecifier {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = KindId::decode(reader)?;
        let generation = u64::decode(reader)?;
        let model = read_within(reader, 2, |inner| match inner.models().model(kind) {
            Some(DataModel::Single) => Ok(ModelSpecifier::Single),
            Some(DataModel::Array) => list16::read(inner).map(ModelSpecifier::Array),
            Some(DataModel::Dictionary) => {
                let keys: Vec<Key> = list16::read(inner)?;
                Ok(ModelSpecifier::Dictionary(
                    keys.into_iter().map(|Key(key)| key).collect(),
                ))
            }
            None => Ok(ModelSpecifier::Opaque(inner.take_rest())),
        })
        .map_err(|error| error.within("StoredDataSpecifier.model_specifier"))?;
        Ok(Self {
            kind,
            generation,
            model,
        })
    }
}

/// Values of one Kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FetchKindResponse {
    /// The Kind.
    pub kind: KindId,
    /// Its generation.
    pub generation: u64,
    /// The values.
    pub values: Vec<StoredData>,
}

impl Encode for FetchKindResponse {
    fn encode(&self, out: &mut Writer) {
        self.kind.encode(out);
        self.generation.encode(out);
        write_list(out, 4, &self.values);
    }
}

impl Decode for FetchKindResponse {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = KindId::decode(reader)?;
        let generation = u64::decode(reader)?;
        Ok(Self {
            kind,
            generation,
            values: super::store::values(reader, kind)?,
        })
    }
}
