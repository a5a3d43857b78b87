//! One request on its way: the response context of RFC 3261 §16.7.

use std::collections::BTreeMap;
use std::time::Instant;

use super::api::{AuthenticateId, Outcome, ResolveId, Target, Trace};
use super::branch::{Branch, BranchId, State, Verdict};
use super::route::Routed;
use crate::aor::Aor;
use crate::flow::{Flow, FlowKind, Hop};
use crate::message::{Message, Method};
use crate::token;
use crate::transaction::{Class, ServerId};

/// Names a context: one request in the events of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextId(pub(super) u64);

impl ContextId {
    /// Returns its number, which no other context of this proxy has or had.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// What becomes of P-Asserted-Identity (RFC 3325 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asserted {
    /// The sender may assert: it stays.
    Keep,
    /// The sender may not, and nobody else knows.
    Remove,
    /// This edge knows who it is.
    Set(String),
}

/// All that is kept of one request.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) server: ServerId,
    /// Whether the server transaction still stands.
    pub(super) is_server_open: bool,
    pub(super) flow: Flow,
    pub(super) reply_to: Hop,
    /// The request as received, its topmost Via stamped.
    pub(super) request: Message,
    pub(super) method: Method,
    /// Unset if nobody records it.
    pub(super) trace: Option<Trace>,
    pub(super) routed: Routed,
    pub(super) asserted: Asserted,
    /// Whether this edge knows who sent the request: by credentials, a token or a certificate. What it answers to anyone
    /// else is answered once and forgotten.
    pub(super) is_vetted: bool,
    /// The user who was authenticated.
    pub(super) user: Option<Aor>,
    /// What our Record-Route names on the caller's side, for a phone.
    pub(super) caller: Option<token::Target>,
    /// The user who is asked for, unless the request follows a route.
    pub(super) aor: Option<Aor>,
    /// The question that waits for its answer.
    pub(super) authenticate: Option<AuthenticateId>,
    /// The look-up that may still bring targets.
    pub(super) resolve: Option<ResolveId>,
    pub(super) outcome: Option<Outcome>,
    pub(super) branches: BTreeMap<BranchId, Branch>,
    /// Targets that cannot have the request yet.
    pub(super) waiting: Vec<Target>,
    /// When the turn of those that have it ends, if others wait for that.
    pub(super) turn_ends: Option<Instant>,
    /// RFC 5393 §5.3.3: what is left to share out.
    pub(super) breadth: u32,
    pub(super) is_cancelled: bool,
    /// Whether a final response was sent.
    pub(super) is_answered: bool,
    /// Whether an edge said that it does not serve the AOR, and whether the overlay was asked again for that.
    pub(super) retry: Retry,
    /// The Reason header of the caller's CANCEL.
    pub(super) cancel_reason: Option<String>,
}

/// The one repeated look-up after a wrong cache entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    Unneeded,
    Wanted,
    Done,
}

impl Context {
    pub(super) fn class(&self) -> Class {
        class_of(&self.method)
    }

    pub(super) fn is_invite(&self) -> bool {
        self.method == Method::Invite
    }

    /// Tells whether the request came from a phone, so that this edge is the caller's.
    pub(super) fn is_from_phone(&self) -> bool {
        self.flow.kind == FlowKind::Phone
    }

    /// Tells whether a user asks for his own AOR.
    pub(super) fn is_to_self(&self) -> bool {
        self.user.is_some() && self.user == self.aor
    }

    /// Tells whether a target is the very phone that sent the request.
    pub(super) fn came_from(&self, target: &Target) -> bool {
        let Target::Phone { binding, flow, .. } = target else {
            return false;
        };
        let is_same_flow = flow.as_ref().is_some_and(|flow| {
            flow.transport == self.flow.transport
                && flow.connection == self.flow.connection
                && flow.remote == self.flow.remote
        });
        let is_same_binding = binding.is_some_and(|binding| self.caller == Some(token::Target::Binding(binding)));
        is_same_flow || is_same_binding
    }

    /// Iterates over the branches whose end less preferred targets wait for.
    pub(super) fn awaited(&self) -> impl Iterator<Item = BranchId> {
        let is_awaited = |branch: &Branch| self.waiting.iter().any(|target| branch.target.outranks(target));
        let branches = self.branches.iter();
        branches
            .filter(move |(_, branch)| branch.is_pending() && is_awaited(branch))
            .map(|(number, _)| *number)
    }

    /// Tells whether a branch may still bring a final response that is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        self.resolve.is_some() || self.branches.values().any(Branch::is_pending)
    }

    /// Notes what came of a branch. Its share of Max-Breadth may be used again (RFC 5393 §5.3.3.1).
    pub(super) fn end_branch(&mut self, number: BranchId, state: State, verdict: Verdict) {
        if let Some(branch) = self.branches.get_mut(&number) {
            branch.state = state;
            branch.verdict = Some(verdict);
            self.breadth += std::mem::take(&mut branch.breadth);
        }
    }

    /// Tells whether nothing can come any more.
    pub(super) fn is_over(&self) -> bool {
        !self.is_server_open && self.branches.values().all(|branch| branch.client.is_none())
    }
}

/// Returns the sort of transaction that a method makes.
pub(super) fn class_of(method: &Method) -> Class {
    if *method == Method::Invite {
        Class::Invite
    } else {
        Class::Other
    }
}
