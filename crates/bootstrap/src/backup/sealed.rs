//! A sealed backup: a header that anybody can read, and octets that only the private key opens.
//!
//! ```text
//! "P2PSIPBK"  version  length, overlay name  time (Unix ms)  sequence   encapsulated key   ciphertext and tag
//!     8          1          1 + n                 8              8             32             the rest
//! └───────────────────── header: authenticated with the ciphertext ──┘   └──────── HPKE, RFC 9180 ────────┘
//! ```

use std::io;
use std::path::PathBuf;

use bytes::{Buf as _, Bytes};
use rustls::crypto::hpke::EncapsulatedSecret;

use super::key::{BackupKey, BackupPublicKey, suite};

/// A backup that was sealed, and may be anybody's.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    header: Header,
    octets: Bytes,
    /// Where the header ends.
    header_length: usize,
}

/// The part of a backup that anybody can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name of the overlay.
    pub overlay: String,
    /// When it was made, in Unix milliseconds.
    pub time_ms: u64,
    /// How many the service had made.
    pub sequence: u64,
}

/// Why a backup was not made, or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is not one.
    #[error("this is no backup of a bootstrap service")]
    NotABackup,
    /// A later version has made it.
    #[error("the backup has format {format}, which this version does not know: upgrade p2psip first")]
    Later {
        /// Its format.
        format: u32,
    },
    /// It was sealed to another key, or is damaged.
    #[error(
        "the backup of {overlay} cannot be opened: backup.key is another overlay's, or the file is damaged; try another peer's copy"
    )]
    Unopened {
        /// The overlay that it says it is of.
        overlay: String,
    },
    /// Its contents are not what a service writes.
    #[error("the contents of the backup cannot be used: {reason}")]
    Contents {
        /// Why not.
        reason: String,
    },
    /// There is too much to back up, or to read.
    #[error("the backup has more than {limit} octets, which no peer keeps: copy the folder of the bootstrap service instead", limit = MAX_BACKUP)]
    TooLarge,
    /// A key cannot be made or used.
    #[error("the backup key cannot be made or used: a key has 32 octets")]
    Key,
    /// The file of the private half holds something else.
    #[error("{path} holds no backup key: it is one line of 64 hexadecimal digits")]
    KeyFile {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{path} cannot be read or written: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The state cannot be read.
    #[error(transparent)]
    State(Box<crate::StartError>),
}

impl Sealed {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// When it is no backup, a later version's, or too large.
    pub fn read(octets: Bytes) -> Result<Sealed, BackupError> {
        if octets.len() > MAX_BACKUP {
            return Err(BackupError::TooLarge);
        }
        let mut rest = octets.strip_prefix(MAGIC).ok_or(BackupError::NotABackup)?;
        let short = |_| BackupError::NotABackup;
        let version = rest.try_get_u8().map_err(short)?;
        if version != VERSION {
            return Err(BackupError::Later { format: version.into() });
        }
        let length = usize::from(rest.try_get_u8().map_err(short)?);
        let (name, mut rest) = rest.split_at_checked(length).ok_or(BackupError::NotABackup)?;
        let header = Header {
            overlay: std::str::from_utf8(name)
                .map_err(|_| BackupError::NotABackup)?
                .to_owned(),
            time_ms: rest.try_get_u64().map_err(short)?,
            sequence: rest.try_get_u64().map_err(short)?,
        };
        let header_length = octets.len().saturating_sub(rest.len());
        Ok(Sealed {
            header,
            octets,
            header_length,
        })
    }

    /// The part of it that anybody can read.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The file.
    #[must_use]
    pub fn octets(&self) -> &Bytes {
        &self.octets
    }

    /// Seals contents so that only the private half opens them.
    pub(crate) fn seal(header: Header, contents: &[u8], key: &BackupPublicKey) -> Result<Sealed, BackupError> {
        let mut octets = header.to_bytes()?;
        let header_length = octets.len();
        let sealed = suite().seal(&info(&header.overlay), &octets, contents, &key.hpke());
        let (EncapsulatedSecret(encapsulated), ciphertext) = sealed.map_err(|_| BackupError::Key)?;
        octets.extend_from_slice(&encapsulated);
        octets.extend_from_slice(&ciphertext);
        if octets.len() > MAX_BACKUP {
            return Err(BackupError::TooLarge);
        }
        Ok(Sealed {
            header,
            octets: Bytes::from(octets),
            header_length,
        })
    }

    /// Opens it.
    pub(crate) fn open(&self, key: &BackupKey) -> Result<Vec<u8>, BackupError> {
        let unopened = || BackupError::Unopened {
            overlay: self.header.overlay.clone(),
        };
        let (header, rest) = self.octets.split_at_checked(self.header_length).ok_or_else(unopened)?;
        let (encapsulated, ciphertext) = rest.split_at_checked(ENCAPSULATED).ok_or_else(unopened)?;
        let encapsulated = EncapsulatedSecret(encapsulated.to_vec());
        let opened = suite().open(
            &encapsulated,
            &info(&self.header.overlay),
            header,
            ciphertext,
            key.private(),
        );
        opened.map_err(|_| unopened())
    }
}

