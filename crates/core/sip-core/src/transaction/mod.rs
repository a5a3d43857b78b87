//! Transactions (RFC 3261 §17, with the Accepted states of RFC 6026).
//!
//! A transaction repeats what an unreliable transport may have lost and absorbs what it repeated. It knows nothing of
//! routes, targets or users: the proxy opens transactions, hands them what arrived, and reads [`Event`]s. Bytes are
//! kept as they were sent; a repeat is the same octets again.

pub mod client;
pub mod server;

mod key;
mod layer;
mod timers;

#[cfg(test)]
mod tests;

pub use key::{ClientId, ClientKey, ServerId, ServerKey};
pub use layer::{AckVerdict, Event, Full, Layer, ResponseVerdict};

use std::time::Duration;

/// Tells the two kinds of transaction apart: INVITE waits for a human, every other method for a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// INVITE (RFC 3261 §17.1.1 and §17.2.1).
    Invite,
    /// Every other method but ACK (RFC 3261 §17.1.2 and §17.2.2).
    Other,
}

/// The durations that transactions live by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// RFC 3261 §17.1.1.1: the estimate of a round trip.
    pub t1: Duration,
    /// RFC 3261 §17.1.2.2: the longest time between repeats of a request other than INVITE, or of a final response.
    pub t2: Duration,
    /// RFC 3261 §17.1.2.2: how long a message can stay in the network.
    pub t4: Duration,
    /// How long an INVITE may stay without any response before a 100 is due.
    pub trying_after: Duration,
    /// How many server and how many client transactions are held; beyond it new work is refused.
    pub capacity: usize,
}

impl Settings {
    /// RFC 3261 §17.1.1.2: 64 T1, after which the far end has given up too.
    pub(crate) fn give_up(&self) -> Duration {
        self.t1 * 64
    }

    /// RFC 4320 §4.1: the time in which a client's Timer E grows to T2, before which a 100 to a request other than
    /// INVITE would only add traffic: T1 + 2 T1 + 4 T1 with the usual values.
    pub(crate) fn trying_after_other(&self) -> Duration {
        let mut step = self.t1;
        let mut total = Duration::ZERO;
        while step < self.t2 {
            total += step;
            step *= 2;
        }
        total
    }
}

/// At 500 calls/s a call leaves about four transactions for 32 s; the table holds that and some reserve, in about
/// 200 MiB at worst. When it is full, requests are answered 503 without state.
pub const DEFAULT_CAPACITY: usize = 100_000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            // RFC 3261 §17.2.1: 100 within 200 ms, less what the loop may be late.
            trying_after: Duration::from_millis(150),
            capacity: DEFAULT_CAPACITY,
        }
    }
}
