//! What survives a restart of the edge: bindings, entries, sealed user records, and the token key.

use std::time::Duration;

use kv::{Batch, ReadError, Store, Tree};
use sip_core::aor::Aor;
use sip_core::location::Table;
use usage::user::Record;
use wire::{NodeId, Now};

use crate::directory::Directory;
use crate::entries::{Entries, Entry};
use crate::uptime::{Moment, Uptime};

/// How old a record was when the edge went down, and for how long it was, no clock tells for certain. At this age it is used, and
/// fetched anew behind the first answer.
const UNKNOWN_AGE: Duration = Duration::from_secs(300);

/// AOR to its bindings, as `sip_core::location` writes them.
const BINDINGS: Tree = Tree::new("bindings");
/// AOR to this edge's entry in the overlay.
const ENTRIES: Tree = Tree::new("entries");
/// AOR to when its record was written (Unix milliseconds, 8 octets, for people) and the sealed record.
const RECORDS: Tree = Tree::new("records");
/// Single values.
const META: Tree = Tree::new("meta");
const TOKEN_KEY: &[u8] = b"token-key";
const HOME: &[u8] = b"home";
const CLOCK: &[u8] = b"clock";

/// Loads what earlier runs left. A record that cannot be read is left out with a log line; its phones register again.
///
/// # Errors
/// When the disk cannot be read.
pub(crate) fn load<W>(
    store: &Store,
    (now, clock): (Now, &Uptime),
    locations: &mut Table,
    entries: &mut Entries,
    directory: &mut Directory<W>,
) -> Result<(), ReadError> {
    let moment = clock.at(now);
    for item in store.iter(BINDINGS) {
        let (key, value) = item?;
        let restored = aor(&key).map(|aor| locations.restore(moment.own_ms, &aor, &value));
        if !matches!(restored, Some(Ok(()))) {
            tracing::error!(key = ?String::from_utf8_lossy(&key), "bindings on disk cannot be read");
        }
    }
    for item in store.iter(ENTRIES) {
        let (key, value) = item?;
        match (aor(&key), Entry::from_bytes(&value)) {
            (Some(aor), Some(entry)) => entries.restore(moment, clock, aor.as_str().to_owned(), entry),
            _ => tracing::error!(key = ?String::from_utf8_lossy(&key), "entry on disk cannot be read"),
        }
    }
    for item in store.iter(RECORDS) {
        let (key, value) = item?;
        if let (Some(aor), Some((_, record))) = (aor(&key), value.split_first_chunk::<8>())
            && let Ok(record) = Record::from_bytes(&bytes::Bytes::copy_from_slice(record))
        {
            directory.restore(now.instant, aor.as_str(), record, UNKNOWN_AGE);
        }
    }
    Ok(())
}

/// The key of Record-Route tokens; made at the first start.
///
/// # Errors
/// When the disk cannot be read or written.
pub(crate) async fn token_key(store: &Store) -> Result<[u8; 32], DiskError> {
    if let Some(key) = store.get(META, TOKEN_KEY)?.and_then(|key| key.as_ref().try_into().ok()) {
        return Ok(key);
    }
    let key: [u8; 32] = crate::random::octets();
    let mut batch = Batch::new();
    batch.put(META, TOKEN_KEY, key.to_vec());
    store.apply(batch).await?;
    Ok(key)
}

/// The home peer of the last run.
///
/// # Errors
/// When the disk cannot be read.
pub(crate) fn home(store: &Store) -> Result<Option<NodeId>, ReadError> {
    let octets = store.get(META, HOME)?;
    Ok(octets
        .and_then(|octets| <[u8; 16]>::try_from(octets.as_ref()).ok())
        .map(NodeId::from))
}

/// Notes the home peer.
pub(crate) fn put_home(batch: &mut Batch, home: NodeId) {
    batch.put(META, HOME, home.as_bytes().to_vec());
}

/// The own clock, as the last run left it.
///
/// # Errors
/// When the disk cannot be read.
pub(crate) fn clock(store: &Store) -> Result<Option<Moment>, ReadError> {
    Ok(store.get(META, CLOCK)?.and_then(|octets| Moment::from_bytes(&octets)))
}

/// Notes the own clock.
pub(crate) fn put_clock(batch: &mut Batch, now: Moment) {
    batch.put(META, CLOCK, now.to_bytes());
}

/// Notes an AOR's bindings as they are now, and the record that they were accepted by.
pub(crate) fn put_bindings(batch: &mut Batch, now: Moment, aor: &Aor, locations: &mut Table, record: Option<&Record>) {
    let key = aor.as_str().as_bytes();
    match locations.encode(now.own_ms, aor) {
        Some(bindings) => {
            batch.put(BINDINGS, key, bindings);
            if let Some(record) = record {
                batch.put(RECORDS, key, [&now.unix_ms.to_be_bytes()[..], record.bytes()].concat());
            }
        }
        None => {
            batch.delete(BINDINGS, key);
            batch.delete(RECORDS, key);
        }
    }
}

/// Notes an AOR's entry as it is now.
pub(crate) fn put_entry(batch: &mut Batch, aor: &str, entry: Option<&Entry>) {
    match entry {
        Some(entry) => batch.put(ENTRIES, aor.as_bytes(), entry.to_bytes()),
        None => batch.delete(ENTRIES, aor.as_bytes()),
    }
}

/// The disk failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Flush(#[from] kv::FlushError),
}

fn aor(key: &[u8]) -> Option<Aor> {
    std::str::from_utf8(key).ok().and_then(|text| Aor::parse(text).ok())
}

#[cfg(test)]
mod tests {
    use sip_core::location::Limits;

    use super::*;

    #[tokio::test]
    async fn an_edge_goes_on_from_the_volume_of_an_earlier_version() {
        let folder = volumes::of("sip-edge");
        let store = Store::open(folder.path().join("sip-edge"), kv::Options::default()).unwrap();
        assert_eq!(home(&store).unwrap(), Some(volumes::PEER.parse().unwrap()));
        assert!(store.get(META, TOKEN_KEY).unwrap().is_some());
        let now = Now {
            instant: runtime::clock::now(),
            unix_ms: volumes::WRITTEN_MS,
        };
        let clock = Uptime::start(now, clock(&store).unwrap());
        let (mut locations, mut entries) = (Table::new(Limits::default()), Entries::default());
        let mut directory = Directory::<()>::new();
        load(&store, (now, &clock), &mut locations, &mut entries, &mut directory).unwrap();
        let alice = aor(volumes::ALICE.as_bytes()).unwrap();
        assert!(locations.encode(clock.at(now).own_ms, &alice).is_some(), "her phone");
        assert!(entries.of(volumes::ALICE).is_some(), "her entry in the overlay");
        assert!(store.get(RECORDS, volumes::ALICE.as_bytes()).unwrap().is_some());
    }
}
