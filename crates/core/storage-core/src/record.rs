//! What is held: records of Kinds of values.

use std::{cmp::Ordering, collections::BTreeMap};

use bytes::Bytes;
use wire::{DataModel, Encode, KindId, StoredData, StoredDataValue};

/// SHA-256 of a certificate's DER.
pub(crate) type Hash = [u8; 32];

/// All Kinds of one Resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kinds: BTreeMap<KindId, Values>,
}

/// The values of one Kind of one Resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Values {
    pub(crate) model: DataModel,
    /// The generation counter (RFC 6940 §7.4.1.1); never lowered while the Kind is here.
    pub(crate) generation: u64,
    pub(crate) slots: BTreeMap<Place, Slot>,
}

/// Where a value stands within its Kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Single,
    Index(u32),
    Key(Bytes),
}

/// A value, or its tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// As it was signed, an array's with its final index. The lifetime in it is what was left at its receipt.
    pub(crate) data: StoredData,
    /// When it ends, in the store's own milliseconds.
    pub(crate) expires: u64,
    /// The leaf that signed it and the CAs that must travel with it.
    pub(crate) chain: Vec<Hash>,
}

impl Record {
    /// The earliest end of a value.
    pub(crate) fn due(&self) -> Option<u64> {
        self.slots().map(|slot| slot.expires).min()
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.kinds.values().flat_map(|values| values.slots.values())
    }

    pub(crate) fn slots_by_kind(&self) -> impl Iterator<Item = (KindId, &Slot)> {
        let kinds = self.kinds.iter();
        kinds.flat_map(|(kind, values)| values.slots.values().map(|slot| (*kind, slot)))
    }

    /// Drops values that do not satisfy the condition, and Kinds without values. Tells whether there were any.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(KindId, &Slot) -> bool) -> bool {
        let before = self.slots().count();
        for (kind, values) in &mut self.kinds {
            values.slots.retain(|_, slot| keep(*kind, slot));
        }
        self.kinds.retain(|_, values| !values.slots.is_empty());
        self.slots().count() != before
    }
}

impl Values {
    pub(crate) fn new(model: DataModel) -> Self {
        Self {
            model,
            generation: 0,
            slots: BTreeMap::new(),
        }
    }

    /// Number of values that exist.
    pub(crate) fn existing(&self) -> usize {
        self.slots.values().filter(|slot| slot.exists()).count()
    }

    /// Number of places in an array, gaps included.
    pub(crate) fn length(&self) -> u32 {
        match self.slots.last_key_value() {
            Some((Place::Index(last), _)) => last.saturating_add(1),
            _ => 0,
        }
    }
}

impl Place {
    /// Tells where a value says it belongs; nothing for a value whose model is not known.
    pub(crate) fn of(value: &StoredDataValue) -> Option<Self> {
        match value {
            StoredDataValue::Single(_) => Some(Self::Single),
            StoredDataValue::Array { index, .. } => Some(Self::Index(*index)),
            StoredDataValue::Dictionary { key, .. } => Some(Self::Key(key.clone())),
            StoredDataValue::Opaque(_) => None,
        }
    }
}

impl Slot {
    pub(crate) fn exists(&self) -> bool {
        exists(&self.data)
    }

    /// Whole seconds of life that are left (RFC 6940 §7.4.1.1: the lifetime sent on is reduced by the time spent here).
    /// Rounded down, so that a value handed round and round ends.
    pub(crate) fn lifetime(&self, own_ms: u64) -> u32 {
        u32::try_from(self.expires.saturating_sub(own_ms) / 1000).unwrap_or(u32::MAX)
    }
}

pub(crate) fn exists(data: &StoredData) -> bool {
    data.value.value().is_some_and(|value| value.exists)
}

/// Tells whether two are the same signed value; the lifetime is not signed and does not count.
pub(crate) fn is_same(left: &StoredData, right: &StoredData) -> bool {
    left.storage_time == right.storage_time && left.value == right.value && left.signature == right.signature
}

/// Orders two values for one place by which of them stays: the greater one.
// RFC 6940 §7.4.1.1: as if stored in the order of their storage times. On a tie a tombstone stays, so that nothing
// deleted comes back, then the greater octets, so that two peers never refuse each other for ever (deviation D4).
pub(crate) fn precedence(left: &StoredData, right: &StoredData) -> Ordering {
    let by_time = left.storage_time.cmp(&right.storage_time);
    by_time
        .then_with(|| exists(right).cmp(&exists(left)))
        .then_with(|| octets(left).cmp(&octets(right)))
}

fn octets(data: &StoredData) -> Vec<u8> {
    let mut octets = data.value.to_bytes().to_vec();
    octets.extend_from_slice(&data.signature.to_bytes());
    octets
}
