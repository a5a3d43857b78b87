//! The data folder of `dev`: what is in it, and whose it is.
//!
//! ```text
//! DIR/overlay.json             what overlay this is; written before anything else
//! DIR/dev.sock                 operator socket, where that of the user (see `socket`) is taken
//! DIR/peerN/credentials/       what peer N and its edge are, a folder each; mode 0700, files 0600
//! DIR/peerN/overlay, storage, sip-edge  data of its components
//! DIR/peer1/bootstrap          state of the bootstrap service
//! ```

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use runtime::private;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// The folder, removed at the end if it is a temporary one.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _temporary: Option<TempDir>,
}

/// Which overlay a folder holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Overlay {
    /// Format of the folder.
    pub(crate) format: u32,
    /// Its name.
    pub(crate) overlay: String,
    /// The address in its document: where joining peers ask.
    pub(crate) bind: IpAddr,
    /// How many peers it has.
    pub(crate) peers: u8,
    /// SHA-256 of its configuration root, in hex; none until it has been made.
    pub(crate) root: Option<String>,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("data folder {path} cannot be used: {source}; give another one with --data")]
    Io { path: PathBuf, source: io::Error },
    #[error("data folder {path} is not empty and holds no overlay of `p2psip dev`; give another one with --data")]
    Foreign { path: PathBuf },
    #[error("{path} cannot be read: {reason}; it was not written by this program")]
    Malformed { path: PathBuf, reason: String },
    #[error("data folder {path} has format {found}, this program knows {FORMAT}: use the program that wrote it")]
    Format { path: PathBuf, found: u32 },
    #[error("data folder {path} holds an overlay on {found}: start it with --bind {found}, or give another folder")]
    Bind { path: PathBuf, found: IpAddr },
    #[error("data folder {path} holds {found} peers, and data on each: start it with --peers {found} or more")]
    Fewer { path: PathBuf, found: u8 },
}

impl Folder {
    /// Makes or opens the folder; without a path a temporary one.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, FolderError> {
        let Some(path) = path else {
            let made = tempfile::Builder::new().prefix("p2psip-dev-").tempdir();
            let temporary = made.map_err(failed(&std::env::temp_dir()))?;
            return Ok(Self {
                path: temporary.path().to_owned(),
                _temporary: Some(temporary),
            });
        };
        private::make_folder(path).map_err(failed(path))?;
        let path = fs::canonicalize(path).map_err(failed(path))?;
        // Found out now rather than by the first component that writes.
        let probe = tempfile::Builder::new().prefix(".probe").tempfile_in(&path);
        probe.map(drop).map_err(failed(&path))?;
        Ok(Self { path, _temporary: None })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The part of one peer.
    pub(crate) fn peer(&self, number: u16) -> PathBuf {
        self.path.join(format!("peer{number}"))
    }

    /// State of the bootstrap service.
    pub(crate) fn bootstrap(&self) -> PathBuf {
        self.peer(1).join("bootstrap")
    }

