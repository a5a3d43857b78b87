//! How tables and range follow from what is known, and what follows from their change.

use std::time::Duration;

use tracing::debug;
use wire::NodeId;

use crate::{
    chord::{Chord, Standing},
    contact::{Contact, Lists},
    output::Output,
    range::Range,
    ring::mirror,
    walk::{Terrain, Walked},
};

impl Chord {
    /// Brings everything in line with what is known now.
    pub(crate) fn settle(&mut self) {
        match self.standing {
            Standing::Member => self.reshape(),
            Standing::Joining => self.pursue_join(),
            Standing::Outside | Standing::Isolated => {}
        }
        self.pursue_attaches();
    }

    /// Becomes a member, with `after` set by the caller.
    pub(crate) fn become_member(&mut self) {
        self.standing = Standing::Member;
        self.admitting = None;
        self.since = self.now;
        self.outputs.push_back(Output::Joined);
        self.outputs.push_back(Output::RangeChanged {
            old: None,
            new: self.own_range(),
        });
        self.searches.reset(self.now);
        self.reshape();
        if self.is_member() {
            if !self.successors.is_empty() {
                self.outputs.push_back(Output::ReplicasChanged);
            }
            self.tell_everyone();
        }
        self.pursue_attaches();
    }

    /// Takes over what the admitting peer knows, before `become_member`: its list is the first extended list, as far as
    /// it is confirmed. Claims of others that nobody has confirmed do not stand in the way then.
    pub(crate) fn start_from(&mut self, admitting: NodeId, lists: &Lists) {
        let own = self.own.to_u128();
        let is_ready = |node: &NodeId| self.is_peer(*node);
        let nodes = |places: &[u128]| -> Vec<NodeId> {
            places
                .iter()
                .filter(|place| **place != own)
                .copied()
                .map(NodeId::from_u128)
                .collect()
        };
        let previous = nodes(&lists.predecessors);
        let after = previous.first().copied().unwrap_or(admitting);
        let next = std::iter::once(admitting)
            .chain(nodes(&lists.successors))
            .take_while(is_ready)
            .collect();
        let previous = previous.into_iter().take_while(is_ready).collect();
        (self.after, self.successors, self.predecessors) = (after, next, previous);
    }

    /// Gives up the range and the tables.
    pub(crate) fn stand_outside(&mut self, standing: Standing) {
        let old = self.own_range();
        self.standing = standing;
        self.is_alone = false;
        self.admitting = None;
        self.successors.clear();
        self.predecessors.clear();
        self.desired.clear();
        self.is_closed = false;
        self.tell_at = None;
        self.attaches.clear();
        self.searches.reset(self.now);
        if old.is_some() {
            self.outputs.push_back(Output::RangeChanged { old, new: None });
        }
    }

    /// Makes both lists anew from what is confirmed, and the range from them.
    fn reshape(&mut self) {
        let (old_range, old_replicas) = (self.own_range(), self.replicas().to_vec());
        let next = self.walk(&self.successors, &|place| place);
        let mut previous = self.walk(&self.predecessors, &mirror);
        if !self.settings.rules.predecessor_is_replaced && self.predecessors.iter().any(|node| self.is_peer(*node)) {
            previous.list = self
                .predecessors
                .iter()
                .filter(|node| self.is_peer(**node))
                .map(|node| mirror(node.to_u128()))
                .collect();
        }
        let successors: Vec<NodeId> = next.list.iter().copied().map(NodeId::from_u128).collect();
        let predecessors: Vec<NodeId> = previous
            .list
            .iter()
            .copied()
            .map(|place| NodeId::from_u128(mirror(place)))
            .collect();
        if successors.is_empty() && !self.is_alone {
            // RFC 6940 §10.7.1: without any successor a peer has to join again. But the last of two has nobody to join.
            if !(self.is_closed && self.successors.len() <= 1) {
                return self.isolate();
            }
        }
        self.is_alone = successors.is_empty();
        self.is_closed = next.is_closed;
        self.desired = next
            .desired
            .iter()
            .copied()
            .chain(previous.desired.iter().copied().map(mirror))
            .map(NodeId::from_u128)
            .collect();
        let is_changed = successors != self.successors || predecessors != self.predecessors;
        self.successors = successors;
        self.predecessors = predecessors;
        self.after = if self.is_alone {
            self.own
        } else {
            self.predecessors.first().copied().unwrap_or(self.after)
        };
        if is_changed {
            debug!(node_id = %self.own.short(), successors = ?self.successors, predecessors = ?self.predecessors, "tables changed");
        }
        self.announce(old_range, &old_replicas, is_changed);
    }

    fn announce(&mut self, old_range: Option<Range>, old_replicas: &[NodeId], is_changed: bool) {
        if self.replicas() != old_replicas {
            self.outputs.push_back(Output::ReplicasChanged);
        }
        let new = self.own_range();
        if new != old_range {
            self.outputs.push_back(Output::RangeChanged { old: old_range, new });
            // RFC 6940 §10.7.3: a changed range is told to all entries of the connection table.
            self.tell_everyone();
        } else if is_changed && self.settings.is_reactive {
            self.tell_at.get_or_insert(self.now + GATHER);
        }
    }

    fn isolate(&mut self) {
        self.tell_leave();
        self.stand_outside(Standing::Isolated);
        self.outputs.push_back(Output::Isolated);
    }

    /// Walks one way around; `turn` mirrors places for the other way.
    fn walk(&self, list: &[NodeId], turn: &dyn Fn(u128) -> u128) -> Walked {
        let own = turn(self.own.to_u128());
        let mut ready: Vec<u128> = self.ready().map(|node| turn(node.to_u128())).collect();
        let chains: Vec<Vec<u128>> = self
            .chains()
            .into_iter()
            .map(|chain| turned(&chain, own, turn))
            .collect();
        if !self.settings.rules.adoption_is_confirmed {
            ready.extend(chains.iter().flatten());
        }
        let mut present = vec![own];
        present.extend(
            list.iter()
                .filter(|node| self.is_peer(**node))
                .map(|node| turn(node.to_u128())),
        );
        if self.is_alone || !self.settings.rules.fingers_stay_out {
            present.push(own);
        }
        Terrain {
            own,
            chains: &chains,
            present: &present,
            ready: &ready,
        }
        .walk(self.settings.list_length)
    }

    fn chains(&self) -> Vec<Vec<u128>> {
        let chain = |(node, contact): (&NodeId, &Contact)| Some(contact.lists.as_ref()?.chain(node.to_u128()));
        self.contacts
            .iter()
            .filter(|(_, contact)| contact.is_ready)
            .filter_map(chain)
            .collect()
    }
}

/// Mirrors a chain if the walk goes counter-clockwise: reflected and reversed it runs clockwise again.
fn turned(chain: &[u128], own: u128, turn: &dyn Fn(u128) -> u128) -> Vec<u128> {
    let turned = chain.iter().copied().map(turn);
    if turn(own) == own {
        turned.collect()
    } else {
        turned.rev().collect()
    }
}

/// Changes within this time are told in one Update, unless the range is among them.
const GATHER: Duration = Duration::from_millis(20);
