//! Whole overlays under faults: the ring holds, and no acknowledged value is lost.

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
