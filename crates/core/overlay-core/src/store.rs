//! Stored data at its owner: when a Store is carried out, copied and acknowledged; and reading.
//!
//! A Store is acknowledged when it is on disk here and at the next two successors (at all there are, in a smaller
//! ring). A successor whose link dies leaves the tables, and the next one takes its place in the Store as well. One that
//! refuses may know the ring otherwise, so this peer tells it. One that lives and has not taken the copy in time still
//! gets all copies, but the next one is waited for in its place ([`crate::marks`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use identity::Class;
use tracing::debug;

use wire::{Body, Decode, Encode, ErrorCode, MessageCode, NodeId, Now, ResourceId, StoreAns, StoreReq};

use crate::core::Core;
use crate::merge;
use crate::pull::Waiting;
use crate::seam::{Answer, Command, ReplicaStore};
use crate::serve::{Asked, Reply};
use crate::session::Errand;
use crate::transaction::{Outcome, Purpose, Request};

/// Names one Store that is not acknowledged yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoreId(u64);

/// The Stores that are not acknowledged yet.
#[derive(Default)]
pub(crate) struct Stores {
    open: BTreeMap<StoreId, Pending>,
    next_id: u64,
}

/// A Store that is on disk here, and waits for its replicas.
struct Pending {
    asked: Asked,
    resource: ResourceId,
    answer: Bytes,
    replicas: Vec<ReplicaStore>,
    /// How many answers are still to come from each successor that it was sent to.
    sent: BTreeMap<NodeId, usize>,
    /// Until when each successor has to take its copy, to be in time.
    due_at: BTreeMap<NodeId, Instant>,
    acknowledged: Vec<NodeId>,
    /// Successors that refused, and when to ask them again.
    refused: BTreeMap<NodeId, Instant>,
    merges: u32,
    until: Instant,
}

impl Pending {
    /// When the Store ends, a successor is asked again, or one has not taken its copy in time.
    fn deadline(&self) -> Instant {
        let again = self.refused.values().copied();
        let due = self.due_at.values().copied();
        again.chain(due).fold(self.until, Instant::min)
    }
}

impl Stores {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.open.values().map(Pending::deadline).min()
    }
}

impl Core {
    pub(crate) fn store_asked(&mut self, now: Now, store: &StoreReq, waiting: Waiting) {
        let resource = store.resource;
        if store.replica_number != 0 {
            return self.merge_asked(now, resource, waiting);
        }
        // RFC 6940 §6.3.4: the destination is not signed, so the receiver checks that the request makes sense here.
        if !self.chord.is_responsible(resource) {
            return self.refuse(
                now,
                waiting.asked,
                ErrorCode::Forbidden,
                "not responsible for the resource",
            );
        }
        self.act_or_pull(now, resource, waiting);
    }

    /// A Store of values that another holder has.
    // RFC 6940 §7.4.1.1, §10.4; docs/deviations.md D17: for the own range from any peer with a link and an Update, for
    // others from the owner that this peer knows.
    fn merge_asked(&mut self, now: Now, resource: ResourceId, waiting: Waiting) {
        let Waiting {
            asked,
            body,
            certificates,
        } = waiting;
        let from = asked.signer;
        let is_peer = asked.class == Class::Peer && self.chord.is_peer(from);
        let is_ours = self.chord.is_responsible(resource) || self.is_joining_for(resource);
        if !is_peer || !(is_ours || self.chord.owner_of(resource) == Some(from)) {
            return self.refuse(now, asked, ErrorCode::Forbidden, "not the owner of the resource");
        }
        self.join_progress(now, from);
        if !self.session.is_usable() || !self.session.has_room(asked.signer) {
            return self.leave_unanswered(&asked);
        }
        self.note_change(resource, Some(from));
        self.keep_longer(now, resource);
        let signer = Some(asked.leaf.clone());
        let command = Command::Apply {
            code: asked.code.0,
            body,
            certificates,
            signer,
        };
        self.command(now, command, Errand::Merge(Box::new(asked), resource));
    }

    pub(crate) fn merged(&mut self, now: Now, asked: Asked, resource: ResourceId, answer: Answer) {
        if matches!(answer, Answer::Applied { .. }) {
            self.spread(now, resource);
        }
        self.answer_from_storage(now, asked, answer);
    }

