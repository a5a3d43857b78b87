//! How the peers see the ring, and the checks of it after each event.

use overlay_core::Reason;
use wire::NodeId;

use super::{View, World, host::LIST_LENGTH};
use crate::invariants::{self, Member, Members, Violation};

impl World<'_> {
    /// Writes into the log how each peer sees the ring.
    pub(super) fn describe(&mut self) {
        let lines: Vec<String> = self
            .hosts
            .values()
            .map(|host| {
                let node = host.peer.node_id.short();
                match host.overlay.as_ref().map(overlay_core::Core::status) {
                    Some(status) => {
                        let range = status
                            .range
                            .map(|(after, until)| format!("({}, {}]", after.short(), until.short()));
                        let (previous, next) = (
                            invariants::short(&status.predecessors),
                            invariants::short(&status.successors),
                        );
                        format!(
                            "{node}: owns {range:?}, predecessors {previous:?}, successors {next:?}, {:?}",
                            status.reasons
                        )
                    }
                    None => format!("{node}: down"),
                }
            })
            .collect();
        lines.into_iter().for_each(|line| self.note(|| line));
    }

    /// Notes what an overlay says of its tables, if it changed.
    pub(super) fn refresh_view(&mut self, host: NodeId) {
        let view = self
            .hosts
            .get(&host)
            .and_then(|state| state.overlay.as_ref())
            .map(|core| {
                let status = core.status();
                let after = status.range.map(|(after, _)| after);
                let member = Member {
                    successors: status.successors,
                    predecessors: status.predecessors,
                    after,
                };
                let admitting = status.reasons.iter().find_map(|reason| match reason {
                    Reason::Joining(peer) => Some(*peer),
                    _ => None,
                });
                View {
                    is_member: status.joined,
                    admitting,
                    member,
                }
            });
        if self.views.get(&host) != view.as_ref() {
            self.has_new_view = true;
            match view {
                Some(view) => self.views.insert(host, view),
                None => self.views.remove(&host),
            };
        }
    }

    /// Lists the live members, and who is entering: admitted, and not told yet.
    pub(super) fn members(&self) -> Members {
        let mut members = Members::new();
        for (node, view) in &self.views {
            if view.is_member {
                members.insert(*node, view.member.clone());
                continue;
            }
            // Only the next member admits; others may still name an earlier process of the node. But one that was admitted a
            // moment later may have come between, and not have heard of the node yet.
            let next = self
                .views
                .iter()
                .filter(|(_, peer)| peer.is_member)
                .min_by_key(|(peer, _)| peer.to_u128().wrapping_sub(node.to_u128()));
            let names_it = |peer: &NodeId| {
                let is_named = |view: &View| view.is_member && view.member.predecessors.contains(node);
                self.views.get(peer).is_some_and(is_named) && self.network.is_up(*node, *peer)
            };
            let is_admitted = |next: &NodeId| names_it(next) || view.admitting.as_ref().is_some_and(names_it);
            if let Some((peer, _)) = next.filter(|(next, _)| is_admitted(next)) {
                members.insert(
                    *node,
                    Member {
                        successors: vec![*peer],
                        predecessors: Vec::new(),
                        after: None,
                    },
                );
            }
        }
        members
    }

    pub(super) fn check_ring(&mut self) -> Result<(), Violation> {
        let is_late = self.torn_until.is_some_and(|until| until < self.queue.elapsed());
        if !std::mem::take(&mut self.has_new_view) && !is_late {
            return Ok(());
        }
        if self.is_torn()? {
            return Ok(());
        }
        let members = self.members();
        invariants::check(&members)?;
        let count = invariants::unskipped(&members).count();
        if self.is_i2_due && count <= LIST_LENGTH {
            return Err(Violation::new("I2", format!("{count} members unskipped")));
        }
        self.is_i2_due |= count > LIST_LENGTH && invariants::check_quiet(&members, LIST_LENGTH).is_ok();
        self.settled.retain(|node, _| members.contains_key(node));
        for node in members.keys() {
            self.settled.entry(*node).or_insert(self.queue.elapsed());
        }
        Ok(())
    }
}
