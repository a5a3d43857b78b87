//! What can go wrong with a store.

use std::path::PathBuf;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or written to.
    #[error("data folder {folder} is not writable: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("data folder {folder} is in use by another process")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A later version of this program wrote it.
    #[error("data folder {folder} has format {found}, this program knows formats up to {known}: use a newer program")]
    Newer {
        /// The folder.
        folder: PathBuf,
        /// Format on the disk.
        found: u32,
        /// Newest format that this program knows.
        known: u32,
    },
    /// What is in the folder cannot be read.
    #[error("data folder {folder} cannot be read: {reason}")]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What the database said.
        reason: String,
    },
}

/// A read that failed: the disk is broken or the file damaged.
#[derive(Clone, Debug, thiserror::Error)]
#[error("store {folder} cannot be read: {reason}")]
pub struct ReadError {
    pub(crate) folder: PathBuf,
    pub(crate) reason: String,
}

/// A write that did not reach the disk. It is fatal: what the store holds is unknown from here on, every later write
/// fails the same way, and the process should end.
#[derive(Clone, Debug, thiserror::Error)]
#[error("store {folder} cannot be written: {reason}")]
pub struct FlushError {
    pub(crate) folder: PathBuf,
    pub(crate) reason: String,
}

/// Why a store is not for this owner.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// It belongs to another one, for ever.
    #[error("data folder {folder} belongs to Node-ID {found}, not to {expected}: wrong folder, volume or container")]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// Owner that the disk remembers, in hex.
        found: String,
        /// Owner that asked, in hex.
        expected: String,
    },
    /// The owner could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The owner could not be written.
    #[error(transparent)]
    Flush(#[from] FlushError),
}
