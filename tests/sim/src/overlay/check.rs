//! What must hold once the overlay is at rest: P1 to P4, and that every acknowledged value can be read.

use std::time::Duration;

use bytes::Bytes;
use storage_core::{Answer, Command, CommandId};
use wire::{Encode, MessageCode, NodeId};

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
                let body = self.ask_holder(*holder, fetch_request(slot).to_bytes());
                let verdict = match body {
                    Some(body) => self.judge_copy(slot, &body),
                    None => Err("it does not answer".into()),
                };
                if let Err(fault) = verdict {
                    let detail = format!("{slot:?} at {}: holder {}: {fault}", resource.short(), holder.short());
                    return Err(Violation::new("P3", detail));
                }
            }
        }
        Ok(())
    }

    /// Asks a storage directly.
    fn ask_holder(&mut self, holder: NodeId, body: Bytes) -> Option<Bytes> {
        let now = self.queue.now();
        let id = OWN_COMMANDS + self.events;
        self.events += 1;
        let command = Command::Apply {
            code: MessageCode::FETCH_REQ.0,
            body,
            certificates: Vec::new(),
            signer: None,
        };
        self.with_storage(holder, |core| core.handle_command(now, CommandId(id), command));
        let end = self.queue.elapsed() + FLUSHES;
        // Nothing else is wrong any more: a violation here is found by the next check.
        drop(self.run_until(end));
        self.copies.remove(&id)
    }

    /// Keeps the answer to a question of this check from the overlay.
    pub(super) fn take_own_answer(&mut self, _host: NodeId, id: CommandId, answer: &Answer) -> bool {
        if id.0 < OWN_COMMANDS {
            return false;
        }
        if let Answer::Applied { body, .. } = answer {
            self.copies.insert(id.0, body.clone());
        }
        true
    }
}

const TRIES: usize = 3;
const ANSWERS: Duration = Duration::from_secs(6);

/// The owner and its next two successors (RFC 6940 §10.4).
const COPIES: usize = 3;

/// Command ids from here on are this check's.
const OWN_COMMANDS: u64 = 1 << 60;

/// A batch is flushed within this time.
const FLUSHES: Duration = Duration::from_millis(50);
