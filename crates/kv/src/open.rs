//! Opening a folder: the lock, the database, the format.

use std::{
    fs::{File, TryLockError},
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::{batch::Tree, error::OpenError, leftovers, room::Room};

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
    pub(crate) room: Arc<Room>,
    /// Where what could not be read was moved to.
    pub(crate) aside: Option<PathBuf>,
}

/// What is done with a store that cannot be read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Damage {
    /// It stays where it is, and opening fails.
    Refuse,
    /// It is moved aside, and an empty one takes its place; the text says what follows from that.
    Replace(&'static str),
}

pub(crate) fn open(folder: &Path, options: Options, damage: Damage) -> Result<Opened, OpenError> {
    let lock = lock(folder)?;
    leftovers::clear(folder).map_err(|source| unwritable(folder, source))?;
    let (database, aside) = match (whole(folder, options), damage) {
        (Err(OpenError::Damaged { reason, .. }), Damage::Replace(consequence)) => {
            let aside =
                leftovers::move_aside(folder, SystemTime::now()).map_err(|source| unwritable(folder, source))?;
            tracing::error!(
                folder = %folder.display(),
                moved_to = %aside.display(),
                reason,
                "data folder cannot be read: moved aside, and begun anew without data; {consequence}; \
                 check the disk, and delete the folder that was moved when nothing in it is needed"
            );
            (whole(folder, options)?, Some(aside))
        }
        (opened, _) => (opened?, None),
    };
    let file = match options.durability {
        Durability::Disk => Some(sync_all(folder)?),
        Durability::System => None,
    };
    let log = log_file(folder).map_err(|source| unwritable(folder, source))?;
    let room = Room::new(folder, log);
    room.look(0);
    Ok(Opened {
        folder: folder.to_path_buf(),
        database,
        file,
        lock,
        room,
        aside,
    })
}

/// Opens the database and reads all of it once, so that damage is found now and not in the middle of the work.
fn whole(folder: &Path, options: Options) -> Result<sled::Db, OpenError> {
    let opening = || {
        let database = database(folder, options)?;
        check_format(folder, &database)?;
        for entry in database.iter() {
            entry.map_err(|error| failed(folder, error))?;
        }
        Ok(database)
    };
    // The database's own checks of what it reads panic where they fail; nothing of it is used then.
    catch_unwind(AssertUnwindSafe(opening)).unwrap_or_else(|_| {
        Err(OpenError::Damaged {
            folder: folder.to_path_buf(),
            reason: "the database panicked".to_owned(),
        })
    })
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let unwritable = |source| unwritable(folder, source);
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
        match config().open().map_err(|error| failed(folder, error)) {
            Err(OpenError::Folder { .. }) if started.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_RETRY),
            opened => return opened,
        }
    }
}

fn check_format(folder: &Path, database: &sled::Db) -> Result<(), OpenError> {
    let key = META.key(FORMAT_KEY);
    match database.get(&key).map_err(|error| failed(folder, error))? {
        None => {
            let written = database
                .insert(key, &FORMAT.to_be_bytes())
                .and_then(|_| database.flush());
            written.map(|_| ()).map_err(|error| failed(folder, error))
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
    let synced = log_file(folder).and_then(|file| {
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(file)
    });
    synced.map_err(|source| unwritable(folder, source))
}

fn log_file(folder: &Path) -> std::io::Result<File> {
    File::options().read(true).write(true).open(folder.join(leftovers::LOG))
}

fn unwritable(folder: &Path, source: std::io::Error) -> OpenError {
    OpenError::Folder {
        folder: folder.to_path_buf(),
        source,
    }
}

/// Tells damage, which another try does not mend, from a system that does not let us.
fn failed(folder: &Path, error: sled::Error) -> OpenError {
    let is_cut = |kind| {
        matches!(
            kind,
            ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::NotFound
        )
    };
    let folder = folder.to_path_buf();
    match error {
        sled::Error::Io(source) if !is_cut(source.kind()) => OpenError::Folder { folder, source },
        sled::Error::Unsupported(reason) => OpenError::Unsupported { folder, reason },
        error => OpenError::Damaged {
            folder,
            reason: error.to_string(),
        },
    }
}

/// Keys of this crate itself.
pub(crate) const META: Tree = Tree::new("kv");

const FORMAT_KEY: &[u8] = b"format";

/// Version of the layout that this crate gives to the database.
const FORMAT: u32 = 1;

const LOCK_FILE: &str = "lock";

const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(10);
