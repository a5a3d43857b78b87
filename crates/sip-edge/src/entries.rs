//! This edge's own entries in the overlay: one for each AOR that has a binding here.
//!
//! An entry says that this edge serves the AOR; it has nothing to do with how long a phone registers. It is stored when the first phone of an AOR
//! registers, refreshed at the edge's own pace, and removed by a tombstone when the last one has gone. The due times are on disk, so that a restart
//! stores nothing in bulk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use identity::Signer;
use usage::sip::{LIFETIME, Registrant};
use wire::{Destination, ErrorCode, TransactionId};

use crate::home::{CallError, Home, Request};

/// An entry is refreshed after a random share of its lifetime between these, in percent, so that edges started together drift apart.
const REFRESH_PERCENT: (u64, u64) = (50, 80);
/// An edge that serves a user looks at the user's record at least so often, whatever it was told and however seldom a phone asks: with each refresh.
pub const RECORD_LOOKED_AT: Duration = Duration::from_secs(LIFETIME as u64 * REFRESH_PERCENT.1 / 100);
/// What failed in the background is tried again after a random time between these.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(15));
/// Stores in the background at the same time; the others wait for their turn.
const JOBS: usize = 32;
/// Entries at most: as many AORs as one edge serves; a registration beyond it is refused with 503.
pub(crate) const ENTRIES: usize = 200_000;

/// What is known of this edge's entries.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    table: BTreeMap<String, Entry>,
    jobs: usize,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The last storage_time used; the next one is greater (RFC 6940 §7).
    pub(crate) storage_time: u64,
    /// When something is to be done, in Unix milliseconds: a refresh, or the tombstone again.
    pub(crate) due_ms: u64,
    /// Whether the AOR has a binding here; else a tombstone is due, and the entry is forgotten once that is stored.
    pub(crate) is_wanted: bool,
    /// Whether the overlay acknowledged it.
    pub(crate) is_stored: bool,
    is_busy: bool,
}

/// Something to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) aor: String,
    pub(crate) storage_time: u64,
    /// A registration, or its tombstone.
    pub(crate) is_registration: bool,
}

impl Entries {
    /// Takes an entry that was kept on disk.
    pub(crate) fn restore(&mut self, aor: String, entry: Entry) {
        self.table.insert(aor, entry);
    }

    /// The entry of an AOR.
    pub(crate) fn of(&self, aor: &str) -> Option<&Entry> {
        self.table.get(aor)
    }

    /// Says whether the overlay must be told before an AOR counts as registered here.
    pub(crate) fn is_new(&self, aor: &str) -> bool {
        !self
            .table
            .get(aor)
            .is_some_and(|entry| entry.is_wanted && entry.is_stored)
    }

    /// Wants an entry; gives the Store to do now, unless one is under way. `None` in the second place when the table is full.
    pub(crate) fn want(&mut self, now_ms: u64, aor: &str) -> Result<Option<Job>, TableFull> {
        if self.table.len() >= ENTRIES && !self.table.contains_key(aor) {
            return Err(TableFull);
        }
        let entry = self.table.entry(aor.to_owned()).or_insert_with(Entry::new);
        entry.is_wanted = true;
        if entry.is_busy {
            return Ok(None);
        }
        self.jobs += 1;
        Ok(Some(entry.job(now_ms, aor)))
    }

    /// Wants no entry any more: a tombstone is due at once.
    pub(crate) fn release(&mut self, now_ms: u64, aor: &str) {
        if let Some(entry) = self.table.get_mut(aor) {
            entry.is_wanted = false;
            entry.due_ms = now_ms;
        }
    }

    /// Notes an entry that the overlay holds although nothing is registered here: a tombstone is due.
    pub(crate) fn disown(&mut self, now_ms: u64, aor: &str, storage_time: u64) {
        if self.table.len() < ENTRIES && !self.table.contains_key(aor) {
            let entry = Entry {
                storage_time,
                due_ms: now_ms,
                is_stored: true,
                ..Entry::new()
            };
            self.table.insert(aor.to_owned(), entry);
        }
    }

