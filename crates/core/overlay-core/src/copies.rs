//! Who has to get copies of what this peer owns: new successors, and all of them when the range grew.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chord::Range;
use wire::{NodeId, Now, ResourceId};

use crate::api::Output;
use crate::core::Core;
use crate::push::{Reason, Source};
use crate::ranges::within;

/// Copies that are still to be made.
#[derive(Default)]
pub(crate) struct Copies {
    open: Vec<Copy>,
    /// The successors that hold the replicas.
    replicas: Vec<NodeId>,
    /// Own resources that another holder changed: the replicas have to hear of it.
    changed: BTreeSet<ResourceId>,
    spread_at: Option<Instant>,
}

/// A range whose records a successor has to get.
struct Copy {
    to: NodeId,
    range: Range,
    /// When to begin; none while it is under way.
    at: Option<Instant>,
}

impl Copies {
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether a replica has all that this peer holds of its own range.
    pub(crate) fn is_complete_at(&self, holder: NodeId) -> bool {
        self.replicas.contains(&holder) && self.changed.is_empty() && self.open.iter().all(|copy| copy.to != holder)
    }

    /// How many successors still wait for copies.
    pub(crate) fn unserved(&self) -> usize {
        let waiting: BTreeSet<NodeId> = self.open.iter().map(|copy| copy.to).collect();
        waiting.len()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.open.iter().filter_map(|copy| copy.at).chain(self.spread_at).min()
    }

    /// This peer owns nothing any more.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Drops what is no longer within the own range.
    pub(crate) fn trim(&mut self, own: Range) {
        self.open.retain(|copy| own.contains(copy.range.until.into()));
    }

    /// The own range grew: all replicas need what is new in it.
    pub(crate) fn gained(&mut self, now: Instant, range: Range) {
        for to in self.replicas.clone() {
            self.later(to, range, now + HOLD_DOWN);
        }
    }

    /// Has a range copied from a certain time on.
    pub(crate) fn later(&mut self, to: NodeId, range: Range, at: Instant) {
        self.open.retain(|copy| copy.to != to || copy.range != range);
        if self.open.len() < MOST_COPIES {
            self.open.push(Copy {
                to,
                range,
                at: Some(at),
            });
        }
    }
}

impl Core {
    /// The next two successors are others than before.
    pub(crate) fn copy_to_new_replicas(&mut self, now: Now) {
        let before = std::mem::replace(&mut self.copies.replicas, self.chord.replicas().to_vec());
        let is_loss = before.iter().any(|node| !self.chord.is_peer(*node));
        // RFC 6940 §10.7.1, and docs/deviations.md D12: after a loss bulk waits for the tables to settle.
        let at = if is_loss { now.instant + HOLD_DOWN } else { now.instant };
        let replicas = self.copies.replicas.clone();
        self.copies.open.retain(|copy| replicas.contains(&copy.to));
        if let Some(own) = self.chord.own_range() {
            for to in replicas.into_iter().filter(|to| !before.contains(to)) {
                self.copies.later(to, own, at);
            }
        }
    }

    /// Another holder brought something about an own resource: it goes to the replicas too, soon and in bulk. While the
    /// range is unconfirmed all of it is copied anyway.
    pub(crate) fn spread(&mut self, now: Now, resource: ResourceId) {
        if !self.chord.is_responsible(resource) || !self.ranges.is_confirmed(resource) {
            return;
        }
        if self.copies.changed.len() < MOST_CHANGED {
            self.copies.changed.insert(resource);
            self.copies.spread_at.get_or_insert(now.instant + GATHER);
        } else if let Some(own) = self.chord.own_range() {
            self.copies.changed.clear();
            for to in self.chord.replicas().to_vec() {
                self.copies.later(to, own, now.instant + HOLD_DOWN);
            }
        }
    }

    fn spread_changed(&mut self, now: Now) {
        self.copies.spread_at = None;
        let changed: Vec<ResourceId> = std::mem::take(&mut self.copies.changed).into_iter().collect();
        for to in self.chord.replicas().to_vec() {
            let push = self.push(now, to, Source::Resources(changed.clone()), Reason::Spread);
            self.push_on(now, push);
        }
    }

    /// A replica did not take all that was spread: it gets the whole range.
    pub(crate) fn spread_fell_short(&mut self, now: Now, to: NodeId) {
        if let Some(own) = self.chord.own_range().filter(|_| self.copies.replicas.contains(&to)) {
            self.copies.later(to, own, now.instant + HOLD_DOWN);
        }
    }

    /// A push of copies ended.
    pub(crate) fn copied(&mut self, now: Now, to: NodeId, range: Range, is_complete: bool) {
        let is_it = |copy: &Copy| copy.to == to && copy.range == range && copy.at.is_none();
        if is_complete {
            self.copies.open.retain(|copy| !is_it(copy));
            self.outputs.push_back(Output::Changed);
        } else {
            let waiting = self.copies.open.iter_mut().filter(|copy| is_it(copy));
            waiting.for_each(|copy| copy.at = Some(now.instant + HOLD_DOWN));
        }
    }

    pub(crate) fn copies_due(&mut self, now: Now) {
        let own = self.chord.own_range();
        let mut due = Vec::new();
        for copy in self
            .copies
            .open
            .iter_mut()
            .filter(|copy| copy.at.is_some_and(|at| at <= now.instant))
        {
            if !self.pushes.has_room(copy.to, Reason::Copy(copy.range)) {
                copy.at = Some(now.instant + HOLD_DOWN);
                continue;
            }
            copy.at = None;
            // What has gone to another owner since is not this peer's to copy, and would be refused.
            copy.range = own.map_or(copy.range, |own| within(copy.range, own));
            due.push((copy.to, copy.range));
        }
        for (to, range) in due {
            let push = self.push(now, to, Source::range(range), Reason::Copy(range));
            self.push_on(now, push);
        }
        if self.copies.spread_at.is_some_and(|at| at <= now.instant) {
            self.spread_changed(now);
        }
    }
}

/// Ranges to be copied at a time; two successors and a few crashes.
const MOST_COPIES: usize = 64;

/// Own resources that wait to be spread; beyond this the whole range is.
const MOST_CHANGED: usize = 4096;

/// Changes within this time are spread together.
const GATHER: Duration = Duration::from_millis(500);

/// Bulk waits so long after a successor was lost (docs/deviations.md D12).
pub(crate) const HOLD_DOWN: Duration = Duration::from_secs(5);
