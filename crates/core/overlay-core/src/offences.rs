//! Nodes whose own messages were signed wrongly, again and again.
//!
//! Checking a signature costs this node more than writing a wrong one costs the sender. What comes straight from the node at
//! the other end of a link is that node's own; an honest one never signs wrongly. So after twenty such messages in a minute the
//! link is closed, for a minute and twice as long each further time. What a node passes on for others is not held against it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::warn;
use wire::{NodeId, Now};

use crate::core::Core;
use crate::penalties::Penalties;

/// The counts of linked nodes, and the nodes that get no link.
pub(crate) struct Offences {
    /// Since when is counted, and how many there were.
    counts: BTreeMap<NodeId, (Instant, u32)>,
    barred: Penalties,
}

impl Default for Offences {
    fn default() -> Self {
        Self {
            counts: BTreeMap::new(),
            barred: Penalties::new(FIRST),
        }
    }
}

impl Offences {
    /// Counts one. Tells whether the link is to be closed.
    fn count(&mut self, now: Instant, node: NodeId) -> bool {
        self.counts
            .retain(|_, (since, _)| now.saturating_duration_since(*since) < WITHIN);
        if self.counts.len() >= MOST_COUNTED && !self.counts.contains_key(&node) {
            let least = self.counts.iter().min_by_key(|(_, (_, count))| *count);
            if let Some(least) = least.map(|(node, _)| *node) {
                self.counts.remove(&least);
            }
        }
        let (_, count) = self.counts.entry(node).or_insert((now, 0));
        *count += 1;
        let is_enough = *count >= ENOUGH;
        if is_enough {
            self.counts.remove(&node);
            self.barred.impose(now, node);
        }
        is_enough
    }

    /// Whether a node gets no link at present.
    pub(crate) fn is_barred(&self, now: Instant, node: NodeId) -> bool {
        self.barred.is_under(now, node)
    }
}

impl Core {
    /// A linked node sent a message of its own with a wrong signature.
    pub(crate) fn offended(&mut self, now: Now, node: NodeId) {
        if self.offences.count(now.instant, node) {
            warn!(node_id = %node.short(), "link closed for wrong signatures");
            self.drop_peer(now, node);
        }
    }
}

/// So many in so long close the link.
const ENOUGH: u32 = 20;
const WITHIN: Duration = Duration::from_secs(60);

/// Nodes counted at a time; the one with the fewest goes first.
const MOST_COUNTED: usize = 256;

/// How long a node is barred the first time.
const FIRST: Duration = Duration::from_secs(60);

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test begins at any time")]
mod tests {
    use super::*;

    #[test]
    fn twenty_in_a_minute_bar_a_node() {
        let node = NodeId::new([1; 16]);
        let mut offences = Offences::default();
        let now = Instant::now();
        for _ in 1..ENOUGH {
            assert!(!offences.count(now, node) && !offences.is_barred(now, node));
        }
        assert!(offences.count(now, node) && offences.is_barred(now, node));
        assert!(!offences.is_barred(now + FIRST, node));
    }

    #[test]
    fn a_few_are_no_offence() {
        let node = NodeId::new([1; 16]);
        let mut offences = Offences::default();
        let now = Instant::now();
        let is_closed = |n: u64| offences.count(now + Duration::from_secs(4 * n), node);
        assert!(!(0..100).any(is_closed), "fifteen in a minute");
    }
}
