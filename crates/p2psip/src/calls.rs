//! `calls`: the calls at a peer's edge, from their INVITE to their end.

use clap::Args;
use rpc::proto::sip_edge::v1::sip_edge_client::SipEdgeClient;
use rpc::proto::sip_edge::v1::{CallState, CallsRequest, CallsResponse, Event};
use rpc::{Role, unbounded};
use runtime::ExitCode;
use serde::Serialize;

use crate::cli::Global;
use crate::clock::{distance, now_ms, utc};
use crate::connect::Peer;
use crate::failure::Failure;
use crate::follow::follow;
use crate::output::{Printer, table};

/// How calls are shown.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Go on with each call that comes, rings, is tried elsewhere, is answered, or ends
    #[arg(short, long)]
    follow: bool,
}

/// Prints the calls of the edge.
pub(crate) async fn run(arguments: &Arguments, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let peer = Peer::of(global, Role::SipEdge)?;
    let mut client = SipEdgeClient::new(peer.channel.clone());
    let opening = client.calls(unbounded(CallsRequest {
        follow: arguments.follow,
    }));
    if arguments.follow {
        let is_end = |told: &CallsResponse| told.event() == Event::Listed;
        let (calls, mut changes) = follow(&peer, global.timeout, opening, is_end).await?;
        printer.result(&Report::new(calls), |report| report.table(now_ms()))?;
        loop {
            let change = Change::new(changes.next().await?, now_ms());
            printer.result(&change, Change::line)?;
        }
    }
    let spinner = printer.spinner(format!("asking {}", peer.name));
    let calls = peer.all(global.timeout, opening).await;
    spinner.finish_and_clear();
    printer.result(&Report::new(calls?), |report| report.table(now_ms()))?;
    Ok(ExitCode::Ok)
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    calls: Vec<Call>,
}

/// What is printed of a change.
#[derive(Debug, Serialize)]
struct Change {
    schema: &'static str,
    at: String,
    event: &'static str,
    #[serde(flatten)]
    call: Call,
}

#[derive(Debug, Serialize)]
struct Call {
    id: u64,
    call_id: String,
    from: String,
    to: String,
    state: &'static str,
    /// When the INVITE came.
    since: String,
    /// When it was answered.
    answered: Option<String>,
    /// Since when it is in its state, or as good as: a call that rings has not rung for much shorter than it is tried.
    #[serde(skip)]
    stage_ms: u64,
    source: String,
    targets: Vec<String>,
}

impl Report {
    fn new(calls: Vec<CallsResponse>) -> Self {
        Self {
            schema: "p2psip.calls/v1",
            calls: calls.into_iter().map(Call::from).collect(),
        }
    }

    fn table(&self, now_ms: u64) -> String {
        let rows = self.calls.iter().map(|call| {
            [
                call.from.clone(),
                call.to.clone(),
                call.state.to_owned(),
                distance(call.stage_ms, now_ms),
                place(&call.source),
                call.places(),
            ]
        });
        table(["FROM", "TO", "STATE", "SINCE", "SOURCE", "TARGETS"], rows)
    }
}

impl Change {
    fn new(told: CallsResponse, now_ms: u64) -> Self {
        Self {
            schema: "p2psip.call/v1",
            at: utc(now_ms),
            event: match told.event() {
                Event::Gone => "gone",
                _ => "held",
            },
            call: told.into(),
        }
    }

    fn line(&self) -> String {
        let Self { at, event, call, .. } = self;
        let targets = call.places();
        let state = if *event == "gone" { "ended" } else { call.state };
        let line = format!("{at}  {state:8}  {} to {}  {targets}", call.from, call.to);
        line.trim_end().to_owned() + "\n"
    }
}

impl Call {
    fn places(&self) -> String {
        let places: Vec<String> = self.targets.iter().map(|target| place(target)).collect();
        places.join(", ")
    }
}

/// A phone as the edge tells of it; another edge by the first digits of its Node-ID, which tell edges apart.
fn place(told: &str) -> String {
    match told.parse::<wire::NodeId>() {
        Ok(edge) => format!("edge {}", edge.short()),
        Err(_) => told.to_owned(),
    }
}

impl From<CallsResponse> for Call {
    fn from(told: CallsResponse) -> Self {
        Self {
            state: match told.state() {
                CallState::Standing => "standing",
                CallState::Ringing => "ringing",
                CallState::Trying | CallState::Unspecified => "trying",
            },
            id: told.id,
            call_id: told.call_id,
            from: told.from,
            to: told.to,
            since: utc(told.since_unix_ms),
            answered: (told.answered_unix_ms != 0).then(|| utc(told.answered_unix_ms)),
            stage_ms: told.answered_unix_ms.max(told.since_unix_ms),
            source: told.source,
            targets: told.targets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_809_668_000;

    fn ringing() -> CallsResponse {
        CallsResponse {
            event: Event::Held.into(),
            id: 7,
            call_id: "c".to_owned(),
            from: "alice@a.test".to_owned(),
            to: "bob@a.test".to_owned(),
            state: CallState::Ringing.into(),
            since_unix_ms: NOW - 5000,
            answered_unix_ms: 0,
            source: "udp:10.0.0.9:5080".to_owned(),
            targets: vec!["ab".repeat(16)],
        }
    }

    fn standing() -> CallsResponse {
        CallsResponse {
            id: 8,
            state: CallState::Standing.into(),
            since_unix_ms: NOW - 65_000,
            answered_unix_ms: NOW - 60_000,
            source: "cd".repeat(16),
            targets: vec!["tcp:10.0.0.8:49152".to_owned()],
            ..ringing()
        }
    }

    #[test]
    fn a_call_is_a_row_while_it_is_set_up_and_while_it_stands() {
        let report = Report::new(vec![ringing(), standing()]);
        let expected = "\
FROM          TO          STATE     SINCE      SOURCE             TARGETS
alice@a.test  bob@a.test  ringing   5 s ago    udp:10.0.0.9:5080  edge abababab
alice@a.test  bob@a.test  standing  1 min ago  edge cdcdcdcd      tcp:10.0.0.8:49152
";
        assert_eq!(report.table(NOW), expected);
        let json = serde_json::to_value(&report).unwrap();
        let [ringing, standing] = [&json["calls"][0], &json["calls"][1]];
        assert_eq!(ringing["since"], "2026-11-27T20:01:03Z");
        assert!(ringing["answered"].is_null());
        assert_eq!(
            (&standing["state"], &standing["answered"]),
            (&"standing".into(), &"2026-11-27T20:00:08Z".into())
        );
        // Programs get the whole Node-ID.
        assert_eq!(standing["source"], "cd".repeat(16));
    }

    #[test]
    fn a_change_is_a_line() {
        let line = Change::new(ringing(), NOW).line();
        let expected = "2026-11-27T20:01:08Z  ringing   alice@a.test to bob@a.test  edge abababab\n";
        assert_eq!(line, expected);
        let gone = CallsResponse {
            event: Event::Gone.into(),
            targets: Vec::new(),
            ..standing()
        };
        let gone = Change::new(gone, NOW);
        assert_eq!(
            gone.line(),
            "2026-11-27T20:01:08Z  ended     alice@a.test to bob@a.test\n"
        );
        assert_eq!(serde_json::to_value(&gone).unwrap()["event"], "gone");
    }
}
