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
use fleet::Wiring;
use serde::Serialize;

use self::load::{Pace, Sipp, lookups};
use self::server::{Form, Server};
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
    name: String,
    value: f64,
    unit: &'static str,
    /// What it should not exceed, where that was said.
    at_most: Option<f64>,
    /// How many operations it was measured over.
    count: u64,
    cpu_seconds: f64,
    wall_seconds: f64,
}

/// One figure to be: its name, the overlay it is measured on, and how.
struct Measure {
    name: &'static str,
    peers: u16,
    form: Form,
    measure: fn(&Bench, &Server) -> anyhow::Result<Vec<Measured>>,
    unit: &'static str,
    at_most: Option<f64>,
}

/// What came out, before it is scaled.
struct Measured {
    /// What it is of, where one measure has several figures.
    of: Option<String>,
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

/// Each figure of one process that has a bound, then those of separate processes beside their like.
fn measures() -> Vec<Measure> {
    let of = |name, measure, unit, at_most| Measure {
        name,
        peers: 5,
        form: Form::OneProcess,
        measure,
        unit,
        at_most,
    };
    let lookup_16 = Measure {
        peers: 16,
        ..of("lookup_16_peers", Bench::lookup, "CPU s / 1 000", Some(2.0))
    };
    let each_form = |names: [&'static str; 3], measure, unit, at_most: Option<f64>| {
        let forms = [
            (Form::OneProcess, at_most),
            (Form::Processes(Wiring::Unix), None),
            (Form::Processes(Wiring::Tcp), None),
        ];
        names
            .into_iter()
            .zip(forms)
            .map(move |(name, (form, at_most))| Measure {
                form,
                ..of(name, measure, unit, at_most)
            })
    };
    let mut all = vec![
        of("register_refresh", Bench::register_refresh, "CPU s / 10 000", Some(1.5)),
        of(
            "register_refresh_alone",
            Bench::register_refresh_alone,
            "CPU s / 10 000",
            None,
        ),
        lookup_16,
        of("new_aor_stored_p50", Bench::first_contact, "ms wall", Some(5.0)),
        of("idle_cpu", Bench::idle_cpu, "CPU s / 60 s", None),
    ];
    all.extend(each_form(
        ["call_one_edge", "call_one_edge_unix", "call_one_edge_tcp"],
        Bench::call_one_edge,
        "CPU s / 10 000",
        Some(10.0),
    ));
    all.extend(each_form(
        ["call_two_edges", "call_two_edges_unix", "call_two_edges_tcp"],
        Bench::call_two_edges,
        "CPU s / 10 000",
        Some(20.0),
    ));
    all.extend(each_form(
        ["lookup_5_peers", "lookup_5_peers_unix", "lookup_5_peers_tcp"],
        Bench::lookup,
        "CPU s / 1 000",
        None,
    ));
    all.extend(each_form(
        ["idle_memory", "idle_memory_unix", "idle_memory_tcp"],
        Bench::idle_memory,
        "MiB resident",
        Some(300.0),
    ));
    all
}

/// Measures and prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let program = match &arguments.program {
        Some(program) => std::path::absolute(program)?,
        None => build()?,
    };
    for measure in measures() {
        if arguments
            .filter
            .as_ref()
            .is_some_and(|filter| !measure.name.contains(filter.as_str()))
        {
            continue;
        }
        let folder = load::folder()?;
        let server = Server::start(&program, &folder.path().join("overlay"), measure.peers, measure.form)?;
        let bench = Bench {
            is_quick: arguments.quick,
            folder: folder.path().to_owned(),
        };
        for measured in (measure.measure)(&bench, &server).with_context(|| measure.name)? {
            println!("{}", serde_json::to_string(&measure.figure(measured))?);
        }
    }
    Ok(())
}

