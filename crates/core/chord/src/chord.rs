//! The ring as one node sees it: standing, tables, range.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use tracing::{debug, info};
use wire::{NodeId, Now, ResourceId};

use crate::{
    attach::Attaches,
    contact::{Contact, Lists},
    finger::Searches,
    output::Output,
    random::Random,
    range::Range,
    ring::{is_between, mirror},
    settings::Settings,
    walk::{Terrain, Walked},
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
    /// Whether this node made the ring: only then may it be its only peer.
    is_founder: bool,
    is_alone: bool,
    /// When this node became a member.
    pub(crate) since: Instant,
    /// Nodes with a link that is up.
    pub(crate) contacts: BTreeMap<NodeId, Contact>,
    pub(crate) successors: Vec<NodeId>,
    pub(crate) predecessors: Vec<NodeId>,
    /// Who should stand in the lists, confirmed or not.
    pub(crate) desired: Vec<NodeId>,
    /// Whether the successor list reaches around the ring.
    pub(crate) is_closed: bool,
    /// Last known predecessor, alive or not; the range begins after it.
    after: NodeId,
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
    pub fn new(now: Now, own: NodeId, mut settings: Settings, seed: u64) -> Self {
        settings.list_length = settings.list_length.max(Settings::MIN_LIST);
        Self {
            own,
            settings,
            random: Random::new(seed),
            now: now.instant,
            standing: Standing::Outside,
            is_founder: false,
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

    /// Makes a new ring with this node as its only peer.
    pub fn form(&mut self, now: Now) {
        self.now = now.instant;
        self.is_founder = true;
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

    /// Takes note of a link that came up, to a peer or to a client. A link that replaces another one to the same node
    /// is reported as down first, if the node may have forgotten us; two links of one simultaneous Attach are one.
    pub fn handle_link_up(&mut self, now: Now, node: NodeId) {
        self.now = now.instant;
        if node == self.own {
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

    /// Names this node.
    #[must_use]
    pub fn own(&self) -> NodeId {
        self.own
    }

    /// Tells what this node is to the ring.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Tells whether this node is a peer of the ring.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.standing == Standing::Member
    }

    /// Tells whether this node is the only peer of its ring.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.is_member() && self.is_alone
    }

    /// Tells whether this peer owns a resource (RFC 6940 §10.1).
    #[must_use]
    pub fn is_responsible(&self, resource: ResourceId) -> bool {
        self.own_range().is_some_and(|range| range.contains(resource))
    }

    /// Shows the range this peer owns; `None` outside the ring.
    #[must_use]
    pub fn own_range(&self) -> Option<Range> {
        self.is_member().then_some(Range {
            after: self.after,
            until: self.own,
        })
    }

    /// Shows the range that a peer's last Update claims for it, if that Update had lists.
    #[must_use]
    pub fn range_of(&self, peer: NodeId) -> Option<Range> {
        let contact = self.contacts.get(&peer).filter(|contact| contact.is_ready)?;
        let after = contact.lists.as_ref()?.predecessors.first()?;
        Some(Range {
            after: NodeId::from_u128(*after),
            until: peer,
        })
    }

    /// Lists the confirmed successors, nearest first.
    #[must_use]
    pub fn successors(&self) -> &[NodeId] {
        &self.successors
    }

    /// Lists the confirmed predecessors, nearest first.
    #[must_use]
    pub fn predecessors(&self) -> &[NodeId] {
        &self.predecessors
    }

    /// Lists all members of the neighbour table, each once.
    pub fn neighbors(&self) -> impl Iterator<Item = NodeId> {
        let more = self.predecessors.iter().filter(|node| !self.successors.contains(node));
        self.successors.iter().chain(more).copied()
    }

    /// Lists the peers in the routing table that are no neighbours, in ascending order.
    pub fn fingers(&self) -> impl Iterator<Item = NodeId> {
        self.ready().filter(|node| !self.is_neighbor(*node))
    }

    /// Lists the next two successors, who hold the replicas of what this peer owns (RFC 6940 §10.4).
    #[must_use]
    pub fn replicas(&self) -> &[NodeId] {
        self.successors.get(..REPLICAS).unwrap_or(&self.successors)
    }

    /// Tells whether a node stands in the neighbour table.
    #[must_use]
    pub fn is_neighbor(&self, node: NodeId) -> bool {
        self.successors.contains(&node) || self.predecessors.contains(&node)
    }

    /// Tells whether a node has a link and said over it, in an Update, that it is a peer.
    #[must_use]
    pub fn is_peer(&self, node: NodeId) -> bool {
        self.contacts.get(&node).is_some_and(|contact| contact.is_ready)
    }

    /// Lists the nodes that may be routed through.
    pub(crate) fn ready(&self) -> impl Iterator<Item = NodeId> {
        self.contacts
            .iter()
            .filter(|(_, contact)| contact.is_ready)
            .map(|(node, _)| *node)
    }

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
        info!(node_id = %self.own.short(), "joined ring");
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
            // RFC 6940 §10.7.1: without any successor a peer has to join again. Only the founder may be the last of two.
            if !(self.is_founder && self.is_closed && self.successors.len() <= 1) {
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
        info!(node_id = %self.own.short(), "lost all successors");
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

    fn deadline(&self) -> Instant {
        let member = [self.next_update, self.searches.at()];
        let member = member.into_iter().filter(|_| self.is_member());
        let rest = self.tell_at.into_iter().chain(self.attaches.deadline());
        rest.chain(member).min().unwrap_or(self.now + IDLE)
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

/// Copies besides the owner's (RFC 6940 §10.4).
const REPLICAS: usize = 2;

/// Changes within this time are told in one Update, unless the range is among them.
const GATHER: Duration = Duration::from_millis(20);

/// Wait when no timer runs.
const IDLE: Duration = Duration::from_secs(3600);
