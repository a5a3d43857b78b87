//! Which records this peer keeps, and how the others go (RFC 6940 §10.7.3).
//!
//! A peer keeps what it owns and what its next two predecessors own. Behind the third predecessor it is no replica any
//! more; but a record there may be the last copy of something, left by peers that were down together, or acknowledged in
//! a ring that has since become part of this one. So a walk asks the owner of each such record by a Stat, seconds after
//! the predecessors have changed, and sends it what it lacks, over a link that is made for it if need be. Only when the
//! three predecessors have stood for a minute does storage drop a record, if its owner has each value, the same or newer.
//! Dropping waits for other repairs. The walk goes one record at a time.

use std::collections::{BTreeMap, VecDeque};
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
    /// When these ranges, if they stand, allow records to be dropped.
    drops_from: Option<Instant>,
    /// The walk under way, or the last one: what was asked for an earlier one counts no more.
    walk: Walk,
    /// Where the walk has come to.
    after: Option<ResourceId>,
    /// Read, and not yet asked for.
    surplus: VecDeque<ResourceId>,
    /// Whether the last batch of the walk was read.
    is_read: bool,
    /// When the next step is due; none while an answer is awaited, and while nothing lies behind.
    at: Option<Instant>,
    /// This walk has left something undone: another follows soon.
    is_short: bool,
    /// Records for owners to which there is no link yet.
    undelivered: BTreeMap<NodeId, Undelivered>,
}

