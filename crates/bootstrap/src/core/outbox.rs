//! Messages that the overlay has not acknowledged, one at most for each user.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use kv::{Batch, Store};
use wire::TransactionId;

use crate::error::StartError;
use crate::state::{self, OUTBOX, Octets, WaitingRecord};

/// A complete StoreReq on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) aor: String,
    pub(crate) version: u64,
    pub(crate) transaction_id: TransactionId,
    pub(crate) contents: Bytes,
    pub(crate) security_block: Bytes,
}

pub(super) struct Outbox {
    waiting: BTreeMap<u64, Waiting>,
    by_aor: BTreeMap<String, u64>,
    next: u64,
}

impl Outbox {
    pub(super) fn load(store: &Store) -> Result<Outbox, StartError> {
        let mut outbox = Outbox {
            waiting: BTreeMap::new(),
            by_aor: BTreeMap::new(),
            next: 1,
        };
        for (key, record) in state::all::<WaitingRecord>(store, OUTBOX)? {
            let octets: [u8; 8] = key.as_ref().try_into().map_err(|_| StartError::Damaged {
                tree: OUTBOX.name(),
                key: format!("{key:?}"),
                reason: "its key is no number".to_owned(),
            })?;
            let id = u64::from_be_bytes(octets);
            outbox.next = outbox.next.max(id.saturating_add(1));
            outbox.by_aor.insert(record.aor.clone(), id);
            outbox.waiting.insert(id, Waiting::from(record));
        }
        Ok(outbox)
    }

    /// Puts a message in; it replaces an older one of the same user.
    pub(super) fn put(&mut self, waiting: Waiting, batch: &mut Batch) {
        let id = self.next;
        self.next = self.next.saturating_add(1);
        if let Some(old) = self.by_aor.insert(waiting.aor.clone(), id) {
            self.waiting.remove(&old);
            batch.delete(OUTBOX, &old.to_be_bytes());
        }
        state::put(batch, OUTBOX, &id.to_be_bytes(), &WaitingRecord::from(&waiting));
        self.waiting.insert(id, waiting);
    }

    pub(super) fn remove(&mut self, id: u64, batch: &mut Batch) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        self.by_aor.remove(&waiting.aor);
        batch.delete(OUTBOX, &id.to_be_bytes());
        Some(waiting)
    }

    /// Takes a user's message out that is of an older version than this.
    pub(super) fn withdraw(&mut self, aor: &str, version: u64, batch: &mut Batch) {
        let id = self.by_aor.get(aor).copied();
        let is_older = |id: &u64| self.waiting.get(id).is_some_and(|waiting| waiting.version < version);
        if let Some(id) = id.filter(is_older) {
            self.remove(id, batch);
        }
    }

    pub(super) fn after(&self, id: u64) -> Option<(u64, &Waiting)> {
        let next = self.waiting.range((Bound::Excluded(id), Bound::Unbounded)).next()?;
        Some((*next.0, next.1))
    }

    pub(super) fn aor(&self, id: u64) -> Option<String> {
        self.waiting.get(&id).map(|waiting| waiting.aor.clone())
    }

    /// The users whose records wait.
    pub(super) fn aors(&self) -> impl Iterator<Item = &str> {
        self.by_aor.keys().map(String::as_str)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn has(&self, aor: &str) -> bool {
        self.by_aor.contains_key(aor)
    }
}

impl From<WaitingRecord> for Waiting {
    fn from(record: WaitingRecord) -> Waiting {
        Waiting {
            aor: record.aor,
            version: record.version,
            transaction_id: TransactionId(record.transaction_id),
            contents: Bytes::from(record.contents.0),
            security_block: Bytes::from(record.security_block.0),
        }
    }
}

impl From<&Waiting> for WaitingRecord {
    fn from(waiting: &Waiting) -> WaitingRecord {
        WaitingRecord {
            aor: waiting.aor.clone(),
            version: waiting.version,
            transaction_id: waiting.transaction_id.0,
            contents: Octets::of(&waiting.contents),
            security_block: Octets::of(&waiting.security_block),
        }
    }
}
