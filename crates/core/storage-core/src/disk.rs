//! Records and certificates as octets on the disk.
//!
//! ```text
//! record:  version(1) count(2) { kind(4) model(1) generation(8) count(4) { expires(8) count(1) hash(32)… StoredData }… }…
//! ```

use bytes::Bytes;
use wire::{DataModel, Decode, DecodeError, Encode, KindId, Reader, StoredData, Writer};

use crate::record::{Hash, Place, Record, Slot, Values};

/// Why an entry of the disk could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It was written by a later version.
    #[error("{what} {key} has format {found}, this program knows formats up to {known}")]
    Newer {
        /// What it is.
        what: &'static str,
        /// Its key, in hex.
        key: String,
        /// Its format.
        found: u8,
        /// Newest format that is known.
        known: u8,
    },
    /// Its octets make no sense.
    #[error("{what} {key} is damaged: {reason}")]
    Damaged {
        /// What it is.
        what: &'static str,
        /// Its key, in hex.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

pub(crate) fn encode(record: &Record) -> Bytes {
    let mut out = Writer::new();
    FORMAT.encode(&mut out);
    length::<u16>(record.kinds.len()).encode(&mut out);
    for (kind, values) in &record.kinds {
        kind.encode(&mut out);
        model_number(values.model).encode(&mut out);
        values.generation.encode(&mut out);
        length::<u32>(values.slots.len()).encode(&mut out);
        for slot in values.slots.values() {
            slot.expires.encode(&mut out);
            length::<u8>(slot.chain.len()).encode(&mut out);
            slot.chain.iter().for_each(|hash| out.octets(hash));
            slot.data.encode(&mut out);
        }
    }
    out.into_bytes()
}

pub(crate) fn decode(octets: &Bytes) -> Result<Record, DecodeError> {
    let mut reader = Reader::new(octets);
    let _version = u8::decode(&mut reader)?;
    let mut record = Record::default();
    for _ in 0..u16::decode(&mut reader)? {
        let kind = KindId::decode(&mut reader)?;
        let model = model(&mut reader)?;
        let mut values = Values { generation: u64::decode(&mut reader)?, ..Values::new(model) };
        for _ in 0..u32::decode(&mut reader)? {
            let slot = slot(&mut reader, model)?;
            if let Some(place) = Place::of(&slot.data.value) {
                values.slots.insert(place, slot);
            }
        }
        record.kinds.insert(kind, values);
    }
    reader.finish()?;
    Ok(record)
}

/// Puts the format version in front.
pub(crate) fn versioned(octets: &[u8]) -> Bytes {
    [&[FORMAT], octets].concat().into()
}

/// Takes an entry apart if its format is known.
pub(crate) fn unversioned(what: &'static str, key: &[u8], value: &Bytes) -> Result<Bytes, LoadError> {
    match value.first() {
        Some(&FORMAT) => Ok(value.slice(1..)),
        Some(&found) if found > FORMAT => Err(LoadError::Newer { what, key: hex(key), found, known: FORMAT }),
        Some(_) | None => Err(damaged(what, key, "it has no format version")),
    }
}

pub(crate) fn damaged(what: &'static str, key: &[u8], reason: impl ToString) -> LoadError {
    LoadError::Damaged { what, key: hex(key), reason: reason.to_string() }
}

fn slot(reader: &mut Reader<'_>, model: DataModel) -> Result<Slot, DecodeError> {
    let expires = u64::decode(reader)?;
    let mut chain = Vec::new();
    for _ in 0..u8::decode(reader)? {
        chain.push(reader.array::<{ size_of::<Hash>() }>()?);
    }
    Ok(Slot { data: StoredData::read(reader, Some(model))?, expires, chain })
}

fn model_number(model: DataModel) -> u8 {
    match model {
        DataModel::Single => 1,
        DataModel::Array => 2,
        DataModel::Dictionary => 3,
    }
}

fn model(reader: &mut Reader<'_>) -> Result<DataModel, DecodeError> {
    let at = reader.at();
    match u8::decode(reader)? {
        1 => Ok(DataModel::Single),
        2 => Ok(DataModel::Array),
        3 => Ok(DataModel::Dictionary),
        other => Err(DecodeError { at, what: wire::Fault::Value(u64::from(other)), field: "model" }),
    }
}

/// Numbers of Kinds, values and certificates are bounded far below what their fields can say.
fn length<T: TryFrom<usize>>(length: usize) -> T {
    T::try_from(length).ok().expect("bounded by the size of a message and the limits of a Kind")
}

fn hex(octets: &[u8]) -> String {
    wire::hex::encode(octets)
}

const FORMAT: u8 = 1;
