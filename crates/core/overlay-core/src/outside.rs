//! Outside the overlay, over a document that this node cannot obey, until there is one that it can (RFC 6940 §11.1).
//!
//! ```text
//!   any phase --[a newer document, signed as it must be, needs what is not here]--> Outside: Leave, all links closed
//!       ^                                                                              |
//!       +----------------[a still newer one, which can be obeyed]----------------------+
//! ```
//!
//! Nothing is handed over first. Whoever has the new document refuses every request under the old one, so a node that stayed to hand over
//! would be a hole in the ring meanwhile, and its Stores would be refused. What this node has acknowledged its successors hold.

use tracing::warn;

use overlay_config::{Demand, is_newer};
use wire::Now;

use crate::core::Core;

impl Core {
    /// A document is signed as it must be, and this node cannot obey it.
    pub fn handle_demand(&mut self, now: Now, demand: Demand) {
        self.leave_over(now, demand);
        self.settle(now);
    }

    pub(crate) fn leave_over(&mut self, now: Now, demand: Demand) {
        if !is_newer(demand.sequence, self.newest_sequence()) {
            return;
        }
        warn!(
            document = demand.sequence,
            needs = demand.needs,
            "configuration document cannot be obeyed: upgrade"
        );
        // From here on: what is said now is said under the document that the others have.
        self.demand = Some(demand);
        self.step_outside(now);
    }

    /// The sequence number of the newest document of this overlay that is known here, obeyed or not.
    pub(crate) fn newest_sequence(&self) -> u16 {
        let refused = self.demand.as_ref().map(|demand| demand.sequence);
        refused.unwrap_or(self.parameters.sequence)
    }
}
