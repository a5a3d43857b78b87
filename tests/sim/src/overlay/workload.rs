//! What users do: edges store and delete registrations, peers entries of their lists, anyone reads them; and what must be
//! read.
//!
//! Each [`Slot`] has one writer, which writes it in sequence, each time with a greater storage time, so what must be read
//! is easy to say: from the acknowledgement of a Store on, that value or a later one of the same slot, until its time is
//! over. A deletion is a value like any other.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use identity::sign_message;
use overlay_core::{Call, CallId, CallResult};
use wire::{
    Body, Decode, Destination, Encode, ErrorCode, FetchAns, MessageCode, MessageContents, NodeId, StoredData,
    TransactionId,
};

use super::{
    Event, World,
    slot::{ENTRIES, Slot, fetch_request, found, store_request},
};
use crate::invariants::Violation;

/// All that was ever asked to be stored.
#[derive(Default)]
pub(super) struct Model {
    slots: BTreeMap<Slot, History>,
    calls: BTreeMap<(NodeId, CallId), Operation>,
    /// How the calls ended.
    pub(super) tally: Tally,
}

/// Counts of outcomes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Stores that were acknowledged.
    pub acknowledged: u64,
    /// Stores that were not.
    pub unknown: u64,
    /// Reads that were answered.
    pub read: u64,
    /// Reads that were not.
    pub unread: u64,
}

#[derive(Default)]
struct History {
    /// By storage time.
    values: BTreeMap<u64, Written>,
    /// Storage time of the latest value that was acknowledged.
    acknowledged: Option<u64>,
    is_busy: bool,
    /// Whether the final read has answered.
    is_checked: bool,
}

/// One value, as its writer sent it.
#[derive(Debug)]
struct Written {
    /// Nothing for a deletion.
    value: Option<Bytes>,
    /// Until then it must be there, if it is the latest.
    lives: Duration,
    /// From then on it must be gone.
    is_over: Duration,
}

#[derive(Clone, Copy)]
enum Operation {
    Store { slot: Slot, time: u64 },
    Fetch { slot: Slot, floor: Option<u64> },
}