    /// Reads which overlay is here, and compares it with what was asked for; for an empty folder, tells which one to keep.
    pub(crate) fn overlay(&self, name: &str, bind: IpAddr, peers: Option<u8>) -> Result<Overlay, FolderError> {
        let file = self.path.join(OVERLAY);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.propose(name, bind, peers),
            Err(error) => return Err(failed(&file)(error)),
        };
        let malformed = |error: serde_json::Error| FolderError::Malformed {
            path: file.clone(),
            reason: error.to_string(),
        };
        let found: Overlay = serde_json::from_str(&text).map_err(malformed)?;
        let path = self.path.clone();
        if found.format != FORMAT {
            return Err(FolderError::Format {
                path,
                found: found.format,
            });
        }
        if found.bind != bind {
            return Err(FolderError::Bind {
                path,
                found: found.bind,
            });
        }
        match peers {
            Some(peers) if peers < found.peers => Err(FolderError::Fewer {
                path,
                found: found.peers,
            }),
            Some(peers) => Ok(Overlay { peers, ..found }),
            None => Ok(found),
        }
    }

    /// Writes down which overlay is here.
    pub(crate) fn keep(&self, overlay: &Overlay) -> Result<(), FolderError> {
        let text = serde_json::to_vec_pretty(overlay).map_err(|error| FolderError::Malformed {
            path: self.path.join(OVERLAY),
            reason: error.to_string(),
        })?;
        let path = self.path.join(OVERLAY);
        private::write(&path, &text).map_err(failed(&path))
    }

    fn propose(&self, name: &str, bind: IpAddr, peers: Option<u8>) -> Result<Overlay, FolderError> {
        let entries = fs::read_dir(&self.path).map_err(failed(&self.path))?;
        // The key log may be asked for in the folder itself, and be there first; so is the operator's socket.
        let is_foreign = |entry: &fs::DirEntry| {
            let path = entry.path();
            path.extension()
                .is_none_or(|extension| extension != "log" && extension != "sock")
        };
        if entries.filter_map(Result::ok).any(|entry| is_foreign(&entry)) {
            return Err(FolderError::Foreign {
                path: self.path.clone(),
            });
        }
        Ok(Overlay {
            format: FORMAT,
            overlay: name.to_owned(),
            bind,
            peers: peers.unwrap_or(DEFAULT_PEERS),
            root: None,
        })
    }
}

/// Names the path in an error.
pub(crate) fn failed(path: &Path) -> impl Fn(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io {
        path: path.clone(),
        source,
    }
}

const OVERLAY: &str = "overlay.json";
const FORMAT: u32 = 2;
const DEFAULT_PEERS: u8 = 5;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn opened() -> (TempDir, Folder) {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(Some(&parent.path().join("a/b"))).unwrap();
        (parent, folder)
    }

    #[test]
    fn a_folder_remembers_its_overlay() {
        let (_parent, folder) = opened();
        let mut made = folder.overlay("dev", HERE, None).unwrap();
        assert_eq!((made.peers, made.root.as_ref()), (5, None));
        made.root = Some("ab".into());
        folder.keep(&made).unwrap();
        assert_eq!(folder.overlay("dev", HERE, None).unwrap(), made);
        assert_eq!(folder.overlay("dev", HERE, Some(7)).unwrap().peers, 7);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_advice() {
        let (_parent, folder) = opened();
        folder.keep(&folder.overlay("dev", HERE, Some(5)).unwrap()).unwrap();
        let fewer = folder.overlay("dev", HERE, Some(3)).unwrap_err().to_string();
        assert!(fewer.contains("--peers 5"), "{fewer}");
        let moved = folder
            .overlay("dev", Ipv4Addr::new(10, 0, 0, 1).into(), None)
            .unwrap_err()
            .to_string();
        assert!(moved.contains("--bind 127.0.0.1"), "{moved}");
        fs::write(folder.path().join(OVERLAY), "{}").unwrap();
        assert!(matches!(
            folder.overlay("dev", HERE, None),
            Err(FolderError::Malformed { .. })
        ));
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("letter.txt"), "dear").unwrap();
        let folder = Folder::open(Some(parent.path())).unwrap();
        assert!(matches!(
            folder.overlay("dev", HERE, None),
            Err(FolderError::Foreign { .. })
        ));
    }

    #[test]
    fn what_dev_itself_puts_there_first_is_not_foreign() {
        let (_parent, folder) = opened();
        for name in ["keys.log", "dev.sock"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert!(folder.overlay("dev", HERE, None).is_ok());
    }

    #[test]
    fn a_temporary_folder_ends_with_its_value() {
        let folder = Folder::open(None).unwrap();
        let path = folder.path().to_owned();
        assert!(path.exists());
        drop(folder);
        assert!(!path.exists());
    }
}
