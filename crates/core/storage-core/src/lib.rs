//! The Resources of one peer, without a disk (RFC 6940 §7, §10.4).
//!
//! [`Core`] keeps every Resource that the peer holds in memory, as owner or as replica, and decides what is true
//! anywhere: whether a Kind is known, whether chain and signature of a value are good, whether value signer and request
//! signer satisfy the access policy, generation, storage times and limits. What depends on the ring, the link or the
//! message is decided by the overlay, before it sends a [`Command`].
//!
//! Inputs are [`Core::handle_command`], [`Core::handle_flushed`] and [`Core::handle_timeout`]; after each one,
//! [`Core::poll_output`] is drained. A change is an [`Output::Write`]; its [`Output::Answer`], and every answer after
//! it, comes only when that batch is flushed, so nothing is said that a loss of power could take back. State is a join:
//! for each value the greater storage time wins, so replica, hand-over and repair Stores may arrive in any order and any
//! number of times.

mod api;
mod certificates;
mod check;
mod clock;
mod core;
mod correction;
mod disk;
mod document;
mod forget;
mod hidden;
mod kind;
mod merge;
mod puts;
mod quota;
mod read;
mod record;
mod refusal;
mod replica;
mod scan;
mod state;
mod store;

pub use api::{Answer, BatchId, Command, CommandId, Output, Put, ReplicaStore, Settings, Summary, Tree};
pub use core::Core;
pub use disk::LoadError;
