//! Reading and writing the files.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::CredentialsError;

/// The authority's certificate; also in the folder of each component.
pub(super) const CA: &str = "ca.pem";
pub(super) const CA_KEY: &str = "ca.key";
pub(super) const CERTIFICATE: &str = "component.pem";
pub(super) const KEY: &str = "component.key";

/// By what a file is known to be another than before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

/// Looks at a file; none when it is not there.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        modified: metadata.modified().ok(),
        length: metadata.len(),
        inode: metadata.ino(),
    })
}

pub(super) fn read(path: &Path) -> Result<String, CredentialsError> {
    fs::read_to_string(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => CredentialsError::Missing { path: path.into() },
        _ => failed(path)(source),
    })
}

pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<String>, CredentialsError> {
    read(path).map(Zeroizing::new)
}

/// Makes a folder that only this user may enter.
pub(super) fn make_private(folder: &Path) -> Result<(), CredentialsError> {
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed(folder))
}

/// Writes a file that only this user can read: whole, or not at all.
pub(super) fn write(path: &Path, text: &str) -> Result<(), CredentialsError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let write = || {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(failed(path))
}

pub(super) fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> CredentialsError {
    CredentialsError::Unusable {
        path: path.into(),
        reason: reason.to_string(),
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> CredentialsError {
    move |source| CredentialsError::Io {
        path: path.into(),
        source,
    }
}
