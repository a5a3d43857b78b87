//! Records on their way to another holder: hand-over, new replicas, what an owner lacks.
//!
//! One push walks over the records of a range, or over a list of resources, and sends each as a Store that the receiver
//! merges (any replica number but 0 means that). At most eight wait for their answers. If the receiver has something
//! newer it says so, and is asked for it before the record is sent again (RFC 6940 §7.4.1.1).

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use tracing::debug;

use chord::Range;
use wire::{Body, ErrorCode, MessageCode, NodeId, Now, ResourceId};

use crate::core::Core;
use crate::merge;
use crate::seam::{Command, ReplicaStore};
use crate::session::Errand;
use crate::transaction::{Outcome, Purpose, Request};

/// Names one push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PushId(u64);

/// What is pushed.
pub(crate) enum Source {
    /// All records of a range.
    Range {
        /// The range.
        range: Range,
        /// Where the next batch begins.
        after: Option<ResourceId>,
        /// Whether the last batch was read.
        is_read: bool,
    },
    /// These resources.
    Resources(Vec<ResourceId>),
}

/// Why it is pushed, which decides what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The receiver joins: the hand-over point follows.
    Admission,
    /// What changed during a hand-over of this range: the note that all is complete follows.
    Late(Range),
    /// The owner of this range wants to be sure that it has everything: the same note follows.
    Wanted(Range),
    /// The receiver is to hold copies of this range.
    Copy(Range),
    /// This peer holds copies of this range, and its owner may lack some of it.
    Held(Range),
    /// The owner may lack what this disk still has.
    Offer,
    /// A replica gets what another holder brought about own resources.
    Spread,
    /// A record was merged with what the receiver had newer, and is sent once more.
    Again(ResourceId),
    /// This node leaves the ring when it is done.
    Leaving,
}

/// All pushes under way.
#[derive(Default)]
pub(crate) struct Pushes {
    open: BTreeMap<PushId, Push>,
    next_id: u64,
}

struct Push {
    to: NodeId,
    source: Source,
    reason: Reason,
    queue: VecDeque<ReplicaStore>,
    is_reading: bool,
    /// What waits for an answer, by the resource it is about; each is sent again after a merge.
    unanswered: BTreeMap<ResourceId, u32>,
    merges: u32,
    /// Whether the receiver refused a record that it has to take in the end.
    is_incomplete: bool,
    progress: Instant,
}

impl Source {
    pub(crate) fn range(range: Range) -> Self {
        Self::Range {
            range,
            after: None,
            is_read: false,
        }
    }

    fn is_read(&self) -> bool {
        match self {
            Self::Range { is_read, .. } => *is_read,
            Self::Resources(resources) => resources.is_empty(),
        }
    }
}

impl Push {
    fn waiting(&self) -> u32 {
        self.unanswered.values().sum()
    }

    fn may_merge(&self) -> bool {
        self.merges < MOST_MERGES && !matches!(self.reason, Reason::Again(_))
    }
}

impl Pushes {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.open.values().map(|push| push.progress + PATIENCE).min()
    }

    pub(crate) fn cancel(&mut self, id: PushId) {
        self.open.remove(&id);
    }

    /// Whether there is room for one more push. What others ask for gets a share for each of them and leaves the rest for
    /// what this peer has decided itself; of that, what the ring's shape depends on goes last.
    pub(crate) fn has_room(&self, to: NodeId, reason: Reason) -> bool {
        match reason {
            Reason::Wanted(_) => {
                let wanted = || {
                    self.open
                        .values()
                        .filter(|push| matches!(push.reason, Reason::Wanted(_)))
                };
                wanted().count() < MOST_WANTED && wanted().filter(|push| push.to == to).count() < MOST_WANTED_BY_ONE
            }
            Reason::Admission | Reason::Late(_) | Reason::Copy(_) | Reason::Leaving => self.open.len() < MOST_PUSHES,
            Reason::Held(_) | Reason::Offer | Reason::Spread | Reason::Again(_) => {
                self.open.len() < MOST_PUSHES - RESERVED
            }
        }
    }

    pub(crate) fn is_under_way(&self, to: NodeId, reason: Reason) -> bool {
        self.open.values().any(|push| push.to == to && push.reason == reason)
    }

    pub(crate) fn is_any_under_way(&self, to: NodeId) -> bool {
        self.open.values().any(|push| push.to == to)
    }
}

