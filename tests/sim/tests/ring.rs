//! The ring stays one ring, whatever crashes or is cut within its budget; and the checks notice when it does not.

use chord::{Rules, Settings};
use p2psip_sim::{
    ring::World,
    scope::Scope,
    sweep::{Failure, sweep},
};

#[test]
fn ring_survives_crashes_and_cuts() {
    let scope = Scope::from_environment(200, &[], 8, 120);
    let failures = sweep(&scope.seeds, |seed| run(seed, &scope, Rules::default()));
    let reports: Vec<String> = failures.iter().map(Failure::report).collect();
    assert!(
        reports.is_empty(),
        "{} seeds failed\n{}",
        reports.len(),
        reports.join("\n\n")
    );
}

#[test]
fn join_without_a_second_check_is_noticed() {
    assert_noticed(Rules {
        join_is_rechecked: false,
        ..Rules::default()
    });
}

#[test]
fn adoption_without_confirmation_is_noticed() {
    assert_noticed(Rules {
        adoption_is_confirmed: false,
        ..Rules::default()
    });
}

#[test]
fn predecessor_that_is_never_replaced_is_noticed() {
    assert_noticed(Rules {
        predecessor_is_replaced: false,
        ..Rules::default()
    });
}

#[test]
fn fingers_in_the_successor_list_are_noticed() {
    assert_noticed(Rules {
        fingers_stay_out: false,
        ..Rules::default()
    });
}

fn assert_noticed(rules: Rules) {
    let scope = Scope::from_environment(200, &[], 8, 120);
    let failure = scope.seeds.iter().find_map(|seed| run(*seed, &scope, rules).err());
    assert!(failure.is_some(), "no seed breaks a ring without this rule");
}

fn run(seed: u64, scope: &Scope, rules: Rules) -> Result<(), Failure> {
    let settings = Settings {
        list_length: 3,
        rules,
        ..Settings::default()
    };
    World::run(seed, scope, settings)
}
