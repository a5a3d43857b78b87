//! What the topology asks of the node.

use std::time::Instant;

use wire::{ChordLeave, ChordUpdate, NodeId, ResourceId};

use crate::range::Range;

/// Names one Attach that [`Output::Attach`] asked for; its outcome repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachId(pub u64);

/// Whom to attach to, and by which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A peer that `via` named: the request is source-routed through `via` (RFC 6940 §10.6), or routed as usual
    /// without it.
    Node {
        /// The peer wanted.
        node: NodeId,
        /// Who named it, and has a link to it.
        via: Option<NodeId>,
    },
    /// Whoever is responsible for a place.
    Resource(ResourceId),
}

/// What an Attach is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A place in the neighbour table.
    Neighbor,
    /// A place in the finger table.
    Finger,
}

/// One thing to do; [`crate::Chord::poll_output`] ends in [`Output::Timeout`].
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Attach, and report the outcome with `handle_attached` or `handle_attach_failed`. A link that is up already is a
    /// success.
    Attach {
        /// Repeated by the outcome.
        id: AttachId,
        /// Whom.
        target: Target,
        /// What for.
        purpose: Purpose,
    },
    /// Send an UpdateReq over the link to a peer.
    SendUpdate {
        /// The peer.
        to: NodeId,
        /// What to say.
        update: ChordUpdate,
    },
    /// Send a LeaveReq over the link to a peer.
    SendLeave {
        /// The peer.
        to: NodeId,
        /// What to say.
        leave: ChordLeave,
    },
    /// Ask a linked node for its Update, by a RouteQuery with `send_update` (RFC 6940 §10.8): it should be a neighbour,
    /// and has not said that it is a peer.
    RequestUpdate(NodeId),
    /// Ping a peer over its link now: a neighbour stopped naming it.
    Probe(NodeId),
    /// All neighbours-to-be are attached: send the JoinReq to the admitting peer.
    ReadyToJoin {
        /// The admitting peer.
        admitting: NodeId,
    },
    /// This node is a member from now on. Updates and `RangeChanged` follow.
    Joined,
    /// The admitting peer is gone or does not own our place (any more): look for it again.
    JoinFailed,
    /// All successors of a larger ring are lost at once: this node is no member any more and has to join again
    /// (RFC 6940 §10.7.1).
    Isolated,
    /// The range this peer owns is another; `None` while it is no member.
    RangeChanged {
        /// What it was.
        old: Option<Range>,
        /// What it is.
        new: Option<Range>,
    },
    /// The next two successors are others: see [`crate::Chord::replicas`].
    ReplicasChanged,
    /// Nothing more to do; call `handle_timeout` at this time unless something happens before.
    Timeout(Instant),
}