    /// A Fetch or Stat.
    pub(crate) fn read_asked(&mut self, now: Now, asked: Asked, resource: ResourceId, body: Bytes) {
        // docs/deviations.md D14: whoever is asked by name, or for a place that is not its own, answers from what it
        // holds.
        let is_by_name = matches!(asked.destination, wire::Destination::Node(_));
        let waiting = Waiting {
            asked,
            body,
            certificates: Vec::new(),
        };
        if is_by_name || !self.chord.is_responsible(resource) {
            self.act(now, resource, waiting);
        } else if !self.session.is_usable() {
            self.read_at_holder(now, waiting);
        } else {
            self.act_or_pull(now, resource, waiting);
        }
    }

    pub(crate) fn find_asked(&mut self, now: Now, asked: Asked, resource: ResourceId, body: Bytes) {
        // RFC 6940 §7.4.4.2: who is not responsible for the resource knows nothing about its neighbourhood.
        let is_by_name = matches!(asked.destination, wire::Destination::Node(_));
        if !is_by_name && !self.chord.is_responsible(resource) {
            return self.refuse(now, asked, ErrorCode::NotFound, "not responsible for the resource");
        }
        self.act(
            now,
            resource,
            Waiting {
                asked,
                body,
                certificates: Vec::new(),
            },
        );
    }

    fn act_or_pull(&mut self, now: Now, resource: ResourceId, waiting: Waiting) {
        if self.is_certain(resource) {
            self.act(now, resource, waiting);
        } else {
            self.pull_first(now, resource, waiting);
        }
    }

    /// Carries a request out, whose resource is as this peer would have it.
    pub(crate) fn act(&mut self, now: Now, resource: ResourceId, waiting: Waiting) {
        let Waiting {
            asked,
            body,
            certificates,
        } = waiting;
        let is_store = asked.code == MessageCode::STORE_REQ;
        // The ring may have moved while the request waited; who asks again finds the new owner.
        let has_moved = is_store && !self.chord.is_responsible(resource);
        if has_moved || !self.session.is_usable() || !self.session.has_room(asked.signer) {
            return self.leave_unanswered(&asked);
        }
        let signer = Some(asked.leaf.clone());
        let command = Command::Apply {
            code: asked.code.0,
            body,
            certificates,
            signer,
        };
        let errand = if is_store {
            self.note_change(resource, None);
            Errand::Store(Box::new(asked), resource)
        } else {
            Errand::Read(Box::new(asked))
        };
        self.command(now, command, errand);
    }

    pub(crate) fn read(&mut self, now: Now, asked: Asked, answer: Answer) {
        self.answer_from_storage(now, asked, answer);
    }

    fn answer_from_storage(&mut self, now: Now, asked: Asked, answer: Answer) {
        match answer {
            Answer::Applied {
                code,
                body,
                certificates,
                ..
            } => {
                self.answer_encoded(
                    now,
                    asked,
                    Reply {
                        code: MessageCode(code),
                        body,
                        certificates,
                    },
                );
            }
            Answer::Refused { code, info } => self.refuse_with(now, asked, ErrorCode::from(code), info),
            Answer::Scanned { .. } | Answer::Counted { .. } | Answer::Done => self.leave_unanswered(&asked),
        }
    }

    /// The own disk has it: now the replicas.
    pub(crate) fn stored(&mut self, now: Now, asked: Asked, resource: ResourceId, answer: Answer) {
        let Answer::Applied { body, replicas, .. } = answer else {
            return self.answer_from_storage(now, asked, answer);
        };
        if self.stores.open.len() >= MOST_STORES {
            self.counters.shed += 1;
            return self.leave_unanswered(&asked);
        }
        self.stores.next_id += 1;
        let id = StoreId(self.stores.next_id);
        let pending = Pending {
            asked,
            resource,
            answer: body,
            replicas,
            sent: BTreeMap::new(),
            due_at: BTreeMap::new(),
            acknowledged: Vec::new(),
            refused: BTreeMap::new(),
            merges: 0,
            until: now.instant + PATIENCE,
        };
        self.stores.open.insert(id, pending);
        self.store_on(now, id);
    }

