//! What goes into the proxy and what comes out.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use super::branch::BranchId;
use super::context::ContextId;
use crate::aor::Aor;
use crate::flow::{Flow, Hop, NodeId, Transport};
use crate::message::{Message, Method, Name};
use crate::token::BindingId;

/// One look-up that the proxy asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResolveId(pub(super) u64);

/// One question who the sender of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthenticateId(pub(super) u64);

/// One REGISTER that was handed to the registrar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegisterId(pub(super) u64);

/// What the proxy wants done. Each poll yields one until [`Output::Timeout`], which ends the round.
#[derive(Debug, Clone)]
pub enum Output {
    /// These octets are to be sent there. A hop that cannot be reached is reported with
    /// [`Core::handle_unreachable`](super::Core::handle_unreachable).
    Send {
        /// Where to.
        hop: Hop,
        /// One message.
        bytes: Bytes,
    },
    /// The request needs an authenticated user. Answered once with
    /// [`Core::handle_authenticated`](super::Core::handle_authenticated).
    Authenticate {
        /// Repeated by the answer.
        id: AuthenticateId,
        /// Where the request came from; a connection that registered the AOR may stand for credentials.
        flow: Flow,
        /// The request.
        request: Message,
        /// Its context.
        context: ContextId,
    },
    /// A REGISTER for the registrar. Answered once with [`Core::handle_registered`](super::Core::handle_registered) or
    /// [`Core::handle_not_registered`](super::Core::handle_not_registered).
    Register {
        /// Repeated by the answer.
        id: RegisterId,
        /// Where the request came from.
        flow: Flow,
        /// The request.
        request: Message,
        /// Its context.
        context: ContextId,
    },
    /// Targets are wanted. Answered any number of times, and ended once, with
    /// [`Core::handle_resolved`](super::Core::handle_resolved).
    Resolve {
        /// Repeated by each answer.
        id: ResolveId,
        /// What to look up.
        query: Query,
        /// The context of the request; an ACK has none.
        context: Option<ContextId>,
    },
    /// Nobody waits for the answers to this look-up any more.
    Abandon(ResolveId),
    /// An edge says that it does not serve this AOR: what is cached of it is wrong (RFC 5626 §5.3.1 gives the code).
    Forget {
        /// The AOR.
        aor: Aor,
        /// The edge.
        node: NodeId,
    },
    /// An edge did not answer an INVITE in time: it is to be skipped for a while.
    EdgeSilent(NodeId),
    /// Something happened that a log, span or ladder may show.
    Event(Event),
    /// Nothing more for now; [`Core::handle_timeout`](super::Core::handle_timeout) is due then, if ever.
    Timeout(Option<Instant>),
}

/// What to look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Where a user can be reached.
    Aor {
        /// The user.
        aor: Aor,
        /// How far to look.
        scope: Scope,
    },
    /// The binding that a token names.
    Binding(BindingId),
    /// The flow to the phone that a token names by its address.
    Source {
        /// Its transport.
        transport: Transport,
        /// Its address.
        address: SocketAddr,
    },
}

/// How far a look-up goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Bindings of this edge, and the overlay.
    Everywhere,
    /// The overlay once more, past any cache, because a cached entry was wrong.
    OverlayAgain,
    /// Bindings of this edge only.
    Local,
}

/// What a look-up brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// Further targets.
    Targets(Vec<Target>),
    /// There will be no more.
    Done(Outcome),
}

/// How a look-up ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All there is was found.
    Complete {
        /// Whether there is such a user at all.
        is_known: bool,
    },
    /// The overlay did not answer in time.
    TimedOut,
    /// This edge cannot ask the overlay.
    Unavailable,
}

/// Where a request may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A phone of this edge.
    Phone {
        /// Its binding, if it has one.
        binding: Option<BindingId>,
        /// What it calls itself, if it may have several flows (RFC 5626 §4.1).
        instance: Option<Box<str>>,
        /// The way to it; none when its connection is gone.
        flow: Option<Flow>,
        /// The Contact that it registered, which becomes the Request-URI; empty leaves that as it is.
        contact: String,
        /// How much its user prefers it to other phones at this edge, in thousandths (RFC 3261 §20.10).
        q: u16,
        /// The proxies that it registered through, which become the Route (RFC 3327 §5.4); empty for none.
        path: String,
    },
    /// Another edge.
    Edge {
        /// The edge.
        node: NodeId,
        /// The peer that it is attached to.
        home: Option<NodeId>,
    },
}

impl Target {
    /// Makes the target of a phone without a binding.
    pub fn without_binding(flow: Flow) -> Self {
        Self::Phone {
            binding: None,
            instance: None,
            flow: Some(flow),
            contact: String::new(),
            q: 1000,
            path: String::new(),
        }
    }

