//! Reliable streams between two nodes: a message is late, or the link is gone.

use std::{collections::BTreeMap, time::Duration};

use chord::Role;
use wire::NodeId;

use super::{Event, Message, World};

/// All links, by their two ends in ascending order.
#[derive(Default)]
pub(super) struct Links {
    next: u64,
    links: BTreeMap<(NodeId, NodeId), Link>,
}

struct Link {
    id: u64,
    is_up: bool,
    /// Ends that have not noticed yet that it is gone.
    known_to: Vec<NodeId>,
    /// When the latest message arrives, for each receiver.
    busy: BTreeMap<NodeId, Duration>,
}

fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

impl Links {
    pub(super) fn is_up(&self, a: NodeId, b: NodeId) -> bool {
        self.links.get(&pair(a, b)).is_some_and(|link| link.is_up)
    }

    pub(super) fn carries(&self, a: NodeId, b: NodeId, id: u64) -> bool {
        self.links
            .get(&pair(a, b))
            .is_some_and(|link| link.is_up && link.id == id)
    }

    pub(super) fn of(&self, node: NodeId) -> Vec<NodeId> {
        let ends = self
            .links
            .iter()
            .filter(|(ends, link)| link.is_up && (ends.0 == node || ends.1 == node));
        ends.map(|(ends, _)| if ends.0 == node { ends.1 } else { ends.0 })
            .collect()
    }

    pub(super) fn all(&self) -> Vec<(NodeId, NodeId)> {
        self.links
            .iter()
            .filter(|(_, link)| link.is_up)
            .map(|(ends, _)| *ends)
            .collect()
    }
}

impl World {
    /// Makes a link between two live nodes, unless there is one.
    pub(super) fn connect(&mut self, a: NodeId, b: NodeId) -> bool {
        let lives = |node: &NodeId| {
            self.liars.contains(node) || self.nodes.get(node).is_some_and(|state| state.chord.is_some())
        };
        if !lives(&a) || !lives(&b) {
            return false;
        }
        if self.links.is_up(a, b) {
            return true;
        }
        let now = self.queue.now();
        self.links.next += 1;
        let link = Link {
            id: self.links.next,
            is_up: true,
            known_to: vec![a, b],
            busy: BTreeMap::new(),
        };
        let old = self.links.links.insert(pair(a, b), link);
        // An end that still believed in the old link learns with the new one that it is gone.
        for node in old.into_iter().flat_map(|link| link.known_to) {
            let peer = if node == a { b } else { a };
            self.with(node, |chord| chord.handle_link_down(now, peer));
        }
        let [role_of_a, role_of_b] = [a, b].map(|node| {
            if self.liars.contains(&node) {
                Role::Client
            } else {
                Role::Peer
            }
        });
        self.with(a, |chord| chord.handle_link_up(now, b, role_of_b));
        self.with(b, |chord| chord.handle_link_up(now, a, role_of_a));
        true
    }

    /// Cuts a link; each end notices on its own.
    pub(super) fn cut(&mut self, a: NodeId, b: NodeId) {
        let Some(link) = self.links.links.get_mut(&pair(a, b)) else {
            return;
        };
        link.is_up = false;
        let id = link.id;
        for (node, peer) in [(a, b), (b, a)] {
            let wait = self.random.millis(300, 2600);
            self.queue.after(wait, Event::LinkLost { node, peer, link: id });
        }
    }

    pub(super) fn lose_link(&mut self, node: NodeId, peer: NodeId, id: u64) {
        let now = self.queue.now();
        let Some(link) = self.links.links.get_mut(&pair(node, peer)) else {
            return;
        };
        let known = link.known_to.iter().position(|end| *end == node);
        if let (true, Some(index)) = (link.id == id, known) {
            link.known_to.remove(index);
            self.with(node, |chord| chord.handle_link_down(now, peer));
        }
    }

    /// Forgets what a process knew of its links: it is dead.
    pub(super) fn forget_end(&mut self, node: NodeId) {
        for link in self.links.links.values_mut() {
            link.known_to.retain(|end| *end != node);
        }
    }

    /// Sends a message; those of one link arrive in order.
    pub(super) fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        let wait = self.random.millis(1, 60);
        let at = self.queue.elapsed() + wait;
        let Some(link) = self.links.links.get_mut(&pair(from, to)).filter(|link| link.is_up) else {
            return;
        };
        let busy = link.busy.entry(to).or_default();
        *busy = at.max(*busy);
        self.queue.at(
            *busy,
            Event::Deliver {
                from,
                to,
                link: link.id,
                message,
            },
        );
    }
}
