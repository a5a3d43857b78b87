//! `status`: what a peer says of itself.

use rpc::proto::overlay::v1::overlay_client::OverlayClient;
use rpc::proto::overlay::v1::{Neighbor, WatchRequest, WatchResponse};
use rpc::{Channel, Role, unbounded};
use runtime::ExitCode;
use serde::Serialize;
use tonic::Status;
use wire::NodeId;

use crate::cli::Global;
use crate::connect::Peer;
use crate::failure::Failure;
use crate::output::{Printer, two_columns};

/// Asks a peer for its state and prints it; the code says whether it is ready.
pub(crate) async fn run(global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let peer = Peer::of(global, Role::Overlay)?;
    let spinner = printer.spinner(format!("asking {}", peer.name));
    let state = peer.within(global.timeout, watch_once(peer.channel.clone())).await;
    spinner.finish_and_clear();
    let report = Report::new(&state?);
    printer.result(&report, Report::table)?;
    Ok(report.code())
}

/// The state of a peer at this moment.
pub(crate) async fn watch_once(channel: Channel) -> Result<WatchResponse, Status> {
    let mut states = OverlayClient::new(channel)
        .watch(unbounded(WatchRequest {}))
        .await?
        .into_inner();
    let state = states.message().await?;
    state.ok_or_else(|| Status::unavailable("the stream ended before the first state"))
}

/// A Node-ID of the contract as text; what is none shows as it is.
pub(crate) fn id(octets: &[u8]) -> String {
    NodeId::try_from(octets).map_or_else(|_| wire::hex::encode(octets), |id| id.to_string())
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    overlay_name: String,
    peer_id: String,
    joined: bool,
    serving: bool,
    ready: bool,
    reasons: Vec<String>,
    successors: Vec<Near>,
    predecessors: Vec<Near>,
    fingers: Vec<Finger>,
    storage: Option<Storage>,
    document_sequence: u32,
    epoch: u64,
    edges: Vec<String>,
    links: u32,
}

/// A Neighbor.
#[derive(Debug, Serialize)]
struct Near {
    peer_id: String,
    address: Option<String>,
    /// The version of its program, once it told.
    software: Option<String>,
}

#[derive(Debug, Serialize)]
struct Finger {
    index: u32,
    peer_id: String,
}

#[derive(Debug, Serialize)]
struct Storage {
    session: u64,
    store_id: String,
}

impl Report {
    fn new(state: &WatchResponse) -> Self {
        let fingers = state.fingers.iter().map(|finger| Finger {
            index: finger.index,
            peer_id: id(&finger.node_id),
        });
        let storage = state.storage.as_ref().map(|storage| Storage {
            session: storage.session,
            store_id: wire::hex::encode(&storage.store_id),
        });
        Self {
            schema: "p2psip.status/v1",
            overlay_name: state.overlay.clone(),
            peer_id: id(&state.node_id),
            joined: state.joined,
            serving: state.serving,
            ready: state.ready,
            reasons: state.reasons.clone(),
            successors: state.successors.iter().map(Near::new).collect(),
            predecessors: state.predecessors.iter().map(Near::new).collect(),
            fingers: fingers.collect(),
            storage,
            document_sequence: state.document_sequence,
            epoch: state.epoch,
            edges: state.edges.iter().map(|edge| id(edge)).collect(),
            links: state.links,
        }
    }

    fn table(&self) -> String {
        let mut rows = vec![
            ("Overlay Name", self.overlay_name.clone()),
            ("Peer ID", self.peer_id.clone()),
            ("State", self.state()),
        ];
        list(&mut rows, "Successors", self.successors.iter().map(Near::text));
        list(&mut rows, "Predecessors", self.predecessors.iter().map(Near::text));
        list(&mut rows, "Fingers", self.finger_lines());
        rows.push(("Storage", self.storage_text()));
        rows.push(("Document", format!("sequence {}", self.document_sequence)));
        list(&mut rows, "Edges", self.edges.iter().cloned());
        rows.push(("Links", self.links.to_string()));
        two_columns(&rows)
    }

    fn code(&self) -> ExitCode {
        if self.ready { ExitCode::Ok } else { ExitCode::Degraded }
    }

    fn state(&self) -> String {
        let membership = match (self.ready, self.serving, self.joined) {
            (true, ..) => "ready",
            (_, true, _) => "serving, not ready",
            (_, _, true) => "joined, not serving",
            _ => "not joined",
        };
        match self.reasons.as_slice() {
            [] => membership.to_owned(),
            reasons => format!("{membership}: {}", reasons.join("; ")),
        }
    }

