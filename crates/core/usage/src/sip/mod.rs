//! The SIP usage (RFC 7904): which edges serve an AOR.
//!
//! An edge stores one entry under the Resource-ID of the AOR, with its own Node-ID as dictionary key, that routes to
//! itself. Who calls fetches all entries together with the user's record.

mod fetch;
mod mint;
mod registration;
mod store;

#[cfg(test)]
mod tests;

pub use fetch::{Found, Judge, MAX_EDGES, OwnEntry, ReadError, Route, Serving, fetch};
pub use mint::{SIGNS_REGISTRATION, SIGNS_TOMBSTONE, is_reusable};
pub use registration::SipRegistration;
pub use store::{LIFETIME, Registrant};
