//! Whole overlays under faults: the ring holds, and no acknowledged value is lost.

use p2psip_sim::{
    overlay::{World, credentials::Credentials},
    scope::Scope,
};

#[test]
fn acknowledged_values_survive() {
    let scope = Scope::from_environment(200, 8, 120);
    let credentials = Credentials::new();
    for seed in scope.seeds.clone() {
        match World::run(seed, &scope, &credentials) {
            Ok(summary) => println!("seed {seed}: {summary:?}"),
            Err(failure) => {
                let log = failure.log.join("\n  ");
                panic!(
                    "seed {} at {:?}: {:?}\n  {log}",
                    failure.seed, failure.elapsed, failure.violation
                );
            }
        }
    }
}
