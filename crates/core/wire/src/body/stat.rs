//! Stat (RFC 6940 §7.4.3).

use bytes::Bytes;
use serde::Serialize;

use super::StoredDataSpecifier;
use crate::{
    codec::{
        Decode, DecodeError, Encode, Reader, Writer,
        forms::{opaque16, read_within, write_list, write_opaque},
    },
    hex,
    id::{KindId, ResourceId},
    model::DataModel,
};

structure! {
    /// Asks for what is known of values.
    pub struct StatReq {
        /// Where they are stored.
        pub resource: ResourceId,
        /// Which.
        pub specifiers: Vec<StoredDataSpecifier> = list16,
    }
}

structure! {
    /// Tells what is known of values.
    pub struct StatAns {
        /// One for each Kind asked for.
        pub kind_responses: Vec<StatKindResponse> = list32,
    }
}

/// Values of one Kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatKindResponse {
    /// The Kind.
    pub kind: KindId,
    /// Its generation.
    pub generation: u64,
    /// The values.
    pub values: Vec<StoredMetaData>,
}

impl Encode for StatKindResponse {
    fn encode(&self, out: &mut Writer) {
        self.kind.encode(out);
        self.generation.encode(out);
        write_list(out, 4, &self.values);
    }
}

impl Decode for StatKindResponse {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = KindId::decode(reader)?;
        let generation = u64::decode(reader)?;
        let model = reader.models().model(kind);
        let values = read_within(reader, 4, |inner| {
            let mut values = Vec::new();
            while inner.left() > 0 {
                values.push(StoredMetaData::read(inner, model)?);
            }
            Ok(values)
        })?;
        Ok(Self {
            kind,
            generation,
            values,
        })
    }
}

/// What is known of a value, behind its length as [`crate::StoredData`] is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredMetaData {
    /// When it was made, in milliseconds since 1970.
    pub storage_time: u64,
    /// For how many seconds it lives still.
    pub lifetime: u32,
    /// The value's place, length and digest.
    pub metadata: MetaDataValue,
}

impl StoredMetaData {
    fn read(reader: &mut Reader<'_>, model: Option<DataModel>) -> Result<Self, DecodeError> {
        read_within(reader, 4, |inner| {
            Ok(Self {
                storage_time: u64::decode(inner)?,
                lifetime: u32::decode(inner)?,
                metadata: MetaDataValue::read(inner, model)?,
            })
        })
        .map_err(|error| error.within("StoredMetaData"))
    }
}

impl Encode for StoredMetaData {
    fn encode(&self, out: &mut Writer) {
        out.vector(4, |out| {
            self.storage_time.encode(out);
            self.lifetime.encode(out);
            self.metadata.encode(out);
        });
    }
}

/// What is known of a value in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MetaDataValue {
    /// The only one of its Kind.
    Single(MetaData),
    /// One of an array.
    Array {
        /// Its index.
        index: u32,
        /// What is known.
        value: MetaData,
    },
    /// One of a dictionary.
    Dictionary {
        /// Its key.
        #[serde(serialize_with = "hex::bytes")]
        key: Bytes,
        /// What is known.
        value: MetaData,
    },
    /// Of a Kind whose model is not known.
    Opaque(#[serde(serialize_with = "hex::bytes")] Bytes),
}

impl MetaDataValue {
    fn read(reader: &mut Reader<'_>, model: Option<DataModel>) -> Result<Self, DecodeError> {
        Ok(match model {
            Some(DataModel::Single) => Self::Single(MetaData::decode(reader)?),
            Some(DataModel::Array) => Self::Array {
                index: u32::decode(reader)?,
                value: MetaData::decode(reader)?,
            },
            Some(DataModel::Dictionary) => Self::Dictionary {
                key: opaque16::read(reader)?,
                value: MetaData::decode(reader)?,
            },
            None => Self::Opaque(reader.take_rest()),
        })
    }
}

impl Encode for MetaDataValue {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Single(value) => value.encode(out),
            Self::Array { index, value } => {
                index.encode(out);
                value.encode(out);
            }
            Self::Dictionary { key, value } => {
                write_opaque(out, 2, key);
                value.encode(out);
            }
            Self::Opaque(octets) => out.octets(octets),
        }
    }
}

structure! {
    /// What is known of a value.
    pub struct MetaData {
        /// False for a tombstone or a gap.
        pub exists: bool,
        /// Octets of the value.
        pub value_length: u32,
        /// HashAlgorithm of TLS.
        pub hash_algorithm: u8,
        /// Digest of the value and of the four octets of its length.
        #[serde(serialize_with = "hex::bytes")]
        pub hash_value: Bytes = opaque8,
    }
}
