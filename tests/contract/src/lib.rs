//! What every component promises its callers, on every wiring: the parts of which the suite in `tests/` is made.
//!
//! A [`Service`] is one contract, served by the real component with real neighbours behind it. A [`Callee`] runs it: in a
//! process of its own behind a Unix socket or TCP, which can be killed and stopped as processes are, or on the direct
//! wiring, where a runtime of its own stands for the process. What differs between the contracts is in [`calls`], and
//! nowhere else.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod callee;
pub mod calls;
mod component;
pub mod fault;
mod in_process;
mod process;
mod world;

pub use callee::{Callee, Wiring};
pub use component::{Component, Service};
