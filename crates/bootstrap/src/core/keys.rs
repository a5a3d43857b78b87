//! The record keys: one, or the old and the new one while a rotation goes on.

use usage::user::RecordKey;

use crate::error::StartError;
use crate::state::{Octets, ServiceRecord};

/// The keys that there are, and so how far a rotation is: nothing else on the disk tells it.
#[derive(Clone)]
pub(super) enum RecordKeys {
    /// No rotation goes on.
    Settled(RecordKey),
    /// Edges fetch the new key; the old one still seals.
    HandingOut { old: RecordKey, new: RecordKey },
    /// All edges that count hold the new key, which seals.
    Resealing { old: RecordKey, new: RecordKey },
}

impl RecordKeys {
    /// Reads the keys as they are stored.
    pub(super) fn read(stored: &[(u32, Octets)], is_resealing: bool) -> Result<RecordKeys, StartError> {
        let mut keys = Vec::new();
        for (version, key) in stored {
            keys.push(RecordKey::new(
                *version,
                key.0.as_slice().try_into().map_err(StartError::service)?,
            ));
        }
        let mut keys = keys.into_iter();
        match (keys.next(), keys.next(), keys.next()) {
            (Some(key), None, _) => Ok(RecordKeys::Settled(key)),
            (Some(old), Some(new), None) if is_resealing => Ok(RecordKeys::Resealing { old, new }),
            (Some(old), Some(new), None) => Ok(RecordKeys::HandingOut { old, new }),
            _ => Err(StartError::service(
                "there are one or two record keys, not none or more",
            )),
        }
    }

    pub(super) fn write(&self, record: &mut ServiceRecord) {
        let keys = self.all().map(|key| (key.version(), Octets::of(key.octets())));
        record.record_keys = keys.collect();
        record.resealing = matches!(self, RecordKeys::Resealing { .. });
    }

    /// Oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &RecordKey> {
        let (first, second) = match self {
            RecordKeys::Settled(key) => (key, None),
            RecordKeys::HandingOut { old, new } | RecordKeys::Resealing { old, new } => (old, Some(new)),
        };
        std::iter::once(first).chain(second)
    }

    pub(super) fn versions(&self) -> Vec<u32> {
        self.all().map(RecordKey::version).collect()
    }

    pub(super) fn of(&self, version: u32) -> Option<&RecordKey> {
        self.all().find(|key| key.version() == version)
    }

    pub(super) fn newest(&self) -> &RecordKey {
        match self {
            RecordKeys::Settled(key) => key,
            RecordKeys::HandingOut { new, .. } | RecordKeys::Resealing { new, .. } => new,
        }
    }

    /// The key that seals records.
    pub(super) fn sealing(&self) -> &RecordKey {
        match self {
            RecordKeys::Settled(key)
            | RecordKeys::HandingOut { old: key, .. }
            | RecordKeys::Resealing { new: key, .. } => key,
        }
    }
}
