//! The overlay of `dev` and its two users.

/// Overlay Name and SIP domain.
pub(crate) const DOMAIN: &str = "dev.p2psip.test";
/// Who can register.
pub(crate) const USERS: [&str; 2] = ["alice", "bob"];
/// The password of both: this overlay is for trying things out.
pub(crate) const PASSWORD: &str = "p2psip";
