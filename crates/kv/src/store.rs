//! A store that is open.

use std::{
    fs::File,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread::JoinHandle,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::{
    batch::{Batch, Tree},
    error::{FlushError, OpenError, OwnerError, ReadError},
    open::{Damage, META, Opened, Options, open},
    room::Room,
    writer::{Job, QUEUE, Writer},
};

/// A store in a folder, open in this process alone. Clones share it; the last one to go ends the writer thread, after
/// everything in its queue is written, and frees the folder.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

impl Store {
    /// Opens the store in a folder, which is made if it is missing. All of it is read once.
    ///
    /// # Errors
    /// [`OpenError`] names the folder and says what to do about it.
    pub fn open(folder: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        Self::start(open(folder.as_ref(), options, Damage::Refuse)?)
    }

    /// Opens the store in a folder as [`Store::open`] does. If it cannot be read, it is moved aside and an empty one takes its
    /// place, with one line in the log that says so, and what follows from it: `consequence`.
    ///
    /// # Errors
    /// [`OpenError`], but never [`OpenError::Damaged`] for what was there before.
    pub fn open_or_replace(
        folder: impl AsRef<Path>,
        options: Options,
        consequence: &'static str,
    ) -> Result<Self, OpenError> {
        Self::start(open(folder.as_ref(), options, Damage::Replace(consequence))?)
    }

    fn start(opened: Opened) -> Result<Self, OpenError> {
        let Opened {
            folder,
            database,
            file,
            lock,
            room,
            aside,
        } = opened;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let failed = Arc::new(OnceLock::new());
        let writer = Writer {
            folder: folder.clone(),
            database: database.clone(),
            file,
            room: Arc::clone(&room),
            jobs: queue,
            failed: Arc::clone(&failed),
        };
        let thread = std::thread::Builder::new()
            .name("kv-writer".to_owned())
            .spawn(|| writer.run())
            .map_err(|source| OpenError::Folder {
                folder: folder.clone(),
                source,
            })?;
        let inner = Inner {
            folder,
            database,
            jobs: Some(jobs),
            thread: Some(thread),
            failed,
            room,
            aside,
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Gives the room on the disk, which says when there is too little of it to take on more.
    #[must_use]
    pub fn room(&self) -> &Arc<Room> {
        &self.inner.room
    }

    /// Tells where the data of before is, if it could not be read and this store began without.
    #[must_use]
    pub fn moved_aside(&self) -> Option<&Path> {
        self.inner.aside.as_deref()
    }

    /// Gives the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// Reads a value. A batch is seen a little before it is flushed.
    ///
    /// # Errors
    /// [`ReadError`] when the disk or the file is broken.
    pub fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let value = self
            .inner
            .database
            .get(tree.key(key))
            .map_err(|error| self.inner.unreadable(&error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// Goes through a tree in the order of its keys.
    #[must_use]
    pub fn iter(&self, tree: Tree) -> Entries {
        let prefix = tree.prefix();
        Entries {
            skip: prefix.len(),
            entries: self.inner.database.scan_prefix(prefix),
            inner: Arc::clone(&self.inner),
        }
    }

    /// Goes through the keys of a tree that begin with these octets.
    #[must_use]
    pub fn prefix(&self, tree: Tree, prefix: &[u8]) -> Entries {
        let skip = tree.prefix().len();
        let entries = self.inner.database.scan_prefix(tree.key(prefix));
        Entries {
            skip,
            entries,
            inner: Arc::clone(&self.inner),
        }
    }

    /// Goes through the keys of a tree after the given one.
    #[must_use]
    pub fn after(&self, tree: Tree, key: &[u8]) -> Entries {
        let prefix = tree.prefix();
        let skip = prefix.len();
        let mut end = prefix;
        // The separator is NUL, so the prefix with its last octet raised is the first key behind the tree.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let bounds = (Bound::Excluded(tree.key(key)), Bound::Excluded(end));
        Entries {
            skip,
            entries: self.inner.database.range(bounds),
            inner: Arc::clone(&self.inner),
        }
    }

    /// Writes a batch and waits until it is flushed.
    ///
    /// # Errors
    /// [`FlushError`] is fatal: end the process.
    ///
    /// # Cancel safety
    /// Dropped while the queue is full, nothing is written; dropped later, the batch is written all the same.
    pub async fn apply(&self, batch: Batch) -> Result<(), FlushError> {
        self.submit(batch).await?.await
    }

    /// Puts a batch into the queue, behind those before it, and returns what becomes ready when it is flushed. So one
    /// task keeps the order of many batches without waiting for each.
    ///
    /// # Errors
    /// [`FlushError`] is fatal: end the process.
    ///
    /// # Cancel safety
    /// Dropped before it returns, nothing is written. What it returns may be dropped: the batch is written all the same.
    pub async fn submit(
        &self,
        batch: Batch,
    ) -> Result<impl Future<Output = Result<(), FlushError>> + Send + use<>, FlushError> {
        let (job, done) = Job::new(batch);
        self.inner.queue()?.send(job).await.map_err(|_| self.inner.stopped())?;
        // Not the store itself: it would keep the folder locked for as long as somebody holds the future.
        let stopped = self.inner.stopped();
        Ok(async move { done.await.unwrap_or(Err(stopped)) })
    }

    /// Writes a batch and blocks the thread until it is flushed.
    ///
    /// # Errors
    /// [`FlushError`] is fatal: end the process.
    ///
    /// # Panics
    /// Inside an asynchronous task; there, use [`Store::apply`].
    pub fn apply_blocking(&self, batch: Batch) -> Result<(), FlushError> {
        let (job, done) = Job::new(batch);
        self.inner
            .queue()?
            .blocking_send(job)
            .map_err(|_| self.inner.stopped())?;
        done.blocking_recv().unwrap_or_else(|_| Err(self.inner.stopped()))
    }

    /// Makes the given Node-ID the owner of a new store; later, checks that it still is. So a wrong volume or folder is
    /// noticed before anything is written to it.
    ///
    /// # Errors
    /// [`OwnerError::Foreign`] when the store belongs to another one, for ever.
    ///
    /// # Cancel safety
    /// As [`Store::apply`].
    pub async fn claim(&self, owner: [u8; 16]) -> Result<(), OwnerError> {
        match self.owner()? {
            Some(found) if *found == owner => Ok(()),
            Some(found) => Err(OwnerError::Foreign {
                folder: self.inner.folder.clone(),
                found: hex(&found),
                expected: hex(&owner),
            }),
            None => {
                let mut batch = Batch::new();
                batch.put(META, OWNER_KEY, Bytes::copy_from_slice(&owner));
                Ok(self.apply(batch).await?)
            }
        }
    }

    /// Gives the owner, once there is one.
    ///
    /// # Errors
    /// [`ReadError`] when the disk or the file is broken.
    pub fn owner(&self) -> Result<Option<Bytes>, ReadError> {
        self.get(META, OWNER_KEY)
    }
}

/// Keys and values in the order of the keys.
pub struct Entries {
    entries: sled::Iter,
    skip: usize,
    // Keeps the folder locked while somebody reads.
    inner: Arc<Inner>,
}

impl Iterator for Entries {
    type Item = Result<(Bytes, Bytes), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next()?.map_err(|error| self.inner.unreadable(&error));
        Some(entry.map(|(key, value)| {
            let key = key.get(self.skip..).unwrap_or_default();
            (Bytes::copy_from_slice(key), Bytes::copy_from_slice(&value))
        }))
    }
}

struct Inner {
    folder: PathBuf,
    database: sled::Db,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    failed: Arc<OnceLock<FlushError>>,
    room: Arc<Room>,
    aside: Option<PathBuf>,
    _lock: File,
}

impl Inner {
    fn queue(&self) -> Result<&mpsc::Sender<Job>, FlushError> {
        self.jobs.as_ref().ok_or_else(|| self.stopped())
    }

    fn stopped(&self) -> FlushError {
        let stopped = || FlushError {
            folder: self.folder.clone(),
            reason: "its writer thread has ended".to_owned(),
        };
        self.failed.get().cloned().unwrap_or_else(stopped)
    }

    fn unreadable(&self, error: &sled::Error) -> ReadError {
        ReadError {
            folder: self.folder.clone(),
            reason: error.to_string(),
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has nothing more to write; there is nobody left to be told.
            let _ = thread.join();
        }
    }
}

impl Job {
    fn new(batch: Batch) -> (Self, oneshot::Receiver<Result<(), FlushError>>) {
        let (done, answer) = oneshot::channel();
        (Self { batch, done }, answer)
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

const OWNER_KEY: &[u8] = b"owner";
