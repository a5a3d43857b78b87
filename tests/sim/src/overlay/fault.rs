//! What goes wrong, within the budget that the overlay promises to bear: no list loses its last live entry, at least
//! r + 1 members stay unskipped, and at most two disks are lost between two repairs.

use std::time::Duration;

use overlay_core::Core;
use wire::NodeId;

use super::{Event, World, host::LIST_LENGTH};
use crate::invariants::{self, Members};

impl World<'_> {
    pub(super) fn inject(&mut self) {
        if !self.has_faults {
            return;
        }
        self.queue.after(FAULT_PERIOD, Event::Faults);
        let elapsed = self.queue.elapsed();
        self.ailing.retain(|_, until| *until > elapsed);
        if self.is_repaired() {
            self.disks_lost = 0;
            self.troubled.clear();
        }
        if self.torn_until.is_some()
            || self.queue.elapsed() < self.calm_until
            || !self.random.is_lucky(self.fault_percent)
        {
            return;
        }
        let hosts: Vec<NodeId> = self.hosts.keys().copied().collect();
        let Some(host) = self.random.pick(&hosts).copied() else {
            return;
        };
        // The owner and two replicas have each value: whoever survives two failures can still read it.
        if !self.is_cruel && !self.troubled.contains(&host) && self.troubled.len() >= BEARABLE {
            return;
        }
        match self.random.below(100) {
            0..40 => self.crash_host(host),
            40..60 => self.crash_one_overlay(host),
            60..72 => self.crash_one_storage(host),
            72..84 => self.stop_one_storage(host),
            84..92 => self.interrupt_session(host),
            _ => self.cut_link(),
        }
    }

    /// Two neighbours lose everything at once. Each record has three holders by now, and no more: one of them is left.
    pub(super) fn lose_disks(&mut self) {
        let hosts: Vec<NodeId> = self.hosts.keys().copied().collect();
        let first = self.random.below(hosts.len());
        for host in hosts.iter().cycle().skip(first).take(DISKS) {
            self.note(|| format!("crash of {}, disk lost", host.short()));
            self.crash_overlay(*host, false);
            self.crash_storage(*host, true);
            let wait = self.random.millis(200, 10_000);
            self.queue.after(wait, Event::StartStorage(*host));
            self.queue.after(wait, Event::StartOverlay(*host));
        }
    }

    fn crash_host(&mut self, host: NodeId) {
        if !self.may_lose(&[host]) {
            return;
        }
        let loses_disk = self.disks_lost < DISKS && self.random.is_lucky(30);
        self.disks_lost += usize::from(loses_disk);
        let is_silent = self.random.is_lucky(50);
        self.note(|| {
            format!(
                "crash of {}, disk lost: {loses_disk}, silent: {is_silent}",
                host.short()
            )
        });
        self.troubled.insert(host);
        self.crash_overlay(host, is_silent);
        self.crash_storage(host, loses_disk);
        let wait = self.random.millis(200, 20_000);
        self.queue.after(wait, Event::StartStorage(host));
        self.queue.after(wait, Event::StartOverlay(host));
    }

    fn crash_one_overlay(&mut self, host: NodeId) {
        if !self.may_lose(&[host]) {
            return;
        }
        self.note(|| format!("crash of the overlay of {}", host.short()));
        self.troubled.insert(host);
        self.crash_overlay(host, false);
        let wait = self.random.millis(50, 5_000);
        self.queue.after(wait, Event::StartOverlay(host));
    }

    fn crash_one_storage(&mut self, host: NodeId) {
        if !self.may_be_without_storage(host) {
            return;
        }
        self.note(|| format!("crash of the storage of {}", host.short()));
        self.troubled.insert(host);
        self.crash_storage(host, false);
        let wait = self.random.millis(50, 6_000);
        self.without_storage(host, wait);
        self.queue.after(wait, Event::StartStorage(host));
    }

    /// The process is stopped: its session stays open, and nobody answers.
    fn stop_one_storage(&mut self, host: NodeId) {
        if !self.may_be_without_storage(host) {
            return;
        }
        let wait = self.random.millis(50, 6_000);
        self.note(|| format!("storage of {} stopped for {wait:?}", host.short()));
        self.troubled.insert(host);
        self.without_storage(host, wait);
        let until = self.queue.elapsed() + wait;
        if let Some(state) = self.hosts.get_mut(&host) {
            state.hangs_until = until;
        }
    }

    /// Without storage for longer than a second a peer leaves: it counts as lost from the beginning.
    fn may_be_without_storage(&self, host: NodeId) -> bool {
        let has_storage = self.hosts.get(&host).is_some_and(|state| state.storage.is_some());
        has_storage && !self.ailing.contains_key(&host) && self.may_lose(&[host])
    }

    fn without_storage(&mut self, host: NodeId, wait: Duration) {
        self.ailing.insert(host, self.queue.elapsed() + wait + SETTLES);
    }

    fn interrupt_session(&mut self, host: NodeId) {
        self.note(|| format!("session of {} interrupted", host.short()));
        self.drop_session(host);
        self.open_session(host);
    }

    /// A link that dies between two live peers is no crash: Zave's proof says nothing of it. So one at a time, and in a
    /// ring that would bear to miss both ends.
    fn cut_link(&mut self) {
        let pairs = self.network.pairs();
        let Some((a, b)) = self.random.pick(&pairs).copied() else {
            return;
        };
        if self.may_lose(&[a, b]) && invariants::check_quiet(&self.members(), LIST_LENGTH).is_ok() {
            self.note(|| format!("cut between {} and {}", a.short(), b.short()));
            self.calm_until = self.queue.elapsed() + CUT_HEALS;
            self.cut(a, b);
        }
    }

    /// Tells whether every copy is where it should be. A peer whose storage was just stopped says that it is ready: it has
    /// not noticed yet.
    fn is_repaired(&self) -> bool {
        let is_ready = |core: &Core| core.status().ready;
        let mut hosts = self.hosts.values();
        self.ailing.is_empty() && hosts.all(|host| host.overlay.as_ref().is_some_and(is_ready))
    }

    fn may_lose(&self, victims: &[NodeId]) -> bool {
        let mut members = self.members();
        members.retain(|node, _| !victims.contains(node) && !self.ailing.contains_key(node));
        self.is_bearable(&members)
    }

    fn is_bearable(&self, members: &Members) -> bool {
        let has_live = |node: NodeId, list: &[NodeId]| {
            list.iter()
                .any(|entry| members.contains_key(entry) && self.network.is_up(node, *entry))
        };
        let lists_live = members.iter().all(|(node, member)| {
            let is_entering = member.predecessors.is_empty();
            has_live(*node, &member.successors) && (is_entering || has_live(*node, &member.predecessors))
        });
        let mut seen = members.clone();
        for (node, member) in &mut seen {
            member
                .successors
                .retain(|entry| members.contains_key(entry) && self.network.is_up(*node, *entry));
        }
        let is_settled = |node: &NodeId| {
            self.settled
                .get(node)
                .is_some_and(|since| *since + SETTLES <= self.queue.elapsed())
        };
        lists_live && invariants::unskipped(&seen).filter(is_settled).count() > LIST_LENGTH
    }
}

const FAULT_PERIOD: Duration = Duration::from_millis(500);

/// Failures that k = 2 names in an acknowledgement stand for.
const BEARABLE: usize = 2;

/// Disks that may be lost between two repairs: one copy of three is left.
const DISKS: usize = 2;

/// Time after which every neighbour knows a new member.
const SETTLES: Duration = Duration::from_secs(3);

/// Time in which both ends of a cut link have noticed, and attached anew.
const CUT_HEALS: Duration = Duration::from_secs(8);