    /// What is due, as far as jobs are free.
    pub(crate) fn due(&mut self, now_ms: u64) -> Vec<Job> {
        let free = JOBS.saturating_sub(self.jobs);
        let due = self
            .table
            .iter_mut()
            .filter(|(_, entry)| !entry.is_busy && entry.due_ms <= now_ms)
            .take(free);
        let jobs: Vec<Job> = due.map(|(aor, entry)| entry.job(now_ms, aor)).collect();
        self.jobs += jobs.len();
        jobs
    }

    /// Takes the outcome of a job; `Ok` holds the storage_time that was used in the end. Returns whether the entry's record on disk is to be
    /// written (`Some(true)`) or deleted (`Some(false)`).
    pub(crate) fn done(&mut self, now_ms: u64, job: &Job, outcome: Result<u64, ()>) -> Option<bool> {
        self.jobs = self.jobs.saturating_sub(1);
        let entry = self.table.get_mut(&job.aor)?;
        entry.is_busy = false;
        match outcome {
            Ok(storage_time) => {
                entry.storage_time = storage_time;
                entry.is_stored = job.is_registration;
                if !job.is_registration && !entry.is_wanted {
                    self.table.remove(&job.aor);
                    return Some(false);
                }
                let lifetime_ms = u64::from(LIFETIME) * 1000;
                // Somebody changed his mind meanwhile: the other thing is due now.
                let is_settled = job.is_registration == entry.is_wanted;
                let share = crate::random::between(
                    lifetime_ms * REFRESH_PERCENT.0 / 100,
                    lifetime_ms * REFRESH_PERCENT.1 / 100,
                );
                entry.due_ms = if is_settled { now_ms + share } else { now_ms };
                Some(true)
            }
            Err(()) => {
                let pause = crate::random::between(RETRY.0.as_millis() as u64, RETRY.1.as_millis() as u64);
                entry.due_ms = now_ms + pause;
                None
            }
        }
    }
}

/// One edge serves no more AORs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TableFull;

impl Entry {
    fn new() -> Self {
        Self {
            storage_time: 0,
            due_ms: u64::MAX,
            is_wanted: false,
            is_stored: false,
            is_busy: false,
        }
    }

    fn job(&mut self, now_ms: u64, aor: &str) -> Job {
        self.is_busy = true;
        // RFC 6940 §7: storage_time grows even when the clock does not.
        self.storage_time = now_ms.max(self.storage_time + 1);
        Job {
            aor: aor.to_owned(),
            storage_time: self.storage_time,
            is_registration: self.is_wanted,
        }
    }

    /// The record on disk: version, flags, times.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut octets = vec![FORMAT, u8::from(self.is_wanted) | u8::from(self.is_stored) << 1];
        octets.extend_from_slice(&self.storage_time.to_be_bytes());
        octets.extend_from_slice(&self.due_ms.to_be_bytes());
        octets
    }

    /// Reads a record from disk.
    pub(crate) fn from_bytes(octets: &[u8]) -> Option<Self> {
        let ([FORMAT, flags], rest) = octets.split_first_chunk()? else {
            return None;
        };
        let (storage_time, due_ms) = rest.split_first_chunk::<8>()?;
        Some(Self {
            storage_time: u64::from_be_bytes(*storage_time),
            due_ms: u64::from_be_bytes(due_ms.try_into().ok()?),
            is_wanted: flags & 1 != 0,
            is_stored: flags & 2 != 0,
            is_busy: false,
        })
    }
}

const FORMAT: u8 = 1;

/// What a job needs beside the job.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    pub(crate) home: Home,
    pub(crate) registrant: Registrant,
}

