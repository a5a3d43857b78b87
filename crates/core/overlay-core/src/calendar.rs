//! A calendar that is years off: by it no certificate is valid, so this node can believe nobody.
//!
//! Its links stand, since they were made under the right date, and the others go on to take it for the owner of its range;
//! but it drops whatever they ask. So a peer whose linked peers all seem to have let their certificates end, at least two of them,
//! leaves the ring to them until its date is right. One that means well is believed again with its next message.

use std::collections::BTreeSet;

use tracing::warn;
use wire::{NodeId, Now};

use crate::core::Core;

/// Linked peers whose certificates do not hold by the own calendar.
#[derive(Default)]
pub(crate) struct Calendar {
    doubted: BTreeSet<NodeId>,
}

impl Calendar {
    /// A node's certificate holds, or its link is gone.
    pub(crate) fn clear(&mut self, node: NodeId) {
        self.doubted.remove(&node);
    }
}

impl Core {
    /// A linked node signed with a certificate that has ended, or not begun.
    pub(crate) fn doubt_calendar(&mut self, now: Now, node: NodeId) {
        let was_wrong = self.is_calendar_wrong();
        if self.links.is_peer(node) {
            self.calendar.doubted.insert(node);
        }
        if !was_wrong && self.is_calendar_wrong() {
            warn!(node_id = %self.own().short(), unix_ms = now.unix_ms, "by the date of this machine no peer's certificate is valid");
            self.stand_aside(now);
        }
    }

    /// Whether nobody can be believed under the own date.
    pub(crate) fn is_calendar_wrong(&self) -> bool {
        let mut peers = self.links.peers().filter(|node| self.links.is_peer(*node)).peekable();
        self.calendar.doubted.len() >= 2
            && peers.peek().is_some()
            && peers.all(|node| self.calendar.doubted.contains(&node))
    }
}
