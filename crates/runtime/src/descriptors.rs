//! How many files and sockets this process may have open, and which of them are kept for what must go on.
//!
//! Phones may open thousands of connections. The links between peers and edges, the disk and the operator's socket must work all
//! the same, so the last descriptors are theirs.

use std::io;
use std::os::fd::RawFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, which the system sets, and returns it.
///
/// # Errors
/// When the system tells no limit; one that cannot be raised stays as it is.
pub fn raise() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        return Ok(hard);
    }
    Ok(soft)
}

/// The descriptors that connections of strangers may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    below: u64,
}

impl Open {
    /// What the limit of this process leaves.
    #[must_use]
    pub fn of_process() -> Self {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(LEAST_LIMIT, |(soft, _)| soft);
        Self::of(limit)
    }

    fn of(limit: u64) -> Self {
        Self {
            below: limit - (limit / 4).min(RESERVE),
        }
    }

    /// Says whether a descriptor is one of those that are kept. The system gives out the lowest that is free (POSIX, `open`), so
    /// its number tells how many are in use at least.
    #[must_use]
    pub fn is_reserved(self, descriptor: RawFd) -> bool {
        u64::try_from(descriptor).is_ok_and(|descriptor| descriptor >= self.below)
    }
}

/// Kept at most: 1024 links between edges, as many of the overlay and of the bootstrap service together, files and sockets.
const RESERVE: u64 = 2560;
/// What POSIX systems grant where nothing is said.
const LEAST_LIMIT: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_descriptors_are_kept() {
        for (limit, first) in [(1024, 768), (65_536, 62_976), (256, 192)] {
            let open = Open::of(limit);
            assert!(!open.is_reserved(first - 1), "{limit}");
            assert!(open.is_reserved(first), "{limit}");
        }
    }

    #[test]
    fn the_limit_is_raised_to_what_the_system_allows() {
        let raised = raise().unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!((raised, soft), (hard, hard));
    }
}
