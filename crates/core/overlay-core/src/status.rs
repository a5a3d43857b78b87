//! What a node says about itself.

use std::fmt;
use std::net::SocketAddr;

use overlay_config::Demand;
use wire::NodeId;

use crate::core::Core;

/// The state of one node, for people, health checks and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The own Node-ID.
    pub node_id: NodeId,
    /// Whether this node is a peer of the ring.
    pub joined: bool,
    /// Whether requests of clients are carried out: joined and not cut off from all others, or connected to the ring while
    /// storage is away.
    pub serving: bool,
    /// Whether nothing is being repaired.
    pub ready: bool,
    /// Why it is not ready.
    pub reasons: Vec<Reason>,
    /// The predecessors, the nearest first.
    pub predecessors: Vec<NodeId>,
    /// The successors, the nearest first.
    pub successors: Vec<NodeId>,
    /// The distinct peers of the finger table, in numeric order.
    pub fingers: Vec<NodeId>,
    /// The nodes with a direct link.
    pub links: Vec<NodeId>,
    /// The attached clients.
    pub clients: Vec<NodeId>,
    /// The range this peer is responsible for: exclusive, inclusive. None before it joined.
    pub range: Option<(NodeId, NodeId)>,
    /// Whether everything that other peers hold of the own range has been received.
    pub range_confirmed: bool,
    /// Whether the storage session is open.
    pub storage_up: bool,
    /// The sequence number of the configuration document in use.
    pub document_sequence: u16,
    /// Successors that have not received all their copies yet.
    pub replicas_missing: usize,
    /// The number of bytes that the largest link queue holds.
    pub queued: usize,
}

/// Why a node is not ready.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It looks for a peer that has joined.
    Seeking,
    /// Nobody reachable has joined; this former member is to form the ring.
    Awaiting(NodeId),
    /// It is on its way into the ring, at this admitting peer.
    Joining(NodeId),
    /// It was told to leave the ring.
    Left,
    /// The newest configuration document needs what this implementation does not have.
    CannotObey(Demand),
    /// All other peers of a larger ring are gone.
    Isolated,
    /// There is no storage session, or storage does not answer.
    StorageDown,
    /// Storage was taken by another process, or belongs to another node.
    StorageRefused,
    /// Part of the own range is still being received.
    RangeUnconfirmed,
    /// A successor has not received its copies yet.
    ReplicaMissing,
    /// The time of the configuration document is over.
    DocumentExpired,
    /// The clocks of this peer and its neighbours differ by days, and it cannot tell which of them is wrong.
    ClocksDiffer,
    /// By the date of this machine no peer's certificate is valid.
    CalendarWrong,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seeking => f.write_str("not joined: no joined peer was found yet"),
            Self::Awaiting(peer) => write!(f, "not joined: waiting for {} to form the ring", peer.short()),
            Self::Joining(peer) => write!(f, "joining: waiting for {} to hand over", peer.short()),
            Self::Left => f.write_str("not joined: left the ring"),
            Self::CannotObey(demand) => demand.fmt(f),
            Self::Isolated => f.write_str("isolated from the ring"),
            Self::StorageDown => f.write_str("storage does not answer"),
            Self::StorageRefused => f.write_str("storage was refused"),
            Self::RangeUnconfirmed => f.write_str("range is unconfirmed"),
            Self::ReplicaMissing => f.write_str("replicas are missing"),
            Self::DocumentExpired => f.write_str("configuration document has expired"),
            Self::CalendarWrong => f.write_str("by the date of this machine no peer's certificate is valid"),
            Self::ClocksDiffer => f.write_str("degraded: clocks of this peer and its neighbors differ by days"),
        }
    }
}

/// What a node has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages passed on for others.
    pub forwarded: u64,
    /// Messages dropped because a queue or table was full.
    pub shed: u64,
    /// Messages that could not be decoded or were addressed against the rules.
    pub malformed: u64,
    /// Messages whose signature, or whose signer, was not acceptable.
    pub unverified: u64,
    /// Links that were declared dead because nothing was heard.
    pub links_died: u64,
    /// Requests sent again end to end.
    pub retransmitted: u64,
    /// Records that other holders took over.
    pub handed_over: u64,
}

impl Core {
    /// What the node says about itself.
    #[must_use]
    pub fn status(&self) -> Status {
        let joined = self.chord.is_member();
        let is_cut_off = self.chord.is_alone() && !self.is_rightly_alone();
        let is_isolated = is_cut_off || self.chord.standing() == chord::Standing::Isolated;
        // Who had to leave because of its storage still takes its clients' requests to the ring.
        let stands_aside = self.session.is_gone() && self.links.peers().any(|peer| self.chord.is_peer(peer));
        let serving = !is_isolated && (joined || stands_aside && !self.joining.is_fenced());
        let is_fenced = self.joining.is_fenced();
        let conditions = [
            (is_isolated, Reason::Isolated),
            (!self.session.is_usable() && !is_fenced, Reason::StorageDown),
            (!self.ranges.all_confirmed(), Reason::RangeUnconfirmed),
            (!self.copies.is_empty(), Reason::ReplicaMissing),
            (self.validity.is_over, Reason::DocumentExpired),
            (self.session.do_clocks_differ(), Reason::ClocksDiffer),
            (self.is_calendar_wrong(), Reason::CalendarWrong),
        ];
        let true_ones = conditions
            .into_iter()
            .filter_map(|(is_so, reason)| is_so.then_some(reason));
        let reasons: Vec<Reason> = self.reason_not_joined().into_iter().chain(true_ones).collect();
        Status {
            node_id: self.own(),
            joined,
            serving,
            ready: reasons.is_empty(),
            reasons,
            predecessors: self.chord.predecessors().to_vec(),
            successors: self.chord.successors().to_vec(),
            fingers: self.chord.fingers().collect(),
            links: self.links.peers().collect(),
            clients: self.clients.all().collect(),
            range: self.chord.own_range().map(|range| (range.after, range.until)),
            range_confirmed: joined && self.ranges.all_confirmed(),
            storage_up: self.session.is_usable(),
            document_sequence: self.parameters.sequence,
            replicas_missing: self.copies.unserved(),
            queued: self.links.largest_load(),
        }
    }

    /// What the node has counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The address at the other end of the link to a node.
    #[must_use]
    pub fn address_of(&self, node: NodeId) -> Option<SocketAddr> {
        self.links.to(node).map(|link| link.remote)
    }

    /// The version of the program of a Neighbor, if it told.
    #[must_use]
    pub fn software_of(&self, node: NodeId) -> Option<&str> {
        self.links.to(node).and_then(|link| link.software.as_deref())
    }

    /// The number of the document that a node with a link has, as far as it has shown it.
    #[must_use]
    pub fn document_of(&self, node: NodeId) -> Option<u16> {
        self.links.to(node).and_then(|link| link.document)
    }
}
