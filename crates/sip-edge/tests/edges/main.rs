//! Real edges over real sockets and TLS, on a stub of the overlay; phones are scripted agents.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod calls;
mod operator;
mod own;
mod passwords;
mod reach;
mod record_keys;
mod requests;
mod stub;
mod world;
