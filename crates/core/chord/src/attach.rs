//! Attaches under way: to peers that should be neighbours, and to fingers.
//!
//! A neighbour-to-be needs a link, and it has to say in an Update over that link that it is a peer. Updates get lost:
//! one that came over the link which another replaced does not count for its successor. So a linked node that stays
//! silent is asked, on the same schedule as one without a link.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use wire::{NodeId, Now};

use crate::{
    chord::{Chord, Standing},
    finger::Search,
    output::{AttachId, Output, Purpose, Target},
};

/// All Attaches that are wanted or under way.
#[derive(Debug, Default)]
pub(crate) struct Attaches {
    next_id: u64,
    wants: BTreeMap<NodeId, Want>,
    under_way: BTreeMap<AttachId, Pursuit>,
}

/// A peer that should be a neighbour and has no link, or has not said over it that it is a peer.
#[derive(Debug)]
struct Want {
    tries: u32,
    at: Instant,
    is_under_way: bool,
    /// It was a neighbour: try a few times even if nobody names it.
    is_lost: bool,
}

#[derive(Debug)]
enum Pursuit {
    Neighbor(NodeId),
    Finger(Search),
}

impl Attaches {
    /// Names the time of the next try.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.wants
            .values()
            .filter(|want| !want.is_under_way)
            .map(|want| want.at)
            .min()
    }

    /// Drops the wish for a node: its link came up, or is gone.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.wants.remove(&node);
    }

    /// Wants a neighbour back whose link was lost.
    pub(crate) fn retry_lost(&mut self, node: NodeId, now: Instant) {
        self.wants.insert(
            node,
            Want {
                tries: 0,
                at: now,
                is_under_way: false,
                is_lost: true,
            },
        );
    }

    /// Forgets everything; outcomes still to come are ignored.
    pub(crate) fn clear(&mut self) {
        self.wants.clear();
        self.under_way.clear();
    }

    fn begin(&mut self, pursuit: Pursuit) -> AttachId {
        self.next_id += 1;
        let id = AttachId(self.next_id);
        self.under_way.insert(id, pursuit);
        id
    }
}

impl Chord {
    /// Takes note that an Attach was answered by `node`. Its link is reported by `handle_link_up`, before or after.
    pub fn handle_attached(&mut self, now: Now, id: AttachId, node: NodeId) {
        self.now = now.instant;
        match self.attaches.under_way.remove(&id) {
            Some(Pursuit::Neighbor(wanted)) => self.put_off(wanted),
            Some(Pursuit::Finger(search)) => self.end_search(&search, Some(node)),
            None => {}
        }
        self.settle();
    }

    /// Takes note that an Attach failed.
    pub fn handle_attach_failed(&mut self, now: Now, id: AttachId) {
        self.now = now.instant;
        match self.attaches.under_way.remove(&id) {
            Some(Pursuit::Neighbor(wanted)) => self.put_off(wanted),
            Some(Pursuit::Finger(search)) => self.end_search(&search, None),
            None => {}
        }
        self.settle();
    }

    /// Attaches to each peer that should be a neighbour and has no link (RFC 6940 §10.7.3); asks a linked one for its
    /// Update.
    pub(crate) fn pursue_attaches(&mut self) {
        if !matches!(self.standing, Standing::Member | Standing::Joining) {
            return;
        }
        for node in &self.desired {
            if *node == self.own || self.is_peer(*node) {
                continue;
            }
            // An Update follows each new link by itself.
            let is_linked = self.contacts.contains_key(node);
            let at = if is_linked { self.now + FIRST_WAIT } else { self.now };
            self.attaches.wants.entry(*node).or_insert(Want {
                tries: 0,
                at,
                is_under_way: false,
                is_lost: false,
            });
        }
        let is_due = |want: &Want| !want.is_under_way && want.at <= self.now;
        let (contacts, desired) = (&self.contacts, &self.desired);
        self.attaches.wants.retain(|node, want| {
            let is_missed = want.is_under_way || want.is_lost && want.tries < LOST_TRIES;
            match contacts.get(node) {
                Some(contact) => !contact.is_ready && desired.contains(node),
                None => is_missed || desired.contains(node),
            }
        });
        let due: Vec<NodeId> = self
            .attaches
            .wants
            .iter()
            .filter(|(_, want)| is_due(want))
            .map(|(node, _)| *node)
            .collect();
        for node in due {
            if self.contacts.contains_key(&node) {
                self.outputs.push_back(Output::RequestUpdate(node));
                self.put_off(node);
            } else {
                self.attach(node);
            }
        }
    }

    fn attach(&mut self, node: NodeId) {
        let via = self.who_names(node);
        let Some(want) = self.attaches.wants.get_mut(&node) else {
            return;
        };
        want.is_under_way = true;
        let id = self.attaches.begin(Pursuit::Neighbor(node));
        let target = Target::Node { node, via };
        self.outputs.push_back(Output::Attach {
            id,
            target,
            purpose: Purpose::Neighbor,
        });
    }

    /// Starts the Attach that a search for a finger makes.
    pub(crate) fn attach_finger(&mut self, search: Search) {
        let target = Target::Resource(search.place);
        let id = self.attaches.begin(Pursuit::Finger(search));
        self.outputs.push_back(Output::Attach {
            id,
            target,
            purpose: Purpose::Finger,
        });
    }

    /// Finds a peer to route an Attach through: one that names the node in its tables (RFC 6940 §10.6).
    fn who_names(&self, node: NodeId) -> Option<NodeId> {
        let place = node.to_u128();
        let mut namers = self.contacts.iter().filter(|(_, contact)| {
            contact.is_ready && !contact.is_suspect && contact.lists.as_ref().is_some_and(|lists| lists.names(place))
        });
        let tries = self.attaches.wants.get(&node).map_or(0, |want| want.tries as usize);
        let count = namers.clone().count();
        // Another one at each try: the first may not reach it either.
        namers
            .nth(if count == 0 { 0 } else { tries % count })
            .map(|(namer, _)| *namer)
    }

    fn put_off(&mut self, node: NodeId) {
        let now = self.now;
        if let Some(want) = self.attaches.wants.get_mut(&node) {
            want.is_under_way = false;
            want.tries = want.tries.saturating_add(1);
            want.at = now + FIRST_WAIT * 2u32.pow(want.tries.saturating_sub(1).min(MAX_DOUBLINGS));
        }
    }
}

/// Tries for a neighbour whose link was lost, while nobody names it: about three seconds.
const LOST_TRIES: u32 = 4;

/// Wait after the first failure; doubled after each further one.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Eight seconds is the longest wait.
const MAX_DOUBLINGS: u32 = 4;
