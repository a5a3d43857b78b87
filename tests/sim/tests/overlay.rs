//! Whole overlays under faults: the ring holds, and no acknowledged value is lost.

use std::time::Duration;

use overlay_core::Rules;
use p2psip_sim::{
    overlay::{World, credentials::Credentials},
    scope::Scope,
    sweep::{Failure, sweep},
};

#[test]
fn acknowledged_values_survive() {
    let scope = Scope::from_environment(200, 8, 120);
    let credentials = Credentials::new();
    let failures = sweep(scope.seeds.clone(), |seed| {
        World::run(seed, &scope, &credentials).map(drop)
    });
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
    let scope = Scope::from_environment(1, 8, 40);
    let seed = scope.seeds.start;
    let run = || World::run(seed, &scope, &Credentials::new()).map(|summary| summary.digest);
    assert_eq!(run().ok(), run().ok());
}

/// Whether the simulator would notice that rings do not find each other: seeds whose network is in two parts for a while.
#[test]
fn rings_that_nobody_looks_for_stay_apart() {
    let scope = Scope {
        seeds: 0..20,
        peers: 8,
        duration: Duration::from_secs(120),
    };
    let credentials = Credentials::new();
    let rules = Rules {
        rings_are_probed: false,
    };
    let failures = sweep(scope.seeds.clone(), |seed| {
        if seed % 5 != 4 {
            return Ok(());
        }
        World::run_with(seed, &scope, &credentials, rules).map(drop)
    });
    let is_noticed = failures.iter().any(|failure| failure.violation.invariant == "H1");
    assert!(
        is_noticed,
        "{:?}",
        failures.iter().map(Failure::report).collect::<Vec<_>>()
    );
}