impl Core {
    /// Prepares a push; [`Core::push_on`] starts it.
    pub(crate) fn push(&mut self, now: Now, to: NodeId, source: Source, reason: Reason) -> PushId {
        self.pushes.next_id += 1;
        let id = PushId(self.pushes.next_id);
        if !self.pushes.has_room(to, reason) {
            self.push_fell_short(now, to, reason);
            return id;
        }
        let push = Push {
            to,
            source,
            reason,
            queue: VecDeque::new(),
            is_reading: false,
            unanswered: BTreeMap::new(),
            merges: 0,
            is_incomplete: false,
            progress: now.instant,
        };
        self.pushes.open.insert(id, push);
        id
    }

    /// Sends what the window allows, reads on when little is left, ends when nothing is.
    pub(crate) fn push_on(&mut self, now: Now, id: PushId) {
        while let Some(push) = self.pushes.open.get_mut(&id) {
            if push.waiting() >= WINDOW {
                return;
            }
            let Some(store) = push.queue.pop_front() else { break };
            *push.unanswered.entry(store.resource).or_default() += 1;
            let to = push.to;
            let request = Request::encoded(
                vec![to.into()],
                MessageCode::STORE_REQ,
                merge::numbered(&store.body, merge::MERGE),
                Purpose::Push(id, store.resource),
            );
            self.request(now, request.with_certificates(store.certificates).over(to).bulk());
        }
        let Some(push) = self.pushes.open.get_mut(&id) else {
            return;
        };
        if push.is_reading {
            return;
        }
        if push.source.is_read() {
            if push.waiting() == 0 && push.merges == 0 {
                self.push_done(now, id);
            }
            return;
        }
        let command = match &mut push.source {
            Source::Range { range, after, .. } => Command::Scan {
                after: *after,
                range: (range.after, range.until),
            },
            Source::Resources(resources) => match resources.pop() {
                Some(resource) => Command::Scan {
                    after: None,
                    range: merge::around(resource),
                },
                None => return,
            },
        };
        push.is_reading = true;
        self.command(now, command, Errand::Push(id));
    }

    /// Storage has read a batch.
    pub(crate) fn push_read(&mut self, now: Now, id: PushId, stores: Vec<ReplicaStore>, next: Option<ResourceId>) {
        let Some(push) = self.pushes.open.get_mut(&id) else {
            return;
        };
        push.is_reading = false;
        push.progress = now.instant;
        push.queue.extend(stores);
        if let Source::Range { after, is_read, .. } = &mut push.source {
            *is_read = next.is_none();
            *after = next;
        }
        self.push_on(now, id);
    }

