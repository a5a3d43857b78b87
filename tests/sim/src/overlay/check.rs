//! What must hold once the overlay is at rest: P1 to P5, and that every acknowledged value can be read.

use std::{collections::BTreeSet, time::Duration};

use storage_core::{Answer, Command, CommandId};
use wire::{Encode, MessageCode, NodeId, ResourceId};

use super::{World, host::LIST_LENGTH, slot::fetch_request};
use crate::{
    invariants::{self, Violation},
    scope::Scope,
};

impl World<'_> {
    /// Checks that all peers have joined.
    pub(super) fn check_complete(&self, peers: usize) -> Result<(), Violation> {
        let count = self.views.values().filter(|view| view.is_member).count();
        if count < peers {
            return Err(Violation::new("P4", format!("{count} of {peers} are members")));
        }
        Ok(())
    }

    pub(super) fn check_rest(&mut self, scope: &Scope) -> Result<(), Violation> {
        self.check_complete(scope.peers)?;
        invariants::check_quiet(&self.members(), LIST_LENGTH)?;
        for host in self.hosts.values() {
            let status = host.overlay.as_ref().map(overlay_core::Core::status);
            if let Some(status) = status.filter(|status| !status.ready) {
                let detail = format!("{} is not ready: {:?}", status.node_id.short(), status.reasons);
                return Err(Violation::new("P4", detail));
            }
        }
        self.check_reads()?;
        self.check_copies()
    }

    /// Every acknowledged value is read through some peer.
    fn check_reads(&mut self) -> Result<(), Violation> {
        self.forget_checks();
        for _ in 0..TRIES {
            if self.check_slots() == 0 {
                return Ok(());
            }
            let end = self.queue.elapsed() + ANSWERS;
            self.run_until(end)?;
        }
        let waiting = self.slots_waiting();
        if waiting.is_empty() {
            Ok(())
        } else {
            Err(Violation::new("D2", format!("nobody answers for {waiting:?}")))
        }
    }

    /// P3: every acknowledged value is at its owner and its two replicas.
    fn check_copies(&mut self) -> Result<(), Violation> {
        let order: Vec<NodeId> = self.hosts.keys().copied().collect();
        for (slot, _) in self.acknowledged() {
            let resource = slot.resource().as_node_id();
            let first = order.iter().position(|node| *node >= resource).unwrap_or(0);
            for holder in order.iter().cycle().skip(first).take(COPIES.min(order.len())) {
                let command = Command::Apply {
                    code: MessageCode::FETCH_REQ.0,
                    body: fetch_request(slot).to_bytes(),
                    certificates: Vec::new(),
                    signer: None,
                };
                let verdict = match self.ask_holder(*holder, command) {
                    Some(Answer::Applied { body, .. }) => self.judge_copy(slot, &body),
                    other => Err(format!("it answers {other:?}")),
                };
                if let Err(fault) = verdict {
                    let detail = format!("{slot:?} at {}: holder {}: {fault}", resource.short(), holder.short());
                    return Err(Violation::new("P3", detail));
                }
            }
        }
        Ok(())
    }

    /// P5: nobody holds a record who is neither its owner nor one of the two replicas.
    pub(super) fn check_surplus(&mut self) -> Result<(), Violation> {
        let end = self.queue.elapsed() + FORGETS;
        loop {
            let surplus = self.surplus();
            if surplus.is_empty() {
                return Ok(());
            }
            if self.queue.elapsed() >= end {
                return Err(Violation::new("P5", format!("held by a stranger: {surplus:?}")));
            }
            let next = self.queue.elapsed() + LOOKS;
            self.run_until(next)?;
        }
    }

    /// Lists who holds which record without need.
    fn surplus(&mut self) -> Vec<String> {
        let order: Vec<NodeId> = self.hosts.keys().copied().collect();
        let mut surplus = Vec::new();
        for (place, node) in order.iter().enumerate() {
            for resource in self.held_by(*node) {
                let owner = order
                    .iter()
                    .position(|node| *node >= resource.as_node_id())
                    .unwrap_or(0);
                if (place + order.len() - owner) % order.len() >= COPIES {
                    surplus.push(format!("{} at {}", resource.short(), node.short()));
                }
            }
        }
        surplus
    }

    fn held_by(&mut self, holder: NodeId) -> BTreeSet<ResourceId> {
        let scan = Command::Scan {
            after: None,
            range: (NodeId::ZERO, NodeId::ZERO),
        };
        match self.ask_holder(holder, scan) {
            Some(Answer::Scanned { stores, .. }) => stores.into_iter().map(|store| store.resource).collect(),
            _ => BTreeSet::new(),
        }
    }

    /// Asks a storage directly.
    fn ask_holder(&mut self, holder: NodeId, command: Command) -> Option<Answer> {
        let now = self.queue.now();
        let id = OWN_COMMANDS + self.events;
        self.events += 1;
        self.with_storage(holder, |core| core.handle_command(now, CommandId(id), command));
        let end = self.queue.elapsed() + FLUSHES;
        // Nothing else is wrong any more: a violation here is found by the next check.
        drop(self.run_until(end));
        self.own_answers.remove(&id)
    }

    /// Keeps the answer to a question of this check from the overlay.
    pub(super) fn take_own_answer(&mut self, _host: NodeId, id: CommandId, answer: &Answer) -> bool {
        if id.0 < OWN_COMMANDS {
            return false;
        }
        self.own_answers.insert(id.0, answer.clone());
        true
    }
}

const TRIES: usize = 3;
const ANSWERS: Duration = Duration::from_secs(6);

/// Records that are not needed are gone within this time: three predecessors have to stand for a minute, and once more if
/// an owner lacked something.
const FORGETS: Duration = Duration::from_secs(150);

/// How often that is looked at.
const LOOKS: Duration = Duration::from_secs(10);

/// The owner and its next two successors (RFC 6940 §10.4).
const COPIES: usize = 3;

/// Command ids from here on are this check's.
const OWN_COMMANDS: u64 = 1 << 60;

/// A batch is flushed within this time.
const FLUSHES: Duration = Duration::from_millis(50);
