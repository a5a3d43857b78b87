//! The simulator: many peers in one thread, in an optimised profile, since it signs and verifies for all of them.

use clap::Args;

use crate::step::Step;
use crate::tools;

/// How much to simulate; what a change must pass, unless told otherwise.
#[derive(Debug, Default, Args)]
pub(crate) struct Arguments {
    /// Replays the run of one seed; `RUST_LOG` chooses what it writes
    #[arg(long, conflicts_with_all = ["from", "seeds"])]
    seed: Option<u64>,
    /// The first of the seeds; 0 by default
    #[arg(long)]
    from: Option<u64>,
    /// How many seeds
    #[arg(long)]
    seeds: Option<u64>,
    /// Peers in each run
    #[arg(long)]
    peers: Option<u64>,
    /// Simulated seconds of each run
    #[arg(long)]
    seconds: Option<u64>,
    /// Only tests whose names contain this
    filter: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let done = step(arguments).run_tests()?;
    eprintln!("{}", done.closing.unwrap_or_default());
    Ok(())
}

/// The simulator's tests, told their size by the environment.
pub(crate) fn step(arguments: &Arguments) -> Step {
    let has_nextest = tools::has_cargo("nextest");
    let runner: &[&str] = if has_nextest { &["nextest", "run"] } else { &["test"] };
    let mut step = Step::cargo("sim", runner).arguments(["--release", "--locked", "--package", "p2psip-sim"]);
    let sizes = [
        ("P2PSIP_SIM_SEED", arguments.seed),
        ("P2PSIP_SIM_FROM", arguments.from),
        ("P2PSIP_SIM_SEEDS", arguments.seeds),
        ("P2PSIP_SIM_PEERS", arguments.peers),
        ("P2PSIP_SIM_SECONDS", arguments.seconds),
    ];
    for (name, value) in sizes {
        if let Some(value) = value {
            step = step.environment(name, &value.to_string());
        }
    }
    step = step.arguments(arguments.filter.as_deref());
    match (arguments.seed, has_nextest) {
        (None, _) => step,
        (Some(_), true) => step.arguments(["--no-capture"]),
        (Some(_), false) => step.arguments(["--", "--nocapture"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_go_through_the_environment() {
        let arguments = Arguments {
            from: Some(600),
            seeds: Some(20),
            peers: Some(16),
            filter: Some("ring".into()),
            ..Arguments::default()
        };
        let shown = step(&arguments).to_string();
        assert!(
            shown.starts_with("P2PSIP_SIM_FROM=600 P2PSIP_SIM_SEEDS=20 P2PSIP_SIM_PEERS=16 cargo "),
            "{shown}"
        );
        assert!(
            shown.ends_with("--release --locked --package p2psip-sim ring"),
            "{shown}"
        );
    }
}
