//! Successors that are not waited for, because they did not answer in time.
//!
//! A node that acknowledges frames and answers no request may be slow, or hostile; from here that looks the same. It stays in
//! all tables, since the ring's order does not depend on it, and it gets every copy. But a Store waits for the next successor
//! in its stead, and a pull for the other holder alone: for 30 s, and twice as long each further time. One copy acknowledged in
//! time makes it count again, so an honest node is back with its next quick answer. Marks are an opinion of this node and told
//! to nobody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wire::NodeId;

/// What is held against nodes.
#[derive(Default)]
pub(crate) struct Marks {
    by_node: BTreeMap<NodeId, Mark>,
}

#[derive(Clone, Copy)]
struct Mark {
    until: Instant,
    /// How long the next one lasts.
    next: Duration,
    latest: Instant,
}

impl Marks {
    /// A node did not answer in time.
    pub(crate) fn mark(&mut self, now: Instant, node: NodeId) {
        if self.is_marked(now, node) {
            return;
        }
        self.by_node
            .retain(|_, mark| now.saturating_duration_since(mark.latest) < REMEMBERED);
        if self.by_node.len() >= MOST_MARKS && !self.by_node.contains_key(&node) {
            let oldest = self.by_node.iter().min_by_key(|(_, mark)| mark.latest);
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                self.by_node.remove(&oldest);
            }
        }
        let length = self.by_node.get(&node).map_or(FIRST, |mark| mark.next);
        let mark = Mark {
            until: now + length,
            next: (length * 2).min(LONGEST),
            latest: now,
        };
        self.by_node.insert(node, mark);
    }

    /// A node answered in time: it counts again. That it was marked is not forgotten at once.
    pub(crate) fn clear(&mut self, now: Instant, node: NodeId) {
        if let Some(mark) = self.by_node.get_mut(&node) {
            mark.until = mark.until.min(now);
        }
    }

    pub(crate) fn is_marked(&self, now: Instant, node: NodeId) -> bool {
        self.by_node.get(&node).is_some_and(|mark| now < mark.until)
    }

    /// Of the next successors, the nearest first, those that a Store waits for: two that are not marked, or, if there are
    /// fewer, the one that was marked least.
    pub(crate) fn choose(&self, now: Instant, successors: &[NodeId], count: usize) -> Vec<NodeId> {
        let mut order: Vec<NodeId> = successors.iter().take(MOST_ASKED).copied().collect();
        let weight = |node: &NodeId| {
            self.by_node
                .get(node)
                .filter(|mark| now < mark.until)
                .map(|mark| mark.next)
        };
        // A stable sort: those without a mark stay in the order of the ring.
        order.sort_by_key(weight);
        order.truncate(count);
        order
    }
}

/// How long the first mark lasts.
const FIRST: Duration = Duration::from_secs(30);

/// The longest that one lasts.
const LONGEST: Duration = Duration::from_secs(600);

/// After so long without a new one, a node begins anew.
const REMEMBERED: Duration = Duration::from_secs(1200);

/// Nodes remembered; the one that was marked longest ago goes first.
const MOST_MARKS: usize = 256;

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
    fn a_mark_lasts_twice_as_long_each_time() {
        let mut marks = Marks::default();
        let mut now = Instant::now();
        for seconds in [30, 60, 120, 240, 480, 600, 600] {
            marks.mark(now, node(1));
            // Further ones, for Stores that waited beside it, change nothing.
            marks.mark(now + Duration::from_secs(1), node(1));
            now += Duration::from_secs(seconds);
            assert!(marks.is_marked(now - Duration::from_millis(1), node(1)) && !marks.is_marked(now, node(1)));
        }
        now += REMEMBERED;
        marks.mark(now, node(1));
        assert!(!marks.is_marked(now + FIRST, node(1)));
    }

    #[test]
    fn an_answer_in_time_ends_it_and_the_next_is_longer() {
        let mut marks = Marks::default();
        let now = Instant::now();
        marks.mark(now, node(1));
        marks.clear(now, node(1));
        assert!(!marks.is_marked(now, node(1)));
        marks.mark(now, node(1));
        assert!(marks.is_marked(now + FIRST, node(1)));
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

    #[test]
    fn few_nodes_are_remembered() {
        let mut marks = Marks::default();
        let now = Instant::now();
        for n in 0..1000_u128 {
            marks.mark(now, NodeId::from_u128(n));
        }
        assert_eq!(marks.by_node.len(), MOST_MARKS);
    }
}
