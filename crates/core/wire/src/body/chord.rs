//! Bodies of CHORD-RELOAD (RFC 6940 §10.7 to §10.9).

use serde::Serialize;

use crate::{
    codec::{
        Decode, DecodeError, Encode, Fault, Reader, Writer,
        forms::{list16, write_list},
    },
    id::NodeId,
};

structure! {
    /// The body of an Update: what its sender knows of the ring.
    pub struct ChordUpdate {
        /// For how many seconds the sender has been up.
        pub uptime: u32,
        /// The lists.
        pub kind: ChordUpdateKind,
    }
}

/// How much an Update tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChordUpdateKind {
    /// Nothing but that the sender can be routed through.
    PeerReady,
    /// The neighbours.
    Neighbors {
        /// Predecessors.
        predecessors: Vec<NodeId>,
        /// Successors.
        successors: Vec<NodeId>,
    },
    /// Neighbours and fingers.
    Full {
        /// Predecessors.
        predecessors: Vec<NodeId>,
        /// Successors.
        successors: Vec<NodeId>,
        /// Fingers, in ascending order.
        fingers: Vec<NodeId>,
    },
}

/// ChordUpdateType values.
const PEER_READY: u8 = 1;
const NEIGHBORS: u8 = 2;
const FULL: u8 = 3;

impl Encode for ChordUpdateKind {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::PeerReady => PEER_READY.encode(out),
            Self::Neighbors {
                predecessors,
                successors,
            } => {
                NEIGHBORS.encode(out);
                write_list(out, 2, predecessors);
                write_list(out, 2, successors);
            }
            Self::Full {
                predecessors,
                successors,
                fingers,
            } => {
                FULL.encode(out);
                write_list(out, 2, predecessors);
                write_list(out, 2, successors);
                write_list(out, 2, fingers);
            }
        }
    }
}

impl Decode for ChordUpdateKind {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.at();
        match u8::decode(reader)? {
            PEER_READY => Ok(Self::PeerReady),
            NEIGHBORS => Ok(Self::Neighbors {
                predecessors: list16::read(reader)?,
                successors: list16::read(reader)?,
            }),
            FULL => Ok(Self::Full {
                predecessors: list16::read(reader)?,
                successors: list16::read(reader)?,
                fingers: list16::read(reader)?,
            }),
            other => Err(DecodeError::new(at, Fault::Value(u64::from(other)))),
        }
    }
}

structure! {
    /// The body of a RouteQuery's answer.
    pub struct ChordRouteQueryAns {
        /// To whom the answerer would have sent it.
        pub next_peer: NodeId,
    }
}

/// The data of a Leave: who is next to the place that becomes free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChordLeave {
    /// From the receiver's successor.
    FromSuccessor {
        /// The leaving peer's successors.
        successors: Vec<NodeId>,
    },
    /// From the receiver's predecessor.
    FromPredecessor {
        /// The leaving peer's predecessors.
        predecessors: Vec<NodeId>,
    },
}

/// ChordLeaveType values.
const FROM_SUCCESSOR: u8 = 1;
const FROM_PREDECESSOR: u8 = 2;

impl Encode for ChordLeave {
    fn encode(&self, out: &mut Writer) {
        let (kind, list) = match self {
            Self::FromSuccessor { successors } => (FROM_SUCCESSOR, successors),
            Self::FromPredecessor { predecessors } => (FROM_PREDECESSOR, predecessors),
        };
        kind.encode(out);
        write_list(out, 2, list);
    }
}

impl Decode for ChordLeave {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.at();
        match u8::decode(reader)? {
            FROM_SUCCESSOR => Ok(Self::FromSuccessor {
                successors: list16::read(reader)?,
            }),
            FROM_PREDECESSOR => Ok(Self::FromPredecessor {
                predecessors: list16::read(reader)?,
            }),
            other => Err(DecodeError::new(at, Fault::Value(u64::from(other)))),
        }
        .map_err(|error| error.within("ChordLeaveData"))
    }
}
