//! Whole overlays under faults: the ring holds, and no acknowledged value is lost.

use std::time::Duration;

use overlay_core::Rules;
use p2psip_sim::{
    log,
    overlay::{World, credentials::Credentials},
    scope::Scope,
    sweep::{Failure, sweep},
};

#[test]
fn acknowledged_values_survive() {
    log::follow();
    let scope = Scope::from_environment(200, &FAILED_ONCE, 8, 120);
    let credentials = Credentials::new();
    let failures = sweep(&scope.seeds, |seed| World::run(seed, &scope, &credentials).map(drop));
    let reports: Vec<String> = failures.iter().map(Failure::report).collect();
    assert!(
        reports.is_empty(),
        "{} seeds failed\n{}",
        reports.len(),
        reports.join("\n\n")
    );
}

#[test]
fn a_seed_replays_exactly() {
    let scope = Scope::from_environment(1, &[], 8, 40);
    let seed = scope.seeds.first().copied().unwrap_or_default();
    let run = || World::run(seed, &scope, &Credentials::new()).map(|summary| summary.digest);
    assert_eq!(run().ok(), run().ok());
}

/// Whether the simulator would notice that rings do not find each other: seeds whose network is in two parts for a while.
#[test]
fn rings_that_nobody_looks_for_stay_apart() {
    let scope = Scope {
        // Each fifth seed has its network in two parts.
        seeds: vec![4, 9, 14, 19],
        peers: 8,
        duration: Duration::from_secs(120),
    };
    let credentials = Credentials::new();
    let rules = Rules {
        rings_are_probed: false,
    };
    let failures = sweep(&scope.seeds, |seed| {
        World::run_with(seed, &scope, &credentials, rules).map(drop)
    });
    let is_noticed = failures.iter().any(|failure| failure.violation.invariant == "H1");
    assert!(
        is_noticed,
        "{:?}",
        failures.iter().map(Failure::report).collect::<Vec<_>>()
    );
}

/// Seeds beyond the first 200 that found a fault once.
const FAILED_ONCE: [u64; 6] = [239, 451, 586, 696, 2486, 3163];