/// What an owner lacks and cannot be sent yet.
struct Undelivered {
    resources: Vec<ResourceId>,
    until: Instant,
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
        let given_up = self.undelivered.values().map(|waiting| waiting.until);
        self.at.into_iter().chain(given_up).min()
    }

    /// Begins from the start, at that time.
    fn begin(&mut self, at: Option<Instant>) {
        self.walk.0 += 1;
        self.after = None;
        self.surplus.clear();
        self.is_read = false;
        self.is_short = false;
        self.at = at;
    }

    /// The ranges are others, or another peer knows them better.
    fn stand_anew(&mut self, now: Instant) {
        self.drops_from = Some(now + STANDING);
        let soonest = now + SETTLES;
        // A ring that changes all the time must not put the walk off for ever.
        let at = self.at.map_or(soonest, |at| at.min(soonest));
        let is_behind = self.told.and_then(Ranges::third).is_some();
        self.begin(is_behind.then_some(at));
    }

    fn may_drop(&self, now: Instant) -> bool {
        self.drops_from.is_some_and(|from| from <= now)
    }

    /// The last record was read and asked for: when the walk begins again.
    fn next_round(&self, now: Instant) -> Instant {
        match self.drops_from {
            _ if self.is_short => now + SETTLES,
            Some(from) if from > now => from,
            _ => now + ROUND,
        }
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
        self.keeping.stand_anew(now.instant);
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
            self.keeping.stand_anew(now.instant);
        }
    }

    /// Another session may be another storage: it has to be told again, and drops nothing on an older word.
    pub(crate) fn forget_keeping(&mut self) {
        self.keeping.told = None;
        self.keeping.begin(None);
        self.session.withdraw(|errand| matches!(errand, Errand::Forget(..)));
    }

    pub(crate) fn keeping_due(&mut self, now: Now) {
        let before = self.keeping.undelivered.len();
        self.keeping
            .undelivered
            .retain(|_, waiting| waiting.until > now.instant);
        self.keeping.is_short |= self.keeping.undelivered.len() < before;
        if self.keeping.at.is_none_or(|at| at > now.instant) {
            return;
        }
        let Some(range) = self.keeping.told.and_then(Ranges::beyond) else {
            return;
        };
        let is_repairing = !self.ranges.all_confirmed() || !self.copies.is_empty() || self.admission.is_some();
        if is_repairing && self.keeping.may_drop(now.instant) || !self.session.is_usable() || self.session.is_full() {
            self.keeping.at = Some(now.instant + AFTER_REPAIR);
        } else if let Some(resource) = self.keeping.surplus.pop_front() {
            self.keeping.at = None;
            self.ask_owner(now, resource);
        } else if self.keeping.is_read {
            let next = self.keeping.next_round(now.instant);
            self.keeping.begin(Some(next));
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
            self.keeping.is_short = true;
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
        let may_drop = self.keeping.may_drop(now.instant);
        if contents.code != MessageCode::STAT_ANS || signer == self.own() || may_drop && !is_behind {
            self.keeping.is_short |= !may_drop;
            return;
        }
        let command = Command::Forget {
            resource,
            stat: contents.body,
            compare_only: !may_drop,
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
        if is_needed {
            self.supply(now, owner, resource);
        }
    }

    /// Sends an owner what it lacks. It takes that only from a peer with a link and an Update (docs/deviations.md D17),
    /// so a link is made first if there is none.
    fn supply(&mut self, now: Now, owner: NodeId, resource: ResourceId) {
        if self.chord.is_peer(owner) {
            let push = self.push(now, owner, Source::Resources(vec![resource]), Reason::Offer);
            return self.push_on(now, push);
        }
        let is_known = self.keeping.undelivered.contains_key(&owner);
        if !is_known && self.keeping.undelivered.len() >= MOST_OWNERS {
            self.keeping.is_short = true;
            return;
        }
        let waiting = self.keeping.undelivered.entry(owner).or_insert_with(|| Undelivered {
            resources: Vec::new(),
            until: now.instant + LINK_TIME,
        });
        if waiting.resources.len() < MOST_UNDELIVERED {
            waiting.resources.push(resource);
        } else {
            self.keeping.is_short = true;
        }
        if is_known {
            return;
        }
        if self.links.to(owner).is_some() {
            return self.request_update(now, owner);
        }
        let body: Body = self.attach_request(true).into();
        self.request(now, Request::routed(vec![owner.into()], &body, Purpose::Notice));
    }

    /// A peer has said that it is one: what waits for it is sent.
    pub(crate) fn supply_to(&mut self, now: Now, owner: NodeId) {
        if let Some(waiting) = self.keeping.undelivered.remove(&owner) {
            let push = self.push(now, owner, Source::Resources(waiting.resources), Reason::Offer);
            self.push_on(now, push);
        }
    }

    /// An owner has not taken what it was offered: it is asked again, once the ring has settled.
    pub(crate) fn offer_again(&mut self, now: Now) {
        let is_idle = self.keeping.at.is_some_and(|at| at > now.instant + SETTLES);
        if is_idle {
            self.keeping.at = Some(now.instant + SETTLES);
        } else {
            self.keeping.is_short = true;
        }
    }
}

// RFC 6940 §10.7.3: with three predecessors between a peer and a resource, the peer is none of its replicas.
const PREDECESSORS: usize = 3;

/// The three have to stand for so long before anything is dropped: a peer that came among them has its copies by then.
const STANDING: Duration = Duration::from_secs(60);

/// Neighbours tell each other of a change in this time: then the owners behind them are asked what they lack.
const SETTLES: Duration = Duration::from_secs(5);

/// Looked at again after this time: what an owner lacked, or could not answer for.
const ROUND: Duration = Duration::from_secs(60);

/// How long a link to an owner may take; then its records wait for the next walk.
const LINK_TIME: Duration = Duration::from_secs(10);

/// Owners that a link is awaited to, and records for each of them; further ones wait for the next walk.
const MOST_OWNERS: usize = 64;
const MOST_UNDELIVERED: usize = 1024;

/// Between two records: ten in a second are not felt by anyone.
const PACE: Duration = Duration::from_millis(100);

/// Whether repairs have ended is looked at so often.
const AFTER_REPAIR: Duration = Duration::from_secs(5);
