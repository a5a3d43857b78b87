//! How much to simulate, from the environment: `P2PSIP_SIM_SEED` replays one seed, or is the first of as many as
//! `P2PSIP_SIM_SEEDS` says; `P2PSIP_SIM_PEERS` and `P2PSIP_SIM_SECONDS` set the size.

use std::{env, ops::Range, time::Duration};

/// Which runs to make, and how large they are.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The seeds.
    pub seeds: Range<u64>,
    /// Peers in each run.
    pub peers: usize,
    /// Simulated time with faults; calm follows.
    pub duration: Duration,
}

impl Scope {
    /// Reads the environment over the given size.
    #[must_use]
    pub fn from_environment(seeds: u64, peers: u64, seconds: u64) -> Self {
        let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let first = number("P2PSIP_SIM_SEED");
        let count = number("P2PSIP_SIM_SEEDS").unwrap_or(if first.is_some() { 1 } else { seeds });
        let first = first.unwrap_or(0);
        let seeds = first..first.saturating_add(count);
        let peers = number("P2PSIP_SIM_PEERS").unwrap_or(peers);
        Self {
            seeds,
            peers: usize::try_from(peers).unwrap_or(usize::MAX),
            duration: Duration::from_secs(number("P2PSIP_SIM_SECONDS").unwrap_or(seconds)),
        }
    }
}
