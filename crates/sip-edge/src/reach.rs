//! Whether this edge and others can meet, from what its attempts show: a pure table.
//!
//! Edges meet only when a call needs it, so a blocked port shows itself at the first call that fails. Therefore an edge that no
//! other edge is connected to asks one of those that it knows, every 30 s, to dial it. It knows others from what the overlay holds
//! of users that were looked up here; before that it cannot tell. An edge that does not answer through the overlay proves
//! nothing: it may be down. One that agrees to dial, and whose connection does not come, does.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use sip_core::flow::NodeId;

/// Edges that are remembered for probes.
const KNOWN: usize = 64;
/// Between two probes.
const PROBE: Duration = Duration::from_secs(30);
/// An edge that agreed to dial is awaited for so long.
const ARRIVAL: Duration = Duration::from_secs(5);
/// Attempts that must have failed in a row: one may have met an edge that was just stopping.
const MISSES: u32 = 2;

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// Edges and their home peers; the next to be probed is in front.
    known: VecDeque<(NodeId, NodeId)>,
    next_probe: Option<Instant>,
    /// Edges that agreed to dial, and until when they must have.
    agreed: BTreeMap<NodeId, Instant>,
    /// Whether others reach this edge; unset while that is not known.
    pub(crate) incoming: Option<bool>,
    /// Whether this edge reaches others.
    pub(crate) outgoing: Option<bool>,
    misses: u32,
}

impl Reach {
    /// Remembers an edge that the overlay named.
    pub(crate) fn know(&mut self, node: NodeId, home: NodeId) {
        match self.known.iter_mut().find(|(known, _)| *known == node) {
            Some((_, known_home)) => *known_home = home,
            None => {
                self.known.truncate(KNOWN - 1);
                self.known.push_front((node, home));
            }
        }
    }

    /// Names the edge that is to be asked now, if it is time. `is_met` says whether one is connected that dialed us, which is
    /// proof enough.
    pub(crate) fn probe(&mut self, now: Instant, is_met: bool) -> Option<(NodeId, NodeId)> {
        if is_met || self.known.is_empty() || self.next_probe.is_some_and(|next| now < next) {
            return None;
        }
        self.next_probe = Some(now + PROBE);
        self.known.rotate_left(1);
        self.known.back().copied()
    }

    /// Notes that an edge agreed to dial us.
    pub(crate) fn agreed(&mut self, now: Instant, node: NodeId) {
        if self.agreed.len() < KNOWN {
            self.agreed.entry(node).or_insert(now + ARRIVAL);
        }
    }

    /// Notes that an edge dialed us.
    pub(crate) fn came(&mut self, node: NodeId) {
        self.agreed.remove(&node);
        self.incoming = Some(true);
        self.misses = 0;
    }

    /// Notes how it ended that we dialed an edge.
    pub(crate) fn dialed(&mut self, node: NodeId, is_reached: bool) {
        self.outgoing = Some(is_reached);
        if is_reached {
            // Connected is connected: the other one need not come.
            self.agreed.remove(&node);
            self.misses = 0;
        }
    }

    /// Moves time on: returns the edges that agreed and did not come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<NodeId> {
        let late: Vec<NodeId> = self
            .agreed
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(node, _)| *node)
            .collect();
        for node in &late {
            self.agreed.remove(node);
            self.incoming = Some(false);
            self.misses += 1;
        }
        late
    }

    /// Says whether this edge meets no other, though there are some that would: then calls between them fail. `is_connected`
    /// says whether any edge is connected.
    pub(crate) fn is_alone(&self, is_connected: bool) -> bool {
        !is_connected && self.misses >= MISSES && self.incoming == Some(false) && self.outgoing != Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: NodeId = NodeId([8; 16]);

    fn node(number: u8) -> NodeId {
        NodeId([number; 16])
    }

    #[test]
    fn known_edges_are_probed_in_turn_every_half_minute() {
        let (mut reach, now) = (Reach::default(), Instant::now());
        assert_eq!(reach.probe(now, false), None);
        reach.know(node(1), HOME);
        reach.know(node(2), HOME);
        let first = reach.probe(now, false).unwrap();
        assert_eq!(reach.probe(now + PROBE / 2, false), None);
        let second = reach.probe(now + PROBE, false).unwrap();
        assert_ne!(first, second);
        assert_eq!(reach.probe(now + PROBE * 2, true), None);
        assert_eq!(reach.probe(now + PROBE * 2, false), Some(first));
    }

    #[test]
    fn an_edge_is_alone_when_those_that_agreed_do_not_come() {
        let (mut reach, now) = (Reach::default(), Instant::now());
        reach.agreed(now, node(1));
        assert!(reach.handle_timeout(now).is_empty());
        assert_eq!(reach.handle_timeout(now + ARRIVAL), [node(1)]);
        assert_eq!(reach.incoming, Some(false));
        assert!(!reach.is_alone(false));
        reach.agreed(now + PROBE, node(2));
        reach.handle_timeout(now + PROBE + ARRIVAL);
        assert!(reach.is_alone(false) && !reach.is_alone(true));
        reach.came(node(3));
        assert!(!reach.is_alone(false));
        assert_eq!(reach.incoming, Some(true));
    }

    #[test]
    fn an_edge_that_reaches_others_is_not_alone() {
        let (mut reach, now) = (Reach::default(), Instant::now());
        for round in 0..3 {
            let now = now + PROBE * round;
            reach.agreed(now, node(1));
            reach.handle_timeout(now + ARRIVAL);
        }
        reach.dialed(node(1), false);
        assert!(reach.is_alone(false));
        reach.dialed(node(1), true);
        assert!(!reach.is_alone(false));
        assert_eq!((reach.incoming, reach.outgoing), (Some(false), Some(true)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut reach = Reach::default();
        for number in 0..=u8::MAX {
            reach.know(node(number), HOME);
            reach.agreed(Instant::now(), node(number));
        }
        assert_eq!((reach.known.len(), reach.agreed.len()), (KNOWN, KNOWN));
    }
}
