//! Where `dev` puts its operator's socket, and where the other commands look for it: one rule for both terminals.
//!
//! It is in the user's own runtime folder: `$XDG_RUNTIME_DIR/p2psip`, else `/run/user/UID/p2psip`, else `/tmp/p2psip-UID`. `dev`
//! takes the first that it can make; the other commands look at each, because the second terminal may have another environment.
//! The socket carries passwords and `/tmp` is everybody's, so a folder counts only if it is this user's and closed to others.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use runtime::private;

/// The name of the socket of `dev`.
pub(crate) const DEV: &str = "dev.sock";

/// The folders in which this user's sockets may be, best first.
pub(crate) fn folders() -> Vec<PathBuf> {
    folders_of(std::env::var_os("XDG_RUNTIME_DIR"), geteuid().as_raw())
}

/// Finds the socket `name` of this user in one of the folders.
pub(crate) fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let is_trusted = |folder: &&PathBuf| private::is_own_folder(folder).unwrap_or(false);
    let sockets = folders.iter().filter(is_trusted).map(|folder| folder.join(name));
    sockets.into_iter().find(|socket| is_own(socket))
}

/// Makes the first of the folders that can be made, and says where in it the socket `name` goes; `None` where there is no such folder.
pub(crate) fn place(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let make = |folder: &&PathBuf| match private::claim_folder(folder) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(folder = %folder.display(), %error, "no place for the operator's socket");
            false
        }
    };
    folders.iter().find(make).map(|folder| folder.join(name))
}

fn folders_of(runtime: Option<OsString>, uid: u32) -> Vec<PathBuf> {
    let named = runtime.filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let session = PathBuf::from(format!("/run/user/{uid}"));
    let other = Some(session).filter(|session| named.as_ref() != Some(session));
    let own = named.into_iter().chain(other).map(|folder| folder.join("p2psip"));
    own.chain([PathBuf::from(format!("/tmp/p2psip-{uid}"))]).collect()
}

fn is_own(socket: &Path) -> bool {
    let owner = |path: &Path| -> io::Result<u32> { Ok(std::fs::symlink_metadata(path)?.uid()) };
    owner(socket).is_ok_and(|uid| uid == geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn both_terminals_look_at_the_same_places() {
        let paths = |runtime: Option<&str>| folders_of(runtime.map(OsString::from), 1000);
        let session = ["/run/user/1000/p2psip", "/tmp/p2psip-1000"].map(PathBuf::from);
        for runtime in [None, Some(""), Some("/run/user/1000")] {
            assert_eq!(paths(runtime), session, "{runtime:?}");
        }
        // What a terminal with a folder of its own makes there, one without it does not see; all else they share.
        let own = paths(Some("/home/a/run"));
        assert_eq!(
            (own[0].as_path(), &own[1..]),
            (Path::new("/home/a/run/p2psip"), session.as_slice())
        );
    }

    #[test]
    fn a_socket_is_found_where_it_was_placed() {
        let parent = tempfile::tempdir().unwrap();
        let folders = [parent.path().join("missing/p2psip"), parent.path().join("p2psip-1000")];
        assert_eq!(find(DEV, &folders), None);
        // The parent of the first is not there, as without a login session.
        let socket = place(DEV, &folders).unwrap();
        assert_eq!(socket, folders[1].join(DEV));
        assert_eq!(place(DEV, &folders).unwrap(), socket);
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(find(DEV, &folders), Some(socket));
    }

    #[test]
    fn a_folder_that_others_can_use_or_have_put_there_does_not_count() {
        let parent = tempfile::tempdir().unwrap();
        let open = parent.path().join("open");
        std::fs::create_dir(&open).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(open.join(DEV)).unwrap();
        set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        let link = parent.path().join("link");
        symlink(&open, &link).unwrap();
        for folder in [open, link] {
            assert_eq!(find(DEV, std::slice::from_ref(&folder)), None, "{}", folder.display());
            assert_eq!(place(DEV, &[folder]), None);
        }
    }
}
