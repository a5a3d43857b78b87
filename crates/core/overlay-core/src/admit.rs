//! Letting a node in (RFC 6940 §10.5): the admitting peer's side of a join.
//!
//! The joining node gets all records of its range first; then, in one step, this peer's range ends after it and the
//! Update that says so goes out; then what changed meanwhile, and at last the note that nothing more will come. The
//! place is checked at the start and again at the hand-over: the ring may have moved in between.

use std::collections::BTreeSet;

use tracing::{debug, info};

use chord::Range;
use wire::{ErrorCode, JoinAns, JoinReq, NodeId, Now, ResourceId};

use crate::core::Core;
use crate::push::{PushId, Reason, Source};
use crate::serve::Asked;

/// The node that is being let in.
pub(crate) struct Admission {
    joining: NodeId,
    range: Range,
    push: PushId,
    /// Resources in its range that changed since the hand-over began.
    changed: BTreeSet<ResourceId>,
    /// Too many to remember: the whole range goes once more.
    is_all_changed: bool,
}

impl Core {
    pub(crate) fn join_asked(&mut self, now: Now, asked: Asked, join: &JoinReq) {
        let joining = asked.signer;
        // RFC 6940 §6.4.2.1: the signer joins, and says so over the link bound to its Node-ID.
        if join.joining_peer_id != joining || !asked.is_of_linked_peer() {
            return self.refuse(
                now,
                asked,
                ErrorCode::Forbidden,
                "Join not over a link of the joining peer",
            );
        }
        let is_busy = self
            .admission
            .as_ref()
            .is_some_and(|admission| admission.joining != joining);
        if is_busy || !self.session.is_usable() || !self.pushes.has_room(joining, Reason::Admission) {
            return self.refuse(now, asked, ErrorCode::InProgress, "another join is in progress");
        }
        let Some(own) = self.chord.own_range().filter(|_| self.chord.admits(joining)) else {
            return self.refuse(
                now,
                asked,
                ErrorCode::NotFound,
                "not responsible for the joining peer's place",
            );
        };
        if let Some(older) = self.admission.take() {
            self.pushes.cancel(older.push);
        }
        let range = Range {
            after: own.after,
            until: joining,
        };
        debug!(node_id = %joining.short(), range = %range, "admitting peer");
        self.answer(now, asked, &JoinAns::default().into());
        let push = self.push(now, joining, Source::range(range), Reason::Admission);
        self.admission = Some(Admission {
            joining,
            range,
            push,
            changed: BTreeSet::new(),
            is_all_changed: false,
        });
        self.push_on(now, push);
    }

    /// A Store, of another holder or an original one, changes a resource: the joining node must have the change too, and
    /// so must whoever had all before.
    pub(crate) fn note_change(&mut self, resource: ResourceId, from: Option<NodeId>) {
        self.ranges.outdate(resource, from);
        if let Some(admission) = self
            .admission
            .as_mut()
            .filter(|admission| admission.range.contains(resource) && !admission.is_all_changed)
        {
            admission.changed.insert(resource);
            admission.is_all_changed |= admission.changed.len() > MOST_CHANGED;
        }
    }

    /// The joining node has all records of its range: the hand-over point.
    pub(crate) fn records_handed_over(&mut self, now: Now) {
        let Some(admission) = self.admission.take() else { return };
        let joining = admission.joining;
        match self.chord.admit(now, joining) {
            Ok(()) => {
                self.ranges.admitted(joining);
                info!(node_id = %self.own().short(), joining_peer = %joining.short(), "admitted peer");
            }
            Err(error) => {
                debug!(%error, "place was taken meanwhile");
                return;
            }
        }
        let range = admission.range;
        let source = if admission.is_all_changed {
            Source::range(range)
        } else {
            Source::Resources(admission.changed.into_iter().collect())
        };
        let push = self.push(now, joining, source, Reason::Late(range));
        self.push_on(now, push);
    }

    /// The hand-over failed: nothing has happened, this peer still owns the range.
    pub(crate) fn admission_failed(&mut self) {
        if let Some(admission) = self.admission.take() {
            debug!(node_id = %admission.joining.short(), "join was given up");
        }
    }

    pub(crate) fn admission_link_down(&mut self, _now: Now, peer: NodeId) {
        if self
            .admission
            .as_ref()
            .is_some_and(|admission| admission.joining == peer)
        {
            self.admission_failed();
        }
    }
}

/// Changed resources remembered during one hand-over.
const MOST_CHANGED: usize = 4096;
