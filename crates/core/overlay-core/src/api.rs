//! The ids, commands and outputs of a [`Core`](crate::Core).

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use wire::{Destination, ErrorCode, MessageCode, NodeId, SecurityBlock, TraceContext, TransactionId};

use crate::membership::Membership;
use crate::seam::{Command, CommandId};

/// Names one connection; even if the core asked for it, odd if it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Names one [`Call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Names one request that was delivered to an attached client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncomingId(pub u64);

/// A request that a local user of the overlay wants answered.
#[derive(Clone, Debug)]
pub struct Call {
    /// Where the request goes (RFC 6940 §6.3.2.2).
    pub destination: Vec<Destination>,
    /// The encoded MessageContents of the request.
    pub contents: Bytes,
    /// Transaction id and security block of a message that its user has signed; none if the node itself
    /// shall sign it.
    pub signed: Option<(TransactionId, SecurityBlock)>,
    /// The attached client that signed it.
    pub from_client: Option<NodeId>,
    /// When the user wants to hear a result at the latest.
    pub deadline: Instant,
    /// The trace that the request belongs to.
    pub trace: Option<TraceContext>,
}

/// How a [`Call`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// The responsible node answered.
    Answered {
        /// The encoded MessageContents of the answer.
        contents: Bytes,
        /// The certificates that came with it.
        certificates: Vec<Bytes>,
        /// Who signed the answer.
        responder: NodeId,
        /// How many links the answer crossed.
        hops: u8,
    },
    /// The request was refused, here or elsewhere.
    Refused(Refusal),
}

/// A RELOAD error as an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error code.
    pub code: ErrorCode,
    /// What goes with it; UTF-8 text unless the code says otherwise.
    pub info: Bytes,
}

/// A request for an attached client.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// What [`Core::reply`](crate::Core::reply) has to repeat.
    pub id: IncomingId,
    /// The client it is for.
    pub client: NodeId,
    /// The transaction id, covered by the signature.
    pub transaction_id: TransactionId,
    /// The encoded MessageContents, covered by the signature.
    pub contents: Bytes,
    /// The security block, unchecked: the client verifies it.
    pub security: SecurityBlock,
    /// The trace that the request belongs to.
    pub trace: Option<TraceContext>,
}

/// Why a connection did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Nobody answered at the address.
    Unreachable,
    /// Somebody else than expected, or nobody acceptable, answered there.
    WrongPeer,
}

/// What the driver has to do.
#[derive(Debug)]
pub enum Output {
    /// Open a connection and report it with
    /// [`handle_connected`](crate::Core::handle_connected) or
    /// [`handle_connect_failed`](crate::Core::handle_connect_failed).
    Connect {
        /// The id of the connection.
        link: LinkId,
        /// Where to connect.
        address: SocketAddr,
        /// Who has to be there; none for a bootstrap node.
        expected: Option<NodeId>,
    },
    /// Write bytes to a connection.
    Send {
        /// The connection.
        link: LinkId,
        /// What to write.
        bytes: Bytes,
    },
    /// Close a connection, or give up opening it; nothing more is heard of it.
    Close {
        /// The connection.
        link: LinkId,
    },
    /// Send a command on the storage session.
    Storage(CommandId, Command),
    /// Tell the user of a call how it ended.
    CallDone(CallId, CallResult),
    /// Deliver a request to an attached client.
    Incoming(Incoming),
    /// The [`Status`](crate::Status) changed.
    Changed,
    /// A message of a trace was served or passed on.
    Traced(Traced),
    /// A newer configuration document was accepted and should be kept.
    Document(Bytes),
    /// The ring is another than before: this should be kept for the next start.
    Remember(Membership),
    /// Nothing to do before this time, if no input comes; always the last output.
    Timeout(Instant),
}

/// A step of a traced message at this node.
#[derive(Clone, Copy, Debug)]
pub struct Traced {
    /// What was done with it.
    pub kind: TracedKind,
    /// The context that it came with.
    pub parent: TraceContext,
    /// The span id of this step.
    pub span_id: [u8; 8],
    /// The message code, where this node could see it.
    pub code: Option<MessageCode>,
    /// The transaction.
    pub transaction_id: TransactionId,
    /// The remaining TTL.
    pub ttl: u8,
}

/// What a node did with a traced message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TracedKind {
    /// It was answered here.
    Served,
    /// It was passed on to this node.
    Forwarded(NodeId),
}
