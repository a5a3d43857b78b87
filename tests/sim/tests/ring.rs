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
    assert_survives(&scope, 0);
}

#[test]
fn ring_survives_beside_clients_that_call_themselves_peers() {
    let scope = Scope::from_environment(60, &[], 8, 120);
    for liars in [1, 3] {
        assert_survives(&scope, liars);
    }
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

#[test]
fn clients_that_are_taken_for_peers_are_noticed() {
    let rules = Rules {
        clients_stay_out: false,
        ..Rules::default()
    };
    assert_noticed_beside(rules, 1);
}

fn assert_survives(scope: &Scope, liars: usize) {
    let failures = sweep(&scope.seeds, |seed| run(seed, scope, Rules::default(), liars));
    let reports: Vec<String> = failures.iter().map(Failure::report).collect();
    assert!(
        reports.is_empty(),
        "{} seeds failed beside {liars} liars\n{}",
        reports.len(),
        reports.join("\n\n")
    );
}

fn assert_noticed(rules: Rules) {
    assert_noticed_beside(rules, 0);
}

fn assert_noticed_beside(rules: Rules, liars: usize) {
    let scope = Scope::from_environment(200, &[], 8, 120);
    let failure = scope
        .seeds
        .iter()
        .find_map(|seed| run(*seed, &scope, rules, liars).err());
    assert!(failure.is_some(), "no seed breaks a ring without this rule");
}

fn run(seed: u64, scope: &Scope, rules: Rules, liars: usize) -> Result<(), Failure> {
    let settings = Settings {
        list_length: 3,
        rules,
        ..Settings::default()
    };
    World::run(seed, scope, settings, liars)
}
