//! Finds certificates: in DER, in PEM, and the CAs in configuration documents.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use identity::{Certificate, CertificateError};
use overlay_config::Document;
use pki_types::CertificateDer;
use pki_types::pem::PemObject as _;
use runtime::ExitCode;

/// A certificate, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) certificate: Certificate,
}

/// Why certificates cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    #[error("cannot read {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} holds more than {MAX_FILES} files: name a folder further down")]
    TooMany { path: PathBuf },
    #[error("{path} is not a certificate: {source}")]
    Certificate { path: PathBuf, source: CertificateError },
    #[error("{path} is not PEM: {source}")]
    Pem {
        path: PathBuf,
        source: pki_types::pem::Error,
    },
    #[error("{path} is not a configuration document: {source}")]
    Document {
        path: PathBuf,
        source: overlay_config::Error,
    },
}

impl FilesError {
    pub(super) fn code(&self) -> ExitCode {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ExitCode::Usage,
            Self::TooMany { .. } => ExitCode::Usage,
            Self::Io { .. } => ExitCode::CannotStart,
            Self::Certificate { .. } | Self::Pem { .. } | Self::Document { .. } => ExitCode::Credentials,
        }
    }
}

/// The certificates of a file, or of all files below a folder, in the order of their names.
pub(super) fn certificates(path: &Path) -> Result<Vec<Found>, FilesError> {
    let metadata = fs::metadata(path).map_err(failed(path))?;
    if !metadata.is_dir() {
        return read(path);
    }
    let mut files = Vec::new();
    gather(path, DEPTH, &mut files)?;
    files.sort();
    let mut found = Vec::new();
    for file in files {
        found.append(&mut read(&file)?);
    }
    Ok(found)
}

fn gather(folder: &Path, depth: u8, files: &mut Vec<PathBuf>) -> Result<(), FilesError> {
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        let path = entry.path();
        // Of the entry itself: a link that leads out of the folder, or in a circle, is not followed.
        let kind = entry.file_type().map_err(failed(&path))?;
        if kind.is_dir() && depth > 0 {
            gather(&path, depth - 1, files)?;
        } else if kind.is_file() && is_known(&path) {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(FilesError::TooMany {
                path: folder.to_owned(),
            });
        }
    }
    Ok(())
}

/// Whether the name promises certificates.
fn is_known(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    matches!(extension, "der" | "cer" | "crt" | "pem") || path.file_name() == Some(OsStr::new(DOCUMENT))
}

fn read(path: &Path) -> Result<Vec<Found>, FilesError> {
    let mut octets = Vec::new();
    let file = File::open(path).map_err(failed(path))?;
    file.take(LARGEST).read_to_end(&mut octets).map_err(failed(path))?;
    let certificates = match octets.trim_ascii_start() {
        [b'<', ..] => of_document(path, &octets)?,
        // A file of keys alone holds none, and is no fault.
        [b'-', ..] => of_pem(path, &octets)?,
        _ => vec![of_der(path, &octets)?],
    };
    let found = certificates.into_iter().map(|certificate| Found {
        path: path.to_owned(),
        certificate,
    });
    Ok(found.collect())
}

fn of_der(path: &Path, octets: &[u8]) -> Result<Certificate, FilesError> {
    Certificate::from_der(octets).map_err(|source| FilesError::Certificate {
        path: path.to_owned(),
        source,
    })
}

fn of_pem(path: &Path, octets: &[u8]) -> Result<Vec<Certificate>, FilesError> {
    let each = CertificateDer::pem_slice_iter(octets).map(|der| match der {
        Ok(der) => of_der(path, &der),
        Err(source) => Err(FilesError::Pem {
            path: path.to_owned(),
            source,
        }),
    });
    each.collect()
}

fn of_document(path: &Path, octets: &[u8]) -> Result<Vec<Certificate>, FilesError> {
    let document = Document::from_xml(&String::from_utf8_lossy(octets));
    let document = document.map_err(|source| FilesError::Document {
        path: path.to_owned(),
        source,
    })?;
    Ok(document.root_certs)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> FilesError {
    let path = path.to_owned();
    move |source| FilesError::Io {
        path: path.clone(),
        source,
    }
}

const DOCUMENT: &str = "document.xml";
/// Folders below the one that was named; data folders have three.
const DEPTH: u8 = 6;
/// A peer has a dozen; whoever names the root of a disk learns of it soon.
const MAX_FILES: usize = 1000;
/// In octets; a document with all that it may hold stays below.
const LARGEST: u64 = 1 << 20;
