//! Dropping records that this peer need not keep (RFC 6940 §10.7.3): only on the word of their owner.
//!
//! The owner's Stat is the proof, and it is judged against what is held at this moment: a value that came in the
//! meantime, or that the owner does not have, keeps its record.

use sha2::{Digest, Sha256};
use wire::{DataValue, MetaData, MetaDataValue, SignerIdentity, StatAns, StatKindResponse, StoredMetaData};

use crate::record::{Place, Record, Slot};

/// Tells whether the owner has each value of a record, the same or newer.
pub(crate) fn is_vouched_for(record: &Record, stat: &StatAns) -> bool {
    record.kinds.iter().all(|(kind, values)| {
        let response = stat.kind_responses.iter().find(|response| response.kind == *kind);
        let has = |(place, slot)| response.is_some_and(|response| has_same_or_newer(response, place, slot));
        values.slots.iter().all(has)
    })
}

fn has_same_or_newer(response: &StatKindResponse, place: &Place, held: &Slot) -> bool {
    let theirs = response.values.iter().filter_map(|stored| match &stored.metadata {
        MetaDataValue::Single(about) => Some((Place::Single, stored, about)),
        MetaDataValue::Array { index, value } => Some((Place::Index(*index), stored, value)),
        MetaDataValue::Dictionary { key, value } => Some((Place::Key(key.clone()), stored, value)),
        MetaDataValue::Opaque(_) => None,
    });
    let mut here = theirs.filter(|(theirs, ..)| theirs == place);
    here.any(|(_, stored, about)| is_same_or_newer(stored, about, held))
}

// At the same time a tombstone wins (deviation D4). Which of two other values does, a Stat does not say: then the
// record stays until both are merged.
fn is_same_or_newer(stored: &StoredMetaData, about: &MetaData, held: &Slot) -> bool {
    let is_same = || held.data.value.value().is_some_and(|value| *about == meta_data(value));
    let is_deleted = || held.exists() && !about.exists;
    match stored.storage_time.cmp(&held.data.storage_time) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => is_same() || is_deleted(),
        std::cmp::Ordering::Less => false,
    }
}

/// What a Stat says of a value.
pub(crate) fn meta_data(value: &DataValue) -> MetaData {
    let length = u32::try_from(value.value.len()).unwrap_or(u32::MAX);
    // RFC 6940 §7.4.3.2: the digest covers the four octets of the length, too.
    let digest = Sha256::new()
        .chain_update(length.to_be_bytes())
        .chain_update(&value.value)
        .finalize();
    MetaData {
        exists: value.exists,
        value_length: length,
        hash_algorithm: SignerIdentity::SHA256,
        hash_value: bytes::Bytes::copy_from_slice(&digest),
    }
}
