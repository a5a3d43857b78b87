//! The round-trip estimate of a link.

use std::time::Duration;

/// Smoothed round-trip time and its variation, from framing ACKs (RFC 6940 §6.6.2 has them on TLS too).
#[derive(Default)]
pub(crate) struct RoundTrip {
    smoothed: Option<Duration>,
    variation: Duration,
}

impl RoundTrip {
    /// Takes one measurement in, as RFC 6298 §2 does.
    pub(crate) fn measured(&mut self, sample: Duration) {
        match self.smoothed {
            None => {
                self.smoothed = Some(sample);
                self.variation = sample / 2;
            }
            Some(smoothed) => {
                self.variation = self.variation * 3 / 4 + smoothed.abs_diff(sample) / 4;
                self.smoothed = Some(smoothed * 7 / 8 + sample / 8);
            }
        }
    }

    /// How long a frame may stay unacknowledged before its link is suspect.
    // RFC 6940 §6.6.5 lets the implementation choose; docs/deviations.md D20.
    pub(crate) fn patience(&self) -> Duration {
        let estimate = self.smoothed.unwrap_or_default() + self.variation * 4;
        estimate.max(SHORTEST_PATIENCE)
    }
}

/// Below this a busy processor looks like a dead peer.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_with_the_round_trip_and_has_a_floor() {
        let mut rtt = RoundTrip::default();
        assert_eq!(rtt.patience(), SHORTEST_PATIENCE);
        rtt.measured(Duration::from_millis(2));
        assert_eq!(rtt.patience(), SHORTEST_PATIENCE);
        rtt.measured(Duration::from_millis(900));
        assert!(rtt.patience() > Duration::from_millis(900));
    }
}
