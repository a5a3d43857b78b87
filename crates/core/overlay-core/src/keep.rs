//! Which records this peer keeps, and how the others go (RFC 6940 §10.7.3).
//!
//! A peer keeps what it owns and what its next two predecessors own. Behind the third predecessor it is no replica any
//! more; but a record there may be the last copy of something, left by peers that were down together. So the three have
//! to stand for a minute, then the owner of each record is asked by a Stat, and storage drops the record if the owner has
//! each value, the same or newer. What the owner lacks is sent to it instead. All of this waits for other repairs, and
//! goes one record at a time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tracing::debug;

use chord::Range;
use wire::{Body, Destination, ErrorCode, MessageCode, NodeId, Now, ResourceId};

use crate::core::Core;
use crate::push::{Reason, Source};
use crate::seam::{Answer, Command, ReplicaStore};
use crate::session::Errand;
use crate::transaction::{Answered, Outcome, Purpose, Request};

/// The ranges that storage was told of, and the walk over the records behind them.
#[derive(Default)]
pub(crate) struct Keeping {
    told: Option<Ranges>,
    /// The walk under way, or the last one: what was asked for an earlier one counts no more.
    walk: Walk,
    /// Where the walk has come to.
    after: Option<ResourceId>,
    /// Read, and not yet asked for.
    surplus: VecDeque<ResourceId>,
    /// Whether the last batch of the walk was read.
    is_read: bool,
    /// When the next step is due; none while an answer is awaited, and while there is nothing to drop.
    at: Option<Instant>,
}

/// Names one walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Walk(u64);

/// What this peer keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ranges {
    own: Range,
    /// The next three predecessors, as far as there are so many.
    between: [Option<NodeId>; PREDECESSORS],
}

impl Ranges {
    /// The third predecessor: what it owns is not kept here.
    fn third(self) -> Option<NodeId> {
        self.between.last().copied().flatten()
    }

    /// Where the records lie that are not kept.
    fn beyond(self) -> Option<Range> {
        let until = self.third()?;
        Some(Range {
            after: self.own.until,
            until,
        })
    }
}

impl Keeping {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.at
    }

    /// Begins from the start, at that time.
    fn begin(&mut self, at: Option<Instant>) {
        self.walk.0 += 1;
        self.after = None;
        self.surplus.clear();
        self.is_read = false;
        self.at = at;
    }
}

impl Core {
    /// Tells storage which records to keep, if that has changed; what is not among them has to wait anew.
    pub(crate) fn tell_ranges(&mut self, now: Now) {
        let predecessors = self.chord.predecessors();
        let ranges = self.chord.own_range().map(|own| Ranges {
            own,
            between: std::array::from_fn(|nth| predecessors.get(nth).copied()),
        });
        if self.keeping.told == ranges {
            return;
        }
        self.keeping.told = ranges;
        let has_third = ranges.and_then(Ranges::third).is_some();
        self.keeping.begin(has_third.then(|| now.instant + STANDING));
        if let Some(ranges) = ranges {
            let own = ranges.own;
            let first = ranges.third().unwrap_or(own.until);
            let command = Command::Keep {
                own: (own.after, own.until),
                replica: (first, own.after),
            };
            self.command(now, command, Errand::Nothing);
        }
    }

    /// The owner of a resource sends what it has: it takes this peer for a replica, and knows the ring better.
    pub(crate) fn keep_longer(&mut self, now: Now, resource: ResourceId) {
        let beyond = self.keeping.told.and_then(Ranges::beyond);
        if beyond.is_some_and(|range| range.contains(resource)) {
            self.keeping.begin(Some(now.instant + STANDING));
        }
    }

    /// Another session may be another storage: it has to be told again, and drops nothing on an older word.
    pub(crate) fn forget_keeping(&mut self) {
        self.keeping.told = None;
        self.session.withdraw(|errand| matches!(errand, Errand::Forget(..)));
    }

