//! Coming into the ring (RFC 6940 §10.5, §11.4), and leaving it.
//!
//! ```text
//!   Waiting -> Connecting -> Attaching -> Joining -> Member
//!      ^  (bootstrap nodes) (admitting peer, neighbours)  |
//!      +------------- anything fails, or takes too long --+
//! ```
//!
//! A former member that finds nobody who is joined may have to form the ring itself: [`crate::election`].

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::{debug, info};

use chord::Range;
use wire::{Destination, ErrorCode, JoinReq, NodeId, Now, ResourceId};

use crate::api::Output;
use crate::core::Core;
use crate::dials::Wish;
use crate::status::Reason;
use crate::transaction::{Outcome, Purpose, Request};

/// How far this node has come.
pub(crate) struct Joining {
    phase: Phase,
    /// The nodes through which this attempt looked for its place.
    tried: BTreeSet<NodeId>,
    /// The bootstrap peer of this attempt.
    bootstrap: Option<NodeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing happens before this time.
    Waiting(Instant),
    /// Looking for a node that knows the ring, until this time.
    Connecting(Instant),
    /// The admitting peer is known; links to it and its neighbours are made.
    Attaching { admitting: NodeId, until: Instant },
    /// The JoinReq is out, or values arrive.
    Joining {
        admitting: NodeId,
        until: Instant,
        ask_at: Option<Instant>,
    },
    /// A peer of the ring.
    Member,
    /// Told to leave.
    Retired,
    /// Another process has this node's storage, and its place.
    Fenced,
    /// The newest document cannot be obeyed.
    Outside,
}

impl Joining {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Waiting(now),
            tried: BTreeSet::new(),
            bootstrap: None,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(at) | Phase::Connecting(at) | Phase::Attaching { until: at, .. } => Some(at),
            Phase::Joining { until, ask_at, .. } => Some(ask_at.map_or(until, |at| at.min(until))),
            Phase::Member | Phase::Retired | Phase::Fenced | Phase::Outside => None,
        }
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.phase == Phase::Fenced
    }
}

impl Core {
    /// Begins once storage is there: a peer without it could keep nothing.
    pub(crate) fn join_due(&mut self, now: Now) {
        let Some(deadline) = self.joining.deadline() else {
            return;
        };
        if deadline > now.instant {
            return;
        }
        match self.joining.phase {
            Phase::Waiting(_) if !self.session.is_usable() || self.is_calendar_wrong() => self.wait_to_join(now),
            Phase::Waiting(_) => self.begin(now),
            Phase::Joining {
                admitting,
                until,
                ask_at: Some(at),
            } if at <= now.instant && at < until => {
                self.send_join(now, admitting);
            }
            Phase::Connecting(_) | Phase::Attaching { .. } | Phase::Joining { .. } => {
                debug!(phase = ?self.joining.phase, "join takes too long");
                self.begin_later(now, RETRY);
            }
            Phase::Member | Phase::Retired | Phase::Fenced | Phase::Outside => {}
        }
    }

    /// Without storage a former member stays connected: its clients are served through its links.
    fn wait_to_join(&mut self, now: Now) {
        self.joining.phase = Phase::Waiting(now.instant + RETRY);
        if self.memory.former().is_some() && self.links.peers().next().is_none() {
            self.dial_bootstrap(now);
        }
    }

    /// The storage session is open: an idle node need not wait any longer.
    pub(crate) fn join_storage_up(&mut self, now: Now) {
        if matches!(self.joining.phase, Phase::Waiting(_)) {
            self.begin(now);
        }
    }

    fn begin(&mut self, now: Now) {
        if self.settings.founder && self.memory.former().is_none() {
            info!(node_id = %self.own().short(), "formed a ring");
            return self.form_ring(now);
        }
        self.election.begin(now.instant);
        self.joining.tried.clear();
        self.joining.bootstrap = None;
        self.joining.phase = Phase::Connecting(now.instant + CONNECT);
        self.chord.begin_join(now);
        self.dial_bootstrap(now);
        self.announce_waiting(now);
        self.seek(now);
        self.elect(now);
    }

