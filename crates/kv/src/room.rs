//! Room on the disk, kept in advance.
//!
//! When the database below meets a full disk in the middle of a write, nothing more can be done with it: what it holds is
//! unknown, and the process has to end. So it shall not meet one. Blocks behind the end of its file are reserved before
//! they are needed, and a store whose reserve cannot be kept says that it is *full*, while there is still room for the
//! writes that have begun. Its owner then refuses what would need the disk, and goes on with the rest.

use std::{
    fs::File,
    os::linux::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
    sys::statvfs::statvfs,
};
use tokio::sync::watch;

/// A store has too little room to take on more. It goes on to serve what it has, and looks again by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("disk is full: data folder {folder} has {free} octets free and keeps {kept} for what it has begun")]
pub struct Full {
    folder: PathBuf,
    free: u64,
    kept: u64,
}

/// The room that a store keeps for itself.
#[derive(Debug)]
pub struct Room {
    folder: PathBuf,
    log: File,
    kept: AtomicU64,
    full: watch::Sender<Option<Full>>,
    /// For the thread that looks again, of which there is one at most.
    own: Weak<Self>,
    is_looking: AtomicBool,
}

impl Room {
    pub(crate) fn new(folder: &Path, log: File) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            folder: folder.to_path_buf(),
            log,
            kept: AtomicU64::new(KEPT),
            full: watch::Sender::new(None),
            own: own.clone(),
            is_looking: AtomicBool::new(false),
        })
    }

    /// Sets how much is kept, in octets: all that may be on its way to the disk at one time. Looks at once whether it is there.
    pub fn keep(&self, octets: u64) {
        self.kept.store(octets, Ordering::Relaxed);
        self.look(0);
    }

    /// Tells whether there is too little room to take on more.
    #[must_use]
    pub fn full(&self) -> Option<Full> {
        self.full.borrow().clone()
    }

    /// Follows [`Room::full`].
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Full>> {
        self.full.subscribe()
    }

    /// Keeps the room, and so much more for a write that is about to begin.
    pub(crate) fn look(&self, write: u64) {
        let full = self.reserve(write).err();
        let is_news = self.full.send_if_modified(|known| {
            let is_news = known.is_some() != full.is_some();
            known.clone_from(&full);
            is_news
        });
        match full {
            Some(full) if is_news => {
                tracing::warn!(folder = %full.folder.display(), free = full.free, kept = full.kept, "disk is full: nothing new is taken on until there is room");
                self.look_again();
            }
            None if is_news => tracing::info!(folder = %self.folder.display(), "disk has room again"),
            _ => {}
        }
    }

    fn reserve(&self, write: u64) -> Result<(), Full> {
        let kept = self.kept.load(Ordering::Relaxed);
        let free = free(&self.folder);
        let full = || Full {
            folder: self.folder.clone(),
            free: free.unwrap_or_default(),
            kept,
        };
        // Large values are files of their own, so the reserve of the log does not serve for everything.
        if free.is_some_and(|free| free < kept) {
            return Err(full());
        }
        match extend(&self.log, kept.saturating_add(write)) {
            Err(Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG | Errno::EINVAL) => Err(full()),
            // A file system that cannot reserve is only asked how much is free.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Looks again now and then until there is room, or the store is closed.
    fn look_again(&self) {
        if self.is_looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let own = self.own.clone();
        let looking = move || {
            loop {
                std::thread::sleep(LOOK_AGAIN);
                let Some(room) = own.upgrade() else { return };
                room.look(0);
                if room.full().is_none() {
                    // Should it be full again in this moment, the next write finds that out.
                    return room.is_looking.store(false, Ordering::Release);
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("kv-room".to_owned()).spawn(looking) {
            tracing::error!(%error, "no thread to look for room; the next write does");
        }
    }
}

/// Reserves blocks behind the end of a file, unless it has them.
fn extend(log: &File, octets: u64) -> Result<(), Errno> {
    let metadata = log.metadata().map_err(|_| Errno::EIO)?;
    let wanted = metadata.len().saturating_add(octets);
    if metadata.st_blocks().saturating_mul(BLOCK) >= wanted {
        return Ok(());
    }
    // A little more at a time, so that not every write comes here.
    let octets = octets.saturating_add(STEP);
    let signed = |number: u64| i64::try_from(number).map_err(|_| Errno::EFBIG);
    fallocate(
        log,
        FallocateFlags::FALLOC_FL_KEEP_SIZE,
        signed(metadata.len())?,
        signed(octets)?,
    )
}

/// Octets that this process may still use on the volume of a folder; `None` when the system does not tell.
fn free(folder: &Path) -> Option<u64> {
    let volume = statvfs(folder).ok()?;
    #[allow(clippy::useless_conversion, reason = "the types differ between platforms")]
    let (blocks, size) = (u64::from(volume.blocks_available()), u64::from(volume.fragment_size()));
    Some(blocks.saturating_mul(size))
}

/// What is kept unless the owner says otherwise.
const KEPT: u64 = 4 << 20;

/// The unit of `st_blocks`, whatever the file system's is.
const BLOCK: u64 = 512;

const STEP: u64 = 1 << 20;

const LOOK_AGAIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_that_cannot_be_kept_is_full_until_less_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let room = Room::new(folder.path(), log);
        room.keep(1 << 20);
        assert_eq!(room.full(), None);

        let mut watch = room.watch();
        room.keep(1 << 62);
        let full = room.full().expect("no disk has so much").to_string();
        assert!(
            full.contains(folder.path().to_str().unwrap()) && full.contains("octets free"),
            "{full}"
        );
        assert!(watch.has_changed().unwrap() && watch.borrow_and_update().is_some());
        room.look(0);
        assert!(!watch.has_changed().unwrap(), "it is said once");

        room.keep(1 << 20);
        assert_eq!(room.full(), None);
        assert!(watch.has_changed().unwrap());
    }

    #[test]
    fn reserved_blocks_do_not_change_the_length_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let room = Room::new(folder.path(), log.try_clone().unwrap());
        room.keep(2 << 20);
        let metadata = log.metadata().unwrap();
        assert_eq!(metadata.len(), 0);
        assert!(metadata.st_blocks() * BLOCK >= 2 << 20, "{}", metadata.st_blocks());
    }
}
