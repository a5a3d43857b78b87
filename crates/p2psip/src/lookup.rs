//! `lookup`: where a user's record and registrations are, and which edges serve him.

use std::time::Duration;

use identity::Verifier;
use overlay_config::Document;
use rpc::Role;
use rpc::proto::overlay::v1::{CallResponse, call_response};
use runtime::ExitCode;
use serde::Serialize;
use sip_core::aor::Aor;
use usage::sip::{Found, Judge};
use usage::user::State;
use wire::{
    Body, Decode as _, Destination, ErrorCode, FetchReq, KindId, MessageContents, ModelSpecifier, NodeId, ResourceId,
    StoredDataSpecifier,
};

use crate::cli::Global;
use crate::clock::now_ms;
use crate::connect::Peer;
use crate::failure::Failure;
use crate::output::{Printer, two_columns};
use crate::status::{id, watch_once};
use crate::{names, reload};

/// Looks users up, one after the other, and prints what was found; the code says whether all exist.
pub(crate) async fn run(aors: &[String], global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let peer = Peer::of(global, Role::Overlay)?;
    let spinner = printer.spinner(format!("asking {}", peer.name));
    let lookup = Lookup::prepare(&peer, global.timeout).await;
    spinner.finish_and_clear();
    let lookup = lookup?;
    let mut code = ExitCode::Ok;
    for (index, aor) in aors.iter().enumerate() {
        let report = lookup.ask(aor).await?;
        if report.user.is_none() {
            code = ExitCode::Negative;
        }
        let gap = if index == 0 { "" } else { "\n" };
        printer.result(&report, |report| format!("{gap}{}", report.table()))?;
    }
    Ok(code)
}

/// What looking up takes: a peer to ask, and its configuration document to judge the answers by.
pub(crate) struct Lookup<'a> {
    peer: &'a Peer,
    timeout: Duration,
    overlay: String,
    verifier: Verifier,
    writers: Vec<NodeId>,
}

impl<'a> Lookup<'a> {
    /// Gets the document of the peer.
    pub(crate) async fn prepare(peer: &'a Peer, timeout: Duration) -> Result<Self, Failure> {
        let state = peer.within(timeout, watch_once(peer.channel.clone())).await?;
        let document = std::str::from_utf8(&state.document)
            .map_err(anyhow::Error::new)
            .and_then(|xml| Document::from_xml(xml).map_err(anyhow::Error::new))
            .map_err(|error| Failure::internal(error.context("the peer's configuration document")))?;
        Ok(Self::new(peer, timeout, &document))
    }

    fn new(peer: &'a Peer, timeout: Duration, document: &Document) -> Self {
        Self {
            peer,
            timeout,
            overlay: document.overlay.clone(),
            verifier: Verifier::new(document.trust()),
            writers: document.user_signers().to_vec(),
        }
    }

    /// Asks the overlay, through the peer, for the record and the registrations of a user.
    pub(crate) async fn ask(&self, aor: &str) -> Result<Report, Failure> {
        let aor = names::aor(aor, &self.overlay)?;
        let resource = ResourceId::of(aor.as_str().as_bytes());
        let destination = Destination::Resource(resource);
        let answered = reload::call(self.peer, self.timeout, &destination, &fetch(resource)).await;
        let answered = answered.map_err(|status| self.peer.failed(&status))?;
        let found = self.read(&answered.response, &aor)?;
        Ok(Report::new(&aor, &answered.response, &found, answered.roundtrip))
    }

    /// Judges the answer as an edge would.
    fn read(&self, answer: &CallResponse, aor: &Aor) -> Result<Found, Failure> {
        let contents = match &answer.result {
            Some(call_response::Result::Contents(contents)) => contents,
            // RFC 6940 §6.3.3.1: nothing is stored at that Resource-ID.
            Some(call_response::Result::Refusal(refusal))
                if refusal.code == u32::from(ErrorCode::NotFound.number()) =>
            {
                return Ok(Found::default());
            }
            Some(call_response::Result::Refusal(refusal)) => return Err(reload::refused(refusal)),
            None => return Err(Failure::internal(anyhow::anyhow!("the answer is empty"))),
        };
        let contents = MessageContents::from_bytes(contents)
            .map_err(|error| Failure::internal(anyhow::Error::new(error).context("the answer")))?;
        let judge = Judge {
            verifier: &self.verifier,
            writers: &self.writers,
            own: NodeId::ZERO,
            now_ms: now_ms(),
        };
        judge
            .read(aor.as_str(), &contents.body, &answer.certificates)
            .map_err(|error| Failure::internal(anyhow::Error::new(error)))
    }
}

/// A Fetch of both Kinds at the Resource-ID.
fn fetch(resource: ResourceId) -> Body {
    let specifiers = [KindId::SIP_REGISTRATION, KindId::P2PSIP_USER].map(|kind| StoredDataSpecifier {
        kind,
        generation: 0,
        // RFC 7904 §4.2: no dictionary keys, so that all entries come.
        model: ModelSpecifier::Dictionary(Vec::new()),
    });
    Body::FetchReq(FetchReq {
        resource,
        specifiers: specifiers.to_vec(),
    })
}