    /// Makes this node the only peer of a ring.
    pub(crate) fn form_ring(&mut self, now: Now) {
        self.stop_seeking();
        self.chord.form(now);
    }

    /// Whether this node looks for somebody who is joined.
    pub(crate) fn is_looking_for_ring(&self) -> bool {
        matches!(self.joining.phase, Phase::Waiting(_) | Phase::Connecting(_))
    }

    /// Other addresses of the bootstrap nodes: their names were resolved again.
    pub fn set_bootstrap(&mut self, now: Now, addresses: Vec<SocketAddr>) {
        let is_new = addresses != self.settings.bootstrap;
        self.settings.bootstrap = addresses;
        if is_new && matches!(self.joining.phase, Phase::Connecting(_)) {
            self.dial_bootstrap(now);
        }
        self.settle(now);
    }

    // RFC 6940 §11.4: any of the bootstrap nodes will do, so all are tried.
    fn dial_bootstrap(&mut self, now: Now) {
        let addresses: BTreeSet<SocketAddr> = self
            .settings
            .bootstrap
            .iter()
            .copied()
            .chain(self.memory.addresses())
            .collect();
        let linked: BTreeSet<SocketAddr> = self
            .links
            .peers()
            .filter_map(|peer| self.memory.address_of(peer))
            .collect();
        for address in addresses.difference(&linked) {
            if !self.settings.local_addresses.contains(address) {
                self.dial(now, Wish::Own, vec![*address]);
            }
        }
    }

    fn begin_later(&mut self, now: Now, wait: Duration) {
        let jitter = Duration::from_millis(self.random.below(JITTER_MS));
        self.joining.phase = Phase::Waiting(now.instant + wait + jitter);
        self.stop_seeking();
    }

    fn stop_seeking(&mut self) {
        for purpose in [Purpose::Seek, Purpose::Join] {
            if let Some(transaction) = self.transactions.find(purpose) {
                self.transactions.take(transaction);
            }
        }
    }

    /// Looks for the own place through a peer that was not tried yet: one that said in an Update that it is joined.
    // RFC 6940 §10.5 step 2, §11.4: an Attach to Resource-ID n+1 finds the admitting peer.
    fn seek(&mut self, now: Now) {
        let Phase::Connecting(_) = self.joining.phase else {
            return;
        };
        if self.transactions.find(Purpose::Seek).is_some() {
            return;
        }
        let is_fresh = |peer: &NodeId| self.chord.is_peer(*peer) && !self.joining.tried.contains(peer);
        let Some(through) = self.links.peers().find(is_fresh) else {
            return;
        };
        self.election.found_peer(now.instant);
        self.joining.tried.insert(through);
        self.joining.bootstrap = Some(through);
        let place = ResourceId::from_u128(self.own().to_u128().wrapping_add(1));
        let body = self.attach_request(true).into();
        let destination = vec![Destination::Resource(place)];
        self.request(now, Request::routed(destination, &body, Purpose::Seek).over(through));
    }

    /// A link came up: whoever is joined says so by an Update, whoever is not hears that this node waits.
    pub(crate) fn join_link_up(&mut self, now: Now, peer: NodeId) {
        if self.is_looking_for_ring() {
            self.announce_waiting_to(now, peer);
        }
    }

    /// A linked peer said in an Update that it is joined.
    pub(crate) fn peer_heard(&mut self, now: Now) {
        self.seek(now);
    }

    pub(crate) fn join_link_down(&mut self, now: Now, peer: NodeId) {
        if matches!(self.joining.phase, Phase::Joining { admitting, .. } if admitting == peer) {
            debug!(node_id = %peer.short(), "admitting peer is gone");
            self.begin_later(now, Duration::ZERO);
        }
    }

