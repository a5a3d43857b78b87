//! What the overlay configuration document and the driver decide about the ring.

use std::time::Duration;

/// Values that shape the tables and their upkeep.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Entries in the successor and in the predecessor list, called r; never below [`Settings::MIN_LIST`].
    pub list_length: usize,
    /// Time between periodic Updates to the neighbours (`chord-update-interval`).
    pub update_interval: Duration,
    /// Time until a finger interval that was searched is searched again (`chord-ping-interval`).
    pub ping_interval: Duration,
    /// Whether a change of the tables is told at once (`chord-reactive`).
    pub is_reactive: bool,
    /// Connections kept for each finger interval.
    pub fingers_per_interval: usize,
    /// Rules that only a test may switch off, to see whether it would notice.
    #[doc(hidden)]
    pub rules: Rules,
}

impl Settings {
    /// Smallest list length with which the ring is safe; also RFC 6940 §10.7's minimum.
    pub const MIN_LIST: usize = 3;

    pub(crate) fn checked(self) -> Self {
        Self {
            list_length: self.list_length.max(Self::MIN_LIST),
            ..self
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // Seven neighbours may die at once.
            list_length: 8,
            update_interval: Duration::from_secs(10),
            // RFC 6940 §10.7.4.2: one hour by default.
            ping_interval: Duration::from_secs(3600),
            is_reactive: true,
            fingers_per_interval: 4,
            rules: Rules::default(),
        }
    }
}

/// Rules of the corrected Chord; each `false` is a known way to break a ring.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// A join is checked again when it takes effect.
    pub join_is_rechecked: bool,
    /// Only confirmed peers enter a table.
    pub adoption_is_confirmed: bool,
    /// A closer predecessor replaces the present one.
    pub predecessor_is_replaced: bool,
    /// A lost successor's place stays empty until a neighbour names who stands there.
    pub fingers_stay_out: bool,
    /// Only who may be a peer is taken for one.
    pub clients_stay_out: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            join_is_rechecked: true,
            adoption_is_confirmed: true,
            predecessor_is_replaced: true,
            fingers_stay_out: true,
            clients_stay_out: true,
        }
    }
}
