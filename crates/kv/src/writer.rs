//! The one thread that writes.

use std::{
    fs::File,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    batch::{Batch, Change},
    error::FlushError,
    room::Room,
};

/// A batch on its way to the disk.
pub(crate) struct Job {
    pub(crate) batch: Batch,
    pub(crate) done: oneshot::Sender<Result<(), FlushError>>,
}

pub(crate) struct Writer {
    pub(crate) folder: PathBuf,
    pub(crate) database: sled::Db,
    pub(crate) file: Option<File>,
    pub(crate) room: Arc<Room>,
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) failed: Arc<OnceLock<FlushError>>,
}

impl Writer {
    /// Writes until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let mut group = Vec::new();
        while self.jobs.blocking_recv_many(&mut group, GROUP) > 0 {
            let result = self.write(&mut group);
            for job in group.drain(..) {
                // Whoever no longer waits has lost interest in the answer, not in the write.
                let _ = job.done.send(result.clone());
            }
        }
    }

    fn write(&self, group: &mut [Job]) -> Result<(), FlushError> {
        // After one failure nobody knows what the disk holds: an earlier write may be missing below a later one.
        if let Some(error) = self.failed.get() {
            return Err(error.clone());
        }
        let mut whole = sled::Batch::default();
        let octets: u64 = group
            .iter()
            .flat_map(|job| &job.batch.changes)
            .map(Change::octets)
            .sum();
        self.room.look(octets.saturating_mul(AMPLIFICATION));
        for Change { key, value } in group.iter_mut().flat_map(|job| std::mem::take(&mut job.batch.changes)) {
            match value {
                Some(value) => whole.insert(key, &*value),
                None => whole.remove(key),
            }
        }
        self.flush(whole).map_err(|reason| {
            let error = FlushError {
                folder: self.folder.clone(),
                reason,
            };
            tracing::error!(%error, "a write did not reach the disk");
            self.failed.get_or_init(|| error).clone()
        })
    }

    fn flush(&self, whole: sled::Batch) -> Result<(), String> {
        self.database.apply_batch(whole).map_err(|error| error.to_string())?;
        self.database.flush().map_err(|error| error.to_string())?;
        // On Linux the database only starts the write-out of its pages; the disk's cache and the file's length need this.
        self.file
            .as_ref()
            .map_or(Ok(()), File::sync_data)
            .map_err(|error| error.to_string())
    }
}

/// Most that a write takes of the disk, as a multiple of what is written: the database keeps several keys in a page, and now
/// and then writes the whole page anew.
const AMPLIFICATION: u64 = 4;

/// Most batches under one flush.
const GROUP: usize = QUEUE;

/// Batches that may wait for the thread. When it is full, writers wait in turn.
pub(crate) const QUEUE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Tree;

    #[test]
    fn a_failed_flush_fails_every_write_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let (queue, jobs) = mpsc::channel(4);
        // A pipe cannot be synced.
        let (pipe, _other_end) = std::io::pipe().unwrap();
        let file = Some(File::from(std::os::fd::OwnedFd::from(pipe)));
        let database = sled::open(folder.path()).unwrap();
        let failed = Arc::default();
        let log = File::create(folder.path().join("log")).unwrap();
        let room = Room::new(folder.path(), log);
        let folder = folder.path().to_path_buf();
        let mut writer = Writer {
            folder,
            database,
            file,
            room,
            jobs,
            failed,
        };
        let write = |writer: &Writer| {
            let (done, _answer) = oneshot::channel();
            let mut batch = Batch::new();
            batch.put(Tree::new("t"), b"k", &b"v"[..]);
            writer.write(&mut [Job { batch, done }])
        };
        let first = write(&writer).unwrap_err();
        // Even if the disk has recovered: what is below the new write may be missing.
        writer.file = None;
        assert_eq!(write(&writer).unwrap_err().to_string(), first.to_string());
        drop(queue);
    }
}