    pub(crate) fn seek_answered(&mut self, now: Now, outcome: Outcome) {
        let Phase::Connecting(_) = self.joining.phase else {
            return;
        };
        match outcome {
            Outcome::Answered(answered) if answered.signer != self.own() => {
                self.attach_candidates_heard(&answered);
                self.joining.phase = Phase::Attaching {
                    admitting: answered.signer,
                    until: now.instant + ATTEMPT,
                };
                self.chord.choose_admitting_peer(now, answered.signer);
            }
            Outcome::Answered(_) | Outcome::Refused(_) | Outcome::Silent => self.seek(now),
        }
    }

    /// Asks the admitting peer to be let in.
    pub(crate) fn send_join(&mut self, now: Now, admitting: NodeId) {
        self.joining.phase = Phase::Joining {
            admitting,
            until: now.instant + ATTEMPT,
            ask_at: None,
        };
        let join = JoinReq {
            joining_peer_id: self.own(),
            overlay_specific_data: Bytes::new(),
        };
        self.request(now, Request::to(admitting, &join.into(), Purpose::Join).over(admitting));
    }

    pub(crate) fn join_answered(&mut self, now: Now, outcome: Outcome) {
        let Phase::Joining { admitting, until, .. } = self.joining.phase else {
            return;
        };
        match outcome {
            Outcome::Answered(_) => self.join_progress(now, admitting),
            // It admits somebody else at the moment.
            Outcome::Refused(refusal) if refusal.code == ErrorCode::InProgress => {
                let ask_at = Some(now.instant + RETRY);
                let until = until + RETRY;
                self.joining.phase = Phase::Joining {
                    admitting,
                    until,
                    ask_at,
                };
            }
            Outcome::Refused(refusal) => {
                debug!(code = %refusal.code, "join was refused");
                self.begin_later(now, SOON);
            }
            Outcome::Silent => self.begin_later(now, SOON),
        }
    }

    /// Values arrive from the admitting peer.
    pub(crate) fn join_progress(&mut self, now: Now, from: NodeId) {
        if let Phase::Joining { admitting, until, .. } = &mut self.joining.phase
            && *admitting == from
        {
            *until = now.instant + ATTEMPT;
        }
    }

    /// Whether a resource lies in the range that this node asked the admitting peer for.
    pub(crate) fn is_joining_for(&self, resource: ResourceId) -> bool {
        let Phase::Joining { admitting, .. } = self.joining.phase else {
            return false;
        };
        // An admitting peer that is alone names no predecessor: then it is its own.
        let after = self.chord.range_of(admitting).map_or(admitting, |theirs| theirs.after);
        after != self.own()
            && Range {
                after,
                until: self.own(),
            }
            .contains(resource)
    }

    pub(crate) fn joined(&mut self, now: Now) {
        if let Phase::Joining { admitting, .. } = self.joining.phase {
            let bootstrap = self.joining.bootstrap.map(|node| node.short());
            info!(
                node_id = %self.own().short(),
                admitting_peer = %admitting.short(),
                bootstrap_peer = bootstrap.as_deref(),
                "joined ring"
            );
        }
        self.joining.phase = Phase::Member;
        self.election.end();
        self.begin_probing(now);
        self.offer_what_is_held(now);
        self.outputs.push_back(Output::Changed);
    }

    pub(crate) fn join_failed(&mut self, now: Now) {
        self.begin_later(now, SOON);
    }

    /// All successors of a larger ring are gone.
    // RFC 6940 §10.7.1: a peer without successors joins again.
    pub(crate) fn isolated(&mut self, now: Now) {
        info!(node_id = %self.own().short(), "isolated from the ring");
        self.begin_later(now, Duration::ZERO);
    }

