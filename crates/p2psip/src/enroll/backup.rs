//! The sealed backup of the bootstrap services: each peer keeps the newest, so that it outlives all of them.

use std::path::Path;
use std::time::Duration;

use bootstrap::{BackupHeader, MAX_BACKUP, SealedBackup};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::credentials::PeerCredentials;
use super::files::Files;
use super::https::Client;
use super::{EnrollError, any, now_ms};

/// Keeps the newest backup beside the credentials of a running peer: at its start, and then each day.
pub(super) async fn keep(folder: &Path, stop: CancellationToken) {
    loop {
        let pause = match fetch(folder, now_ms()).await {
            Ok(_) => EVERY,
            Err(error) => {
                tracing::debug!(%error, "backup of the bootstrap service not fetched");
                AGAIN
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Fetches the backup if a service has a newer one; returns what is new.
pub(super) async fn fetch(folder: &Path, now_ms: u64) -> Result<Option<BackupHeader>, EnrollError> {
    let Some(peer) = PeerCredentials::load(folder, now_ms)? else {
        return Ok(None);
    };
    let files = Files::of(folder);
    let document = peer.document.document();
    let known = files
        .read(FILE)
        .ok()
        .and_then(|octets| SealedBackup::read(Bytes::from(octets)).ok());
    let known = &known.filter(|known| known.header().overlay == document.overlay);
    let tag = &known.as_ref().map(|known| known.header().time_ms.to_string());
    let client = &Client::of(document, Some(&peer.signer))?;
    let found = any(document, move |server| async move {
        let path = "/.well-known/p2psip/backup";
        let Some(octets) = client.get_newer(&server, path, tag.clone(), MAX_BACKUP).await? else {
            return Ok(None);
        };
        let unusable = |reason: String| EnrollError::Answer {
            url: server.to_string(),
            reason,
        };
        let sealed = SealedBackup::read(octets).map_err(|error| unusable(error.to_string()))?;
        match is_to_be_kept(sealed.header(), &document.overlay, known.as_ref(), now_ms) {
            true => Ok(Some(sealed)),
            false => Err(unusable(
                "its backup is another overlay's, or of a time to come".to_owned(),
            )),
        }
    })
    .await?;
    let Some(sealed) = found else { return Ok(None) };
    files.write(FILE, sealed.octets())?;
    Ok(Some(sealed.header().clone()))
}

/// Nothing replaces a newer one, and none is newer than the clocks of an overlay differ.
fn is_to_be_kept(header: &BackupHeader, overlay: &str, known: Option<&SealedBackup>, now_ms: u64) -> bool {
    header.overlay == overlay
        && header.time_ms <= now_ms.saturating_add(CLOCKS_DIFFER_MS)
        && known.is_none_or(|known| header.is_newer_than(known.header()))
}

pub(super) const FILE: &str = "backup.sealed";
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// A service that has just begun has none for a moment.
const AGAIN: Duration = Duration::from_secs(3600);
/// Issuers backdate certificates by as much.
const CLOCKS_DIFFER_MS: u64 = 49 * 3600 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_of_a_time_to_come_or_of_another_overlay_is_not_kept() {
        let header = |time_ms, overlay: &str| BackupHeader {
            overlay: overlay.to_owned(),
            time_ms,
            sequence: 1,
        };
        let is_kept = |header| is_to_be_kept(&header, "a.test", None, NOW);
        assert!(is_kept(header(NOW - 1, "a.test")) && is_kept(header(NOW + 3_600_000, "a.test")));
        assert!(!is_kept(header(NOW + 50 * 3_600_000, "a.test")) && !is_kept(header(NOW - 1, "b.test")));
    }

    const NOW: u64 = 1_800_000_000_000;
}
