//! The ring as one node sees it: standing, tables, range.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use wire::{NodeId, Now};

use crate::{
    attach::Attaches,
    contact::{Contact, Role},
    finger::Searches,
    output::Output,
    random::Random,
    ring::is_between,
    settings::Settings,
};

/// What a node is to the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not in the ring, and not trying to be.
    Outside,
    /// On the way in.
    Joining,
    /// A peer of the ring.
    Member,
    /// Was a member, lost all successors, and has to join again.
    Isolated,
}

/// A joining node's place is not in the range of the peer it asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{joining} does not belong before {admitting}")]
pub struct Misplaced {
    /// Who asked.
    pub joining: NodeId,
    /// Who was asked.
    pub admitting: NodeId,
}

/// The topology plug-in of one node.
#[derive(Debug)]
pub struct Chord {
    pub(crate) own: NodeId,
    pub(crate) settings: Settings,
    pub(crate) random: Random,
    pub(crate) now: Instant,
    pub(crate) standing: Standing,
    pub(crate) is_alone: bool,
    /// When this node became a member.
    pub(crate) since: Instant,
    /// Peers with a link that is up.
    pub(crate) contacts: BTreeMap<NodeId, Contact>,
    pub(crate) successors: Vec<NodeId>,
    pub(crate) predecessors: Vec<NodeId>,
    /// Who should stand in the lists, confirmed or not.
    pub(crate) desired: Vec<NodeId>,
    /// Whether the successor list reaches around the ring.
    pub(crate) is_closed: bool,
    /// Last known predecessor, alive or not; the range begins after it.
    pub(crate) after: NodeId,
    pub(crate) admitting: Option<Admitting>,
    pub(crate) attaches: Attaches,
    pub(crate) searches: Searches,
    /// When the tables must be told again to the neighbours.
    pub(crate) next_update: Instant,
    /// When a change of the tables must be told to everyone.
    pub(crate) tell_at: Option<Instant>,
    pub(crate) outputs: VecDeque<Output>,
}

/// The peer that a joining node joins at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admitting {
    pub(crate) peer: NodeId,
    /// Whether `ReadyToJoin` was emitted.
    pub(crate) is_asked: bool,
}

impl Chord {
    /// Makes the plug-in of a node outside any ring.
    #[must_use]
    pub fn new(now: Now, own: NodeId, settings: Settings, seed: u64) -> Self {
        Self {
            own,
            settings: settings.checked(),
            random: Random::new(seed),
            now: now.instant,
            standing: Standing::Outside,
            is_alone: false,
            since: now.instant,
            contacts: BTreeMap::new(),
            successors: Vec::new(),
            predecessors: Vec::new(),
            desired: Vec::new(),
            is_closed: false,
            after: own,
            admitting: None,
            attaches: Attaches::default(),
            searches: Searches::new(now.instant),
            next_update: now.instant,
            tell_at: None,
            outputs: VecDeque::new(),
        }
    }

    /// Takes other settings: what is due by the old ones, and later than by the new, is due by these.
    pub fn set_settings(&mut self, now: Now, settings: Settings) {
        self.now = now.instant;
        self.settings = settings.checked();
        self.hasten_update();
        self.hasten_searches();
    }

    /// Makes a new ring with this node as its only peer.
    pub fn form(&mut self, now: Now) {
        self.now = now.instant;
        self.is_alone = true;
        self.after = self.own;
        self.become_member();
    }

    /// Leaves the ring: tells every link, and owns nothing from now on. Hand the values over before.
    pub fn leave(&mut self, now: Now) {
        self.now = now.instant;
        self.tell_leave();
        self.stand_outside(Standing::Outside);
    }

    /// Tells whether a joining node's place is in this peer's range, so that this peer admits it (RFC 6940 §10.5).
    #[must_use]
    pub fn admits(&self, joining: NodeId) -> bool {
        let range = (self.after.to_u128(), self.own.to_u128());
        self.is_member() && (is_between(range.0, joining.to_u128(), range.1) || !self.settings.rules.join_is_rechecked)
    }

    /// Takes a joining node as predecessor: the hand-over point. The change of the range and the Update that names it
    /// come out together.
    ///
    /// # Errors
    ///
    /// [`Misplaced`] if the node does not belong here (any more) or has no link; nothing has changed then.
    pub fn admit(&mut self, now: Now, joining: NodeId) -> Result<(), Misplaced> {
        self.now = now.instant;
        let misplaced = Misplaced {
            joining,
            admitting: self.own,
        };
        if !self.admits(joining) {
            return Err(misplaced);
        }
        let contact = self.contacts.get_mut(&joining).ok_or(misplaced)?;
        contact.is_ready = true;
        self.settle();
        // Also when nothing changed, as on a repeated Join: the joining node waits for this Update.
        self.tell(joining);
        Ok(())
    }

    /// Takes note of a link that came up. A link that replaces another one to the same node is reported as down first, if
    /// the node may have forgotten us; two links of one simultaneous Attach are one. A client's link changes nothing:
    /// whatever the client says over it, it is in no table, and it is told nothing.
    pub fn handle_link_up(&mut self, now: Now, node: NodeId, role: Role) {
        self.now = now.instant;
        if node == self.own || role == Role::Client && self.settings.rules.clients_stay_out {
            return;
        }
        self.contacts.insert(node, Contact::default());
        self.attaches.forget(node);
        if self.is_member() {
            self.tell(node);
        }
        self.settle();
    }

    /// Takes note of a link that is gone.
    pub fn handle_link_down(&mut self, now: Now, node: NodeId) {
        self.now = now.instant;
        let Some(contact) = self.contacts.remove(&node) else {
            return;
        };
        self.attaches.forget(node);
        if contact.is_ready && self.is_neighbor(node) {
            // RFC 6940 §10.7.1: only the link may be lost; try to reach the neighbour another way.
            self.attaches.retry_lost(node, self.now);
        }
        self.searches.handle_lost(self.own, node);
        self.settle();
    }

    /// Takes note that a link does not answer at present, or does again.
    pub fn handle_suspect(&mut self, now: Now, node: NodeId, is_suspect: bool) {
        self.now = now.instant;
        if let Some(contact) = self.contacts.get_mut(&node) {
            contact.is_suspect = is_suspect;
        }
    }

    /// Takes note that a peer said Leave over its link: it is treated as failed (RFC 6940 §10.9).
    pub fn handle_leave(&mut self, now: Now, from: NodeId) {
        self.now = now.instant;
        if let Some(contact) = self.contacts.get_mut(&from) {
            contact.is_ready = false;
            contact.lists = None;
        }
        self.settle();
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now.instant;
        self.tell_what_is_due();
        self.search_finger();
        self.settle();
    }

    /// Names the next thing to do.
    #[must_use]
    pub fn poll_output(&mut self) -> Output {
        self.outputs
            .pop_front()
            .unwrap_or_else(|| Output::Timeout(self.deadline()))
    }

    fn deadline(&self) -> Instant {
        let member = [self.next_update, self.searches.at()];
        let member = member.into_iter().filter(|_| self.is_member());
        let rest = self.tell_at.into_iter().chain(self.attaches.deadline());
        rest.chain(member).min().unwrap_or(self.now + IDLE)
    }
}

/// Wait when no timer runs.
const IDLE: Duration = Duration::from_secs(3600);
