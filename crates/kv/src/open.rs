//! Opening a folder: the lock, the database, the format.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{batch::Tree, error::OpenError};

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most memory for pages read from the disk, in octets.
    pub cache_bytes: u64,
    /// When a write counts as kept.
    pub durability: Durability,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            durability: Durability::Disk,
        }
    }
}

/// When a write counts as kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the disk has confirmed it: it survives the loss of power.
    #[default]
    Disk,
    /// When it was handed to the disk, which may still hold it in its cache: it survives the end of the process, and
    /// the loss of power only with luck. For tries and tests.
    System,
}

pub(crate) struct Opened {
    pub(crate) folder: PathBuf,
    pub(crate) database: sled::Db,
    /// The database's file, to be synced; `None` when durability does not ask for it.
    pub(crate) file: Option<File>,
    pub(crate) lock: File,
}

pub(crate) fn open(folder: &Path, options: Options) -> Result<Opened, OpenError> {
    let lock = lock(folder)?;
    let database = database(folder, options)?;
    check_format(folder, &database)?;
    let file = match options.durability {
        Durability::Disk => Some(sync_all(folder)?),
        Durability::System => None,
    };
    Ok(Opened {
        folder: folder.to_path_buf(),
        database,
        file,
        lock,
    })
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let unwritable = |source| OpenError::Folder {
        folder: folder.to_path_buf(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(unwritable)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(LOCK_FILE))
        .map_err(unwritable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            folder: folder.to_path_buf(),
        }),
        Err(TryLockError::Error(source)) => Err(unwritable(source)),
    }
}

/// Opens the database. Its own lock may outlive its last handle for a moment, held by one of its threads; ours says that
/// no other process has the folder, so it is worth waiting for.
fn database(folder: &Path, options: Options) -> Result<sled::Db, OpenError> {
    let config = || {
        sled::Config::new()
            .path(folder)
            .cache_capacity(options.cache_bytes)
            // The writer thread flushes; a flush by timer would only delay it.
            .flush_every_ms(None)
    };
    let started = Instant::now();
    loop {
        match config().open() {
            Ok(database) => return Ok(database),
            Err(sled::Error::Io(_)) if started.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_RETRY),
            Err(sled::Error::Io(source)) => {
                return Err(OpenError::Folder {
                    folder: folder.to_path_buf(),
                    source,
                });
            }
            Err(error) => return Err(damaged(folder, &error)),
        }
    }
}

fn check_format(folder: &Path, database: &sled::Db) -> Result<(), OpenError> {
    let key = META.key(FORMAT_KEY);
    match database.get(&key).map_err(|error| damaged(folder, &error))? {
        None => {
            let written = database
                .insert(key, &FORMAT.to_be_bytes())
                .and_then(|_| database.flush());
            written.map(|_| ()).map_err(|error| damaged(folder, &error))
        }
        Some(octets) => match <[u8; 4]>::try_from(&*octets).map(u32::from_be_bytes) {
            Ok(found) if found <= FORMAT => Ok(()),
            Ok(found) => Err(OpenError::Newer {
                folder: folder.to_path_buf(),
                found,
                known: FORMAT,
            }),
            Err(_) => {
                let reason = "its format version is not a number".to_owned();
                Err(OpenError::Damaged {
                    folder: folder.to_path_buf(),
                    reason,
                })
            }
        },
    }
}

/// Makes the new files and their names durable, and gives the file to be synced after each flush.
fn sync_all(folder: &Path) -> Result<File, OpenError> {
    let opened = File::options().read(true).write(true).open(folder.join(DATABASE_FILE));
    let synced = opened.and_then(|file| {
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(file)
    });
    synced.map_err(|source| OpenError::Folder {
        folder: folder.to_path_buf(),
        source,
    })
}

fn damaged(folder: &Path, error: &sled::Error) -> OpenError {
    OpenError::Damaged {
        folder: folder.to_path_buf(),
        reason: error.to_string(),
    }
}

/// Keys of this crate itself.
pub(crate) const META: Tree = Tree::new("kv");

const FORMAT_KEY: &[u8] = b"format";

/// Version of the layout that this crate gives to the database.
const FORMAT: u32 = 1;

const LOCK_FILE: &str = "lock";

/// The file in which the database below keeps everything but its snapshots.
const DATABASE_FILE: &str = "db";

const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(10);