impl Measure {
    fn figure(&self, measured: Measured) -> Figure {
        let of = measured.of.map(|of| format!("/{of}")).unwrap_or_default();
        let rounded = |value: f64| (value * 1e3).round() / 1e3;
        Figure {
            schema: "p2psip.bench/v1",
            name: format!("{}{of}", self.name),
            value: rounded(measured.value),
            unit: self.unit,
            at_most: self.at_most,
            count: measured.count,
            cpu_seconds: measured.cpu_seconds,
            wall_seconds: rounded(measured.wall_seconds),
        }
    }
}

impl Bench {
    /// Phones refresh their registrations at the same time, each with a nonce that it has.
    fn register_refresh(&self, server: &Server) -> anyhow::Result<Vec<Measured>> {
        self.refreshes(server, PHONES)
    }

    /// One phone alone: each refresh pays for a flush of its own.
    fn register_refresh_alone(&self, server: &Server) -> anyhow::Result<Vec<Measured>> {
        self.refreshes(server, 1)
    }

    fn refreshes(&self, server: &Server, phones: u32) -> anyhow::Result<Vec<Measured>> {
        // Each round of the scenario is a challenge and 500 refreshes.
        let rounds = self.count(32);
        let measured = server.measure(|| {
            Sipp::new("refresh", 6001, fleet::sip_port(1), &self.folder)
                .user("alice")
                .rounds(rounds, Pace::AtOnce(phones))
                .run()
        })?;
        Ok(vec![measured.per(rounds * 500, 10_000)])
    }

    fn call_one_edge(&self, server: &Server) -> anyhow::Result<Vec<Measured>> {
        self.calls(server, 1)
    }

    fn call_two_edges(&self, server: &Server) -> anyhow::Result<Vec<Measured>> {
        self.calls(server, 2)
    }

    /// Calls from alice at peer 1 to bob at another, challenged, answered and hung up.
    fn calls(&self, server: &Server, callee: u16) -> anyhow::Result<Vec<Measured>> {
        let port = fleet::sip_port(callee);
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
            let caller = Sipp::new("call", 6003, fleet::sip_port(1), &self.folder);
            caller.user("alice").calls("bob").rounds(rounds, CALL_PACE).run()
        };
        // The first call looks the callee up and makes the connection between the edges.
        call(warm)?;
        let measured = server.measure(|| call(count))?;
        phone.succeeds()?;
        Ok(vec![measured.per(count, 10_000)])
    }

    /// Lookups of many different Resource-IDs from one peer.
    fn lookup(&self, server: &Server) -> anyhow::Result<Vec<Measured>> {
        let count = self.count(1000);
        lookups(server, 50)?;
        let measured = server.measure(|| lookups(server, count))?;
        Ok(vec![measured.per(count, 1000)])
    }

    /// A phone comes to an edge where its user has not been: the registration is stored on three peers before the 200.
    fn first_contact(&self, server: &Server) -> anyhow::Result<Vec<Measured>> {
        let rounds = self.count(500);
        let sipp = Sipp::new("first_contact", 6004, fleet::sip_port(3), &self.folder)
            .user("alice")
            .rounds(rounds, Pace::AtOnce(1));
        let mut times = Vec::new();
        let measured = server.measure(|| {
            times = sipp.timed()?;
            Ok(())
        })?;
        Ok(vec![Measured {
            value: middle(times).context("no round was timed")?,
            count: rounds,
            ..measured
        }])
    }

    fn idle_memory(&self, server: &Server) -> anyhow::Result<Vec<Measured>> {
        let measured = server.measure(|| self.idle())?;
        let processes = server.processes();
        let is_one = processes.len() == 1;
        // Those of further peers are like the first one's.
        let first = processes
            .into_iter()
            .filter(|(name, _)| !name.starts_with("peer") || name.starts_with("peer1-"));
        let each = first.map(|(name, process)| {
            Ok(Measured {
                of: (!is_one).then_some(name),
                value: process.resident_mebibytes()?,
                ..measured
            })
        });
        each.collect()
    }

    fn idle_cpu(&self, server: &Server) -> anyhow::Result<Vec<Measured>> {
        let measured = server.measure(|| self.idle())?;
        let value = measured.cpu_seconds * 60.0 / measured.wall_seconds;
        Ok(vec![Measured { value, ..measured }])
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
            of: None,
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
