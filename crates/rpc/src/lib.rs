//! The gRPC seam between components: one channel, one server stack, three wirings.

mod attach;
pub mod proto;

pub use attach::{NONCE_LENGTH, attach_contents};
