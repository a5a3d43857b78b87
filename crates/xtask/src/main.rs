//! The project's own tasks: `cargo xtask ci` is what a change must pass; the others are its steps and what is too long for
//! it.

mod arch;
mod bench;
mod ci;
mod clauses;
mod image;
mod kubernetes;
mod limits;
mod packages;
mod sim;
mod step;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", about = "The project's own tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Everything a change must pass; stops at the first failure and says how to repeat it
    Ci,
    /// Checks which crate names which, and the tables of clauses in docs/rfc
    Arch,
    /// Checks the numbers of docs/limits.md against the constants in the code
    Limits {
        /// Write the numbers of the code into the page
        #[arg(long)]
        write: bool,
    },
    /// Runs the simulator in an optimised profile
    Sim(sim::Arguments),
    /// Real phones against the real program
    E2e {
        /// Only tests whose names contain this
        filter: Option<String>,
    },
    /// Measures CPU and memory of the program; prints JSON lines
    Bench(bench::Arguments),
    /// Builds the container image p2psip:latest from a static program, without a registry
    Image,
    /// Renders the manifests of deploy/kubernetes and checks them for three versions of Kubernetes
    Kubernetes,
    /// Feeds mutated input to the decoders
    Fuzz {
        /// Only this target
        target: Option<String>,
        /// How long for each target
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Ci => ci::run(),
        Task::Arch => arch::run().and_then(|()| clauses::run()),
        Task::Limits { write } => limits::run(write),
        Task::Sim(arguments) => sim::run(&arguments),
        Task::E2e { filter } => ci::end_to_end(filter.as_deref()),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Image => image::run(),
        Task::Kubernetes => kubernetes::run().map(drop),
        Task::Fuzz { target, seconds } => ci::fuzz(target.as_deref(), seconds),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
