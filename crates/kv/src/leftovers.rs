//! What a crash leaves in a folder, and what is done with a store that cannot be read.
//!
//! Nothing is ever deleted here: files that stand in the way are renamed, a damaged store as a whole into a folder of its
//! own with the time in its name.
//!
//! The database below writes a snapshot of its index each time it opens, into `snap.X.generating`, and renames it when it is
//! complete. It takes an incomplete one of a killed process for its newest snapshot and refuses to open. Such a file
//! holds nothing that the log does not, so it only has to go: the index is read from the log again. The same is true of a
//! snapshot and of `conf`, a few settings that are always the same, when their checksums are wrong.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Moves what an interrupted start left out of the way of the next one.
pub(crate) fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_bad = |is_whole: fn(&[u8]) -> bool| fs::read(entry.path()).map(|octets| !is_whole(&octets));
        let moved = if is_snapshot(name) && (name.ends_with(".generating") || is_bad(is_whole_snapshot)?) {
            BAD_SNAPSHOT
        } else if name == SETTINGS && is_bad(are_whole_settings)? {
            BAD_SETTINGS
        } else {
            continue;
        };
        // The one of an earlier crash is replaced: neither holds anything that the log does not.
        fs::rename(entry.path(), folder.join(moved))?;
        tracing::warn!(
            folder = %folder.display(),
            file = name,
            moved_to = moved,
            "half a file of an interrupted start is moved aside: what it was for is read from the log"
        );
    }
    Ok(())
}

/// Moves a store that cannot be read into a folder of its own, beside the new one that takes its place. Gives its name.
///
/// It stays on the same volume and within the folder, which may be a mount point and its parent read-only.
pub(crate) fn move_aside(folder: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let aside = make_folder(folder, now)?;
    // The log goes last: when this is interrupted, what is left is no empty store but a damaged one, and moved the next time.
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if name.to_str().is_some_and(is_of_database) {
            names.push(name);
        }
    }
    names.sort_by_key(|name| name == LOG);
    for name in names {
        fs::rename(folder.join(&name), aside.join(&name))?;
    }
    fs::File::open(&aside)?.sync_all()?;
    fs::File::open(folder)?.sync_all()?;
    Ok(aside)
}

fn make_folder(folder: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let name = format!("damaged-{}", timestamp(now));
    let mut aside = folder.join(&name);
    let mut number = 1;
    loop {
        match fs::create_dir(&aside) {
            Ok(()) => return Ok(aside),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number += 1;
                aside = folder.join(format!("{name}-{number}"));
            }
            Err(error) => return Err(error),
        }
    }
}

fn is_snapshot(name: &str) -> bool {
    name.starts_with("snap.")
}

fn is_of_database(name: &str) -> bool {
    is_snapshot(name) || [LOG, SETTINGS, VALUES].contains(&name)
}

/// Tells whether settings agree with the checksum at their end. The database itself replaces very short ones.
fn are_whole_settings(octets: &[u8]) -> bool {
    octets.len() <= SHORT_SETTINGS || octets.split_last_chunk().is_some_and(|(text, sum)| is_sum(text, *sum))
}

// index | its length(64) | checksum of the index(32)
fn is_whole_snapshot(octets: &[u8]) -> bool {
    let parts = octets
        .split_last_chunk()
        .and_then(|(rest, sum)| Some((rest.split_last_chunk::<8>()?.0, sum)));
    parts.is_some_and(|(index, sum)| !index.is_empty() && is_sum(index, *sum))
}

fn is_sum(octets: &[u8], sum: [u8; 4]) -> bool {
    crc32fast::hash(octets) == u32::from_le_bytes(sum)
}

/// Writes a time as `20261130T175500Z`: it sorts, and needs no quotes in a shell.
fn timestamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// The date of a day counted from 1970-01-01. Years are counted from March, so that the leap day is their last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The file in which the database keeps everything but its snapshots and large values.
pub(crate) const LOG: &str = "db";
const SETTINGS: &str = "conf";
/// The folder of values that are too large for the log.
const VALUES: &str = "blobs";
const BAD_SNAPSHOT: &str = "bad-snapshot";
const BAD_SETTINGS: &str = "bad-conf";
const SHORT_SETTINGS: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_timestamp_is_the_date_and_time_in_utc() {
        let at = |seconds| timestamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "19700101T000000Z");
        assert_eq!(at(951_782_400), "20000229T000000Z");
        assert_eq!(at(1_735_689_599), "20241231T235959Z");
        assert_eq!(at(1_796_061_300), "20261130T175500Z");
        assert_eq!(at(4_107_542_400), "21000301T000000Z");
    }

    #[test]
    fn what_is_moved_aside_twice_in_a_second_gets_two_folders() {
        let folder = tempfile::tempdir().unwrap();
        let store = |text: &str| fs::write(folder.path().join(LOG), text).unwrap();
        store("first");
        let first = move_aside(folder.path(), UNIX_EPOCH).unwrap();
        store("second");
        let second = move_aside(folder.path(), UNIX_EPOCH).unwrap();
        assert_eq!(fs::read(first.join(LOG)).unwrap(), b"first");
        assert_eq!(fs::read(second.join(LOG)).unwrap(), b"second");
    }

    #[test]
    fn files_of_others_stay_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["lock", "node.key", LOG, "snap.0000000000000001"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let aside = move_aside(folder.path(), UNIX_EPOCH).unwrap();
        let names = |path: &Path| {
            let mut names: Vec<_> = fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&aside), [LOG, "snap.0000000000000001"]);
        assert_eq!(names(folder.path()), ["damaged-19700101T000000Z", "lock", "node.key"]);
    }
}