    /// Says whether this target has its turn before the other one. Only phones of one edge are ordered: which of its
    /// phones another edge prefers is its own affair, and not known here.
    pub(super) fn outranks(&self, other: &Self) -> bool {
        match (self, other) {
            (Target::Phone { q, .. }, Target::Phone { q: other, .. }) => q > other,
            _ => false,
        }
    }

    /// Returns the Route toward a phone that registered through proxies.
    pub(super) fn path(&self) -> Option<&str> {
        match self {
            Target::Phone { path, .. } => Some(path.as_str()).filter(|path| !path.is_empty()),
            Target::Edge { .. } => None,
        }
    }

    /// Returns the instance, of which only one flow may be tried at a time (RFC 5626 §7).
    pub(super) fn instance(&self) -> Option<&str> {
        match self {
            Target::Phone { instance, .. } => instance.as_deref(),
            Target::Edge { .. } => None,
        }
    }
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authenticated {
    /// This user.
    Allowed {
        /// The user.
        aor: Aor,
        /// The name to show; empty for none.
        display: String,
        /// The binding of the flow that the request came on, if there is one.
        binding: Option<BindingId>,
    },
    /// Nobody yet, or nobody who may: the request is answered so (a challenge, a 403, a 503).
    Refused(Answer),
}

/// A final answer that this edge gives itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The reason phrase; empty for the usual one.
    pub reason: String,
    /// Headers beside those that each response has.
    pub headers: Vec<(Name<'static>, String)>,
}

impl Answer {
    /// Makes an answer with the usual reason phrase.
    pub fn new(code: u16) -> Self {
        Self {
            code,
            reason: String::new(),
            headers: Vec::new(),
        }
    }

    /// Sets the reason phrase.
    #[must_use]
    pub fn reason(mut self, reason: &str) -> Self {
        reason.clone_into(&mut self.reason);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: Name<'static>, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A span of the W3C trace that a request belongs to; one call is one trace, across edges.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span: of a request at this edge, or of a branch.
    pub span_id: [u8; 8],
    /// The span above it, if there is one.
    pub parent: Option<[u8; 8]>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Trace({}-{})",
            crate::text::to_hex(&self.trace_id),
            crate::text::to_hex(&self.span_id)
        )
    }
}

/// What the span of a request tells of it.
#[derive(Debug, Clone)]
pub struct Traced {
    /// Its trace.
    pub trace: Trace,
    /// Its Call-ID.
    pub call_id: String,
    /// Its CSeq.
    pub cseq: String,
    /// Its User-Agent; empty if it has none.
    pub user_agent: String,
}

/// A call that an INVITE asks for: who wants to talk to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its Call-ID.
    pub call_id: String,
    /// The AOR in From; the URI as it stands where that is no AOR.
    pub from: String,
    /// The AOR in To, likewise.
    pub to: String,
}

/// What happened, for logs, spans, counters and the ladder of a call.
#[derive(Debug, Clone)]
pub enum Event {
    /// A request opened a context.
    Received {
        /// The context.
        context: ContextId,
        /// The request's method.
        method: Method,
        /// Where it came from.
        flow: Flow,
        /// The call that it asks for; unset unless it is an INVITE outside a dialog.
        call: Option<Box<Call>>,
        /// The Call-ID of the call that it ends; unset unless it is a BYE.
        ends: Option<Box<str>>,
        /// What its span tells; unset if nobody records it.
        traced: Option<Box<Traced>>,
    },
    /// The same request came again.
    Repeated(ContextId),
    /// The request goes to a target.
    Branched {
        /// Its context.
        context: ContextId,
        /// The branch.
        branch: BranchId,
        /// The branch's span; unset if nobody records it.
        trace: Option<Trace>,
        /// Where it goes.
        hop: Hop,
    },
    /// A branch has its final response, or is given up.
    BranchEnded {
        /// Its context.
        context: ContextId,
        /// The branch.
        branch: BranchId,
        /// The status code, also where this edge concluded it.
        status: u16,
    },
    /// A provisional response other than 100 went to whoever sent the request.
    Progressed {
        /// The context.
        context: ContextId,
        /// The status code.
        status: u16,
    },
    /// The request was answered finally.
    Answered {
        /// Its context.
        context: ContextId,
        /// The status code.
        status: u16,
    },
    /// The request's transaction ended without a final answer: it is too late for one (RFC 4320 §4.2), or nobody was left to give it.
    Unanswered(ContextId),
    /// A message was dropped without an answer.
    Dropped {
        /// Where it came from.
        flow: Flow,
        /// Why.
        why: &'static str,
    },
}
