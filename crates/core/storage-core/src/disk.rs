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
        let mut values = Values {
            generation: u64::decode(&mut reader)?,
            ..Values::new(model)
        };
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
        Some(&found) if found > FORMAT => Err(LoadError::Newer {
            what,
            key: hex(key),
            found,
            known: FORMAT,
        }),
        Some(_) | None => Err(damaged(what, key, "it has no format version")),
    }
}

pub(crate) fn damaged(what: &'static str, key: &[u8], reason: impl ToString) -> LoadError {
    LoadError::Damaged {
        what,
        key: hex(key),
        reason: reason.to_string(),
    }
}

fn slot(reader: &mut Reader<'_>, model: DataModel) -> Result<Slot, DecodeError> {
    let expires = u64::decode(reader)?;
    let mut chain = Vec::new();
    for _ in 0..u8::decode(reader)? {
        chain.push(reader.array::<{ size_of::<Hash>() }>()?);
    }
    Ok(Slot {
        data: StoredData::read(reader, Some(model))?,
        expires,
        chain,
    })
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
        other => Err(DecodeError {
            at,
            what: wire::Fault::Value(u64::from(other)),
            field: "model",
        }),
    }
}

/// Numbers of Kinds, values and certificates are bounded far below what their fields can say.
fn length<T: TryFrom<usize>>(length: usize) -> T {
    T::try_from(length)
        .ok()
        .expect("bounded by the size of a message and the limits of a Kind")
}

fn hex(octets: &[u8]) -> String {
    wire::hex::encode(octets)
}

const FORMAT: u8 = 1;

#[cfg(test)]
mod tests {
    use wire::{DataValue, Signature, StoredDataValue};

    use super::*;

    /// As version 1 wrote it; every later version must read it.
    const VERSION_1: &str = concat!(
        "01",
        "0001",
        "00000001",
        "03",
        "0000000000000007",
        "00000001", // one Kind, one value
        "0000000000002710",
        "01",
        "abababababababababababababababababababababababababababababababab",
        "0000001f",
        "0000000000000064",
        "0000003c",
        "0002",
        "6b31",
        "01",
        "00000003",
        "616263", // the value
        "0000",
        "03",
        "0000",
        "0000", // its signature
    );

    #[test]
    fn a_record_of_version_1_is_read_and_written() {
        let octets = Bytes::from(wire::hex::decode(VERSION_1).unwrap());
        let value = StoredDataValue::Dictionary {
            key: Bytes::from_static(b"k1"),
            value: DataValue::of(Bytes::from_static(b"abc")),
        };
        let data = StoredData {
            storage_time: 100,
            lifetime: 60,
            value,
            signature: Signature::none(),
        };
        let mut values = Values {
            generation: 7,
            ..Values::new(DataModel::Dictionary)
        };
        let slot = Slot {
            data,
            expires: 10_000,
            chain: vec![[0xab; 32]],
        };
        values.slots.insert(Place::Key(Bytes::from_static(b"k1")), slot);
        let record = Record {
            kinds: [(KindId::SIP_REGISTRATION, values)].into(),
        };
        assert_eq!(wire::hex::encode(&encode(&record)), wire::hex::encode(&octets));
        assert_eq!(decode(&octets), Ok(record));
    }

    #[test]
    fn a_later_format_is_told_from_damage() {
        let later = unversioned("record", b"k", &Bytes::from_static(&[2, 0]));
        assert!(matches!(later, Err(LoadError::Newer { found: 2, known: 1, .. })));
        assert!(matches!(
            unversioned("record", b"k", &Bytes::new()),
            Err(LoadError::Damaged { .. })
        ));
        assert!(decode(&Bytes::from_static(&[1, 0, 9])).is_err());
    }
}
