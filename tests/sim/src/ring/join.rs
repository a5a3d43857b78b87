//! Joining, as overlay-core does it, without messages where the topology does not see them.

use std::time::Duration;

use chord::Standing;
use wire::{NodeId, ResourceId};

use super::{Event, Message, World};

impl World {
    pub(super) fn begin_join(&mut self, node: NodeId) {
        let now = self.queue.now();
        let Some(state) = self.nodes.get_mut(&node) else { return };
        state.attempt += 1;
        let attempt = state.attempt;
        self.with(node, |chord| chord.begin_join(now));
        self.queue.after(JOIN_TIMEOUT, Event::JoinTimeout { node, attempt });
        let members: Vec<NodeId> = self
            .chords()
            .filter(|(_, chord)| chord.is_member())
            .map(|(peer, _)| peer)
            .collect();
        if let Some(bootstrap) = self.random.pick(&members).copied() {
            let wait = self.random.millis(2, 100);
            self.queue.after(
                wait,
                Event::Bootstrap {
                    node,
                    attempt,
                    bootstrap,
                },
            );
        }
    }

    pub(super) fn join_later(&mut self, node: NodeId) {
        if let Some(attempt) = self.nodes.get(&node).map(|state| state.attempt) {
            let wait = self.random.millis(300, 1000);
            self.queue.after(wait, Event::Join { node, attempt });
        }
    }

    pub(super) fn bootstrap(&mut self, node: NodeId, attempt: u32, bootstrap: NodeId) {
        if !self.is_trying(node, attempt) || !self.connect(node, bootstrap) {
            return;
        }
        let place = ResourceId::from_u128(node.to_u128().wrapping_add(1));
        let admitting = self.find(node, Some(bootstrap), place.into());
        let wait = self.random.millis(4, 200);
        self.queue.after(
            wait,
            Event::Admitting {
                node,
                attempt,
                admitting,
            },
        );
    }

    pub(super) fn choose(&mut self, node: NodeId, attempt: u32, admitting: Option<NodeId>) {
        let now = self.queue.now();
        if !self.is_trying(node, attempt) {
            return;
        }
        match admitting {
            Some(peer) if peer != node && self.connect(node, peer) => {
                self.with(node, |chord| chord.choose_admitting_peer(now, peer));
                // The Attach asks for an Update (send_update).
                self.with(peer, |chord| chord.send_full_update(now, node));
            }
            Some(_) | None => self.join_later(node),
        }
    }

    pub(super) fn time_out_join(&mut self, node: NodeId, attempt: u32) {
        if self.is_trying(node, attempt) {
            self.begin_join(node);
        }
    }

    /// Answers a Join: one at a time, and only from a node that belongs here.
    pub(super) fn handle_join(&mut self, node: NodeId, joining: NodeId) {
        let is_rechecked = self.settings.rules.join_is_rechecked;
        let Some(state) = self.nodes.get_mut(&node) else { return };
        let is_welcome = state.chord.as_ref().is_some_and(|chord| chord.admits(joining));
        // A Join that nobody checks again is also not kept waiting for another one.
        if is_welcome && (state.handing.is_none() || !is_rechecked) {
            state.handing = Some(joining);
            let life = state.life;
            let wait = self.random.millis(5, 400);
            self.queue.after(wait, Event::HandedOver { node, life, joining });
        } else {
            self.send(node, joining, Message::JoinRefused);
        }
    }

    pub(super) fn hand_over(&mut self, node: NodeId, life: u32, joining: NodeId) {
        let now = self.queue.now();
        if !self.is_alive(node, life) {
            return;
        }
        let mut is_admitted = false;
        self.with(node, |chord| is_admitted = chord.admit(now, joining).is_ok());
        if let Some(state) = self.nodes.get_mut(&node) {
            state.handing = None;
        }
        if !is_admitted {
            self.send(node, joining, Message::JoinRefused);
        }
    }

    pub(super) fn is_outside(&self, node: NodeId, attempt: u32) -> bool {
        self.nodes.get(&node).is_some_and(|state| {
            state.attempt == attempt && state.chord.as_ref().is_some_and(|chord| !chord.is_member())
        })
    }

    fn is_trying(&self, node: NodeId, attempt: u32) -> bool {
        self.nodes.get(&node).is_some_and(|state| {
            state.attempt == attempt
                && state
                    .chord
                    .as_ref()
                    .is_some_and(|chord| chord.standing() == Standing::Joining)
        })
    }
}

/// A try to join that takes longer is given up.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
