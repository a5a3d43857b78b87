//! Crashes and cuts, within the budget that the ring promises to bear: no list loses its last live entry, and at
//! least r + 1 members stay unskipped.

use std::time::Duration;

use wire::NodeId;

use super::{Event, World};
use crate::invariants::{self, Members};

impl World {
    pub(super) fn inject(&mut self) {
        if !self.has_faults {
            return;
        }
        self.queue.after(FAULT_PERIOD, Event::Faults);
        // A link that dies between two live peers is no crash: Zave's proof says nothing of it. So one at a time.
        if self.queue.elapsed() < self.calm_until {
            return;
        }
        if self.random.is_lucky(self.crash_percent) {
            let alive: Vec<NodeId> = self.chords().map(|(node, _)| node).collect();
            if let Some(victim) = self
                .random
                .pick(&alive)
                .copied()
                .filter(|victim| self.may_crash(*victim))
            {
                self.crash(victim);
            }
        }
        if self.random.is_lucky(CUT_PERCENT) {
            let links = self.links.all();
            if let Some((a, b)) = self
                .random
                .pick(&links)
                .copied()
                .filter(|(a, b)| self.is_quiet() && self.may_cut(*a, *b))
            {
                self.calm_until = self.queue.elapsed() + CUT_HEALS;
                self.log.push(format!("cut {} {}", a.short(), b.short()));
                self.cut(a, b);
            }
        }
    }

    fn crash(&mut self, victim: NodeId) {
        self.log.push(format!("crash {}", victim.short()));
        if let Some(state) = self.nodes.get_mut(&victim) {
            state.chord = None;
        }
        for peer in self.links.of(victim) {
            self.cut(victim, peer);
        }
        self.forget_end(victim);
        let wait = self.random.millis(200, 20_000);
        self.queue.after(wait, Event::Restart(victim));
    }

    fn may_crash(&self, victim: NodeId) -> bool {
        let mut members = self.members();
        members.remove(&victim);
        self.is_bearable(&members)
    }

    fn is_quiet(&self) -> bool {
        invariants::check_quiet(&self.members(), self.settings.list_length).is_ok()
    }

    /// Both ends may drop each other, now or when they attach anew: the ring must bear to miss both.
    fn may_cut(&self, a: NodeId, b: NodeId) -> bool {
        let mut members = self.members();
        members.retain(|node, _| *node != a && *node != b);
        self.is_bearable(&members)
    }

    fn is_bearable(&self, members: &Members) -> bool {
        let has_live = |node: NodeId, list: &[NodeId]| {
            list.iter()
                .any(|entry| members.contains_key(entry) && self.links.is_up(node, *entry))
        };
        let entering = |list: &[NodeId]| list.is_empty();
        let lists_live = members.iter().all(|(node, member)| {
            has_live(*node, &member.successors)
                && (entering(&member.predecessors) || has_live(*node, &member.predecessors))
        });
        // The links that are cut already, and not noticed, count as lost.
        let mut seen = members.clone();
        for (node, member) in &mut seen {
            member
                .successors
                .retain(|entry| members.contains_key(entry) && self.links.is_up(*node, *entry));
        }
        // Who has just joined may be skipped for a moment by a list that is under way.
        let is_settled = |node: &NodeId| {
            self.settled
                .get(node)
                .is_some_and(|since| *since + SETTLES <= self.queue.elapsed())
        };
        lists_live && invariants::unskipped(&seen).filter(is_settled).count() > self.settings.list_length
    }
}

/// Time after which every neighbour knows a new member.
const SETTLES: Duration = Duration::from_secs(3);
const FAULT_PERIOD: Duration = Duration::from_millis(500);
/// Time in which both ends of a cut link have noticed, and attached anew.
const CUT_HEALS: Duration = Duration::from_secs(6);
const CUT_PERCENT: u64 = 10;
