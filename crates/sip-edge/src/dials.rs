//! Connections that this edge opens because another node asked it to.
//!
//! A node that asks says where it listens, and nobody checks that it is there: so an AppAttach must not turn this edge against others'
//! machines. An address is dialed once a second for all who name it, and of the dials under way each node has a share.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wire::NodeId;

use crate::attach::PATIENCE;

/// The latest of them.
#[derive(Debug, Default)]
pub(crate) struct Dials {
    begun: VecDeque<(Instant, NodeId)>,
    dialed: BTreeMap<SocketAddr, Instant>,
}

impl Dials {
    /// Picks those of a node's addresses that may be dialed now, if the node may have one more dial at all.
    pub(crate) fn begin(&mut self, now: Instant, node: NodeId, addresses: Vec<SocketAddr>) -> Option<Vec<SocketAddr>> {
        let is_over = |at: Instant, after: Duration| now.saturating_duration_since(at) >= after;
        while self.begun.front().is_some_and(|(at, _)| is_over(*at, PATIENCE)) {
            self.begun.pop_front();
        }
        self.dialed.retain(|_, at| !is_over(*at, REST));
        let of_node = self.begun.iter().filter(|(_, other)| *other == node).count();
        // Nobody has more than are left for others.
        if of_node >= MOST_OF_ONE.min(MOST.saturating_sub(self.begun.len())) {
            return None;
        }
        let rested: Vec<SocketAddr> = addresses
            .into_iter()
            .filter(|address| self.dialed.insert(*address, now).is_none())
            .collect();
        self.begun.push_back((now, node));
        // Where none is left, the node that asked dials this edge by and by.
        Some(rested)
    }
}

/// Dials under way because others asked; beyond this they are told to ask again.
const MOST: usize = 64;

/// Of these, for one node.
const MOST_OF_ONE: usize = 8;

/// An address rests so long after it was dialed.
const REST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 5062))
    }

    fn node(n: u8) -> NodeId {
        NodeId::new([n; 16])
    }

    #[test]
    fn an_address_is_dialed_once_a_second_whoever_names_it() {
        let (mut dials, now) = (Dials::default(), Instant::now());
        assert_eq!(dials.begin(now, node(1), vec![address(1)]), Some(vec![address(1)]));
        assert_eq!(dials.begin(now, node(2), vec![address(1); 8]), Some(Vec::new()));
        assert_eq!(
            dials.begin(now, node(2), vec![address(1), address(2)]),
            Some(vec![address(2)])
        );
        assert_eq!(
            dials.begin(now + REST, node(2), vec![address(1); 8]),
            Some(vec![address(1)])
        );
    }

    #[test]
    fn one_node_leaves_dials_to_others() {
        let (mut dials, now) = (Dials::default(), Instant::now());
        let begin = |dials: &mut Dials, at, of, n| dials.begin(at, node(of), vec![address(n)]).is_some();
        assert_eq!((0..100).filter(|n| begin(&mut dials, now, 1, *n)).count(), MOST_OF_ONE);
        assert!(begin(&mut dials, now, 2, 200));
        assert!(begin(&mut dials, now + PATIENCE, 1, 201));
    }
}
