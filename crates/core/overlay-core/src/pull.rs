//! Pull before act: while its range is unconfirmed, an owner asks the other holders for a resource before it serves it.
//!
//! So does one whose next successor names another predecessor, which stands between them: that peer may be cut off from
//! this one alone, have taken this range over, and store at the same holders.
//!
//! An older value is a worse answer than none, so both next successors are asked whatever is on the own disk, and what
//! they have is merged. They answer from what they hold and ask nobody. A holder that is lost meanwhile is replaced by
//! the next one; one that lives and does not answer in time is not waited for while the other is ([`crate::marks`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::debug;

use chord::Range;
use wire::{Body, ErrorCode, NodeId, Now, ResourceId};

use crate::core::Core;
use crate::serve::Asked;
use crate::session::Errand;
use crate::share::may_take;
use crate::transaction::{Outcome, Purpose, Request};

/// The resources that are being asked for.
#[derive(Default)]
pub(crate) struct Pulls {
    open: BTreeMap<ResourceId, Pull>,
}

struct Pull {
    until: Instant,
    waiting: Vec<Waiting>,
    asked: BTreeSet<NodeId>,
    /// Until when each answer that is still to come is in time.
    due_at: BTreeMap<NodeId, Instant>,
    done: BTreeSet<NodeId>,
}

/// A request that waits for its resource.
pub(crate) struct Waiting {
    pub(crate) asked: Asked,
    pub(crate) body: Bytes,
    pub(crate) certificates: Vec<Bytes>,
}

impl Pulls {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let due = |pull: &Pull| pull.due_at.values().copied().fold(pull.until, Instant::min);
        self.open.values().map(due).min()
    }

    /// Whether a signer may wait for a resource: among those that wait for it, and among all.
    fn has_room(&self, resource: ResourceId, signer: NodeId) -> bool {
        let is_of_signer = |waiting: &&Waiting| waiting.asked.signer == signer;
        let of_signer = |pull: &Pull| pull.waiting.iter().filter(is_of_signer).count();
        let own = self.open.values().map(of_signer).sum();
        let taken = self.open.values().map(|pull| pull.waiting.len()).sum();
        let may_wait_here = |pull: &Pull| may_take(of_signer(pull), pull.waiting.len(), MOST_WAITING_FOR_ONE);
        may_take(own, taken, MOST_WAITING) && self.open.get(&resource).is_none_or(may_wait_here)
    }
}

impl Core {
    /// Whether what is on the own disk is the whole truth about a resource.
    pub(crate) fn is_certain(&self, resource: ResourceId) -> bool {
        self.ranges.is_confirmed(resource) && !self.is_contested()
    }

    /// Whether the next successor knows a peer between itself and this one.
    fn is_contested(&self) -> bool {
        let next = self.chord.replicas().first().copied();
        let seen = next.and_then(|next| self.chord.range_of(next));
        seen.is_some_and(|seen| {
            let between = Range {
                after: self.own(),
                until: seen.until,
            };
            seen.after != self.own() && seen.after != seen.until && between.contains(seen.after.into())
        })
    }

    /// Asks the other holders for a resource, then carries the request out.
    pub(crate) fn pull_first(&mut self, now: Now, resource: ResourceId, waiting: Waiting) {
        if !self.pulls.has_room(resource, waiting.asked.signer) {
            self.counters.shed += 1;
            return self.leave_unanswered(&waiting.asked);
        }
        let pull = self.pulls.open.entry(resource).or_insert_with(|| Pull {
            until: now.instant + PATIENCE,
            waiting: Vec::new(),
            asked: BTreeSet::new(),
            due_at: BTreeMap::new(),
            done: BTreeSet::new(),
        });
        pull.waiting.push(waiting);
        self.pull_on(now, resource);
    }