impl Header {
    /// Whether this is the backup to keep: the newer of two of one overlay.
    #[must_use]
    pub fn is_newer_than(&self, other: &Header) -> bool {
        self.overlay == other.overlay && (self.time_ms, self.sequence) > (other.time_ms, other.sequence)
    }

    fn to_bytes(&self) -> Result<Vec<u8>, BackupError> {
        let name = self.overlay.as_bytes();
        let length = u8::try_from(name.len()).map_err(|_| BackupError::Contents {
            reason: "the overlay's name has more than 255 octets".to_owned(),
        })?;
        let mut octets = MAGIC.to_vec();
        octets.extend_from_slice(&[VERSION, length]);
        octets.extend_from_slice(name);
        octets.extend_from_slice(&self.time_ms.to_be_bytes());
        octets.extend_from_slice(&self.sequence.to_be_bytes());
        Ok(octets)
    }
}

impl From<crate::StartError> for BackupError {
    fn from(error: crate::StartError) -> BackupError {
        BackupError::State(Box::new(error))
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed")
            .field("header", &self.header)
            .field("octets", &self.octets.len())
            .finish_non_exhaustive()
    }
}

/// Ties a backup to what it is for and to its overlay.
fn info(overlay: &str) -> Vec<u8> {
    [b"p2psip bootstrap backup, ", overlay.as_bytes()].concat()
}

const MAGIC: &[u8] = b"P2PSIPBK";
const VERSION: u8 = 1;
/// RFC 9180 §7.1: an encapsulated X25519 key.
const ENCAPSULATED: usize = 32;
/// In octets: some 10 000 users and as many nodes. Every peer keeps it.
pub const MAX_BACKUP: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(overlay: &str) -> Header {
        Header {
            overlay: overlay.to_owned(),
            time_ms: 1_800_000_000_000,
            sequence: 7,
        }
    }

    fn sealed(key: &BackupKey) -> Sealed {
        Sealed::seal(header("a.test"), b"state", key.public()).unwrap()
    }

    #[test]
    fn only_the_private_half_opens_it() {
        let (key, other) = (BackupKey::generate().unwrap(), BackupKey::generate().unwrap());
        let read = Sealed::read(sealed(&key).octets().clone()).unwrap();
        assert_eq!(read.header(), &header("a.test"));
        assert_eq!(read.open(&key).unwrap(), b"state");
        let refused = read.open(&other).unwrap_err();
        assert!(matches!(&refused, BackupError::Unopened { overlay } if overlay == "a.test"));
        let shown = String::from_utf8_lossy(read.octets()).into_owned();
        assert!(!shown.contains("state"));
    }

    #[test]
    fn no_octet_can_be_changed() {
        let key = BackupKey::generate().unwrap();
        let good = sealed(&key).octets().clone();
        for index in 0..good.len() {
            let mut bad = good.to_vec();
            bad[index] ^= 1;
            let opened = Sealed::read(Bytes::from(bad)).and_then(|sealed| sealed.open(&key));
            assert!(opened.is_err(), "octet {index}");
        }
        for length in 0..good.len() {
            let opened = Sealed::read(good.slice(..length)).and_then(|sealed| sealed.open(&key));
            assert!(opened.is_err(), "{length} octets");
        }
    }

    #[test]
    fn what_is_not_ours_is_said() {
        let octets = |bytes: &[u8]| Sealed::read(Bytes::copy_from_slice(bytes)).unwrap_err();
        assert!(matches!(octets(b""), BackupError::NotABackup));
        assert!(matches!(octets(b"PK zip"), BackupError::NotABackup));
        assert!(matches!(octets(b"P2PSIPBK\x02..."), BackupError::Later { format: 2 }));
        let large = Sealed::read(Bytes::from(vec![0; MAX_BACKUP + 1])).unwrap_err();
        assert!(matches!(large, BackupError::TooLarge));
        let key = BackupKey::generate().unwrap();
        let large = Sealed::seal(header("a.test"), &vec![0; MAX_BACKUP], key.public()).unwrap_err();
        assert!(matches!(large, BackupError::TooLarge));
    }

    #[test]
    fn the_newer_one_of_an_overlay_is_kept() {
        let old = header("a.test");
        let later = Header {
            time_ms: old.time_ms + 1,
            sequence: 1,
            ..old.clone()
        };
        assert!(later.is_newer_than(&old) && !old.is_newer_than(&later) && !old.is_newer_than(&old));
        let foreign = Header {
            overlay: "b.test".to_owned(),
            ..later
        };
        assert!(!foreign.is_newer_than(&old));
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let key = BackupKey::generate().unwrap();
        key.store(folder.path()).unwrap();
        let read = BackupKey::load(folder.path()).unwrap();
        assert_eq!(read.public(), key.public());
        assert_eq!(sealed(&key).open(&read).unwrap(), b"state");
        std::fs::write(folder.path().join("backup.key"), "nonsense").unwrap();
        let refused = BackupKey::load(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("backup.key"), "{refused}");
    }
}