    /// The receiver answered.
    pub(crate) fn push_answered(&mut self, now: Now, id: PushId, resource: ResourceId, outcome: Outcome) {
        let Some(push) = self.pushes.open.get_mut(&id) else {
            return;
        };
        if let Some(count) = push.unanswered.get_mut(&resource) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                push.unanswered.remove(&resource);
            }
        }
        match outcome {
            Outcome::Answered(_) => {
                push.progress = now.instant;
                self.counters.handed_over += 1;
            }
            Outcome::Refused(refusal) if refusal.code == ErrorCode::DataTooOld && push.may_merge() => {
                push.progress = now.instant;
                push.merges += 1;
                let to = push.to;
                let body: Body = self.parameters.fetch_all(resource).into();
                self.request(now, Request::to(to, &body, Purpose::PushNewer(id, resource)).over(to));
            }
            Outcome::Refused(refusal) => {
                // One record that the receiver does not want must not keep the others back.
                debug!(node_id = %push.to.short(), resource_id = %resource.short(), code = %refusal.code, "push refused");
                push.progress = now.instant;
                // It does not know yet whose record it is, or has more that is newer than was merged: a later push tries.
                push.is_incomplete |= matches!(refusal.code, ErrorCode::Forbidden | ErrorCode::DataTooOld);
            }
            Outcome::Silent => return self.push_failed(now, id),
        }
        self.push_on(now, id);
    }

    /// The receiver says what it has newer: it is merged here, then sent again.
    pub(crate) fn push_newer_answered(&mut self, now: Now, id: PushId, resource: ResourceId, outcome: Outcome) {
        if !self.pushes.open.contains_key(&id) {
            return;
        }
        match self.merge_answer(now, resource, outcome, Errand::PushMerged(id, resource)) {
            Some(_) => {}
            None => self.push_merged(now, id, resource, false),
        }
    }

    pub(crate) fn push_merged(&mut self, now: Now, id: PushId, resource: ResourceId, send_again: bool) {
        let Some(push) = self.pushes.open.get_mut(&id) else {
            return;
        };
        push.merges = push.merges.saturating_sub(1);
        push.progress = now.instant;
        let to = push.to;
        if send_again {
            // What one holder had newer the other may lack.
            self.spread(now, resource);
            let again = self.push(now, to, Source::Resources(vec![resource]), Reason::Again(resource));
            self.push_on(now, again);
        }
        self.push_on(now, id);
    }

    fn push_done(&mut self, now: Now, id: PushId) {
        let Some(push) = self.pushes.open.remove(&id) else {
            return;
        };
        match push.reason {
            Reason::Admission => self.records_handed_over(now),
            Reason::Leaving => self.left(now),
            _ if push.is_incomplete => self.push_fell_short(now, push.to, push.reason),
            Reason::Late(range) | Reason::Wanted(range) => self.range_delivered(now, push.to, range),
            Reason::Held(range) => self.range_offered(push.to, range),
            Reason::Copy(range) => self.copied(now, push.to, range, true),
            Reason::Offer | Reason::Spread | Reason::Again(_) => {}
        }
    }

    /// The receiver did not take all of it.
    fn push_fell_short(&mut self, now: Now, to: NodeId, reason: Reason) {
        match reason {
            Reason::Copy(range) => self.copied(now, to, range, false),
            Reason::Spread => self.spread_fell_short(now, to),
            Reason::Offer => self.offer_again(now),
            Reason::Again(resource) => self.spread(now, resource),
            // The owner asks again, or is offered it again after its next Update.
            Reason::Late(_) | Reason::Wanted(_) | Reason::Held(_) => {}
            Reason::Admission => self.admission_failed(),
            Reason::Leaving => self.left(now),
        }
    }

    pub(crate) fn push_failed(&mut self, now: Now, id: PushId) {
        let Some(push) = self.pushes.open.remove(&id) else {
            return;
        };
        debug!(node_id = %push.to.short(), reason = ?push.reason, "push failed");
        self.push_fell_short(now, push.to, push.reason);
    }

    pub(crate) fn push_link_down(&mut self, now: Now, peer: NodeId) {
        let lost: Vec<PushId> = self
            .pushes
            .open
            .iter()
            .filter(|(_, push)| push.to == peer)
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.push_failed(now, id);
        }
    }

    pub(crate) fn pushes_due(&mut self, now: Now) {
        let stuck: Vec<PushId> = self
            .pushes
            .open
            .iter()
            .filter(|(_, push)| push.progress + PATIENCE <= now.instant)
            .map(|(id, _)| *id)
            .collect();
        for id in stuck {
            self.push_failed(now, id);
        }
    }

    /// Gives up the hand-over before leaving: the storage session that it reads from is down. The replicas have the records.
    pub(crate) fn abandon_leaving(&mut self, now: Now) {
        let leaving = self.pushes.open.iter().find(|(_, push)| push.reason == Reason::Leaving);
        if let Some(id) = leaving.map(|(id, _)| *id) {
            self.push_failed(now, id);
        }
    }

    /// Starts to hand the own range to the next successor. Tells whether there is one to hand it to.
    pub(crate) fn hand_over_to_leave(&mut self, now: Now) -> bool {
        let Some(range) = self.chord.own_range() else {
            return false;
        };
        let Some(successor) = self
            .chord
            .replicas()
            .first()
            .copied()
            .filter(|_| self.session.is_usable())
        else {
            return false;
        };
        let push = self.push(now, successor, Source::range(range), Reason::Leaving);
        self.push_on(now, push);
        self.pushes.open.contains_key(&push)
    }

    /// A node that has just joined tells the owners what its disk still has: the ring may have lost it.
    pub(crate) fn offer_what_is_held(&mut self, now: Now) {
        let neighbors: Vec<NodeId> = self.chord.neighbors().collect();
        for owner in neighbors {
            let Some(range) = self.chord.range_of(owner) else {
                continue;
            };
            let push = self.push(now, owner, Source::range(range), Reason::Offer);
            self.push_on(now, push);
        }
    }
}

/// Records that wait for their answers: enough to keep a link busy, little enough not to flood a disk.
const WINDOW: u32 = 8;

/// A push without progress for so long is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Merges of one push at a time; more are left to the next push.
const MOST_MERGES: u32 = 8;

/// Pushes at the same time: each peer in the tables, twice over. Further ones are tried again.
const MOST_PUSHES: usize = 256;

/// Of these, kept for joins, for what joined nodes were promised, and for copies.
const RESERVED: usize = 16;

/// Pushes that others asked for; they ask again.
const MOST_WANTED: usize = 64;

/// Of these, for one node: an owner has an unconfirmed range or two, and asks each holder once.
const MOST_WANTED_BY_ONE: usize = 4;