    /// Storage is gone or is another one: R1 owns the range from now on, nothing can be handed over. The links stay, and
    /// this node joins again when storage is there. A peer that is alone has nobody to leave the range to.
    pub(crate) fn stand_aside(&mut self, now: Now) {
        let is_on_its_way = matches!(
            self.joining.phase,
            Phase::Connecting(_) | Phase::Attaching { .. } | Phase::Joining { .. }
        );
        let is_member = self.joining.phase == Phase::Member && !self.chord.is_alone();
        if is_member {
            info!(node_id = %self.own().short(), reason = "storage", "left ring");
        }
        if is_member || is_on_its_way {
            self.chord.leave(now);
            self.begin_later(now, Duration::ZERO);
        }
    }

    /// Another process has the storage, or it is another node's: this one leaves the place to it, for good.
    pub(crate) fn fence(&mut self, now: Now) {
        if self.joining.phase == Phase::Member {
            info!(node_id = %self.own().short(), reason = "storage refused", "left ring");
        }
        self.exit(now, Phase::Fenced);
    }

    /// The newest document cannot be obeyed: this node has no part in the overlay, whatever it was to it.
    pub(crate) fn step_outside(&mut self, now: Now) {
        if self.joining.phase == Phase::Member {
            info!(node_id = %self.own().short(), reason = "document", "left ring");
        }
        // A node that was told to leave, or is another one, does not come back with a document.
        let phase = match self.joining.phase {
            stays @ (Phase::Retired | Phase::Fenced) => stays,
            _ => Phase::Outside,
        };
        self.exit(now, phase);
        self.outputs.push_back(Output::Changed);
    }

    /// There is a document that can be obeyed.
    pub(crate) fn come_back(&mut self, now: Now) {
        if self.joining.phase == Phase::Outside {
            self.begin_later(now, Duration::ZERO);
        }
    }

    fn exit(&mut self, now: Now, phase: Phase) {
        self.stop_seeking();
        self.election.end();
        self.joining.phase = phase;
        self.chord.leave(now);
        self.obey_chord(now);
        self.close_links(now);
    }

    /// What this node waits for before it is a peer.
    pub(crate) fn reason_not_joined(&self) -> Option<Reason> {
        if let Some(demand) = &self.demand {
            return Some(Reason::CannotObey(demand.clone()));
        }
        match self.joining.phase {
            Phase::Member => None,
            Phase::Retired => Some(Reason::Left),
            Phase::Fenced => Some(Reason::StorageRefused),
            Phase::Attaching { admitting, .. } | Phase::Joining { admitting, .. } => Some(Reason::Joining(admitting)),
            Phase::Waiting(_) | Phase::Connecting(_) | Phase::Outside => {
                Some(self.awaited().map_or(Reason::Seeking, Reason::Awaiting))
            }
        }
    }

    /// Leaves the ring, after handing the own range to the next successor; the node stays up, not joined, and does
    /// not join again by itself.
    pub fn leave(&mut self, now: Now) {
        if self.joining.is_fenced() {
            return;
        }
        let was_member = self.joining.phase == Phase::Member;
        self.begin_later(now, Duration::ZERO);
        self.joining.phase = Phase::Retired;
        if !was_member || !self.hand_over_to_leave(now) {
            self.left(now);
        }
        self.settle(now);
    }

    pub(crate) fn left(&mut self, now: Now) {
        info!(node_id = %self.own().short(), "left ring");
        self.chord.leave(now);
        self.outputs.push_back(Output::Changed);
    }
}

/// How long one stage of a join may go without progress.
const ATTEMPT: Duration = Duration::from_secs(10);

/// How long the bootstrap nodes have to be found and to answer: the five transmissions of one request, and a bit.
const CONNECT: Duration = Duration::from_secs(3);

/// After a failure, and while the admitting peer is busy.
const RETRY: Duration = Duration::from_secs(1);

/// After a refusal that another look at the ring may resolve.
const SOON: Duration = Duration::from_millis(200);

/// Spread, so that many nodes that start together do not ask together.
const JITTER_MS: u64 = 300;
