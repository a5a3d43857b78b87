//! Nodes whose own messages were signed wrongly, again and again.
//!
//! Checking a signature costs this node more than writing a wrong one costs the sender. What comes straight from the node at
//! the other end of a link is that node's own; an honest one never signs wrongly. So after twenty such messages in a minute the link
//! is closed, for a minute and twice as long each further time. What a node passes on for others is not held against it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::warn;
use wire::{NodeId, Now};

use crate::core::Core;

/// The nodes, and what is held against them.
#[derive(Default)]
pub(crate) struct Offences {
    by_node: BTreeMap<NodeId, Offence>,
}

struct Offence {
    /// When the count began.
    since: Instant,
    count: u32,
    barred_until: Option<Instant>,
    /// How long the node is barred the next time.
    next: Duration,
}

impl Offences {
    /// Counts one. Tells whether the link is to be closed.
    fn count(&mut self, now: Instant, node: NodeId) -> bool {
        self.by_node
            .retain(|_, offence| now.saturating_duration_since(offence.since) < REMEMBERED);
        if self.by_node.len() >= MOST_NODES && !self.by_node.contains_key(&node) {
            let oldest = self.by_node.iter().min_by_key(|(_, offence)| offence.since);
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                self.by_node.remove(&oldest);
            }
        }
        let offence = self.by_node.entry(node).or_insert(Offence {
            since: now,
            count: 0,
            barred_until: None,
            next: FIRST,
        });
        if now.saturating_duration_since(offence.since) >= WITHIN {
            (offence.since, offence.count) = (now, 0);
        }
        offence.count += 1;
        let is_enough = offence.count >= ENOUGH;
        if is_enough {
            offence.count = 0;
            offence.barred_until = Some(now + offence.next);
            offence.next = (offence.next * 2).min(LONGEST);
        }
        is_enough
    }

    /// Whether a node gets no link at present.
    pub(crate) fn is_barred(&self, now: Instant, node: NodeId) -> bool {
        let until = self.by_node.get(&node).and_then(|offence| offence.barred_until);
        until.is_some_and(|until| now < until)
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

/// How long a node is barred the first time, and at most.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(600);

/// After so long without a new one, a node begins anew.
const REMEMBERED: Duration = Duration::from_secs(1200);

/// Nodes remembered; the one whose count began first goes first.
const MOST_NODES: usize = 256;

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test begins at any time")]
mod tests {
    use super::*;

    #[test]
    fn twenty_in_a_minute_bar_a_node_twice_as_long_each_time() {
        let node = NodeId::new([1; 16]);
        let mut offences = Offences::default();
        let mut now = Instant::now();
        for seconds in [60, 120, 240, 480, 600, 600] {
            for _ in 1..ENOUGH {
                assert!(!offences.count(now, node));
            }
            assert!(offences.count(now, node));
            now += Duration::from_secs(seconds);
            assert!(offences.is_barred(now - Duration::from_millis(1), node) && !offences.is_barred(now, node));
        }
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
