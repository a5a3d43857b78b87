//! What is known of one AOR.

use std::time::Instant;

use usage::sip::{Found, Route};
use usage::user::Record;

use super::places::Place;
use super::{ENTRY, NOBODY, Need, RECORD_FRESH, RECORD_USABLE, ROUTES};

#[derive(Debug)]
pub(super) struct Entry<W> {
    pub(super) record: Option<Record>,
    pub(super) record_at: Option<Instant>,
    pub(super) routes: Vec<Route>,
    /// When the Fetch was sent that brought them.
    routes_at: Option<Instant>,
    /// The Fetch under way.
    pub(super) sent: Option<Sent<W>>,
    /// The one that was not sent yet.
    pub(super) next: Option<Next<W>>,
    pub(super) place: Option<Place>,
    /// When the last Fetch that has ended was sent.
    pub(super) sent_at: Option<Instant>,
    pub(super) asked_at: Instant,
    /// When a record that was known was last fetched because it did not fit.
    pub(super) again_at: Option<Instant>,
    /// When the last Fetch was due that somebody's word of a change asked for.
    pub(super) hinted_at: Option<Instant>,
    /// What was fetched before this is out of date.
    pub(super) outdated_at: Option<Instant>,
}

/// A Fetch under way.
#[derive(Debug)]
pub(super) struct Sent<W> {
    pub(super) at: Instant,
    pub(super) waiting: Vec<W>,
}

/// A Fetch that is to be sent, not before `at`.
#[derive(Debug)]
pub(super) struct Next<W> {
    pub(super) at: Instant,
    pub(super) waiting: Vec<W>,
}

impl<W> Entry<W> {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            record: None,
            record_at: None,
            routes: Vec::new(),
            routes_at: None,
            sent: None,
            next: None,
            place: None,
            sent_at: None,
            asked_at: now,
            again_at: None,
            hinted_at: None,
            outdated_at: None,
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.sent.is_some() || self.next.is_some()
    }

    /// Whether a Fetch is under way that brings the newest that this edge was told of.
    pub(super) fn is_current(&self) -> bool {
        let sent = self.sent.as_ref();
        sent.is_some_and(|sent| self.outdated_at.is_none_or(|outdated| outdated <= sent.at))
    }

    /// When the last Fetch was sent.
    pub(super) fn last_sent(&self) -> Option<Instant> {
        self.sent.as_ref().map(|sent| sent.at).or(self.sent_at)
    }

    /// Whether what is known is fresh, and whether it may be used at all while it is fetched anew.
    pub(super) fn state(&self, now: Instant, need: Need) -> (bool, bool) {
        let is_younger = |at: Option<Instant>, limit| at.is_some_and(|at| now.saturating_duration_since(at) < limit);
        if self.outdated_at.is_some() {
            return (false, false);
        }
        match need {
            Need::Record => {
                let (fresh, usable) = if self.record.is_some() {
                    (RECORD_FRESH, RECORD_USABLE)
                } else {
                    (NOBODY, NOBODY)
                };
                (is_younger(self.record_at, fresh), is_younger(self.record_at, usable))
            }
            Need::Routes { are_found } => (are_found && is_younger(self.routes_at, ROUTES), false),
            Need::Entry => (is_younger(self.routes_at, ENTRY), false),
        }
    }

    /// Takes what a Fetch has brought that was sent at `sent_at`; says whether its record was older than the known one.
    pub(super) fn take(&mut self, now: Instant, sent_at: Instant, found: Found) -> bool {
        // An older version than one seen before is a roll-back by whichever node answered.
        let is_older = match (&self.record, &found.record) {
            (Some(known), Some(new)) => new.public().version < known.public().version,
            (Some(_), None) => self.record_at.is_some_and(|at| now < at + RECORD_USABLE),
            (None, _) => false,
        };
        if !is_older {
            self.record = found.record;
        }
        self.record_at = Some(now);
        self.routes = found.routes;
        self.routes_at = Some(sent_at);
        self.outdated_at = self.outdated_at.filter(|outdated| *outdated > sent_at);
        is_older
    }

    pub(super) fn forget_routes(&mut self) {
        self.routes_at = None;
        self.routes.clear();
    }
}
