//! One RELOAD node without sockets or clocks (RFC 6940 §6).
//!
//! A [`Core`] owns everything that one peer decides: its links, the forwarding of messages, its place in
//! the ring, who answers for which resource and when a Store may be acknowledged. It opens no socket, reads
//! no clock and touches no disk. A driver feeds it inputs (`handle_*`) and commands ([`Core::call`] and its
//! like), each with the present time, then drains [`Core::poll_output`] until it says
//! [`Output::Timeout`], and carries out what it was told. The same value runs in the component `overlay`,
//! in unit tests and by the hundred in the simulator.
//!
//! Storage is a neighbour, not a callee: the core emits [`Output::Storage`] commands and takes their answers
//! later, so a slow or restarting storage is an input like any other.
//!
//! Link ids: the core numbers the connections it asks for with even numbers, the driver those that come in
//! with odd ones.

mod admit;
mod answer;
mod answers;
mod api;
mod attach;
mod calendar;
mod call;
mod client;
mod clocks;
mod company;
mod config;
mod copies;
mod core;
mod dials;
mod election;
mod forwarding;
mod fragments;
mod gap;
mod heal;
mod join;
mod keep;
mod ladder;
mod link;
mod links;
mod marks;
mod membership;
mod merge;
mod offences;
mod outside;
mod parameters;
mod penalties;
mod pull;
mod push;
mod random;
mod ranges;
mod rtt;
mod seam;
mod serve;
mod session;
mod settings;
mod share;
mod software;
mod stand_in;
mod status;
mod store;
mod topology;
mod trace;
mod transaction;

pub use crate::api::{
    Call, CallId, CallResult, ConnectFailure, Ending, Incoming, IncomingId, LinkId, Output, Refusal, Step, Target,
    Traced,
};
pub use crate::core::Core;
pub use crate::membership::{KnownPeer, Membership};
pub use crate::seam::{Answer, Command, CommandId, ReplicaStore, SessionEvent};
#[doc(hidden)]
pub use crate::settings::Rules;
pub use crate::settings::Settings;
pub use crate::status::{Counters, Reason, Status};
