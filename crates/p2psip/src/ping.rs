//! `ping`: whether a node, or the peer responsible for a user, can be reached through the overlay, and how long that takes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use rpc::Role;
use rpc::proto::overlay::v1::{CallResponse, call_response};
use runtime::ExitCode;
use serde::Serialize;
use tokio::time::MissedTickBehavior;
use tonic::{Code, Status};
use wire::{Body, Decode as _, Destination, MessageContents, NodeId, PingReq, ResourceId};

use crate::cli::Global;
use crate::connect::Peer;
use crate::failure::Failure;
use crate::output::Printer;
use crate::reload::Answered;
use crate::status::{id, watch_once};
use crate::{names, reload};

/// Whom to ping, and how often.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A Node-ID, the first digits of one that the peer knows, or a user, for the peer responsible for him
    #[arg(value_name = "NODE-ID|AOR", required = true)]
    targets: Vec<String>,
    /// How many requests to send to each
    #[arg(short, long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// How long to wait between two of them, with its unit
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = runtime::units::parse_duration)]
    interval: Duration,
}

/// Pings one after the other; the code says whether all of them answered at all.
pub(crate) async fn run(arguments: &Arguments, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let peer = Peer::of(global, Role::Overlay)?;
    let state = peer.within(global.timeout, watch_once(peer.channel.clone())).await?;
    let known = names::known_nodes(&state);
    let targets = arguments.targets.iter();
    let targets: Vec<Target> = targets
        .map(|text| Target::of(text, &known, &state.overlay))
        .collect::<Result<_, _>>()?;
    let mut code = ExitCode::Ok;
    for target in targets {
        let report = ping(target, &peer, arguments, global.timeout, printer).await?;
        if report.answered == 0 {
            code = ExitCode::Negative;
        }
        printer.result(&report, Report::summary)?;
    }
    Ok(code)
}

