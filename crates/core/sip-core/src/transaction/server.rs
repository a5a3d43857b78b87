//! The server side of a transaction: its state and how long it stays.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::key::ServerKey;
use super::{Class, Settings};
use crate::flow::Hop;

/// Where a server transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing was answered yet.
    Trying,
    /// A provisional response was sent.
    Proceeding,
    /// A final response was sent that is not a 2xx to INVITE.
    Completed,
    /// The ACK to that response came.
    Confirmed,
    /// A 2xx to INVITE was sent; further ones pass (RFC 6026 §7.1).
    Accepted,
}

/// One request that was received.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) key: ServerKey,
    pub(super) class: Class,
    pub(super) state: State,
    pub(super) reply_to: Hop,
    /// What was answered last; sent again when the request is.
    pub(super) response: Option<Bytes>,
    /// Timer G as it stands.
    pub(super) interval: Duration,
    pub(super) send_at: Option<Instant>,
    pub(super) end_at: Option<Instant>,
}

impl Server {
    /// Returns how long repeats of the request have to be recognised after the final response.
    pub(super) fn linger(&self, settings: &Settings) -> Duration {
        match (self.class, &self.reply_to) {
            // RFC 3261 §17.2.1: Timer H; the far end has that long to acknowledge.
            (Class::Invite, _) => settings.give_up(),
            // An edge that lost its connection sends the request once more on a new one.
            (Class::Other, Hop::Edge { .. }) => settings.t4,
            // RFC 3261 §17.2.2: Timer J, zero on reliable transports.
            (Class::Other, hop) if hop.is_reliable() => Duration::ZERO,
            (Class::Other, _) => settings.give_up(),
        }
    }
}
