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
use crate::uptime::{Moment, Uptime};

/// An entry is refreshed after a random share of its lifetime between these, in percent, so that edges started together drift apart.
const REFRESH_PERCENT: (u64, u64) = (50, 80);
/// An edge that serves a user looks at the user's record at least so often, whatever it was told and however seldom a phone asks: with each refresh.
pub const RECORD_LOOKED_AT: Duration = Duration::from_secs(LIFETIME as u64 * REFRESH_PERCENT.1 / 100);
/// What failed in the background is tried again after a random time between these.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(15));
/// After a start, entries of an unknown age are refreshed within so long.
const SOON: Duration = Duration::from_secs(300);
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
    /// When something is to be done, on the edge's own clock: a refresh, or the tombstone again. None if that is not known.
    pub(crate) due_ms: Option<u64>,
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
    /// How long what is stored counts: for its lifetime, or until the certificate ends under which it is signed.
    pub(crate) counts_ms: u64,
}

impl Entries {
    /// Takes an entry that was kept on disk. In the overlay it has aged while this edge was down; where the calendar does not
    /// tell how long that was, it is due soon.
    pub(crate) fn restore(&mut self, now: Moment, clock: &Uptime, aor: String, entry: Entry) {
        let downtime = clock.downtime.filter(|downtime| downtime.as_secs() < LIFETIME.into());
        let due_ms = match (downtime, entry.due_ms) {
            (Some(downtime), Some(due_ms)) => due_ms.saturating_sub(milliseconds(downtime)),
            _ => now.own_ms + crate::random::between(0, milliseconds(SOON)),
        };
        let entry = Entry {
            due_ms: Some(due_ms),
            ..entry
        };
        self.table.insert(aor, entry);
    }

    /// This edge has missed some time, and does not know how much: in the overlay its entries have aged, and are due soon.
    pub(crate) fn hasten(&mut self, now: Moment) {
        for entry in self.table.values_mut() {
            let soon_ms = now.own_ms + crate::random::between(0, milliseconds(SOON));
            entry.due_ms = entry.due_ms.map(|due_ms| due_ms.min(soon_ms));
        }
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
    pub(crate) fn want(&mut self, now: Moment, aor: &str) -> Result<Option<Job>, TableFull> {
        if self.table.len() >= ENTRIES && !self.table.contains_key(aor) {
            return Err(TableFull);
        }
        let entry = self.table.entry(aor.to_owned()).or_insert_with(Entry::new);
        entry.is_wanted = true;
        if entry.is_busy {
            return Ok(None);
        }
        self.jobs += 1;
        Ok(Some(entry.job(now, aor)))
    }

    /// Wants no entry any more: a tombstone is due at once.
    pub(crate) fn release(&mut self, now: Moment, aor: &str) {
        if let Some(entry) = self.table.get_mut(aor) {
            entry.is_wanted = false;
            entry.due_ms = Some(now.own_ms);
        }
    }

    /// Notes an entry that the overlay holds although nothing is registered here: a tombstone is due.
    pub(crate) fn disown(&mut self, now: Moment, aor: &str, storage_time: u64) {
        if self.table.len() < ENTRIES && !self.table.contains_key(aor) {
            let entry = Entry {
                storage_time,
                due_ms: Some(now.own_ms),
                is_stored: true,
                ..Entry::new()
            };
            self.table.insert(aor.to_owned(), entry);
        }
    }

    /// What is due, as far as jobs are free.
    pub(crate) fn due(&mut self, now: Moment) -> Vec<Job> {
        let free = JOBS.saturating_sub(self.jobs);
        let due = self
            .table
            .iter_mut()
            .filter(|(_, entry)| !entry.is_busy && entry.due_ms.is_some_and(|due_ms| due_ms <= now.own_ms))
            .take(free);
        let jobs: Vec<Job> = due.map(|(aor, entry)| entry.job(now, aor)).collect();
        self.jobs += jobs.len();
        jobs
    }

    /// Takes the outcome of a job; `Ok` holds the storage_time that was used in the end. Returns whether the entry's record on disk is to be
    /// written (`Some(true)`) or deleted (`Some(false)`).
    pub(crate) fn done(&mut self, now: Moment, job: &Job, outcome: Result<u64, ()>) -> Option<bool> {
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
                // Somebody changed his mind meanwhile: the other thing is due now.
                let is_settled = job.is_registration == entry.is_wanted;
                let share = crate::random::between(
                    job.counts_ms * REFRESH_PERCENT.0 / 100,
                    job.counts_ms * REFRESH_PERCENT.1 / 100,
                );
                entry.due_ms = Some(if is_settled { now.own_ms + share } else { now.own_ms });
                Some(true)
            }
            Err(()) => {
                let pause = crate::random::between(milliseconds(RETRY.0), milliseconds(RETRY.1));
                entry.due_ms = Some(now.own_ms + pause);
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
            due_ms: None,
            is_wanted: false,
            is_stored: false,
            is_busy: false,
        }
    }

