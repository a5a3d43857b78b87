//! Join, Leave, Update and RouteQuery (RFC 6940 §6.4.2), with what CHORD-RELOAD puts into them.

use bytes::Bytes;

use super::ChordLeave;
use crate::{destination::Destination, hex, id::NodeId};

structure! {
    /// Asks to become a peer.
    pub struct JoinReq {
        /// The joining peer.
        pub joining_peer_id: NodeId,
        /// Empty in CHORD-RELOAD.
        #[serde(serialize_with = "hex::bytes")]
        pub overlay_specific_data: Bytes = opaque16,
    }
}

structure! {
    /// Admits a peer.
    #[derive(Default)]
    pub struct JoinAns {
        /// Empty in CHORD-RELOAD.
        #[serde(serialize_with = "hex::bytes")]
        pub overlay_specific_data: Bytes = opaque16,
    }
}

structure! {
    /// Says good-bye.
    pub struct LeaveReq {
        /// The leaving peer.
        pub leaving_peer_id: NodeId,
        /// Who is next to its place (RFC 6940 §10.9).
        pub overlay_specific_data: ChordLeave = within16,
    }
}

structure! {
    /// Takes note of the good-bye.
    #[derive(Copy, Default)]
    pub struct LeaveAns {}
}

structure! {
    /// Takes note of an Update.
    #[derive(Copy, Default)]
    pub struct UpdateAns {}
}

structure! {
    /// Asks to whom a message would be sent.
    pub struct RouteQueryReq {
        /// Whether the asker wants an Update.
        pub send_update: bool,
        /// Where the message would go.
        pub destination: Destination,
        /// Empty in CHORD-RELOAD.
        #[serde(serialize_with = "hex::bytes")]
        pub overlay_specific_data: Bytes = opaque16,
    }
}
