//! The ring stays one ring, whatever crashes or is cut within its budget; and the checks notice when it does not.

use chord::{Rules, Settings};
use p2psip_sim::{
    ring::{Failure, World},
    scope::Scope,
};

#[test]
fn ring_survives_crashes_and_cuts() {
    let scope = Scope::from_environment(300, 8, 120);
    if let Some(failure) = first_failure(&scope, Rules::default()) {
        let log = failure.log.join("\n  ");
        panic!(
            "seed {} at {:?}: {:?}\n  {log}",
            failure.seed, failure.elapsed, failure.violation
        );
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

fn assert_noticed(rules: Rules) {
    let scope = Scope::from_environment(300, 8, 120);
    let failure = first_failure(&scope, rules);
    assert!(failure.is_some(), "no seed breaks a ring without this rule");
    if let Some(failure) = failure {
        println!(
            "seed {} at {:?}: {:?}",
            failure.seed, failure.elapsed, failure.violation
        );
    }
}

fn first_failure(scope: &Scope, rules: Rules) -> Option<Failure> {
    let settings = Settings {
        list_length: 3,
        rules,
        ..Settings::default()
    };
    scope
        .seeds
        .clone()
        .find_map(|seed| World::run(seed, scope, settings.clone()).err())
}