    /// Sends a Store to the successors that have not seen it; acknowledges it when all have it.
    fn store_on(&mut self, now: Now, id: StoreId) {
        let Some(pending) = self.stores.open.get(&id) else {
            return;
        };
        if !self.chord.is_responsible(pending.resource) {
            // Another peer owns it now. It has the value, or asks for it before it serves the resource.
            return self.give_up(id);
        }
        let replicas = self.chord.replicas().to_vec();
        let awaited = self.marks.choose(now.instant, self.chord.successors(), replicas.len());
        let is_everywhere = awaited.iter().all(|holder| pending.acknowledged.contains(holder));
        // RFC 6940 §10.4 knows no smaller number of copies; the only peer of a ring is all there is.
        if is_everywhere && (!awaited.is_empty() || self.is_rightly_alone()) {
            return self.acknowledge(now, id);
        }
        let further = awaited.into_iter().filter(|holder| !replicas.contains(holder));
        let holders: Vec<NodeId> = replicas.iter().copied().chain(further).collect();
        let is_new = |holder: &NodeId| {
            !pending.sent.contains_key(holder)
                && !pending.acknowledged.contains(holder)
                && pending.refused.get(holder).is_none_or(|at| *at <= now.instant)
        };
        let fresh: Vec<(u8, NodeId)> = (1..)
            .zip(holders.iter().copied())
            .filter(|(_, holder)| is_new(holder))
            .collect();
        for (number, holder) in fresh {
            self.send_replicas(now, id, number, holder);
        }
    }

    // RFC 6940 §10.4: to the successor and to its successor, with replica numbers 1 and 2.
    fn send_replicas(&mut self, now: Now, id: StoreId, number: u8, holder: NodeId) {
        let Some(pending) = self.stores.open.get_mut(&id) else {
            return;
        };
        pending.refused.remove(&holder);
        if pending.replicas.is_empty() {
            pending.acknowledged.push(holder);
            return self.store_on(now, id);
        }
        pending.sent.insert(holder, pending.replicas.len());
        // The request is sent five times (RFC 6940 §6.2.1): two of them are left for another successor.
        let due_at = now.instant + 3 * self.parameters.reliability_timer;
        pending.due_at.entry(holder).or_insert(due_at);
        for replica in pending.replicas.clone() {
            let body = merge::numbered(&replica.body, number);
            let request = Request::encoded(
                vec![holder.into()],
                MessageCode::STORE_REQ,
                body,
                Purpose::Replica(id, holder),
            );
            self.request(now, request.with_certificates(replica.certificates).over(holder));
        }
    }

