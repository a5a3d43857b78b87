//! Real phones against a real overlay: the parts that the tests in `tests/` are made of.
//!
//! Each test gets a network namespace of its own, so that the well-known ports never clash and nothing leaves the machine.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod agent;
mod compose;
mod dev;
pub mod load;
mod namespace;
pub mod phone;
mod pods;
pub mod sipp;
pub mod tone;

pub use agent::Agent;
pub use compose::Compose;
pub use dev::Dev;
pub use namespace::Namespace;
pub use pods::{PODS_DOMAIN, Pods};

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The domain and password that `p2psip dev` gives its users.
pub const DOMAIN: &str = "dev.p2psip.test";
/// See [`DOMAIN`].
pub const PASSWORD: &str = "p2psip";

/// SIP port of peer `n`, counted from 1.
pub fn sip_port(n: u16) -> u16 {
    5060 + 10 * (n - 1)
}

/// The program under test: the one that the environment names, or one built beside this test.
pub fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("P2PSIP_PROGRAM") {
        return program.into();
    }
    let test = std::env::current_exe().expect("a running test has a path");
    let folder = test
        .ancestors()
        .nth(2)
        .expect("tests live two folders below the profile's");
    let program = folder.join("p2psip");
    assert!(
        program.exists(),
        "{} is missing: run the tests with `cargo xtask e2e`, which builds it",
        program.display()
    );
    program
}

/// Repeats `probe` until it is true, or fails with what it last said.
///
/// # Panics
/// When `limit` has passed.
pub fn eventually(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<(), String>) {
    let end = Instant::now() + limit;
    loop {
        match probe() {
            Ok(()) => return,
            Err(last) if Instant::now() > end => panic!("{what}: not within {limit:?}; last seen: {last}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