async fn ping(
    target: Target,
    peer: &Peer,
    arguments: &Arguments,
    timeout: Duration,
    printer: &Printer,
) -> Result<Report, Failure> {
    let body = Body::PingReq(PingReq::default());
    // A zero interval would be none at all; the smallest one is as fast as the answers come.
    let mut ticks = tokio::time::interval(arguments.interval.max(Duration::from_nanos(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut attempts = Vec::new();
    for number in 1..=arguments.count {
        ticks.tick().await;
        let answer = reload::call(peer, timeout, &target.destination, &body).await;
        let attempt = Attempt::of(answer).map_err(|status| peer.failed(&status))?;
        printer.guide(&attempt.line(number))?;
        attempts.push(attempt);
    }
    Ok(Report::new(target, attempts))
}

/// Where the requests go.
#[derive(Debug, Serialize)]
struct Target {
    /// As it is called in full.
    target: String,
    #[serde(skip)]
    destination: Destination,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<NodeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<ResourceId>,
}

impl Target {
    fn of(text: &str, known: &BTreeSet<NodeId>, overlay: &str) -> Result<Self, Failure> {
        let node_id = if text.contains('@') {
            None
        } else {
            names::node(text, known)?
        };
        if let Some(node_id) = node_id {
            return Ok(Self {
                target: node_id.to_string(),
                destination: Destination::Node(node_id),
                node_id: Some(node_id),
                resource_id: None,
            });
        }
        let aor = names::aor(text, overlay)?;
        let resource_id = ResourceId::of(aor.as_str().as_bytes());
        Ok(Self {
            target: aor.as_str().to_owned(),
            destination: Destination::Resource(resource_id),
            node_id: None,
            resource_id: Some(resource_id),
        })
    }
}

/// What became of one request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Attempt {
    Answer {
        responder: String,
        hops: u32,
        roundtrip_ms: f64,
    },
    /// Why there was none.
    Lost(String),
}

impl Attempt {
    /// Reads what came; without the peer that was asked there is nothing to go on with.
    fn of(answer: Result<Answered, Status>) -> Result<Self, Status> {
        match answer {
            Ok(answered) => Ok(match lost(&answered.response) {
                Some(reason) => Self::Lost(reason),
                None => Self::Answer {
                    responder: id(&answered.response.responder),
                    hops: answered.response.hops,
                    roundtrip_ms: reload::milliseconds(answered.roundtrip),
                },
            }),
            Err(status) if status.code() == Code::DeadlineExceeded => Ok(Self::Lost("no answer in time".to_owned())),
            Err(status) => Err(status),
        }
    }

    fn line(&self, number: u32) -> String {
        match self {
            Self::Answer {
                responder,
                hops,
                roundtrip_ms,
            } => format!("{number}: {responder}, {hops} hops, {roundtrip_ms:.1} ms\n"),
            Self::Lost(reason) => format!("{number}: {reason}\n"),
        }
    }
}

/// Why an answer is none, if so.
fn lost(response: &CallResponse) -> Option<String> {
    let contents = match &response.result {
        Some(call_response::Result::Contents(contents)) => contents,
        Some(call_response::Result::Refusal(refusal)) => return Some(reload::refusal(refusal)),
        None => return Some("the answer is empty".to_owned()),
    };
    // RFC 6940 §6.5.3.2.
    match MessageContents::from_bytes(contents).and_then(|contents| contents.body()) {
        Ok(Body::PingAns(_)) => None,
        Ok(_) => Some("the answer is not one to a Ping".to_owned()),
        Err(error) => Some(format!("the answer is malformed: {error}")),
    }
}

/// What is printed of one target.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    #[serde(flatten)]
    target: Target,
    sent: usize,
    answered: usize,
    roundtrip_ms: Option<Spread>,
    attempts: Vec<Attempt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Spread {
    min: f64,
    avg: f64,
    max: f64,
}

impl Report {
    fn new(target: Target, attempts: Vec<Attempt>) -> Self {
        let times = attempts.iter().filter_map(|attempt| match attempt {
            Attempt::Answer { roundtrip_ms, .. } => Some(*roundtrip_ms),
            Attempt::Lost(_) => None,
        });
        let times: Vec<f64> = times.collect();
        Self {
            schema: "p2psip.ping/v1",
            target,
            sent: attempts.len(),
            answered: times.len(),
            roundtrip_ms: Spread::of(&times),
            attempts,
        }
    }

    fn summary(&self) -> String {
        let mut text = format!("{}: {} sent, {} answered", self.target.target, self.sent, self.answered);
        if let Some(Spread { min, avg, max }) = self.roundtrip_ms {
            // Writing to a String cannot fail.
            let _ = write!(text, ", min/avg/max {min:.1}/{avg:.1}/{max:.1} ms");
        }
        text + "\n"
    }
}

impl Spread {
    fn of(times: &[f64]) -> Option<Self> {
        let (min, max) = (
            times.iter().copied().reduce(f64::min)?,
            times.iter().copied().reduce(f64::max)?,
        );
        // To the microsecond, as the times themselves; a count of requests is exact as f64.
        let avg = times.iter().sum::<f64>() / times.len() as f64;
        let avg = (avg * 1e3).round() / 1e3;
        Some(Self { min, avg, max })
    }
}

#[cfg(test)]
mod tests {
    use rpc::proto::overlay::v1::Refusal;
    use wire::{Encode as _, ErrorCode, PingAns};

    use super::*;

    fn answered(result: Option<call_response::Result>, milliseconds: u64) -> Result<Answered, Status> {
        Ok(Answered {
            response: CallResponse {
                result,
                responder: vec![0xab; 16].into(),
                hops: 2,
                ..CallResponse::default()
            },
            roundtrip: Duration::from_millis(milliseconds),
        })
    }

    fn contents(body: &Body) -> Option<call_response::Result> {
        Some(call_response::Result::Contents(MessageContents::of(body).to_bytes()))
    }

    fn pong(milliseconds: u64) -> Attempt {
        let body = Body::PingAns(PingAns {
            response_id: 1,
            time: 2,
        });
        Attempt::of(answered(contents(&body), milliseconds)).unwrap()
    }

    #[test]
    fn a_target_is_a_node_or_a_user() {
        let node: NodeId = "ab".repeat(16).parse().unwrap();
        let known = BTreeSet::from([node]);
        let target = |text: &str| Target::of(text, &known, "dev.p2psip.test").unwrap();
        assert_eq!(target("abab").destination, Destination::Node(node));
        assert_eq!(target(&"cd".repeat(16)).target, "cd".repeat(16));
        // A name that could be digits is a user when the peer knows no such node.
        assert_eq!(target("abba").target, "abba@dev.p2psip.test");
        let alice = target("alice");
        let place = ResourceId::of(b"alice@dev.p2psip.test");
        assert_eq!(alice.destination, Destination::Resource(place));
    }

    #[test]
    fn the_summary_counts_what_was_lost() {
        let refusal = Refusal {
            code: ErrorCode::RequestTimeout.number().into(),
            ..Refusal::default()
        };
        let refused = Attempt::of(answered(Some(call_response::Result::Refusal(refusal)), 1)).unwrap();
        assert!(matches!(&refused, Attempt::Lost(reason) if !reason.is_empty()));
        let late = Attempt::of(Err(Status::deadline_exceeded("late"))).unwrap();
        let report = Report::new(
            Target::of("alice", &BTreeSet::new(), "a.test").unwrap(),
            vec![pong(2), refused, pong(4), late],
        );
        let expected = "alice@a.test: 4 sent, 2 answered, min/avg/max 2.0/3.0/4.0 ms\n";
        assert_eq!(report.summary(), expected);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["schema"], "p2psip.ping/v1");
        assert_eq!(json["attempts"][0]["answer"]["hops"], 2);
        assert_eq!(json["attempts"][3]["lost"], "no answer in time");
    }

    #[test]
    fn only_an_answer_to_a_ping_counts() {
        let other = Body::PingReq(PingReq::default());
        for result in [contents(&other), None] {
            assert!(matches!(Attempt::of(answered(result, 1)), Ok(Attempt::Lost(_))));
        }
        assert_eq!(pong(2).line(1), format!("1: {}, 2 hops, 2.0 ms\n", "ab".repeat(16)));
        // Without the peer there is no going on.
        assert!(Attempt::of(Err(Status::unavailable("gone"))).is_err());
    }
}