    fn job(&mut self, now: Moment, aor: &str) -> Job {
        self.is_busy = true;
        // RFC 6940 §7: storage_time grows even when the clock does not.
        self.storage_time = now.unix_ms.max(self.storage_time + 1);
        Job {
            aor: aor.to_owned(),
            storage_time: self.storage_time,
            is_registration: self.is_wanted,
            counts_ms: u64::from(LIFETIME) * 1000,
        }
    }

    /// The record on disk: version, flags, times.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut octets = vec![FORMAT, u8::from(self.is_wanted) | u8::from(self.is_stored) << 1];
        octets.extend_from_slice(&self.storage_time.to_be_bytes());
        octets.extend_from_slice(&self.due_ms.unwrap_or(u64::MAX).to_be_bytes());
        octets
    }

    /// Reads a record from disk. In version 1 the due time is one of the calendar, and so not known.
    pub(crate) fn from_bytes(octets: &[u8]) -> Option<Self> {
        let ([format @ 1..=FORMAT, flags], rest) = octets.split_first_chunk()? else {
            return None;
        };
        let (storage_time, due_ms) = rest.split_first_chunk::<8>()?;
        let due_ms = u64::from_be_bytes(due_ms.try_into().ok()?);
        Some(Self {
            storage_time: u64::from_be_bytes(*storage_time),
            due_ms: (*format > 1 && due_ms < u64::MAX).then_some(due_ms),
            is_wanted: flags & 1 != 0,
            is_stored: flags & 2 != 0,
            is_busy: false,
        })
    }
}

