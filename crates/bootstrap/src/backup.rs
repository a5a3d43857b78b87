//! The backup of a service: its whole state but for its own keys, sealed to a key that lies off line.
//!
//! ```text
//! state ──hourly──► contents (JSON) ──HPKE──► backup.sealed ──HTTPS, each day──► every peer
//!                                                                     off-line/backup.key + any copy ──► restore
//! ```
//!
//! A copy is of no use without the private half, so each peer keeps one. The CA and the user signer are not in it: a service that
//! is restored gets new ones, and the document names them beside those that were lost.

mod contents;
mod key;
mod sealed;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use kv::Store;
use runtime::private;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::driver::unix_ms;

pub use key::BackupKey;
pub use sealed::{BackupError, Header, MAX_BACKUP, Sealed};

pub(crate) use contents::Contents;
pub(crate) use key::BackupPublicKey;

/// The newest backup of a running service, for its peers.
pub(crate) type Latest = watch::Receiver<Option<Sealed>>;

/// Writes the backup now and every hour, until the stop signal.
pub(crate) async fn keep(store: Store, latest: watch::Sender<Option<Sealed>>, stop: CancellationToken) {
    let path = store.folder().join(FILE);
    loop {
        let (store, path) = (store.clone(), path.clone());
        let written = tokio::task::spawn_blocking(move || write(&store, &path, unix_ms())).await;
        match written {
            Ok(Ok(Some(sealed))) => {
                debug!(sequence = sealed.header().sequence, "backup written");
                latest.send_replace(Some(sealed));
            }
            Ok(Ok(None)) => {
                info!("no backup is written: this overlay has no backup key (`p2psip bootstrap backup-key`)")
            }
            Ok(Err(error)) => warn!(%error, "backup not written; tried again in an hour"),
            Err(error) => warn!(%error, "backup not written; tried again in an hour"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

/// Writes one backup; none if there is no key to seal it to.
pub(crate) fn write(store: &Store, path: &Path, now_ms: u64) -> Result<Option<Sealed>, BackupError> {
    let contents = Contents::collect(store)?;
    let Some(key) = contents.backup_key()? else {
        return Ok(None);
    };
    let before = std::fs::read(path)
        .ok()
        .and_then(|octets| Sealed::read(Bytes::from(octets)).ok());
    let header = Header {
        overlay: contents.overlay.clone(),
        time_ms: now_ms,
        sequence: before.map_or(0, |before| before.header().sequence).saturating_add(1),
    };
    let sealed = Sealed::seal(header, &contents.to_json()?, &key)?;
    private::write(path, sealed.octets()).map_err(|source| BackupError::Io {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(sealed))
}

/// Where a service writes its backup, in the folder of its state.
#[must_use]
pub fn backup_file(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

const FILE: &str = "backup.sealed";
/// Later changes are lost with all services.
const EVERY: Duration = Duration::from_secs(3600);
