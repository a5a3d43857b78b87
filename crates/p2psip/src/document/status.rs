//! `document status`: which document a peer and its Neighbors obey, and until when that is good.

use std::time::Duration;

use clap::Args;
use overlay_config::{Document, is_newer};
use rpc::proto::overlay::v1::overlay_client::OverlayClient;
use rpc::proto::overlay::v1::{Neighbor, WatchRequest, WatchResponse};
use rpc::{Role, unbounded};
use runtime::ExitCode;
use serde::Serialize;
use tonic::Status;

use crate::cli::Global;
use crate::clock::{distance, now_ms, utc};
use crate::connect::Peer;
use crate::failure::Failure;
use crate::output::{Printer, two_columns};
use crate::status::id;

/// The options of the command.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Arguments {
    /// Wait so long at most until all Neighbors have the same, with its unit: 30s, 1m
    #[arg(long, value_name = "TIME", value_parser = runtime::units::parse_duration)]
    wait: Option<Duration>,
    /// The document that all are to have, or a newer one, as after `document push` at another peer [default: the one of this peer]
    #[arg(long, value_name = "N")]
    sequence: Option<u16>,
}

/// Asks a peer, and waits for its Neighbors if that is wanted; the code says whether all obey the same document.
pub(super) async fn run(arguments: Arguments, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let peer = Peer::of(global, Role::Overlay)?;
    let spinner = printer.spinner(format!("asking {}", peer.name));
    let told = told(&peer, arguments, global.timeout).await;
    spinner.finish_and_clear();
    let report = Report::new(&told?, arguments.sequence, now_ms());
    for warning in report.warnings() {
        printer.warning(&warning);
    }
    printer.result(&report, Report::table)?;
    Ok(report.code())
}

/// The first state, or when somebody is behind the last one within the time to wait.
async fn told(peer: &Peer, arguments: Arguments, timeout: Duration) -> Result<WatchResponse, Failure> {
    let mut client = OverlayClient::new(peer.channel.clone());
    let opening = async {
        let mut states = client.watch(unbounded(WatchRequest {})).await?.into_inner();
        let first = states.message().await?;
        Ok((first.ok_or_else(ended)?, states))
    };
    let (mut told, mut states) = peer.within(timeout, opening).await?;
    let waiting = async {
        while !in_step(&told, arguments.sequence) {
            told = states.message().await?.ok_or_else(ended)?;
        }
        Ok(())
    };
    match tokio::time::timeout(arguments.wait.unwrap_or_default(), waiting).await {
        Ok(Err(status)) => Err(peer.failed(&status)),
        // Those that are behind after that time are told.
        Ok(Ok(())) | Err(_) => Ok(told),
    }
}

fn ended() -> Status {
    Status::unavailable("the stream ended")
}

/// A peer that is a Neighbor on both sides is told of twice.
fn neighbors(state: &WatchResponse) -> Vec<&Neighbor> {
    let mut neighbors: Vec<&Neighbor> = state.successors.iter().chain(&state.predecessors).collect();
    neighbors.sort_by(|one, other| one.node_id.cmp(&other.node_id));
    neighbors.dedup_by(|one, other| one.node_id == other.node_id);
    neighbors
}

/// Whether all have the same document, and none older than the wanted one.
fn in_step(state: &WatchResponse, wanted: Option<u16>) -> bool {
    let has_it = |neighbor: &&Neighbor| neighbor.document_sequence == Some(state.document_sequence);
    let is_reached = |wanted: u16| {
        let here = u16::try_from(state.document_sequence);
        here.is_ok_and(|here| here == wanted || is_newer(here, wanted))
    };
    wanted.is_none_or(is_reached) && neighbors(state).iter().all(has_it)
}