const FORMAT: u8 = 2;

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

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

    /// A moment that both clocks call the same.
    fn at(ms: u64) -> Moment {
        Moment {
            own_ms: ms,
            unix_ms: ms,
        }
    }

    const AOR: &str = "alice@example.org";

    #[test]
    fn an_entry_is_stored_refreshed_and_removed() {
        let mut entries = Entries::default();
        assert!(entries.is_new(AOR));
        let job = entries.want(at(1_000), AOR).unwrap().unwrap();
        assert_eq!((job.storage_time, job.is_registration), (1_000, true));
        assert_eq!(entries.done(at(1_000), &job, Ok(1_000)), Some(true));
        assert!(!entries.is_new(AOR));

        let due = entries.of(AOR).unwrap().due_ms.unwrap();
        assert!((1_801_000..=2_881_000).contains(&due), "{due}");
        let job = entries.due(at(due)).remove(0);
        entries.done(at(due), &job, Ok(job.storage_time));

        entries.release(at(due), AOR);
        let job = entries.due(at(due)).remove(0);
        assert!(!job.is_registration && job.storage_time > due - 1);
        assert_eq!(entries.done(at(due), &job, Ok(job.storage_time)), Some(false));
        assert_eq!(entries.of(AOR), None);
    }

    #[test]
    fn an_entry_is_refreshed_before_its_certificate_ends() {
        let mut entries = Entries::default();
        let job = entries.want(at(1_000), AOR).unwrap().unwrap();
        let soon = Job {
            counts_ms: 60_000,
            ..job
        };
        entries.done(at(1_000), &soon, Ok(1_000));
        assert!(entries.due(at(30_000)).is_empty());
        assert_eq!(entries.due(at(49_000)).len(), 1);
    }

    #[test]
    fn storage_time_grows_while_the_clock_stands_still() {
        let mut entries = Entries::default();
        let first = entries.want(at(1_000), AOR).unwrap().unwrap();
        entries.done(at(1_000), &first, Err(()));
        let second = entries.want(at(1_000), AOR).unwrap().unwrap();
        assert_eq!(second.storage_time, 1_001);
    }

    #[test]
    fn a_phone_that_comes_back_during_the_tombstone_is_stored_again() {
        let mut entries = Entries::default();
        let job = entries.want(at(1_000), AOR).unwrap().unwrap();
        entries.done(at(1_000), &job, Ok(1_000));
        entries.release(at(2_000), AOR);
        let tombstone = entries.due(at(2_000)).remove(0);
        assert_eq!(entries.want(at(2_001), AOR), Ok(None));
        assert_eq!(
            entries.done(at(2_002), &tombstone, Ok(tombstone.storage_time)),
            Some(true)
        );
        assert!(entries.is_new(AOR));
        assert!(entries.due(at(2_002)).remove(0).is_registration);
    }

    #[test]
    fn the_record_on_disk_is_read_back() {
        let mut entries = Entries::default();
        let job = entries.want(at(1_000), AOR).unwrap().unwrap();
        entries.done(at(1_000), &job, Ok(1_000));
        let entry = entries.of(AOR).unwrap();
        assert_eq!(Entry::from_bytes(&entry.to_bytes()).as_ref(), Some(entry));
        assert_eq!(Entry::from_bytes(b"\x02"), None);
    }

    #[test]
    fn a_calendar_that_is_set_neither_hastens_nor_delays_a_refresh() {
        let mut entries = Entries::default();
        let job = entries.want(at(1_000), AOR).unwrap().unwrap();
        entries.done(at(1_000), &job, Ok(1_000));
        let due = entries.of(AOR).unwrap().due_ms.unwrap();
        let moment = |own_ms, unix_ms| Moment { own_ms, unix_ms };
        assert_eq!(entries.due(moment(due - 1, u64::MAX / 2)), []);
        let job = entries.due(moment(due, 0)).remove(0);
        assert_eq!(job.storage_time, 1_001, "it grows though the calendar was set back");
    }

    #[test]
    fn after_a_gap_in_time_entries_are_due_soon() {
        let mut entries = Entries::default();
        let job = entries.want(at(1_000), AOR).unwrap().unwrap();
        entries.done(at(1_000), &job, Ok(1_000));
        let soon = at(1_000 + milliseconds(SOON));
        assert_eq!(entries.due(soon), []);
        entries.hasten(at(1_000));
        assert_eq!(entries.due(soon).len(), 1);
    }

    #[test]
    fn after_a_start_an_entry_is_due_by_its_age_or_soon() {
        let stored = {
            let mut entries = Entries::default();
            let job = entries.want(at(1_000), AOR).unwrap().unwrap();
            entries.done(at(1_000), &job, Ok(1_000));
            entries.of(AOR).unwrap().clone()
        };
        let due_after = |saved_unix_ms, record: &Entry| {
            let now = wire::Now {
                instant: std::time::Instant::now(),
                unix_ms: 10_000_000,
            };
            let saved = Moment {
                own_ms: 1_000,
                unix_ms: saved_unix_ms,
            };
            let clock = Uptime::start(now, Some(saved));
            let mut entries = Entries::default();
            entries.restore(clock.at(now), &clock, AOR.to_owned(), record.clone());
            entries.of(AOR).unwrap().due_ms.unwrap()
        };
        let due = stored.due_ms.unwrap();
        assert_eq!(
            due_after(10_000_000 - 60_000, &stored),
            due - 60_000,
            "a minute of downtime"
        );
        let soon = 1_000..=1_000 + milliseconds(SOON);
        for saved_unix_ms in [10_000_001, 0] {
            assert!(soon.contains(&due_after(saved_unix_ms, &stored)), "{saved_unix_ms}");
        }
        let mut version_1 = stored.to_bytes();
        version_1[0] = 1;
        let version_1 = Entry::from_bytes(&version_1).unwrap();
        assert!(soon.contains(&due_after(10_000_000, &version_1)));
    }
}
