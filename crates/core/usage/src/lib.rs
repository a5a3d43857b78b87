//! What applications mean by stored data: SIP registrations (RFC 7904) and user records.
//!
//! `wire` knows the octets of a Store and `sip-core` knows no RELOAD; this crate builds the one from what the other
//! decided. [`sip`] says which edges serve an AOR, [`user`] what an edge needs to authenticate its user. Nothing here
//! sends or keeps anything.

mod request;
pub mod sip;
pub mod user;

pub use request::Signed;