/// The printed report.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    peer_id: String,
    sequence: u32,
    /// None for never.
    expires: Option<String>,
    document_days_left: Option<u64>,
    certificate_until: String,
    certificate_days_left: u64,
    in_step: bool,
    neighbors: Vec<Near>,
    #[serde(skip)]
    ends: [(&'static str, Option<u64>, u64); 2],
}

#[derive(Debug, Serialize)]
struct Near {
    peer_id: String,
    /// None until it has shown it.
    sequence: Option<u32>,
}

impl Report {
    fn new(state: &WatchResponse, wanted: Option<u16>, now_ms: u64) -> Self {
        let text = std::str::from_utf8(&state.document).unwrap_or_default();
        // The peer obeys it, so it can be read, unless that peer is of a later version.
        let expires_ms = Document::from_xml(text)
            .ok()
            .and_then(|document| document.expiration_ms);
        let until_ms = state.certificate_until_unix_ms;
        let days = |until_ms: u64| until_ms.saturating_sub(now_ms) / DAY_MS;
        Self {
            schema: "p2psip.document-status/v1",
            peer_id: id(&state.node_id),
            sequence: state.document_sequence,
            expires: expires_ms.map(utc),
            document_days_left: expires_ms.map(days),
            certificate_until: utc(until_ms),
            certificate_days_left: days(until_ms),
            in_step: in_step(state, wanted),
            neighbors: neighbors(state).into_iter().map(Near::new).collect(),
            ends: [
                ("document", expires_ms, now_ms),
                (
                    "certificate of this peer",
                    Some(until_ms).filter(|until| *until > 0),
                    now_ms,
                ),
            ],
        }
    }

    fn table(&self) -> String {
        let mut rows = vec![
            ("Peer ID", self.peer_id.clone()),
            ("Document", format!("sequence {}", self.sequence)),
        ];
        for ((_, until_ms, now_ms), name) in self.ends.iter().zip(["Document ends", "Certificate ends"]) {
            let end = until_ms.map_or_else(
                || "never".to_owned(),
                |until| format!("{}, {}", utc(until), distance(until, *now_ms)),
            );
            rows.push((name, end));
        }
        for (index, near) in self.neighbors.iter().enumerate() {
            rows.push((if index == 0 { "Neighbors" } else { "" }, near.text(self.sequence)));
        }
        two_columns(&rows)
    }

    /// Everything that ends within a month.
    fn warnings(&self) -> Vec<String> {
        let ending = |(what, until_ms, now_ms): &(&str, Option<u64>, u64)| {
            let until_ms = until_ms.filter(|until| until.saturating_sub(*now_ms) < MONTH_MS)?;
            let when = distance(until_ms, *now_ms);
            let remedy = match *what {
                "document" => "sign the next one with `p2psip document set DIR expires=DATE`, and push it",
                _ => "`p2psip cert renew` tells why it was not renewed",
            };
            Some(format!("the {what} ends {when}: {remedy}"))
        };
        self.ends.iter().filter_map(ending).collect()
    }

    fn code(&self) -> ExitCode {
        if self.in_step { ExitCode::Ok } else { ExitCode::Degraded }
    }
}

impl Near {
    fn new(neighbor: &Neighbor) -> Self {
        Self {
            peer_id: id(&neighbor.node_id),
            sequence: neighbor.document_sequence,
        }
    }

    fn text(&self, in_force: u32) -> String {
        let state = match self.sequence {
            None => "not heard of yet".to_owned(),
            Some(sequence) if sequence == in_force => format!("sequence {sequence}"),
            Some(sequence) => format!("sequence {sequence}, OTHER THAN HERE"),
        };
        format!("{}  {state}", self.peer_id)
    }
}

const DAY_MS: u64 = 24 * 3600 * 1000;
const MONTH_MS: u64 = 30 * DAY_MS;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn state(sequences: [Option<u32>; 2]) -> WatchResponse {
        let neighbor = |octet: u8, document_sequence| Neighbor {
            node_id: vec![octet; 16].into(),
            document_sequence,
            ..Neighbor::default()
        };
        let [first, second] = sequences;
        WatchResponse {
            node_id: vec![0x11; 16].into(),
            successors: vec![neighbor(0x22, first), neighbor(0x33, second)],
            predecessors: vec![neighbor(0x33, second)],
            document_sequence: 3,
            certificate_until_unix_ms: NOW + 80 * DAY_MS,
            ..WatchResponse::default()
        }
    }

    #[test]
    fn each_neighbor_is_told_once_with_its_document() {
        let report = Report::new(&state([Some(3), Some(2)]), None, NOW);
        let expected = "\
Peer ID           11111111111111111111111111111111
Document          sequence 3
Document ends     never
Certificate ends  2027-04-05T08:00:00Z, in 80 d
Neighbors         22222222222222222222222222222222  sequence 3
                  33333333333333333333333333333333  sequence 2, OTHER THAN HERE
";
        assert_eq!(report.table(), expected);
        assert_eq!(report.code(), ExitCode::Degraded);
        assert_eq!(
            Report::new(&state([Some(3), None]), None, NOW).code(),
            ExitCode::Degraded
        );
        assert_eq!(Report::new(&state([Some(3), Some(3)]), None, NOW).code(), ExitCode::Ok);
        // The one that was pushed elsewhere has not come yet.
        let wanted = |sequence| Report::new(&state([Some(3), Some(3)]), Some(sequence), NOW).code();
        assert_eq!(
            (wanted(4), wanted(3), wanted(2)),
            (ExitCode::Degraded, ExitCode::Ok, ExitCode::Ok)
        );
    }

    #[test]
    fn what_ends_soon_is_warned_of() {
        assert_eq!(Report::new(&state([None, None]), None, NOW).warnings(), [""; 0]);
        let late = Report::new(&state([None, None]), None, NOW + 74 * DAY_MS);
        assert_eq!(
            late.warnings(),
            ["the certificate of this peer ends in 6 d: `p2psip cert renew` tells why it was not renewed"]
        );
    }
}
