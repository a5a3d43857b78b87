//! Going on after a time that this process has not lived through: its machine slept, or was paused.
//!
//! The others may have taken this peer for dead, given its range to another one and stored there, and taken it back
//! without this peer having noticed anything. So it is as after a restart: nothing of the own range is certain, the links
//! are tried, and the clocks of the others are heard anew.

use tracing::info;

use wire::{NodeId, Now};

use crate::core::Core;

impl Core {
    /// The clocks of this machine did not advance alike. A calendar that somebody has set looks the same, and costs a few
    /// messages.
    pub fn handle_gap(&mut self, now: Now) {
        info!(node_id = %self.own().short(), "asking anew after a gap in time");
        self.session.forget_clocks(now);
        let peers: Vec<NodeId> = self.links.peers().collect();
        for peer in peers {
            self.ping_link(now, peer);
        }
        self.distrust_range(now);
        self.settle(now);
    }
}
