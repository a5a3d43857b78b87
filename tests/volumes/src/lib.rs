//! Volumes that earlier versions left behind, one of each component: this version reads them, or nobody could upgrade.
//!
//! They are those of a peer of the overlay `volume.p2psip.test` with its bootstrap service and edge, which ended in order: the users
//! alice, bob (suspended) and carol (removed), a phone of alice's that was registered, the tokens `berlin` (three uses) and `gone`
//! (revoked), and a rotation of the record key that waited for the edge. The keys in them are of that overlay and open nothing else.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// When they were written, in Unix milliseconds.
pub const WRITTEN_MS: u64 = 1_796_095_132_000;
/// The overlay's name.
pub const OVERLAY: &str = "volume.p2psip.test";
/// The Node-ID of the peer.
pub const PEER: &str = "07a634d6f642df537b9c51db48114fad";
/// The Node-ID of its edge.
pub const EDGE: &str = "7f9a3f9a91d47c138bd90c2fead1e2ff";
/// Whose phone was registered.
pub const ALICE: &str = "alice@volume.p2psip.test";

/// A copy of the volume of a component: `bootstrap`, `overlay`, `storage` or `sip-edge`. It lies in a folder of that name.
///
/// # Panics
/// When there is none of that name.
#[must_use]
pub fn of(component: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("2026-11/{component}.tar.gz"));
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(folder.path())
        .status();
    assert!(
        unpacked.is_ok_and(|status| status.success()),
        "no volume of {component}"
    );
    folder
}