impl Publisher {
    /// Stores the entry or its tombstone and returns the storage_time that was accepted. `newest` asks the overlay for the storage_time that it holds,
    /// if ours is too old for it.
    ///
    /// # Errors
    /// When it was not acknowledged within `limit`; it may have been stored all the same.
    pub(crate) async fn publish(
        &self,
        job: &Job,
        signer: Arc<Signer>,
        limit: Duration,
        newest: impl AsyncFnOnce() -> Option<u64>,
    ) -> Result<u64, CallError> {
        match self.store(job, job.storage_time, &signer, limit).await {
            // RFC 6940 §7: once more, with a time greater than the one that is stored.
            Err(CallError::Refused { code }) if code == ErrorCode::DataTooOld.number() => {
                let storage_time = newest()
                    .await
                    .map_or(job.storage_time, |newest| newest.max(job.storage_time))
                    + 1;
                self.store(job, storage_time, &signer, limit)
                    .await
                    .map(|()| storage_time)
            }
            outcome => outcome.map(|()| job.storage_time),
        }
    }

    async fn store(&self, job: &Job, storage_time: u64, signer: &Signer, limit: Duration) -> Result<(), CallError> {
        let transaction_id = TransactionId(crate::random::number());
        let signed = if job.is_registration {
            self.registrant.register(signer, &job.aor, storage_time, transaction_id)
        } else {
            self.registrant
                .unregister(signer, &job.aor, storage_time, transaction_id)
        };
        self.send(
            signed.resource,
            signed.contents,
            (signed.transaction_id, signed.security),
            limit,
        )
        .await
    }

    async fn send(
        &self,
        resource: wire::ResourceId,
        contents: Bytes,
        signed: (TransactionId, wire::SecurityBlock),
        limit: Duration,
    ) -> Result<(), CallError> {
        let request = Request {
            destinations: vec![Destination::Resource(resource)],
            contents,
            signed: Some(signed),
        };
        self.home.call(request, limit).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AOR: &str = "alice@example.org";

    #[test]
    fn an_entry_is_stored_refreshed_and_removed() {
        let mut entries = Entries::default();
        assert!(entries.is_new(AOR));
        let job = entries.want(1_000, AOR).unwrap().unwrap();
        assert_eq!((job.storage_time, job.is_registration), (1_000, true));
        assert_eq!(entries.done(1_000, &job, Ok(1_000)), Some(true));
        assert!(!entries.is_new(AOR));

        let due = entries.of(AOR).unwrap().due_ms;
        assert!((1_801_000..=2_881_000).contains(&due), "{due}");
        let job = entries.due(due).remove(0);
        entries.done(due, &job, Ok(job.storage_time));

        entries.release(due, AOR);
        let job = entries.due(due).remove(0);
        assert!(!job.is_registration && job.storage_time > due - 1);
        assert_eq!(entries.done(due, &job, Ok(job.storage_time)), Some(false));
        assert_eq!(entries.of(AOR), None);
    }

    #[test]
    fn storage_time_grows_while_the_clock_stands_still() {
        let mut entries = Entries::default();
        let first = entries.want(1_000, AOR).unwrap().unwrap();
        entries.done(1_000, &first, Err(()));
        let second = entries.want(1_000, AOR).unwrap().unwrap();
        assert_eq!(second.storage_time, 1_001);
    }

    #[test]
    fn a_phone_that_comes_back_during_the_tombstone_is_stored_again() {
        let mut entries = Entries::default();
        let job = entries.want(1_000, AOR).unwrap().unwrap();
        entries.done(1_000, &job, Ok(1_000));
        entries.release(2_000, AOR);
        let tombstone = entries.due(2_000).remove(0);
        assert_eq!(entries.want(2_001, AOR), Ok(None));
        assert_eq!(entries.done(2_002, &tombstone, Ok(tombstone.storage_time)), Some(true));
        assert!(entries.is_new(AOR));
        assert!(entries.due(2_002).remove(0).is_registration);
    }

    #[test]
    fn the_record_on_disk_is_read_back() {
        let mut entries = Entries::default();
        let job = entries.want(1_000, AOR).unwrap().unwrap();
        entries.done(1_000, &job, Ok(1_000));
        let entry = entries.of(AOR).unwrap();
        assert_eq!(Entry::from_bytes(&entry.to_bytes()).as_ref(), Some(entry));
        assert_eq!(Entry::from_bytes(b"\x02"), None);
    }
}
