//! What some runs have besides single faults: the restart of all peers at once, or a network in two parts.
//!
//! Meanwhile there may be no ring, or two; what must hold is that there is one again soon, and that it has everything.

use std::{collections::BTreeSet, time::Duration};

use wire::NodeId;

use super::{Event, World};
use crate::invariants::{self, Violation};

/// What happens in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Single faults only.
    Faults,
    /// All peers lose their power at once, and come back within seconds.
    RestartOfAll,
    /// Nothing gets from one part of the network to the other for a while.
    Partition,
}

impl Plan {
    pub(super) const fn of(seed: u64) -> Self {
        match seed % 5 {
            3 => Self::RestartOfAll,
            4 => Self::Partition,
            _ => Self::Faults,
        }
    }
}

impl World<'_> {
    /// The calamity of the plan begins.
    pub(super) fn strike(&mut self) {
        match self.plan {
            Plan::Faults => {}
            Plan::RestartOfAll => self.restart_all(),
            Plan::Partition => self.part(),
        }
    }

    fn restart_all(&mut self) {
        self.note(|| "restart of all".into());
        self.tear(REFORMED);
        let hosts: Vec<NodeId> = self.hosts.keys().copied().collect();
        for host in hosts {
            self.crash_overlay(host, true);
            self.crash_storage(host, false);
            let wait = self.random.millis(500, 4000);
            self.queue.after(wait, Event::StartStorage(host));
            self.queue.after(wait, Event::StartOverlay(host));
        }
    }

    fn part(&mut self) {
        let hosts: Vec<NodeId> = self.hosts.keys().copied().collect();
        let mut part: BTreeSet<NodeId> = hosts.iter().copied().filter(|_| self.random.is_lucky(50)).collect();
        if part.is_empty() || part.len() == hosts.len() {
            part = hosts.iter().copied().step_by(2).collect();
        }
        self.note(|| {
            format!(
                "network in two parts: {:?} and the rest",
                part.iter().map(NodeId::short).collect::<Vec<_>>()
            )
        });
        let duration = self.random.millis(5_000, 20_000);
        self.tear(duration + HEALED);
        self.queue.after(duration, Event::Heal);
        self.network.part(part);
    }

    /// The network is whole again.
    pub(super) fn heal(&mut self) {
        self.note(|| "network whole".into());
        self.network.part(BTreeSet::new());
    }

    fn tear(&mut self, patience: Duration) {
        self.torn_until = Some(self.queue.elapsed() + patience);
        self.is_i2_due = false;
        self.settled.clear();
    }

    /// Tells whether the ring may be in parts; it may not once it is whole again, nor for longer than allowed.
    pub(super) fn is_torn(&mut self) -> Result<bool, Violation> {
        let Some(until) = self.torn_until else { return Ok(false) };
        let members = self.members();
        let is_whole = members.len() == self.hosts.len() && invariants::check(&members).is_ok();
        if is_whole && !self.network.is_parted() {
            self.note(|| "one ring".into());
            self.torn_until = None;
            return Ok(false);
        }
        if self.queue.elapsed() > until {
            let detail = format!("no ring of all {} peers again", self.hosts.len());
            return Err(Violation::new("H1", detail));
        }
        Ok(true)
    }
}

/// Who waits for a joined peer waits five seconds; then seven peers join, one after the other.
const REFORMED: Duration = Duration::from_secs(30);

/// Three periods of the probes that find other rings.
const HEALED: Duration = Duration::from_secs(90);
