//! The ids, commands and outputs of a [`Core`](crate::Core).

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use wire::{
    Destination, ErrorCode, KindId, MessageCode, NodeId, ResourceId, SecurityBlock, TraceContext, TransactionId,
};

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

impl Call {
    /// What the request is.
    // RFC 6940 §6.3.3: the contents begin with it.
    #[must_use]
    pub fn code(&self) -> MessageCode {
        let octets = self.contents.first_chunk::<2>();
        MessageCode(octets.map_or(0, |octets| u16::from_be_bytes(*octets)))
    }
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
    /// Something happened to a request of a trace.
    Traced(Traced),
    /// A newer configuration document was accepted and should be kept.
    Document(Bytes),
    /// The ring is another than before: this should be kept for the next start.
    Remember(Membership),
    /// Nothing to do before this time, if no input comes; always the last output.
    Timeout(Instant),
}

/// What happens to a request that somebody records the trace of (docs/deviations.md D10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Traced {
    /// A call of this node goes out as this transaction.
    Called(CallId, TransactionId),
    /// It was passed on to this node: a step that is over at once.
    Forwarded(Step, NodeId),
    /// It came to its end, at this node or at one of its clients: a step that lasts until it has
    /// [`Ended`](Self::Ended). With the Kinds that it names.
    Arrived(Step, Vec<KindId>),
    /// The step with this span id is over.
    Ended([u8; 8], Ending),
    /// A call was not answered yet, and its request was sent again.
    SentAgain(CallId),
}

/// A step of a traced request at this node: one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The step itself.
    pub context: TraceContext,
    /// The span id that the request came with.
    pub parent: [u8; 8],
    /// What the request is; unknown where only a piece of it passes.
    pub code: Option<MessageCode>,
    /// The transaction.
    pub transaction_id: TransactionId,
    /// Where it goes, as far as that is a node or a resource.
    pub target: Option<Target>,
    /// The remaining TTL.
    pub ttl: u8,
}

/// The end of a destination list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A node.
    Node(NodeId),
    /// A resource.
    Resource(ResourceId),
}

/// How a request ended where it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an answer.
    Answered,
    /// With a refusal.
    Refused(ErrorCode),
    /// Without either.
    Unanswered,
}
