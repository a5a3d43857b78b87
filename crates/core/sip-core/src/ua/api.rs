//! What goes into an agent and what comes out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::aor::Aor;
use crate::transaction;

/// Who the agent is and how it behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The user.
    pub aor: Aor,
    /// The password.
    pub password: Password,
    /// The agent's own address.
    pub local: SocketAddr,
    /// The edge, which is registrar and outbound proxy.
    pub edge: SocketAddr,
    /// The address for media that is written into SDP.
    pub media: SocketAddr,
    /// How long it rings before it answers a call.
    pub ring: Duration,
    /// What all identifiers are derived from; it must differ for each agent and start.
    pub seed: [u8; 32],
}

/// A password, which does not show in Debug.
#[derive(Clone)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Password(..)")
    }
}

/// What the agent wants done, or tells.
#[derive(Clone, Debug)]
pub enum Output {
    /// This datagram is to be sent there.
    Send {
        /// The destination.
        to: SocketAddr,
        /// One message.
        bytes: Bytes,
    },
    /// Something happened.
    Event(Event),
    /// Nothing more for now; [`Agent::handle_timeout`](super::Agent::handle_timeout) is due then, if ever.
    Timeout(Option<Instant>),
}

/// What happened to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The edge took the registration.
    Registered {
        /// For how many seconds.
        expires: u32,
    },
    /// The edge took the un-registration.
    Unregistered,
    /// A REGISTER failed; the code is 408 when nothing came back.
    RegisterFailed {
        /// The status code.
        code: u16,
    },
    /// A call came in and rings.
    Incoming {
        /// The caller's URI.
        from: String,
    },
    /// The called phone rings, or tells of other progress.
    Progress {
        /// The status code.
        code: u16,
    },
    /// The call is up: the 2xx was acknowledged.
    Established,
    /// The call was hung up, by either side.
    Ended,
    /// The call did not come up; the code is 408 when nothing came back.
    CallFailed {
        /// The status code.
        code: u16,
        /// The reason phrase.
        reason: String,
    },
}

/// Why a command cannot be followed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is a call already.
    #[error("agent is in a call")]
    Busy,
    /// There is no call.
    #[error("agent is in no call")]
    NoCall,
    /// The table of transactions is full.
    #[error(transparent)]
    Full(#[from] transaction::Full),
}
