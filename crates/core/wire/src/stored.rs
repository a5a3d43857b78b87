//! Stored data and its three models (RFC 6940 §7, §7.2).

use bytes::Bytes;
use serde::Serialize;

use crate::{
    codec::{
        Decode, DecodeError, Encode, Reader, Writer,
        forms::{opaque16, read_within, write_opaque},
    },
    hex,
    model::DataModel,
    security::Signature,
};

structure! {
    /// A value, or the sign that there is none.
    #[derive(Hash, PartialOrd, Ord)]
    pub struct DataValue {
        /// False for a tombstone or a gap.
        pub exists: bool,
        /// The value; empty if it does not exist.
        #[serde(serialize_with = "hex::bytes")]
        pub value: Bytes = opaque32,
    }
}

impl DataValue {
    /// Makes a value that exists.
    #[must_use]
    pub const fn of(value: Bytes) -> Self {
        Self { exists: true, value }
    }

    /// Makes the value that stands for none (RFC 6940 §7.4.1.3).
    #[must_use]
    pub const fn none() -> Self {
        Self {
            exists: false,
            value: Bytes::new(),
        }
    }
}

/// A value in its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredDataValue {
    /// The only one of its Kind.
    Single(DataValue),
    /// One of an array.
    Array {
        /// Its index; [`StoredDataValue::APPEND`] in a Store puts it behind the last.
        index: u32,
        /// The value.
        value: DataValue,
    },
    /// One of a dictionary.
    Dictionary {
        /// Its key.
        #[serde(serialize_with = "hex::bytes")]
        key: Bytes,
        /// The value.
        value: DataValue,
    },
    /// Of a Kind whose model is not known: octets of the value *and* of the signature, which cannot be told apart.
    /// The `signature` beside it is then [`Signature::none`] and not written.
    Opaque(#[serde(serialize_with = "hex::bytes")] Bytes),
}

impl StoredDataValue {
    /// Index that asks for the end of the array (RFC 6940 §7.4.1.1).
    pub const APPEND: u32 = u32::MAX;

    /// Tells its model, if known.
    #[must_use]
    pub const fn model(&self) -> Option<DataModel> {
        match self {
            Self::Single(_) => Some(DataModel::Single),
            Self::Array { .. } => Some(DataModel::Array),
            Self::Dictionary { .. } => Some(DataModel::Dictionary),
            Self::Opaque(_) => None,
        }
    }

    /// Shows the value without its place.
    #[must_use]
    pub const fn value(&self) -> Option<&DataValue> {
        match self {
            Self::Single(value) | Self::Array { value, .. } | Self::Dictionary { value, .. } => Some(value),
            Self::Opaque(_) => None,
        }
    }

    /// Takes one of that model.
    ///
    /// # Errors
    /// [`DecodeError`] if the octets are not such a value.
    pub fn read(reader: &mut Reader<'_>, model: DataModel) -> Result<Self, DecodeError> {
        match model {
            DataModel::Single => Ok(Self::Single(DataValue::decode(reader)?)),
            DataModel::Array => Ok(Self::Array {
                index: u32::decode(reader)?,
                value: DataValue::decode(reader)?,
            }),
            DataModel::Dictionary => Ok(Self::Dictionary {
                key: opaque16::read(reader)?,
                value: DataValue::decode(reader)?,
            }),
        }
    }
}

impl Encode for StoredDataValue {
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

/// A value with its times and its signature.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct StoredData {
    /// When it was made, in milliseconds since 1970.
    pub storage_time: u64,
    /// For how many seconds from its receipt it lives.
    pub lifetime: u32,
    /// The value.
    pub value: StoredDataValue,
    /// Signature over Resource-ID, Kind-ID, storage time, value and identity (RFC 6940 §7.1).
    pub signature: Signature,
}

impl StoredData {
    /// Takes one; without a model the value stays octets.
    ///
    /// # Errors
    /// [`DecodeError`] if the octets are not such a value, or if its length is wrong.
    pub fn read(reader: &mut Reader<'_>, model: Option<DataModel>) -> Result<Self, DecodeError> {
        read_within(reader, 4, |inner| {
            let storage_time = u64::decode(inner)?;
            let lifetime = u32::decode(inner)?;
            let (value, signature) = match model {
                Some(model) => (StoredDataValue::read(inner, model)?, Signature::decode(inner)?),
                None => (StoredDataValue::Opaque(inner.take_rest()), Signature::none()),
            };
            Ok(Self {
                storage_time,
                lifetime,
                value,
                signature,
            })
        })
        .map_err(|error| error.within("StoredData"))
    }
}

impl Encode for StoredData {
    fn encode(&self, out: &mut Writer) {
        out.vector(4, |out| {
            self.storage_time.encode(out);
            self.lifetime.encode(out);
            self.value.encode(out);
            if self.value.model().is_some() {
                self.signature.encode(out);
            }
        });
    }
}
