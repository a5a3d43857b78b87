//! The wiring over a Unix socket, for the operator's commands and for components of one host.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use crate::Address;
use crate::http2::{ACCEPT_PAUSE, Accepted};
use crate::listener::BindError;
use crate::role::Caller;

/// A Unix socket that nobody but this user and root may use. Its file is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    listener: UnixListener,
    address: Address,
    path: PathBuf,
    uid: u32,
}

impl UnixSocket {
    /// Opens a socket at `path` with mode 0600. A file left behind by a process that is gone is replaced.
    pub(crate) fn bind(path: &Path) -> Result<Self, BindError> {
        let address = Address::Unix(path.into());
        remove_stale(path, &address)?;
        let failed = |source| BindError::io(&address, source);
        // Under a name of its own until the mode is set: at no time can anybody else connect.
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let _ = std::fs::remove_file(&temporary);
        let listener = UnixListener::bind(&temporary).map_err(failed)?;
        let publish = || {
            std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))?;
            // The owner of a file just made is the user that this process acts as.
            let uid = std::fs::metadata(&temporary)?.uid();
            std::fs::rename(&temporary, path)?;
            Ok(uid)
        };
        match publish() {
            Ok(uid) => Ok(Self {
                listener,
                address,
                path: path.into(),
                uid,
            }),
            Err(source) => {
                let _ = std::fs::remove_file(&temporary);
                Err(failed(source))
            }
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for the next caller who may use it.
    pub(crate) async fn accept(&mut self) -> Accepted<UnixStream> {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match self.admit(&stream) {
                    Ok(caller) => return Accepted { stream, caller },
                    Err(uid) => tracing::warn!(?uid, address = %self.address, "caller of another user refused"),
                },
                Err(error) => {
                    tracing::warn!(%error, address = %self.address, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, stream: &UnixStream) -> Result<Caller, Option<u32>> {
        let credentials = stream.peer_cred().map_err(|_| None)?;
        let uid = credentials.uid();
        if uid == self.uid || uid == 0 {
            Ok(Caller::Unix {
                uid,
                pid: credentials.pid(),
            })
        } else {
            Err(Some(uid))
        }
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn remove_stale(path: &Path, address: &Address) -> Result<(), BindError> {
    let failed = |source| BindError::io(address, source);
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NotASocket {
                address: address.clone(),
            });
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed),
        Err(error) => Err(failed(error)),
        Ok(_) => Err(BindError::InUse {
            address: address.clone(),
        }),
    }
}
