//! What the program costs: CPU seconds of its process under load from another one, and memory. JSON lines, never asserted.
//!
//! A release build of `p2psip dev` runs on the loopback; SIPp and the program's own `lookup` are the load. CPU is user and
//! system time from `/proc`, so that what else the machine does at the time matters little; what the process does by itself
//! meanwhile (its idle CPU) is in the figures.

mod load;
mod server;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use self::load::{Pace, Sipp, lookups};
use self::server::Server;
use crate::step::Step;

/// How much to measure.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only figures whose names contain this
    filter: Option<String>,
    /// A hundredth of the load, to see that everything runs
    #[arg(long)]
    quick: bool,
    /// Measure this program instead of a fresh release build
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

/// One figure, as it is printed.
#[derive(Debug, Serialize)]
struct Figure {
    schema: &'static str,
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// What it should not exceed, where that was said.
    at_most: Option<f64>,
    /// How many operations it was measured over.
    count: u64,
    cpu_seconds: f64,
    wall_seconds: f64,
}

/// One figure to be: its name, the peers of the overlay it is measured on, and how.
struct Measure {
    name: &'static str,
    peers: u8,
    measure: fn(&Bench, &Server) -> anyhow::Result<Measured>,
    unit: &'static str,
    at_most: Option<f64>,
}

/// What came out, before it is scaled.
struct Measured {
    value: f64,
    count: u64,
    cpu_seconds: f64,
    wall_seconds: f64,
}

/// What all measurements share.
struct Bench {
    is_quick: bool,
    folder: PathBuf,
}

const MEASURES: [Measure; 8] = [
    Measure {
        name: "register_refresh",
        peers: 5,
        measure: Bench::register_refresh,
        unit: "CPU s / 10 000",
        at_most: Some(1.5),
    },
    Measure {
        name: "register_refresh_alone",
        peers: 5,
        measure: Bench::register_refresh_alone,
        unit: "CPU s / 10 000",
        at_most: None,
    },
    Measure {
        name: "call_one_edge",
        peers: 5,
        measure: Bench::call_one_edge,
        unit: "CPU s / 10 000",
        at_most: Some(10.0),
    },
    Measure {
        name: "call_two_edges",
        peers: 5,
        measure: Bench::call_two_edges,
        unit: "CPU s / 10 000",
        at_most: Some(20.0),
    },
    Measure {
        name: "lookup_16_peers",
        peers: 16,
        measure: Bench::lookup,
        unit: "CPU s / 1 000",
        at_most: Some(2.0),
    },
    Measure {
        name: "new_aor_stored_p50",
        peers: 5,
        measure: Bench::first_contact,
        unit: "ms wall",
        at_most: Some(5.0),
    },
    Measure {
        name: "idle_memory",
        peers: 5,
        measure: Bench::idle_memory,
        unit: "MiB resident",
        at_most: Some(300.0),
    },
    Measure {
        name: "idle_cpu",
        peers: 5,
        measure: Bench::idle_cpu,
        unit: "CPU s / 60 s",
        at_most: None,
    },
];

/// Measures and prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let program = match &arguments.program {
        Some(program) => std::path::absolute(program)?,
        None => build()?,
    };
    for measure in MEASURES {
        if arguments
            .filter
            .as_ref()
            .is_some_and(|filter| !measure.name.contains(filter.as_str()))
        {
            continue;
        }
        let folder = load::folder()?;
        let server = Server::start(&program, &folder.path().join("overlay"), measure.peers)?;
        let bench = Bench {
            is_quick: arguments.quick,
            folder: folder.path().to_owned(),
        };
        let measured = (measure.measure)(&bench, &server).with_context(|| measure.name)?;
        let figure = Figure {
            schema: "p2psip.bench/v1",
            name: measure.name,
            value: (measured.value * 1e3).round() / 1e3,
            unit: measure.unit,
            at_most: measure.at_most,
            count: measured.count,
            cpu_seconds: measured.cpu_seconds,
            wall_seconds: (measured.wall_seconds * 1e3).round() / 1e3,
        };
        println!("{}", serde_json::to_string(&figure)?);
    }
    Ok(())
}

impl Bench {
    /// Phones refresh their registrations at the same time, each with a nonce that it has.
    fn register_refresh(&self, server: &Server) -> anyhow::Result<Measured> {
        self.refreshes(server, PHONES)
    }

    /// One phone alone: each refresh pays for a flush of its own.
    fn register_refresh_alone(&self, server: &Server) -> anyhow::Result<Measured> {
        self.refreshes(server, 1)
    }

    fn refreshes(&self, server: &Server, phones: u32) -> anyhow::Result<Measured> {
        // Each round of the scenario is a challenge and 500 refreshes.
        let rounds = self.count(32);
        let measured = server.measure(|| {
            Sipp::new("refresh", 6001, server.sip_port(1), &self.folder)
                .user("alice")
                .rounds(rounds, Pace::AtOnce(phones))
                .run()
        })?;
        Ok(measured.per(rounds * 500, 10_000))
    }