    /// Asks whoever was not asked yet; ends when all holders have answered.
    fn pull_on(&mut self, now: Now, resource: ResourceId) {
        let mut holders = self.chord.replicas().to_vec();
        let is_late = |holder: &NodeId| self.marks.is_marked(now.instant, *holder);
        if !holders.iter().all(is_late) {
            holders.retain(|holder| !is_late(holder));
        }
        let due_at = now.instant + 3 * self.parameters.reliability_timer;
        let Some(pull) = self.pulls.open.get_mut(&resource) else {
            return;
        };
        if !holders.is_empty() && holders.iter().all(|holder| pull.done.contains(holder)) {
            return self.pull_done(now, resource);
        }
        let fresh: Vec<NodeId> = holders
            .into_iter()
            .filter(|holder| pull.asked.insert(*holder))
            .collect();
        pull.due_at.extend(fresh.iter().map(|holder| (*holder, due_at)));
        for holder in fresh {
            let body: Body = self.parameters.fetch_all(resource).into();
            self.request(
                now,
                Request::to(holder, &body, Purpose::Pull(resource, holder)).over(holder),
            );
        }
    }

    pub(crate) fn pull_answered(&mut self, now: Now, resource: ResourceId, holder: NodeId, outcome: Outcome) {
        let Some(pull) = self.pulls.open.get_mut(&resource) else {
            return;
        };
        pull.due_at.remove(&holder);
        if matches!(outcome, Outcome::Silent) {
            pull.asked.remove(&holder);
            return self.pull_on(now, resource);
        }
        // More than one answer can hold: the holder's push of the whole range brings it.
        if matches!(&outcome, Outcome::Refused(refusal) if refusal.code == ErrorCode::ResponseTooLarge) {
            return;
        }
        if self
            .merge_answer(now, resource, outcome, Errand::Pulled(resource, holder))
            .is_none()
        {
            self.pull_merged(now, resource, holder);
        }
    }

    /// What a holder has is merged, or it has nothing.
    pub(crate) fn pull_merged(&mut self, now: Now, resource: ResourceId, holder: NodeId) {
        if let Some(pull) = self.pulls.open.get_mut(&resource) {
            pull.done.insert(holder);
            self.pull_on(now, resource);
        }
    }

    fn pull_done(&mut self, now: Now, resource: ResourceId) {
        let Some(pull) = self.pulls.open.remove(&resource) else {
            return;
        };
        self.ranges.pulled(resource);
        for waiting in pull.waiting {
            self.act(now, resource, waiting);
        }
    }

    /// Part of the range is confirmed: what waited for it goes on.
    pub(crate) fn pulls_confirmed(&mut self, now: Now) {
        let confirmed: Vec<ResourceId> = self
            .pulls
            .open
            .keys()
            .copied()
            .filter(|resource| self.is_certain(*resource))
            .collect();
        for resource in confirmed {
            self.pull_done(now, resource);
        }
    }

    /// The holders are others than before.
    pub(crate) fn pulls_replicas_changed(&mut self, now: Now) {
        let open: Vec<ResourceId> = self.pulls.open.keys().copied().collect();
        for resource in open {
            self.pull_on(now, resource);
        }
    }

    /// Holds it against holders that live, and have not answered in time.
    fn mark_late_holders(&mut self, now: Now) {
        let mut late = Vec::new();
        for (resource, pull) in &mut self.pulls.open {
            let due = pull.due_at.extract_if(.., |_, at| *at <= now.instant);
            late.extend(due.map(|(holder, _)| (*resource, holder)));
        }
        for (resource, holder) in late {
            if self.links.answers(holder) {
                debug!(node_id = %holder.short(), "holder is late");
                self.marks.mark(now.instant, holder);
            }
            self.pull_on(now, resource);
        }
    }

    pub(crate) fn pulls_due(&mut self, now: Now) {
        self.mark_late_holders(now);
        let late: Vec<ResourceId> = self
            .pulls
            .open
            .iter()
            .filter(|(_, pull)| pull.until <= now.instant)
            .map(|(resource, _)| *resource)
            .collect();
        for resource in late {
            if let Some(pull) = self.pulls.open.remove(&resource) {
                pull.waiting
                    .iter()
                    .for_each(|waiting| self.leave_unanswered(&waiting.asked));
            }
        }
    }
}

/// Requests that wait for their resources, and for one of them; further ones are left unanswered, and come again.
const MOST_WAITING: usize = 4096;
const MOST_WAITING_FOR_ONE: usize = 64;

/// After so long nobody waits for the answer any more.
const PATIENCE: Duration = Duration::from_secs(15);
