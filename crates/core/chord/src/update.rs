//! What peers tell each other about their tables (RFC 6940 §10.7), and how a node joins by it.

use std::time::Instant;

use wire::{ChordLeave, ChordUpdate, ChordUpdateKind, NodeId, Now};

use crate::{
    chord::{Admitting, Chord, Standing},
    contact::Lists,
    output::Output,
    ring::{distance, is_between},
};

impl Chord {
    /// Starts to join, or starts over. Links that are up stay; peers that took this node for one are told otherwise.
    pub fn begin_join(&mut self, now: Now) {
        self.now = now.instant;
        if self.standing != Standing::Outside {
            self.tell_leave();
        }
        self.stand_outside(Standing::Joining);
    }

    /// Chooses who admits this node: the peer that answered the Attach to Resource-ID own + 1 (RFC 6940 §10.5).
    pub fn choose_admitting_peer(&mut self, now: Now, peer: NodeId) {
        self.now = now.instant;
        if self.standing == Standing::Joining {
            self.admitting = Some(Admitting { peer, is_asked: false });
            self.settle();
        }
    }

    /// Takes in an Update that came over the link to `from`.
    pub fn handle_update(&mut self, now: Now, from: NodeId, update: &ChordUpdate) {
        self.now = now.instant;
        let lists = Lists::of(from, update);
        let Some(contact) = self.contacts.get_mut(&from) else {
            return;
        };
        contact.is_ready = true;
        let before = std::mem::replace(&mut contact.lists, lists);
        let is_far = before.is_some() && contact.lists.is_none();
        self.probe_dropped(from, before.as_ref());
        if is_far
            && self.standing == Standing::Joining
            && self.admitting.is_some_and(|admitting| admitting.peer == from)
        {
            // Another peer came between: whoever admits us would tell us its lists.
            return self.fail_join();
        }
        if self.is_named_by(from) {
            self.enter();
        }
        self.settle();
    }

    /// Sends a full Update to whoever asked for it with `send_update` in an Attach or RouteQuery (RFC 6940 §10.7). A
    /// node outside the ring has nothing to say.
    pub fn send_full_update(&mut self, now: Now, to: NodeId) {
        self.now = now.instant;
        if self.is_member() && self.contacts.contains_key(&to) {
            let (predecessors, successors) = (self.predecessors.clone(), self.successors.clone());
            let kind = ChordUpdateKind::Full {
                predecessors,
                successors,
                fingers: self.fingers().collect(),
            };
            self.push_update(to, kind);
        }
    }

    /// Tells one contact: neighbours get the lists, others learn that this peer may be routed through.
    pub(crate) fn tell(&mut self, to: NodeId) {
        let kind = if self.is_near(to) {
            let (predecessors, successors) = (self.predecessors.clone(), self.successors.clone());
            ChordUpdateKind::Neighbors {
                predecessors,
                successors,
            }
        } else {
            ChordUpdateKind::PeerReady
        };
        self.push_update(to, kind);
    }

    // RFC 6940 §10.7.3: a change goes to every entry of the connection table.
    pub(crate) fn tell_everyone(&mut self) {
        self.tell_at = None;
        let contacts: Vec<NodeId> = self.contacts.keys().copied().collect();
        contacts.into_iter().for_each(|to| self.tell(to));
    }

    pub(crate) fn tell_what_is_due(&mut self) {
        if !self.is_member() {
            return;
        }
        if self.tell_at.is_some_and(|at| at <= self.now) {
            self.tell_everyone();
        }
        if self.next_update <= self.now {
            self.next_update = self.periodic_update();
            let near: Vec<NodeId> = self
                .contacts
                .keys()
                .copied()
                .filter(|node| self.is_neighbor(*node))
                .collect();
            let (neighbors, fingers) = (near.len(), self.fingers().count());
            let _span = tracing::info_span!(parent: None, "chord stabilize", neighbors, fingers).entered();
            near.into_iter().for_each(|to| self.tell(to));
        }
    }

    // RFC 6940 §10.7.4.1: periodic, offset at random so that peers do not speak all at once.
    fn periodic_update(&mut self) -> Instant {
        let interval = self.settings.update_interval;
        self.now + interval * 3 / 4 + self.random.below(interval / 2)
    }

    /// The interval may have become shorter.
    pub(crate) fn hasten_update(&mut self) {
        self.next_update = self.next_update.min(self.periodic_update());
    }

    // RFC 6940 §10.9: the type says on which side of the recipient the leaving peer stands.
    pub(crate) fn tell_leave(&mut self) {
        for to in self.contacts.keys().copied() {
            let leave = if self.predecessors.contains(&to) {
                ChordLeave::FromSuccessor {
                    successors: self.successors.clone(),
                }
            } else {
                ChordLeave::FromPredecessor {
                    predecessors: self.predecessors.clone(),
                }
            };
            self.outputs.push_back(Output::SendLeave { to, leave });
        }
    }

