//! Successors that are not waited for, because they did not answer in time.
//!
//! A node that acknowledges frames and answers no request may be slow, or hostile; from here that looks the same. It stays in
//! all tables, since the ring's order does not depend on it, and it gets every copy. But a Store waits for the next successor
//! in its stead, and a pull for the other holder alone: for 30 s, and twice as long each further time. One copy acknowledged in
//! time makes it count again, so an honest node is back with its next quick answer. Marks are an opinion of this node and told
//! to nobody.

use std::time::{Duration, Instant};

use wire::NodeId;

use crate::penalties::Penalties;

/// The marked successors.
pub(crate) struct Marks(Penalties);

impl Default for Marks {
    fn default() -> Self {
        Self(Penalties::new(FIRST))
    }
}

impl Marks {
    /// A node did not answer in time.
    pub(crate) fn mark(&mut self, now: Instant, node: NodeId) {
        self.0.impose(now, node);
    }

    /// A node answered in time: it counts again.
    pub(crate) fn clear(&mut self, now: Instant, node: NodeId) {
        self.0.lift(now, node);
    }

    pub(crate) fn is_marked(&self, now: Instant, node: NodeId) -> bool {
        self.0.is_under(now, node)
    }

    /// Of the next successors, the nearest first, those that a Store waits for: the first ones that are not marked, or, if
    /// there are too few, those that were marked least.
    pub(crate) fn choose(&self, now: Instant, successors: &[NodeId], count: usize) -> Vec<NodeId> {
        let mut order: Vec<NodeId> = successors.iter().take(MOST_ASKED).copied().collect();
        // A stable sort: those without a mark stay in the order of the ring.
        order.sort_by_key(|node| self.0.weight(now, *node));
        order.truncate(count);
        order
    }
}

/// How long the first mark of a node lasts.
const FIRST: Duration = Duration::from_secs(30);

/// Successors that may stand in for each other: further ones are not to hold this peer's records.
const MOST_ASKED: usize = 4;

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test begins at any time")]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::new([n; 16])
    }

    #[test]
    fn the_next_two_without_a_mark_are_waited_for() {
        let mut marks = Marks::default();
        let now = Instant::now();
        let successors = [1, 2, 3, 4, 5].map(node);
        assert_eq!(marks.choose(now, &successors, 2), [1, 2].map(node));
        marks.mark(now, node(1));
        assert_eq!(marks.choose(now, &successors, 2), [2, 3].map(node));
        for n in [2, 3, 4] {
            marks.mark(now, node(n));
        }
        assert_eq!(marks.choose(now, &successors, 2), [1, 2].map(node));
        marks.clear(now, node(3));
        assert_eq!(
            marks.choose(now, &successors, 2),
            [3, 1].map(node),
            "the fifth is none of them"
        );
        assert_eq!(marks.choose(now, &successors[..1], 2), [node(1)], "all there are");
    }
}