impl World<'_> {
    pub(super) fn operate(&mut self) {
        if !self.has_faults {
            return;
        }
        let wait = self.random.millis(100, 600);
        self.queue.after(wait, Event::Operate);
        let hosts: Vec<NodeId> = self
            .hosts
            .values()
            .filter(|host| host.overlay.is_some())
            .map(|host| host.peer.node_id)
            .collect();
        let Some(host) = self.random.pick(&hosts).copied() else {
            return;
        };
        match self.random.below(100) {
            0..45 => self.store(host, false),
            45..55 => self.store(host, true),
            _ => {
                let slots: Vec<Slot> = self.model.slots.keys().copied().collect();
                if let Some(slot) = self.random.pick(&slots).copied() {
                    self.fetch(host, slot);
                }
            }
        }
    }

    /// Stores in a slot that this host, or its edge, writes.
    fn store(&mut self, host: NodeId, is_deletion: bool) {
        let (now, sent) = (self.queue.now(), self.queue.elapsed());
        let Some(state) = self.hosts.get(&host) else { return };
        let (slot, signer) = if self.random.is_lucky(LIST_STORES) {
            let index = u32::try_from(self.random.below(ENTRIES)).unwrap_or(0);
            (Slot::Entry { node: host, index }, Arc::clone(&state.peer.signer))
        } else {
            let (user, edge) = (self.random.below(USERS), state.peer.edge);
            (
                Slot::Registration { user, edge },
                self.credentials.minted(user, state.index),
            )
        };
        let history = self.model.slots.entry(slot).or_default();
        if history.is_busy {
            return;
        }
        history.is_busy = true;
        let last = history.values.last_key_value();
        let time = last.map_or(0, |(time, _)| time + 1).max(now.unix_ms);
        let value = (!is_deletion).then(|| Bytes::from(format!("{time} {}", self.random.next())));
        let written = Written {
            value: value.clone(),
            lives: if is_deletion {
                Duration::MAX
            } else {
                sent + slot.lifetime().saturating_sub(LOST)
            },
            is_over: sent + slot.lifetime() + LATE,
        };
        history.values.insert(time, written);
        let (destination, contents) = store_request(slot, time, value, signer.as_ref());
        let transaction_id = TransactionId(self.random.next());
        let security = sign_message(signer.as_ref(), super::credentials::OVERLAY, transaction_id, &contents);
        let call = Call {
            destination: vec![destination],
            contents,
            signed: Some((transaction_id, security)),
            from_client: slot.client(),
            deadline: now.instant + PATIENCE,
            trace: None,
        };
        self.call(host, call, Operation::Store { slot, time });
    }

    /// Reads a slot through a peer.
    pub(super) fn fetch(&mut self, host: NodeId, slot: Slot) {
        let now = self.queue.now();
        let floor = self.model.slots.get(&slot).and_then(|history| history.acknowledged);
        let contents = MessageContents::of(&Body::FetchReq(fetch_request(slot))).to_bytes();
        let call = Call {
            destination: vec![Destination::Resource(slot.resource())],
            contents,
            signed: None,
            from_client: None,
            deadline: now.instant + PATIENCE,
            trace: None,
        };
        self.call(host, call, Operation::Fetch { slot, floor });
    }

    fn call(&mut self, host: NodeId, call: Call, operation: Operation) {
        let now = self.queue.now();
        let mut id = None;
        if let Some(core) = self.hosts.get_mut(&host).and_then(|state| state.overlay.as_mut()) {
            id = Some(core.call(now, call));
        }
        if let Some(id) = id {
            self.model.calls.insert((host, id), operation);
        }
        self.drain_overlay(host);
    }

    pub(super) fn call_done(&mut self, host: NodeId, id: CallId, result: CallResult) {
        let Some(operation) = self.model.calls.remove(&(host, id)) else {
            return;
        };
        match (operation, result) {
            (Operation::Store { slot, time }, CallResult::Answered { responder, .. }) => {
                self.model.tally.acknowledged += 1;
                self.note(|| {
                    format!(
                        "{} stored {time} in {slot:?}, at {} by {}",
                        host.short(),
                        slot.resource().short(),
                        responder.short()
                    )
                });
                if let Some(history) = self.model.slots.get_mut(&slot) {
                    history.is_busy = false;
                    history.acknowledged = history.acknowledged.max(Some(time));
                }
            }
            (Operation::Store { slot, .. }, CallResult::Refused(refusal)) => {
                self.model.tally.unknown += 1;
                if let Some(history) = self.model.slots.get_mut(&slot) {
                    history.is_busy = false;
                }
                if !EXCUSES.contains(&refusal.code) {
                    self.accuse(
                        "refusal",
                        format!("Store in {}: {:?}", slot.resource().short(), refusal),
                    );
                }
            }
            (
                Operation::Fetch { slot, floor },
                CallResult::Answered {
                    contents, responder, ..
                },
            ) => {
                self.model.tally.read += 1;
                let read = self.read_of(slot, &contents);
                let time = read.as_ref().map(|read| read.storage_time);
                self.note(|| format!("{} read {slot:?} from {}: {time:?}", host.short(), responder.short()));
                self.judge(slot, floor, read, responder);
            }
            (Operation::Fetch { slot, floor }, CallResult::Refused(refusal)) if refusal.code == ErrorCode::NotFound => {
                self.model.tally.read += 1;
                self.judge(slot, floor, None, host);
            }
            (Operation::Fetch { slot, .. }, CallResult::Refused(refusal)) => {
                self.model.tally.unread += 1;
                if !EXCUSES.contains(&refusal.code) {
                    self.accuse(
                        "refusal",
                        format!("Fetch in {}: {:?}", slot.resource().short(), refusal),
                    );
                }
            }
        }
    }

    /// Forgets the calls of a process that died: their outcome is unknown.
    pub(super) fn forget_calls(&mut self, host: NodeId) {
        let lost: Vec<_> = self.model.calls.keys().filter(|(of, _)| *of == host).copied().collect();
        for key in lost {
            if let Some(Operation::Store { slot, .. }) = self.model.calls.remove(&key) {
                self.model.tally.unknown += 1;
                if let Some(history) = self.model.slots.get_mut(&slot) {
                    history.is_busy = false;
                }
            }
        }
    }

    /// Compares what was read with what must be read.
    fn judge(&mut self, slot: Slot, floor: Option<u64>, read: Option<StoredData>, from: NodeId) {
        let Some(history) = self.model.slots.get_mut(&slot) else {
            return;
        };
        history.is_checked = true;
        // While more are down than there are copies besides one, the newest may be out of reach: it comes back later.
        let floor = floor.filter(|_| !self.is_cruel || !self.has_faults);
        let verdict = verdict(history, floor, read.as_ref(), self.queue.elapsed());
        if let Err(fault) = verdict {
            let known = &history.values;
            let detail = format!(
                "{slot:?} read from {}: {fault}; floor {floor:?}, read {:?}, known {known:?}",
                from.short(),
                read.map(|read| (read.storage_time, read.value))
            );
            self.accuse("D1", detail);
        }
    }

    /// Reads every slot that has an acknowledged value and was not read well since `forget_checks`.
    pub(super) fn check_slots(&mut self) -> usize {
        let waiting: Vec<Slot> = self
            .model
            .slots
            .iter()
            .filter(|(_, history)| history.must_be_read())
            .map(|(slot, _)| *slot)
            .collect();
        for slot in &waiting {
            let hosts: Vec<NodeId> = self.hosts.keys().copied().collect();
            if let Some(host) = self.random.pick(&hosts).copied() {
                self.fetch(host, *slot);
            }
        }
        waiting.len()
    }

    pub(super) fn forget_checks(&mut self) {
        self.model
            .slots
            .values_mut()
            .for_each(|history| history.is_checked = false);
    }

    /// Lists the slots with an acknowledged value, and its storage time.
    pub(super) fn acknowledged(&self) -> Vec<(Slot, u64)> {
        let slots = self.model.slots.iter();
        slots
            .filter_map(|(slot, history)| Some((*slot, history.acknowledged?)))
            .collect()
    }

    /// Judges what a single holder has of a slot, by the same rule.
    pub(super) fn judge_copy(&self, slot: Slot, contents: &Bytes) -> Result<(), String> {
        let Some(history) = self.model.slots.get(&slot) else {
            return Ok(());
        };
        let models = self.credentials.document.document().models();
        let answer = FetchAns::from_bytes_with(contents, &models).map_err(|error| error.to_string())?;
        let floor = history.acknowledged;
        verdict(history, floor, found(slot, answer).as_ref(), self.queue.elapsed())
    }

    pub(super) fn slots_waiting(&self) -> Vec<String> {
        self.model
            .slots
            .iter()
            .filter(|(_, history)| history.must_be_read())
            .map(|(slot, _)| format!("{slot:?} at {}", slot.resource().short()))
            .collect()
    }

    fn read_of(&self, slot: Slot, contents: &Bytes) -> Option<StoredData> {
        let contents = MessageContents::from_bytes(contents)
            .ok()
            .filter(|contents| contents.code == MessageCode::FETCH_ANS)?;
        match contents
            .body_with(&self.credentials.document.document().models())
            .ok()?
        {
            Body::FetchAns(answer) => found(slot, answer),
            _ => None,
        }
    }

    fn accuse(&mut self, invariant: &'static str, detail: String) {
        self.violation.get_or_insert(Violation::new(invariant, detail));
    }
}