    /// Many entries of the finger table name the same peer: a line for each peer.
    fn finger_lines(&self) -> Vec<String> {
        let mut lines: Vec<(&str, Vec<String>)> = Vec::new();
        for finger in &self.fingers {
            match lines.iter_mut().find(|(peer, _)| *peer == finger.peer_id) {
                Some((_, entries)) => entries.push(finger.index.to_string()),
                None => lines.push((&finger.peer_id, vec![finger.index.to_string()])),
            }
        }
        let text = |(peer, entries): &(&str, Vec<String>)| format!("{peer}  entry {}", entries.join(", "));
        lines.iter().map(text).collect()
    }

    fn storage_text(&self) -> String {
        self.storage.as_ref().map_or_else(
            || "no session".to_owned(),
            |storage| format!("session {}, store {}", storage.session, storage.store_id),
        )
    }
}

impl Near {
    fn new(neighbor: &Neighbor) -> Self {
        Self {
            peer_id: id(&neighbor.node_id),
            address: Some(neighbor.address.clone()).filter(|address| !address.is_empty()),
            software: Some(neighbor.software.clone()).filter(|version| !version.is_empty()),
        }
    }

    fn text(&self) -> String {
        let address = self.address.as_deref().unwrap_or("no link");
        let software = self.software.iter().map(|version| format!("  version {version}"));
        format!("{}  {address}{}", self.peer_id, software.collect::<String>())
    }
}

/// Adds a row for each item; the first one names what they are.
fn list<'a>(rows: &mut Vec<(&'a str, String)>, name: &'a str, items: impl IntoIterator<Item = String>) {
    let before = rows.len();
    for item in items {
        rows.push((if rows.len() == before { name } else { "" }, item));
    }
    if rows.len() == before {
        rows.push((name, "none".to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use rpc::proto::overlay::v1::Finger as FingerMessage;

    use super::*;

    fn response() -> WatchResponse {
        let neighbor = |octet: u8, address: &str| Neighbor {
            node_id: vec![octet; 16].into(),
            address: address.to_owned(),
            software: if address.is_empty() { "" } else { "0.1.0" }.to_owned(),
            ..Neighbor::default()
        };
        WatchResponse {
            node_id: vec![0x11; 16].into(),
            overlay: "dev.p2psip.test".to_owned(),
            joined: true,
            serving: true,
            reasons: vec!["replicas are missing".to_owned()],
            successors: vec![neighbor(0x22, "127.0.0.1:6094"), neighbor(0x33, "")],
            fingers: [0, 1]
                .map(|index| FingerMessage {
                    index,
                    node_id: vec![0x33; 16].into(),
                })
                .to_vec(),
            document_sequence: 1,
            edges: vec![vec![0x44; 16].into()],
            links: 2,
            ..WatchResponse::default()
        }
    }

    #[test]
    fn the_table_names_the_neighbors() {
        let expected = "\
Overlay Name  dev.p2psip.test
Peer ID       11111111111111111111111111111111
State         serving, not ready: replicas are missing
Successors    22222222222222222222222222222222  127.0.0.1:6094  version 0.1.0
              33333333333333333333333333333333  no link
Predecessors  none
Fingers       33333333333333333333333333333333  entry 0, 1
Storage       no session
Document      sequence 1
Edges         44444444444444444444444444444444
Links         2
";
        assert_eq!(Report::new(&response()).table(), expected);
    }

    #[test]
    fn a_peer_that_is_outside_is_told_what_to_do() {
        let state = WatchResponse {
            joined: false,
            serving: false,
            reasons: vec!["document 3 needs urn:example:later: upgrade".to_owned()],
            ..response()
        };
        let expected = "not joined: document 3 needs urn:example:later: upgrade";
        assert_eq!(Report::new(&state).state(), expected);
        assert_eq!(Report::new(&state).code(), ExitCode::Degraded);
    }

    #[test]
    fn json_names_its_schema() {
        let json = serde_json::to_value(Report::new(&response())).unwrap();
        assert_eq!(json["schema"], "p2psip.status/v1");
        assert_eq!(json["successors"][0]["address"], "127.0.0.1:6094");
        assert_eq!(json["successors"][1]["address"], serde_json::Value::Null);
    }
}