    pub(crate) fn replica_answered(&mut self, now: Now, id: StoreId, holder: NodeId, outcome: Outcome) {
        let Some(pending) = self.stores.open.get_mut(&id) else {
            return;
        };
        let Some(left) = pending.sent.get_mut(&holder) else {
            return;
        };
        match outcome {
            Outcome::Answered(_) => {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    pending.sent.remove(&holder);
                    pending.acknowledged.push(holder);
                    // A successor that was late has lost its entry.
                    if pending.due_at.remove(&holder).is_some() {
                        self.marks.clear(now.instant, holder);
                    }
                    self.store_on(now, id);
                }
            }
            // RFC 6940 §7.4.1.1: the values of who has newer ones are fetched, merged and sent again.
            Outcome::Refused(refusal) if refusal.code == ErrorCode::DataTooOld && pending.merges < MOST_MERGES => {
                pending.merges += 1;
                pending.sent.remove(&holder);
                pending.refused.insert(holder, now.instant + MERGE_TIME);
                let body: Body = self.parameters.fetch_all(pending.resource).into();
                self.request(now, Request::to(holder, &body, Purpose::Newer(id, holder)).over(holder));
            }
            Outcome::Refused(refusal) => {
                // It does not take this peer for the owner: ask the ring, do not go round it.
                debug!(node_id = %holder.short(), code = %refusal.code, "replica was refused");
                pending.sent.remove(&holder);
                pending.refused.insert(holder, now.instant + AGAIN);
                self.chord.send_full_update(now, holder);
            }
            // Its link is gone, or it has been asked for as long as the Store may take.
            Outcome::Silent => {
                pending.sent.remove(&holder);
                self.store_on(now, id);
            }
        }
    }

    pub(crate) fn newer_answered(&mut self, now: Now, id: StoreId, holder: NodeId, outcome: Outcome) {
        let Some(resource) = self.stores.open.get(&id).map(|pending| pending.resource) else {
            return;
        };
        if self
            .merge_answer(now, resource, outcome, Errand::StoreMerged(id, holder))
            .is_none()
        {
            self.store_on(now, id);
        }
    }

    /// The own disk has what the replica had newer: all replicas get the union.
    pub(crate) fn store_merged(&mut self, now: Now, id: StoreId, holder: NodeId, answer: Answer) {
        let Some(pending) = self.stores.open.get_mut(&id) else {
            return;
        };
        if let Answer::Applied { replicas, .. } = answer
            && !replicas.is_empty()
        {
            let kept: BTreeSet<ResourceId> = replicas.iter().map(|replica| replica.resource).collect();
            debug!(resources = kept.len(), "merged what a replica had newer");
            pending.replicas = replicas;
        }
        pending.refused.remove(&holder);
        self.store_on(now, id);
    }

    // docs/deviations.md D11: the answer names those that have it, before it is sent and not after.
    fn acknowledge(&mut self, now: Now, id: StoreId) {
        let Some(pending) = self.stores.open.remove(&id) else {
            return;
        };
        let successors = self.chord.successors().iter();
        let holders: Vec<NodeId> = successors
            .filter(|holder| pending.acknowledged.contains(holder))
            .copied()
            .collect();
        let body = match StoreAns::from_bytes(&pending.answer) {
            Ok(mut answer) => {
                for kind in &mut answer.kind_responses {
                    kind.replicas.clone_from(&holders);
                }
                answer.to_bytes()
            }
            Err(_) => pending.answer,
        };
        let reply = Reply {
            code: MessageCode::STORE_ANS,
            body,
            certificates: Vec::new(),
        };
        self.answer_encoded(now, pending.asked, reply);
    }

    fn give_up(&mut self, id: StoreId) {
        if let Some(pending) = self.stores.open.remove(&id) {
            self.leave_unanswered(&pending.asked);
        }
    }

    /// The successors are others than before.
    pub(crate) fn stores_replicas_changed(&mut self, now: Now) {
        let successors = self.chord.successors().to_vec();
        let open: Vec<StoreId> = self.stores.open.keys().copied().collect();
        for id in open {
            if let Some(pending) = self.stores.open.get_mut(&id) {
                pending.sent.retain(|holder, _| successors.contains(holder));
                pending.due_at.retain(|holder, _| successors.contains(holder));
                pending.acknowledged.retain(|holder| successors.contains(holder));
            }
            self.store_on(now, id);
        }
    }

    /// Holds it against successors that live, and have not taken their copies in time.
    fn mark_late(&mut self, now: Now, id: StoreId) {
        let Some(pending) = self.stores.open.get_mut(&id) else {
            return;
        };
        let late = pending.due_at.extract_if(.., |_, at| *at <= now.instant);
        for (holder, _) in late.collect::<Vec<_>>() {
            if self.links.answers(holder) {
                debug!(node_id = %holder.short(), "replica is late");
                self.marks.mark(now.instant, holder);
            }
        }
    }

    pub(crate) fn stores_due(&mut self, now: Now) {
        let due: Vec<StoreId> = self
            .stores
            .open
            .iter()
            .filter(|(_, pending)| pending.deadline() <= now.instant)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.mark_late(now, id);
            let is_late = self
                .stores
                .open
                .get(&id)
                .is_some_and(|pending| pending.until <= now.instant);
            if !is_late {
                self.store_on(now, id);
                if let Some(pending) = self.stores.open.get_mut(&id) {
                    pending.refused.retain(|_, at| *at > now.instant);
                }
            } else if let Some(pending) = self.stores.open.remove(&id) {
                self.refuse(now, pending.asked, ErrorCode::RequestTimeout, "replicas do not answer");
            }
        }
    }
}

/// Stores that are not acknowledged; further ones are left unanswered, and come again.
const MOST_STORES: usize = 4096;

/// After so long nobody waits for the answer any more (RFC 6940 §6.2.1: the longest lifetime of a request).
const PATIENCE: Duration = Duration::from_secs(15);

/// After a refusal, time for the ring to settle.
const AGAIN: Duration = Duration::from_millis(200);

/// A merge that has not ended by then is not waited for.
const MERGE_TIME: Duration = Duration::from_secs(3);

/// Merges for one Store: each holder once, and once more after a change.
const MOST_MERGES: u32 = 4;