    fn call_one_edge(&self, server: &Server) -> anyhow::Result<Measured> {
        self.calls(server, 1)
    }

    fn call_two_edges(&self, server: &Server) -> anyhow::Result<Measured> {
        self.calls(server, 2)
    }

    /// Calls from alice at peer 1 to bob at another, challenged, answered and hung up.
    fn calls(&self, server: &Server, callee: u16) -> anyhow::Result<Measured> {
        let port = server.sip_port(callee);
        Sipp::new("register", 6002, port, &self.folder)
            .user("bob")
            .contact(6100)
            .rounds(1, Pace::AtOnce(1))
            .run()?;
        let warm = 10;
        let count = self.count(2000);
        let phone = Sipp::new("phone_answers", 6100, port, &self.folder)
            .rounds(warm + count, CALL_PACE)
            .start()?;
        let call = |rounds| {
            let caller = Sipp::new("call", 6003, server.sip_port(1), &self.folder);
            caller.user("alice").calls("bob").rounds(rounds, CALL_PACE).run()
        };
        // The first call looks the callee up and makes the connection between the edges.
        call(warm)?;
        let measured = server.measure(|| call(count))?;
        phone.succeeds()?;
        Ok(measured.per(count, 10_000))
    }

    /// Lookups of many different Resource-IDs from one peer.
    fn lookup(&self, server: &Server) -> anyhow::Result<Measured> {
        let count = self.count(1000);
        lookups(server, 50)?;
        let measured = server.measure(|| lookups(server, count))?;
        Ok(measured.per(count, 1000))
    }

    /// A phone comes to an edge where its user has not been: the registration is stored on three peers before the 200.
    fn first_contact(&self, server: &Server) -> anyhow::Result<Measured> {
        let rounds = self.count(500);
        let sipp = Sipp::new("first_contact", 6004, server.sip_port(3), &self.folder)
            .user("alice")
            .rounds(rounds, Pace::AtOnce(1));
        let mut times = Vec::new();
        let measured = server.measure(|| {
            times = sipp.timed()?;
            Ok(())
        })?;
        Ok(Measured {
            value: middle(times).context("no round was timed")?,
            count: rounds,
            ..measured
        })
    }

    fn idle_memory(&self, server: &Server) -> anyhow::Result<Measured> {
        let measured = server.measure(|| self.idle())?;
        let value = server.resident_mebibytes()?;
        Ok(Measured { value, ..measured })
    }

    fn idle_cpu(&self, server: &Server) -> anyhow::Result<Measured> {
        let measured = server.measure(|| self.idle())?;
        let value = measured.cpu_seconds * 60.0 / measured.wall_seconds;
        Ok(Measured { value, ..measured })
    }

    /// Long enough for the tables to settle and for periodic work to show.
    #[allow(clippy::unnecessary_wraps, reason = "it stands where loads stand, which can fail")]
    fn idle(&self) -> anyhow::Result<()> {
        std::thread::sleep(if self.is_quick {
            Duration::from_secs(2)
        } else {
            Duration::from_secs(30)
        });
        Ok(())
    }

    fn count(&self, full: u64) -> u64 {
        if self.is_quick { full.div_ceil(100) } else { full }
    }
}

impl Measured {
    fn per(self, count: u64, unit: u64) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
        let factor = unit as f64 / count as f64;
        Self {
            value: self.cpu_seconds * factor,
            count,
            ..self
        }
    }
}

impl Server {
    /// Runs a load and tells what it cost the server.
    fn measure(&self, load: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Measured> {
        let (began, before) = (Instant::now(), self.cpu_seconds()?);
        load()?;
        let cpu_seconds = ((self.cpu_seconds()? - before) * 100.0).round() / 100.0;
        Ok(Measured {
            value: cpu_seconds,
            count: 1,
            cpu_seconds,
            wall_seconds: began.elapsed().as_secs_f64(),
        })
    }
}

/// The mean of the middle half: a median for a clock that ticks more coarsely than what it measures (SIPp's, by 4 ms).
fn middle(mut times: Vec<f64>) -> Option<f64> {
    times.sort_by(f64::total_cmp);
    let quarter = times.len() / 4;
    let half = times
        .get(quarter..times.len() - quarter)
        .filter(|half| !half.is_empty())?;
    #[allow(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
    let count = half.len() as f64;
    Some(half.iter().sum::<f64>() / count)
}

fn build() -> anyhow::Result<PathBuf> {
    Step::cargo("build", &["build", "--release", "--locked", "--package", "p2psip"]).run()?;
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec()?;
    Ok(metadata.target_directory.join("release/p2psip").into())
}

const CALL_PACE: Pace = Pace::EachSecond(100);
/// Phones that refresh at the same time, so that their bindings share flushes.
const PHONES: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_a_coarse_clock_are_averaged_and_outliers_left_out() {
        assert_eq!(middle(vec![0.0, 4.0, 4.0, 0.0, 4.0, 0.0, 0.0, 900.0]), Some(2.0));
        assert_eq!(middle(vec![3.0]), Some(3.0));
        assert_eq!(middle(Vec::new()), None);
    }
}
