//! A piece of the ring.

use std::fmt;

use wire::{NodeId, ResourceId};

use crate::ring;

/// The places after one node, up to and including another; the whole ring when both are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The predecessor, whose own place is not in the range.
    pub after: NodeId,
    /// The owner, whose place is.
    pub until: NodeId,
}

impl Range {
    /// Tells whether it is the whole ring.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.after == self.until
    }

    /// Tells whether a resource lies in it.
    #[must_use]
    pub fn contains(&self, resource: ResourceId) -> bool {
        ring::is_within(self.after.to_u128(), resource.to_u128(), self.until.to_u128())
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {}]", self.after.short(), self.until.short())
    }
}
