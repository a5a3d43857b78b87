//! Nodes that something is held against for a while: twice as long each further time, and forgotten in the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wire::NodeId;

/// The nodes and their penalties.
pub(crate) struct Penalties {
    /// How long the first one of a node lasts.
    first: Duration,
    by_node: BTreeMap<NodeId, Penalty>,
}

struct Penalty {
    since: Instant,
    until: Instant,
    /// How long the next one will last.
    next: Duration,
}

impl Penalties {
    pub(crate) fn new(first: Duration) -> Self {
        Self {
            first,
            by_node: BTreeMap::new(),
        }
    }

    /// Begins a penalty. While there is one, nothing changes.
    pub(crate) fn impose(&mut self, now: Instant, node: NodeId) {
        if self.is_under(now, node) {
            return;
        }
        self.by_node
            .retain(|_, penalty| now.saturating_duration_since(penalty.since) < REMEMBERED);
        if self.by_node.len() >= MOST_NODES && !self.by_node.contains_key(&node) {
            let oldest = self.by_node.iter().min_by_key(|(_, penalty)| penalty.since);
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                self.by_node.remove(&oldest);
            }
        }
        let length = self.by_node.get(&node).map_or(self.first, |penalty| penalty.next);
        let penalty = Penalty {
            since: now,
            until: now + length,
            next: (length * 2).min(LONGEST),
        };
        self.by_node.insert(node, penalty);
    }

    /// Ends a penalty early. The next one is longer all the same.
    pub(crate) fn lift(&mut self, now: Instant, node: NodeId) {
        if let Some(penalty) = self.by_node.get_mut(&node) {
            penalty.until = penalty.until.min(now);
        }
    }

    pub(crate) fn is_under(&self, now: Instant, node: NodeId) -> bool {
        self.weight(now, node).is_some()
    }

    /// How much is held against a node at present: nothing, or the more the more often it was.
    pub(crate) fn weight(&self, now: Instant, node: NodeId) -> Option<Duration> {
        let penalty = self.by_node.get(&node).filter(|penalty| now < penalty.until);
        penalty.map(|penalty| penalty.next)
    }
}

/// The longest penalty.
const LONGEST: Duration = Duration::from_secs(600);

/// After so long without a new one, a node begins anew.
const REMEMBERED: Duration = Duration::from_secs(1200);

/// Nodes remembered; the one whose penalty began first goes first.
const MOST_NODES: usize = 256;

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test begins at any time")]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(30);

    fn node(n: u8) -> NodeId {
        NodeId::new([n; 16])
    }

    #[test]
    fn a_penalty_lasts_twice_as_long_each_time() {
        let mut penalties = Penalties::new(FIRST);
        let mut now = Instant::now();
        for seconds in [30, 60, 120, 240, 480, 600, 600] {
            penalties.impose(now, node(1));
            penalties.impose(now + Duration::from_secs(1), node(1));
            now += Duration::from_secs(seconds);
            let before = now - Duration::from_millis(1);
            assert!(penalties.is_under(before, node(1)) && !penalties.is_under(now, node(1)));
        }
        now += REMEMBERED;
        penalties.impose(now, node(1));
        assert!(!penalties.is_under(now + FIRST, node(1)));
    }

    #[test]
    fn one_that_is_lifted_counts_for_the_next() {
        let mut penalties = Penalties::new(FIRST);
        let now = Instant::now();
        penalties.impose(now, node(1));
        penalties.lift(now, node(1));
        assert!(!penalties.is_under(now, node(1)));
        penalties.impose(now, node(1));
        assert!(penalties.is_under(now + FIRST, node(1)));
    }

    #[test]
    fn few_nodes_are_remembered() {
        let mut penalties = Penalties::new(FIRST);
        let now = Instant::now();
        for n in 0..1000_u128 {
            penalties.impose(now, NodeId::from_u128(n));
        }
        assert_eq!(penalties.by_node.len(), MOST_NODES);
    }
}
