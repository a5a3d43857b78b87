//! What can go wrong with a store.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system does not let the folder, or a file in it, be used.
    #[error("data folder {folder} {}: {source}", trouble(.source))]
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
    /// Another version of the database below wrote it.
    #[error("data folder {folder} was not written by this program: {reason}")]
    Unsupported {
        /// The folder.
        folder: PathBuf,
        /// What the database said.
        reason: String,
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

/// Says in what way a folder cannot be used: each has another remedy.
fn trouble(source: &io::Error) -> &'static str {
    match (source.kind(), source.raw_os_error()) {
        (ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem, _) => "is not writable",
        (ErrorKind::StorageFull | ErrorKind::QuotaExceeded, _) => "is on a full disk",
        (ErrorKind::NotADirectory, _) => "is not a folder",
        (_, Some(EMFILE)) => "cannot be opened, because this process may open no more files (ulimit -n, LimitNOFILE)",
        (_, Some(ENFILE)) => "cannot be opened, because this machine may open no more files (sysctl fs.file-max)",
        _ => "cannot be used",
    }
}

/// The system's number for "too many open files in this process"; the standard library has no kind for it.
const EMFILE: i32 = 24;
/// The same for the whole machine.
const ENFILE: i32 = 23;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_as_what_it_is() {
        let text = |number: i32| {
            let source = io::Error::from_raw_os_error(number);
            let folder = PathBuf::from("/data");
            OpenError::Folder { folder, source }.to_string()
        };
        // Linux: EACCES, EROFS, ENOSPC, ENOTDIR, EMFILE, ENFILE, EIO.
        for (number, part) in [
            (13, "is not writable"),
            (30, "is not writable"),
            (28, "full disk"),
            (20, "is not a folder"),
            (24, "ulimit -n"),
            (23, "fs.file-max"),
            (5, "cannot be used"),
        ] {
            assert!(text(number).contains(part), "{}", text(number));
        }
        assert!(!text(24).contains("writable"), "{}", text(24));
    }
}
