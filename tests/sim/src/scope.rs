//! How much to simulate, from the environment: `P2PSIP_SIM_SEED` replays one seed; `P2PSIP_SIM_FROM` and
//! `P2PSIP_SIM_SEEDS` name a range of them; `P2PSIP_SIM_PEERS` and `P2PSIP_SIM_SECONDS` set the size.

use std::{env, time::Duration};

/// Which runs to make, and how large they are.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The seeds.
    pub seeds: Vec<u64>,
    /// Peers in each run.
    pub peers: usize,
    /// Simulated time with faults; calm follows.
    pub duration: Duration,
}

impl Scope {
    /// Reads the environment over the given size. Unless it names seeds, `more` ones are run too.
    ///
    /// # Panics
    ///
    /// If a variable holds anything but a number.
    #[must_use]
    pub fn from_environment(seeds: u64, more: &[u64], peers: u64, seconds: u64) -> Self {
        let number = |name: &str| {
            let text = env::var(name).ok()?;
            Some(text.parse::<u64>().expect("P2PSIP_SIM_ variables hold numbers"))
        };
        let range = |first: u64, count: u64| (first..first.saturating_add(count)).collect();
        let seeds = match (
            number("P2PSIP_SIM_SEED"),
            number("P2PSIP_SIM_FROM"),
            number("P2PSIP_SIM_SEEDS"),
        ) {
            (Some(seed), ..) => vec![seed],
            (None, None, None) => (0..seeds).chain(more.iter().copied()).collect(),
            (None, first, count) => range(first.unwrap_or(0), count.unwrap_or(seeds)),
        };
        let peers = number("P2PSIP_SIM_PEERS").unwrap_or(peers);
        Self {
            seeds,
            peers: usize::try_from(peers).unwrap_or(usize::MAX),
            duration: Duration::from_secs(number("P2PSIP_SIM_SECONDS").unwrap_or(seconds)),
        }
    }
}
