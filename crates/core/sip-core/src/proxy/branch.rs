//! One branch of a context: a target and what is known of it.

use std::time::Instant;

use super::api::Target;
use crate::flow::Hop;
use crate::message::Message;
use crate::transaction::ClientId;

/// Names a branch within its context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchId(pub(super) u32);

/// Where a branch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Sent, no response yet.
    Waiting,
    /// A provisional response came.
    Ringing,
    /// It was silent too long: it no longer counts, but what it still says is dealt with.
    GivenUp,
    /// It has its final response.
    Done,
}

/// Whether a CANCEL is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancel {
    No,
    /// As soon as a provisional response comes (RFC 3261 §9.1).
    Wanted,
    Sent,
}

/// What a branch answers.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// What the far end sent.
    Theirs(Box<Message>),
    /// What this edge concludes itself.
    Own(u16),
}

impl Verdict {
    pub(super) fn code(&self) -> u16 {
        match self {
            Verdict::Theirs(response) => response.status().unwrap_or_default(),
            Verdict::Own(code) => *code,
        }
    }
}

#[derive(Debug)]
pub(super) struct Branch {
    pub(super) target: Target,
    pub(super) hop: Option<Hop>,
    pub(super) client: Option<ClientId>,
    pub(super) state: State,
    pub(super) cancel: Cancel,
    pub(super) verdict: Option<Verdict>,
    /// Its share of Max-Breadth, until it has its verdict.
    pub(super) breadth: u32,
    /// When it is silent too long, or rings too long (Timer C).
    pub(super) deadline: Option<Instant>,
}

impl Branch {
    /// Makes a branch that ended before anything was sent.
    pub(super) fn stillborn(target: Target, code: u16) -> Self {
        Self {
            target,
            hop: None,
            client: None,
            state: State::Done,
            cancel: Cancel::No,
            verdict: Some(Verdict::Own(code)),
            breadth: 0,
            deadline: None,
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        matches!(self.state, State::Waiting | State::Ringing)
    }

    /// Tells whether the phone has refused, so that no other flow to it may be tried (RFC 5626 §7). What this edge
    /// concludes by itself is a matter of the flow.
    pub(super) fn is_answered_by_phone(&self) -> bool {
        matches!(&self.verdict, Some(verdict @ Verdict::Theirs(_)) if !matches!(verdict.code(), 408 | 430))
    }

    pub(super) fn is_edge(&self) -> bool {
        matches!(self.target, Target::Edge { .. })
    }
}
