//! How a neighbour list is made: a walk from this peer along what neighbours know, over confirmed peers only.
//!
//! A *chain* is a stretch of the ring as one peer describes it. Two places that follow each other in a chain are a
//! *pair*: that peer says that nobody stands between them. The walk steps from `l` to the nearest end of all pairs that
//! cover `l`, so it never steps over anyone whom some chain names: a list made like this skips nobody who was not
//! skipped before, which is the invariant that keeps the ring one ring.

use crate::ring::{distance, is_between};

/// What the walk starts from. For predecessors everything is given mirrored.
pub(crate) struct Terrain<'a> {
    /// This peer.
    pub(crate) own: u128,
    /// What the neighbours say.
    pub(crate) chains: &'a [Vec<u128>],
    /// This peer and its present list without the dead; closed with itself if it may be alone.
    pub(crate) present: &'a [u128],
    /// Peers that are confirmed alive.
    pub(crate) ready: &'a [u128],
}

/// What came out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    /// The list, nearest first.
    pub(crate) list: Vec<u128>,
    /// Who should stand in it if it were confirmed.
    pub(crate) desired: Vec<u128>,
    /// Whether the list reaches around to this peer: nobody else is in the ring.
    pub(crate) is_closed: bool,
}

impl Terrain<'_> {
    /// Walks until the list has `length` entries, or reaches this peer again, or nobody knows the next step.
    pub(crate) fn walk(&self, length: usize) -> Walked {
        let (list, is_closed) = self.list(length);
        Walked {
            list,
            desired: self.desired(length),
            is_closed,
        }
    }

    fn list(&self, length: usize) -> (Vec<u128>, bool) {
        let mut list = Vec::with_capacity(length);
        let mut at = self.own;
        while list.len() < length {
            let kept = self.end_of(at, std::slice::from_ref(&self.present));
            let Some(limit) = self.limit(at) else { break };
            let next = self.first_ready(at, limit).or_else(|| {
                // The next peer is not confirmed yet. Whoever followed in the present list may stay.
                kept.and_then(|kept| self.first_ready(at, kept))
            });
            match next {
                Some(next) => {
                    list.push(next);
                    at = next;
                }
                None => return (list, limit == self.own),
            }
        }
        let is_closed = self.limit(at) == Some(self.own);
        (list, is_closed)
    }

    fn desired(&self, length: usize) -> Vec<u128> {
        let mut desired = Vec::with_capacity(length);
        let mut at = self.own;
        while desired.len() < length {
            let Some(limit) = self.limit(at) else { break };
            let next = self.first_ready(at, limit).unwrap_or(limit);
            if next == self.own {
                break;
            }
            desired.push(next);
            at = next;
        }
        desired
    }

    /// Finds the nearest place after `at` that a chain names as following it; this peer at the latest.
    fn limit(&self, at: u128) -> Option<u128> {
        let kept = self.end_of(at, std::slice::from_ref(&self.present));
        let told = self.end_of(at, self.chains);
        kept.into_iter().chain(told).min_by_key(|end| reach(at, *end))
    }

    fn end_of(&self, at: u128, chains: &[impl AsRef<[u128]>]) -> Option<u128> {
        chains
            .iter()
            .flat_map(|chain| chain.as_ref().windows(2))
            .filter_map(|pair| match pair {
                [from, to] if *from == at || is_between(*from, at, *to) => Some(*to),
                _ => None,
            })
            .map(|end| if is_between(at, self.own, end) { self.own } else { end })
            .min_by_key(|end| reach(at, *end))
    }

    /// Finds the first confirmed peer in `(at, limit]` that is not this one.
    fn first_ready(&self, at: u128, limit: u128) -> Option<u128> {
        self.ready
            .iter()
            .copied()
            .filter(|place| *place != self.own && reach(at, *place) <= reach(at, limit))
            .min_by_key(|place| reach(at, *place))
    }
}

/// Distance in which a whole turn is the longest, not the shortest way.
fn reach(from: u128, to: u128) -> u128 {
    distance(from, to).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(present: &[u128], chains: &[Vec<u128>], ready: &[u128]) -> Walked {
        Terrain {
            own: 10,
            chains,
            present,
            ready,
        }
        .walk(3)
    }

    #[test]
    fn peers_named_by_a_neighbour_enter_when_confirmed() {
        let walked = walk(&[10, 20], &[vec![10, 20, 30, 40]], &[20, 40]);
        assert_eq!(walked.list, [20], "30 is not confirmed, and 40 would skip it");
        assert_eq!(walked.desired, [20, 30, 40]);
        assert_eq!(
            walk(&[10, 20], &[vec![10, 20, 30, 40]], &[20, 30, 40]).list,
            [20, 30, 40]
        );
    }

    #[test]
    fn a_lost_place_is_not_filled_with_a_finger() {
        let walked = walk(&[10, 20], &[], &[20, 200]);
        assert_eq!((walked.list.as_slice(), walked.is_closed), ([20].as_slice(), false));
    }

    #[test]
    fn present_entries_stay_behind_an_unconfirmed_one() {
        assert_eq!(walk(&[10, 20, 40], &[vec![20, 30]], &[20, 40]).list, [20, 40]);
    }

    #[test]
    fn a_confirmed_peer_between_two_entries_enters() {
        assert_eq!(walk(&[10, 20, 40, 50], &[], &[20, 30, 40, 50]).list, [20, 30, 40]);
    }

    #[test]
    fn a_small_ring_closes() {
        let walked = walk(&[10, 20], &[vec![20, 10, 20, 10]], &[20]);
        assert_eq!((walked.list.as_slice(), walked.is_closed), ([20].as_slice(), true));
    }

    #[test]
    fn a_peer_alone_takes_anyone() {
        assert_eq!(walk(&[10, 10], &[], &[5, 7]).list, [5, 7]);
    }
}
