//! What survives a restart of the edge: bindings, entries, sealed user records, and the token key.

use std::time::Duration;

use kv::{Batch, ReadError, Store, Tree};
use sip_core::aor::Aor;
use sip_core::location::Table;
use usage::user::Record;
use wire::{NodeId, Now};

use crate::directory::Directory;
use crate::entries::{Entries, Entry};

/// AOR to its bindings, as `sip_core::location` writes them.
const BINDINGS: Tree = Tree::new("bindings");
/// AOR to this edge's entry in the overlay.
const ENTRIES: Tree = Tree::new("entries");
/// AOR to when its record was fetched (Unix milliseconds, 8 octets) and the sealed record.
const RECORDS: Tree = Tree::new("records");
/// Single values.
const META: Tree = Tree::new("meta");
const TOKEN_KEY: &[u8] = b"token-key";
const HOME: &[u8] = b"home";

/// Loads what earlier runs left. A record that cannot be read is left out with a log line; its phones register again.
///
/// # Errors
/// When the disk cannot be read.
pub(crate) fn load<W>(
    store: &Store,
    now: Now,
    locations: &mut Table,
    entries: &mut Entries,
    directory: &mut Directory<W>,
) -> Result<(), ReadError> {
    for item in store.iter(BINDINGS) {
        let (key, value) = item?;
        let restored = aor(&key).map(|aor| locations.restore(now.unix_ms, &aor, &value));
        if !matches!(restored, Some(Ok(()))) {
            tracing::error!(key = ?String::from_utf8_lossy(&key), "bindings on disk cannot be read");
        }
    }
    for item in store.iter(ENTRIES) {
        let (key, value) = item?;
        match (aor(&key), Entry::from_bytes(&value)) {
            (Some(aor), Some(entry)) => entries.restore(aor.as_str().to_owned(), entry),
            _ => tracing::error!(key = ?String::from_utf8_lossy(&key), "entry on disk cannot be read"),
        }
    }
    for item in store.iter(RECORDS) {
        let (key, value) = item?;
        if let (Some(aor), Some((at, record))) = (aor(&key), value.split_first_chunk::<8>())
            && let Ok(record) = Record::from_bytes(&bytes::Bytes::copy_from_slice(record))
        {
            let age = Duration::from_millis(now.unix_ms.saturating_sub(u64::from_be_bytes(*at)));
            directory.restore(now.instant, aor.as_str(), record, age);
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

/// Notes an AOR's bindings as they are now, and the record that they were accepted by.
pub(crate) fn put_bindings(batch: &mut Batch, now_ms: u64, aor: &Aor, locations: &Table, record: Option<&Record>) {
    let key = aor.as_str().as_bytes();
    match locations.encode(aor) {
        Some(bindings) => {
            batch.put(BINDINGS, key, bindings);
            if let Some(record) = record {
                batch.put(RECORDS, key, [&now_ms.to_be_bytes()[..], record.bytes()].concat());
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
