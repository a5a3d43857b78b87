//! Find (RFC 6940 §7.4.4).

use crate::id::{KindId, ResourceId};

structure! {
    /// Asks for the closest resource with values of these Kinds.
    pub struct FindReq {
        /// Closest to this.
        pub resource: ResourceId,
        /// The Kinds, each once.
        pub kinds: Vec<KindId> = list8,
    }
}

structure! {
    /// Names the closest resources.
    pub struct FindAns {
        /// One for each Kind that may be looked for.
        pub results: Vec<FindKindData> = list16,
    }
}

structure! {
    /// The closest resource of one Kind.
    #[derive(Copy)]
    pub struct FindKindData {
        /// The Kind.
        pub kind: KindId,
        /// The place; zero if the Kind is not known.
        pub closest: ResourceId,
    }
}
