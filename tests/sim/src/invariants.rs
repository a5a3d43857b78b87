//! What must hold of the ring after each event (I1 to I8), and once it is quiet (P1, P2).
//!
//! The names follow Zave's proof. With a node's *extended list* = itself followed by its successors:
//! I1 every member has a live successor; I2 at least r + 1 members are skipped by no two adjacent entries of any
//! extended list; I3, I4 there is exactly one ring; I5 it is ordered; I6 every member reaches it; I7 successor lists are
//! ordered; I8 they have no duplicates, nor the node itself.

use std::collections::{BTreeMap, BTreeSet};

use wire::NodeId;

/// One member as the checks see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its successor list.
    pub successors: Vec<NodeId>,
    /// Its predecessor list.
    pub predecessors: Vec<NodeId>,
    /// Where its range begins; `None` while it is entering.
    pub after: Option<NodeId>,
}

/// All live members.
pub type Members = BTreeMap<NodeId, Member>;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// Where.
    pub detail: String,
}

impl Violation {
    /// Makes one.
    #[must_use]
    pub fn new(invariant: &'static str, detail: impl Into<String>) -> Self {
        Self {
            invariant,
            detail: detail.into(),
        }
    }
}

/// Checks I1 and I3 to I8. I2 is [`unskipped`].
///
/// # Errors
///
/// The first [`Violation`].
pub fn check(members: &Members) -> Result<(), Violation> {
    if members.len() < 2 {
        return Ok(());
    }
    for (node, member) in members {
        check_list(*node, &member.successors)?;
        if first_live(members, member).is_none() {
            return Err(Violation::new(
                "I1",
                format!(
                    "{} has no live successor of {:?}",
                    node.short(),
                    short(&member.successors)
                ),
            ));
        }
    }
    check_ring(members)
}

/// Lists the members that are skipped by nobody (I2).
pub fn unskipped(members: &Members) -> impl Iterator<Item = NodeId> {
    let skips = move |node: NodeId| {
        members.iter().any(|(owner, member)| {
            let mut from = *owner;
            member.successors.iter().any(|to| {
                let skipped = is_between(from, node, *to);
                from = *to;
                skipped
            })
        })
    };
    members.keys().copied().filter(move |node| !skips(*node))
}

/// Checks P1 and P2: every list is globally right, and every place has one owner.
///
/// # Errors
///
/// The first [`Violation`].
pub fn check_quiet(members: &Members, list_length: usize) -> Result<(), Violation> {
    let order: Vec<NodeId> = members.keys().copied().collect();
    let count = order.len();
    let length = list_length.min(count.saturating_sub(1));
    for (index, (node, member)) in members.iter().enumerate() {
        let next: Vec<NodeId> = order.iter().cycle().skip(index + 1).take(length).copied().collect();
        let previous: Vec<NodeId> = order
            .iter()
            .rev()
            .cycle()
            .skip(count - index)
            .take(length)
            .copied()
            .collect();
        for (name, is, should) in [
            ("successors", &member.successors, &next),
            ("predecessors", &member.predecessors, &previous),
        ] {
            if is != should {
                return Err(Violation::new(
                    "P1",
                    format!("{} has {name} {:?}, not {:?}", node.short(), short(is), short(should)),
                ));
            }
        }
        let before = previous.first().copied().unwrap_or(*node);
        if member.after != Some(before) {
            return Err(Violation::new(
                "P2",
                format!(
                    "{} owns from {:?}, not {}",
                    node.short(),
                    member.after.map(|id| id.short()),
                    before.short()
                ),
            ));
        }
    }
    Ok(())
}

fn check_list(node: NodeId, list: &[NodeId]) -> Result<(), Violation> {
    let mut at = 0;
    for entry in list {
        let step = entry.to_u128().wrapping_sub(node.to_u128());
        if step == 0 || step == at {
            return Err(Violation::new(
                "I8",
                format!("{} lists {:?}", node.short(), short(list)),
            ));
        }
        if step < at {
            return Err(Violation::new(
                "I7",
                format!("{} lists {:?}", node.short(), short(list)),
            ));
        }
        at = step;
    }
    Ok(())
}

fn check_ring(members: &Members) -> Result<(), Violation> {
    let next = |node: NodeId| members.get(&node).and_then(|member| first_live(members, member));
    let mut rings: BTreeSet<Vec<NodeId>> = BTreeSet::new();
    for start in members.keys() {
        let mut seen: Vec<NodeId> = Vec::new();
        let mut at = *start;
        while !seen.contains(&at) {
            seen.push(at);
            at = next(at).ok_or_else(|| Violation::new("I6", format!("{} reaches no ring", start.short())))?;
        }
        let mut ring: Vec<NodeId> = seen.into_iter().skip_while(|node| *node != at).collect();
        let least = ring
            .iter()
            .enumerate()
            .min_by_key(|(_, node)| **node)
            .map_or(0, |(index, _)| index);
        ring.rotate_left(least);
        rings.insert(ring);
    }
    if rings.len() != 1 {
        return Err(Violation::new(
            "I4",
            format!(
                "{} rings: {:?}",
                rings.len(),
                rings.iter().map(|ring| short(ring)).collect::<Vec<_>>()
            ),
        ));
    }
    match rings.first() {
        // One turn around, beginning at the least: ordered means ascending.
        Some(ring) if ring.is_sorted() => Ok(()),
        Some(ring) => Err(Violation::new("I5", format!("the ring is {:?}", short(ring)))),
        None => Err(Violation::new("I3", "no ring")),
    }
}

fn first_live(members: &Members, member: &Member) -> Option<NodeId> {
    member
        .successors
        .iter()
        .copied()
        .find(|node| members.contains_key(node))
}

fn is_between(from: NodeId, node: NodeId, to: NodeId) -> bool {
    let step = node.to_u128().wrapping_sub(from.to_u128());
    step != 0 && step < to.to_u128().wrapping_sub(from.to_u128())
}

/// Short names, for messages.
#[must_use]
pub fn short(nodes: &[NodeId]) -> Vec<String> {
    nodes.iter().map(NodeId::short).collect()
}