impl History {
    fn must_be_read(&self) -> bool {
        self.acknowledged.is_some() && !self.is_checked
    }
}

fn verdict(history: &History, floor: Option<u64>, read: Option<&StoredData>, now: Duration) -> Result<(), String> {
    // What was acknowledged, or something later that may have come in its place, need not be there for ever.
    let may_be_over = |floor| history.values.range(floor..).any(|(_, written)| written.lives <= now);
    let Some(read) = read else {
        let is_deleted = |floor| {
            history
                .values
                .range(floor..)
                .any(|(_, written)| written.value.is_none())
        };
        let may_be_absent = floor.is_none_or(|floor| is_deleted(floor) || may_be_over(floor));
        return if may_be_absent {
            Ok(())
        } else {
            Err("nothing is there".into())
        };
    };
    if floor.is_some_and(|floor| read.storage_time < floor && !may_be_over(floor)) {
        return Err("an older value is there".into());
    }
    let Some(written) = history.values.get(&read.storage_time) else {
        return Err("nobody stored that".into());
    };
    let value = read
        .value
        .value()
        .filter(|value| value.exists)
        .map(|value| &value.value);
    if value != written.value.as_ref() {
        Err("another value is there".into())
    } else if value.is_some() && written.is_over <= now {
        Err("a value is there whose time is over".into())
    } else {
        Ok(())
    }
}

/// Answers that say nothing about the value.
const EXCUSES: [ErrorCode; 3] = [ErrorCode::RequestTimeout, ErrorCode::TtlExceeded, ErrorCode::InProgress];

const USERS: usize = 12;

/// How long a user waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// Of a hundred Stores so many are of entries in lists.
const LIST_STORES: u64 = 20;

/// A copy loses a fraction of a second of its life on the way to each holder.
const LOST: Duration = Duration::from_secs(8);

/// A Store may be carried out so long after it was sent: by its last transmission, once whoever has it is done waiting.
const LATE: Duration = Duration::from_secs(20);
