//! The client side of a transaction: its state and what a response does to it.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::key::ClientKey;
use super::{Class, Settings};
use crate::flow::Hop;

/// Where a client transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing came back yet ("Calling" for INVITE, "Trying" else).
    Calling,
    /// A provisional response came.
    Proceeding,
    /// A final response came that is not a 2xx to INVITE; repeats are absorbed.
    Completed,
    /// A 2xx to INVITE came; further ones are passed on (RFC 6026 §7.2).
    Accepted,
}

/// One request that was sent.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) key: ClientKey,
    pub(super) class: Class,
    pub(super) state: State,
    pub(super) hop: Hop,
    pub(super) request: Bytes,
    /// The ACK to a final response that is not 2xx, repeated whenever that response is.
    pub(super) ack: Option<Bytes>,
    /// Timer A or E as it stands.
    pub(super) interval: Duration,
    pub(super) send_at: Option<Instant>,
    pub(super) end_at: Option<Instant>,
    /// Whether the request was already sent again because its connection was lost.
    pub(super) is_resent: bool,
}

impl Client {
    /// Returns Timer A's or E's next interval, from the one that just passed.
    pub(super) fn next_interval(&self, settings: &Settings) -> Duration {
        match (self.class, self.state) {
            // RFC 3261 §17.1.1.2: Timer A doubles without bound; Timer B ends it.
            (Class::Invite, _) => self.interval * 2,
            // RFC 3261 §17.1.2.2: in Proceeding Timer E stays at T2.
            (Class::Other, State::Proceeding) => settings.t2,
            (Class::Other, _) => (self.interval * 2).min(settings.t2),
        }
    }

    /// Returns how long repeats of a final response have to be absorbed.
    pub(super) fn linger(&self, settings: &Settings) -> Duration {
        if self.hop.is_reliable() {
            // RFC 3261 §17.1.1.2 and §17.1.2.2: Timers D and K are zero on reliable transports.
            return Duration::ZERO;
        }
        match self.class {
            // RFC 3261 §17.1.1.2: Timer D, at least 32 s.
            Class::Invite => Duration::from_secs(32),
            // RFC 3261 §17.1.2.2: Timer K.
            Class::Other => settings.t4,
        }
    }
}