/// What is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    aor: String,
    pub(crate) resource_id: String,
    /// Empty when the peer that was asked refused by itself.
    pub(crate) responsible_peer: String,
    pub(crate) hops: u32,
    pub(crate) roundtrip_ms: f64,
    user: Option<User>,
    edges: Vec<Edge>,
    refused_values: usize,
}

#[derive(Debug, Serialize)]
struct User {
    state: &'static str,
    version: u64,
}

#[derive(Debug, Serialize)]
struct Edge {
    edge: String,
    peer: Option<String>,
    expires_in_seconds: u64,
}

impl Report {
    fn new(aor: &Aor, answer: &CallResponse, found: &Found, roundtrip: Duration) -> Self {
        let now_ms = now_ms();
        let edges = found.routes.iter().map(|route| Edge {
            edge: route.edge.to_string(),
            peer: route.home.map(|home| home.to_string()),
            expires_in_seconds: route.until_ms.saturating_sub(now_ms).div_ceil(1000),
        });
        let user = found.record.as_ref().map(|record| User {
            state: match record.public().state {
                State::Active => "active",
                State::Suspended => "suspended",
                State::Removed => "removed",
            },
            version: record.public().version,
        });
        Self {
            schema: "p2psip.lookup/v1",
            aor: aor.as_str().to_owned(),
            resource_id: ResourceId::of(aor.as_str().as_bytes()).to_string(),
            responsible_peer: id(&answer.responder),
            hops: answer.hops,
            roundtrip_ms: reload::milliseconds(roundtrip),
            user: user.filter(|user| user.state != "removed"),
            edges: edges.collect(),
            refused_values: found.refused,
        }
    }

    fn table(&self) -> String {
        let user = self.user.as_ref().map_or_else(
            || "not found".to_owned(),
            |user| format!("{}, version {}", user.state, user.version),
        );
        let responsible = if self.responsible_peer.is_empty() {
            "unknown"
        } else {
            &self.responsible_peer
        };
        let mut rows = vec![
            ("User", self.aor.clone()),
            ("Record", user),
            ("Resource-ID", self.resource_id.clone()),
            ("Responsible Peer", responsible.to_owned()),
            ("Hops", self.hops.to_string()),
            ("Roundtrip", format!("{:.1} ms", self.roundtrip_ms)),
        ];
        if self.edges.is_empty() {
            rows.push(("Edges", "none: not registered".to_owned()));
        }
        for (index, edge) in self.edges.iter().enumerate() {
            let peer = edge.peer.as_deref().unwrap_or("itself");
            let minutes = edge.expires_in_seconds / 60;
            let name = if index == 0 { "Edges" } else { "" };
            rows.push((name, format!("{}  at peer {peer}, for {minutes} min", edge.edge)));
        }
        if self.refused_values > 0 {
            rows.push((
                "Ignored",
                format!("{} values whose signature does not hold", self.refused_values),
            ));
        }
        two_columns(&rows)
    }
}

#[cfg(test)]
mod tests {
    use rpc::proto::overlay::v1::Refusal;

    use super::*;

    fn answer(result: call_response::Result) -> CallResponse {
        CallResponse {
            result: Some(result),
            responder: vec![0xab; 16].into(),
            hops: 2,
            ..CallResponse::default()
        }
    }

    #[tokio::test]
    async fn only_not_found_is_a_result_among_refusals() {
        let peer = Peer {
            channel: rpc::Channel::direct(rpc::Served::builder().build(), rpc::Role::Operator),
            name: "nobody".into(),
            serves: rpc::Role::Overlay,
        };
        let document = Document::for_overlay(overlay_config::Genesis {
            overlay: "dev.p2psip.test",
            root_certs: Vec::new(),
            configuration_signer: NodeId::ZERO,
            user_signer: NodeId::ZERO,
            bootstrap_nodes: Vec::new(),
        });
        let lookup = Lookup::new(&peer, Duration::from_secs(1), &document);
        let refusal = |code: ErrorCode| {
            answer(call_response::Result::Refusal(Refusal {
                code: code.number().into(),
                ..Refusal::default()
            }))
        };
        let aor = names::aor("nobody", "dev.p2psip.test").unwrap();
        let not_found = refusal(ErrorCode::NotFound);
        let found = lookup.read(&not_found, &aor).unwrap();
        let table = Report::new(&aor, &not_found, &found, Duration::from_micros(1840)).table();
        assert!(table.contains("Record            not found\n"), "{table}");
        assert!(
            table.contains("Responsible Peer  abababababababababababababababab\n"),
            "{table}"
        );
        assert!(
            table.contains("Hops              2\nRoundtrip         1.8 ms\n"),
            "{table}"
        );
        let error = lookup.read(&refusal(ErrorCode::RequestTimeout), &aor).unwrap_err();
        assert_eq!(error.code(), ExitCode::Timeout);
    }
}