    pub(crate) fn keeping_due(&mut self, now: Now) {
        if self.keeping.at.is_none_or(|at| at > now.instant) {
            return;
        }
        let Some(range) = self.keeping.told.and_then(Ranges::beyond) else {
            return;
        };
        let is_repairing = !self.ranges.all_confirmed() || !self.copies.is_empty() || self.admission.is_some();
        if is_repairing || !self.session.is_usable() || self.session.is_full() {
            self.keeping.at = Some(now.instant + AFTER_REPAIR);
        } else if let Some(resource) = self.keeping.surplus.pop_front() {
            self.keeping.at = None;
            self.ask_owner(now, resource);
        } else if self.keeping.is_read {
            self.keeping.begin(Some(now.instant + ROUND));
        } else {
            self.keeping.at = None;
            let command = Command::Scan {
                after: self.keeping.after,
                range: (range.after, range.until),
            };
            self.command(now, command, Errand::Surplus(self.keeping.walk));
        }
    }

    /// Storage has read a batch of what is not kept.
    pub(crate) fn surplus_read(&mut self, now: Now, walk: Walk, stores: Vec<ReplicaStore>, next: Option<ResourceId>) {
        if walk != self.keeping.walk {
            return;
        }
        let mut resources: Vec<ResourceId> = stores.into_iter().map(|store| store.resource).collect();
        // A record comes as several Stores, one behind the other.
        resources.dedup();
        self.keeping.surplus = resources.into();
        self.keeping.is_read = next.is_none();
        self.keeping.after = next;
        self.keeping.at = Some(now.instant + PACE);
    }

    fn ask_owner(&mut self, now: Now, resource: ResourceId) {
        let body: Body = self.parameters.stat_all(resource).into();
        let destination = vec![Destination::Resource(resource)];
        let purpose = Purpose::Surplus(self.keeping.walk, resource);
        self.request(now, Request::routed(destination, &body, purpose).bulk());
    }

    /// The owner of a record says what it has of it.
    pub(crate) fn owner_answered(&mut self, now: Now, walk: Walk, resource: ResourceId, outcome: Outcome) {
        if walk != self.keeping.walk {
            return;
        }
        self.keeping.at = Some(now.instant + PACE);
        let Outcome::Answered(Answered { contents, signer, .. }) = outcome else {
            return;
        };
        // An owner on this side of the third predecessor would mean that this peer is a replica, or sees the ring otherwise.
        let is_behind = self.keeping.told.and_then(Ranges::third).is_some_and(|third| {
            let behind = Range {
                after: NodeId::from_u128(resource.to_u128().wrapping_sub(1)),
                until: third,
            };
            behind.contains(signer.into())
        });
        if contents.code != MessageCode::STAT_ANS || !is_behind {
            return;
        }
        let command = Command::Forget {
            resource,
            stat: contents.body,
        };
        self.keeping.at = None;
        self.command(now, command, Errand::Forget(walk, resource, signer));
    }

    /// Storage has dropped the record, or has something that its owner lacks.
    pub(crate) fn forgot(&mut self, now: Now, (walk, resource, owner): (Walk, ResourceId, NodeId), answer: &Answer) {
        if walk != self.keeping.walk {
            return;
        }
        self.keeping.at = Some(now.instant + PACE);
        let is_needed = matches!(answer, Answer::Refused { code, .. } if *code == ErrorCode::DataTooOld.number());
        debug!(resource_id = %resource.short(), node_id = %owner.short(), is_needed, "owner has answered for a record");
        // Without a link and an Update the owner would not take it (docs/deviations.md D17): then the record stays.
        if is_needed && self.chord.is_peer(owner) {
            let push = self.push(now, owner, Source::Resources(vec![resource]), Reason::Offer);
            self.push_on(now, push);
        }
    }
}

// RFC 6940 §10.7.3: with three predecessors between a peer and a resource, the peer is none of its replicas.
const PREDECESSORS: usize = 3;

/// The three have to stand for so long: who has come among them has its copies by then.
const STANDING: Duration = Duration::from_secs(60);

/// Looked at again after this time: what an owner lacked, or could not answer for.
const ROUND: Duration = Duration::from_secs(60);

/// Between two records: ten in a second are not felt by anyone.
const PACE: Duration = Duration::from_millis(100);

/// Whether repairs have ended is looked at so often.
const AFTER_REPAIR: Duration = Duration::from_secs(5);
