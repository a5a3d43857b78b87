//! Runs many seeds, on all processors; each run has its own world, so that threads do not change what happens.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::invariants::Violation;

/// What a run found wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Replays the run.
    pub seed: u64,
    /// When it happened, in simulated time.
    pub elapsed: Duration,
    /// What happened.
    pub violation: Violation,
    /// What went before.
    pub log: Vec<String>,
}

impl Failure {
    /// Says in a few lines what went wrong, and how to see it again.
    #[must_use]
    pub fn report(&self) -> String {
        let Self {
            seed,
            elapsed,
            violation,
            log,
        } = self;
        let Violation { invariant, detail } = violation;
        let skipped = log.len().saturating_sub(LINES);
        let log = log
            .iter()
            .skip(skipped)
            .map(|line| format!("\n  {line}"))
            .collect::<String>();
        format!("seed {seed} at {elapsed:?}: {invariant}: {detail}{log}\nreplay it with P2PSIP_SIM_SEED={seed}")
    }
}

/// Runs all seeds, and gives what failed in the order of seeds.
pub fn sweep(seeds: &[u64], run: impl Fn(u64) -> Result<(), Failure> + Sync) -> Vec<Failure> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let work = || {
        loop {
            let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)).copied() else {
                return;
            };
            if let Err(failure) = run(seed) {
                failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|failure| failure.seed);
    failures
}

/// Lines of the log in a report.
const LINES: usize = 80;
