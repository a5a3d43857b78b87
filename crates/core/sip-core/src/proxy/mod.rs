//! The proxy of one edge (RFC 3261 §16), without sockets, clock and location table.
//!
//! A request opens a context. Who sent it, and where it may go, is asked from the shell ([`Output::Authenticate`],
//! [`Output::Resolve`]); the targets join one set while they arrive, each becomes a branch, and the context forwards
//! what comes back: every provisional response, every 2xx, and otherwise one best answer when nothing is left to wait
//! for. Toward other edges the Request-URI stays the AOR; the edge that holds the phone replaces it.
//!
//! The shell gives one input at a time and then polls until [`Output::Timeout`].

mod admit;
mod api;
mod best;
mod branch;
mod cancel;
mod conclude;
mod context;
mod core;
mod fork;
mod forward;
mod request;
mod respond;
mod route;
mod settings;
mod trace;

pub use self::api::{
    Answer, AuthenticateId, Authenticated, Call, Event, Outcome, Output, Query, RegisterId, ResolveId, Resolved, Scope,
    Target, Trace, Traced,
};
pub use self::branch::BranchId;
pub use self::context::ContextId;
pub use self::core::Core;
pub use self::settings::{Advertise, BranchTimers, Settings};

#[cfg(test)]
mod tests;