    /// Attaches to the neighbours-to-be, then asks to join (RFC 6940 §10.5 steps 3 to 5).
    pub(crate) fn pursue_join(&mut self) {
        let Some(admitting) = self.admitting else { return };
        let Some(contact) = self.contacts.get(&admitting.peer) else {
            // Its link comes up after the Attach; once asked, its loss ends the attempt.
            if admitting.is_asked {
                self.fail_join();
            }
            return;
        };
        let Some(lists) = contact.lists.as_ref() else { return };
        if !self.stands_before(admitting.peer, lists) {
            return self.fail_join();
        }
        let length = self.settings.list_length;
        let own = self.own.to_u128();
        let next = lists
            .successors
            .iter()
            .take_while(|place| **place != own)
            .take(length - 1);
        let previous = lists.predecessors.iter().filter(|place| **place != own).take(length);
        self.desired = next.chain(previous).copied().map(NodeId::from_u128).collect();
        // RFC 6940 §10.5: no Update may place this node in the overlay before it is attached to all its neighbours.
        if !admitting.is_asked && self.desired.iter().all(|node| self.is_peer(*node)) {
            self.admitting = Some(Admitting {
                is_asked: true,
                ..admitting
            });
            self.outputs.push_back(Output::ReadyToJoin {
                admitting: admitting.peer,
            });
        }
    }

    fn fail_join(&mut self) {
        self.stand_outside(Standing::Joining);
        self.outputs.push_back(Output::JoinFailed);
    }

    /// Tells whether the admitting peer just named this node, which asked for it, as its predecessor.
    fn is_named_by(&self, from: NodeId) -> bool {
        let is_asked = self.standing == Standing::Joining
            && self
                .admitting
                .is_some_and(|admitting| admitting.peer == from && admitting.is_asked);
        let lists = self.contacts.get(&from).and_then(|contact| contact.lists.as_ref());
        let own = self.own.to_u128();
        // Further down the list it would be a stranger's place: somebody else came between.
        let is_first = |lists: &Lists| lists.predecessors.first() == Some(&own);
        let is_named = |lists: &Lists| !self.settings.rules.join_is_rechecked && lists.names(own);
        is_asked && lists.is_some_and(|lists| is_first(lists) || is_named(lists))
    }

    /// Enters the ring where the admitting peer put this node.
    fn enter(&mut self) {
        let Some(admitting) = self.admitting else { return };
        let Some(lists) = self
            .contacts
            .get(&admitting.peer)
            .and_then(|contact| contact.lists.clone())
        else {
            return;
        };
        if !self.stands_before(admitting.peer, &lists) {
            return self.fail_join();
        }
        self.start_from(admitting.peer, &lists);
        self.become_member();
    }

    /// Tells whether this node's place is in the range of a peer with these lists.
    fn stands_before(&self, peer: NodeId, lists: &Lists) -> bool {
        let own = self.own.to_u128();
        let before = lists
            .predecessors
            .iter()
            .find(|place| **place != own)
            .copied()
            .unwrap_or(peer.to_u128());
        is_between(before, own, peer.to_u128()) || !self.settings.rules.join_is_rechecked
    }

    /// Has a neighbour probed that `from` named before and does not name any more: it may be dead.
    fn probe_dropped(&mut self, from: NodeId, before: Option<&Lists>) {
        let Some(now) = self.contacts.get(&from).and_then(|contact| contact.lists.clone()) else {
            return;
        };
        let Some(before) = before else { return };
        let place = from.to_u128();
        let is_inside = |node: u128, list: &[u128], span: &dyn Fn(u128) -> u128| {
            list.len() < self.settings.list_length || list.last().is_some_and(|last| span(node) < span(*last))
        };
        let next = before
            .successors
            .iter()
            .filter(|node| is_inside(**node, &now.successors, &|to| distance(place, to)));
        let previous = before
            .predecessors
            .iter()
            .filter(|node| is_inside(**node, &now.predecessors, &|to| distance(to, place)));
        let mut dropped: Vec<NodeId> = next
            .chain(previous)
            .filter(|node| !now.names(**node))
            .copied()
            .map(NodeId::from_u128)
            .collect();
        dropped.retain(|node| self.is_neighbor(*node));
        dropped.sort_unstable();
        dropped.dedup();
        self.outputs.extend(dropped.into_iter().map(Output::Probe));
    }

    /// Tells whether a node is, or is about to be, in the neighbourhood.
    fn is_near(&self, node: NodeId) -> bool {
        let (Some(last), Some(first)) = (self.successors.last(), self.predecessors.last()) else {
            return true;
        };
        let is_short = self.successors.len().min(self.predecessors.len()) < self.settings.list_length;
        is_short
            || self.is_neighbor(node)
            || self.desired.contains(&node)
            || is_between(first.to_u128(), node.to_u128(), last.to_u128())
    }

    fn push_update(&mut self, to: NodeId, kind: ChordUpdateKind) {
        // RFC 6940 §10.7: seconds this peer has been up.
        let uptime = u32::try_from(self.now.duration_since(self.since).as_secs()).unwrap_or(u32::MAX);
        self.outputs.push_back(Output::SendUpdate {
            to,
            update: ChordUpdate { uptime, kind },
        });
    }
}
