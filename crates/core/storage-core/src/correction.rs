//! A move of the own time after a start, and what it means for the values.
//!
//! If the store was down for longer or shorter than was thought, the values that it was down with are older or younger
//! with it. Those that came since the start are neither.

use crate::{kind::Kind, record::Slot};

/// A move of the own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Correction {
    /// In milliseconds; forward if the store was down for longer than was thought.
    pub(crate) by: i64,
    /// The own time of the start, before the correction.
    pub(crate) since_ms: u64,
}

impl Correction {
    /// When a value ends from now on, at this corrected own time.
    pub(crate) fn end(self, own_ms: u64, slot: &Slot, kind: Option<&Kind>) -> u64 {
        let life = u64::from(slot.data.lifetime).saturating_mul(1000);
        let longest = kind.and_then(|kind| kind.longest_life(slot.exists()));
        let longest = longest.map_or(life, |longest| u64::try_from(longest.as_millis()).unwrap_or(u64::MAX));
        let came_ms = slot.expires.saturating_sub(life.min(longest));
        if self.by > 0 && came_ms >= self.since_ms {
            return slot.expires.saturating_add_signed(self.by);
        }
        // A value that came under an own time that was ahead lives no longer than one that comes now.
        let most = if slot.exists() { life.min(longest) } else { longest };
        slot.expires.min(own_ms.saturating_add(most))
    }
}
