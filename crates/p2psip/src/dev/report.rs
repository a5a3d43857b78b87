//! What is told of the demonstration call.

use serde::Serialize;

use super::call::Edges;
use super::ladder::{Cast, Ladder};
use super::users::{DOMAIN, USERS};
use crate::lookup;
use crate::output::two_columns;

/// The call, as it went.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    is_complete: bool,
    /// Why it is not.
    reason: Option<String>,
    setup_ms: Option<f64>,
    resource_id: Option<String>,
    responsible_peer: Option<String>,
    responsible_peer_number: Option<usize>,
    hops: Option<u32>,
    roundtrip_ms: Option<f64>,
    #[serde(skip)]
    ladder: Option<Ladder>,
}

impl Report {
    /// Gathers what is known. `found` is what a lookup of the called user said just before.
    pub(crate) fn new(
        found: Option<&lookup::Report>,
        ladder: Option<Ladder>,
        reason: Option<String>,
        cast: &Cast,
    ) -> Self {
        let setup = ladder.as_ref().and_then(Ladder::setup_time);
        let responsible = found.map(|found| found.responsible_peer.clone());
        Self {
            schema: "p2psip.call/v1",
            is_complete: reason.is_none(),
            reason,
            setup_ms: setup.map(|time| (time.as_secs_f64() * 1e6).round() / 1e3),
            resource_id: found.map(|found| found.resource_id.clone()),
            responsible_peer_number: responsible.as_ref().and_then(|id| cast.peers.get(id).copied()),
            responsible_peer: responsible,
            hops: found.map(|found| found.hops),
            roundtrip_ms: found.map(|found| found.roundtrip_ms),
            ladder,
        }
    }

    /// Whether the call went as it should.
    pub(crate) fn is_good(&self) -> bool {
        self.is_complete
    }

    /// The ladder, with what the picture does not say above it.
    pub(crate) fn text(&self, edges: Edges, has_colours: bool) -> String {
        let [caller, called] = USERS;
        let mut rows = vec![
            (
                "Caller",
                format!("{caller}@{DOMAIN}, a built-in phone at {}", edges.of_alice),
            ),
            (
                "Called",
                format!("{called}@{DOMAIN}, a built-in phone at {}", edges.of_bob),
            ),
        ];
        if let Some(resource) = &self.resource_id {
            rows.push((
                "Resource-ID",
                format!("{resource}, of {called}'s record and registrations"),
            ));
        }
        if let Some(responsible) = &self.responsible_peer {
            let number = self
                .responsible_peer_number
                .map_or_else(String::new, |number| format!("peer {number}, "));
            let hops = match self.hops.unwrap_or_default() {
                1 => "1 hop".to_owned(),
                hops => format!("{hops} hops"),
            };
            let time = self.roundtrip_ms.unwrap_or_default();
            rows.push((
                "Responsible Peer",
                format!("{number}{responsible}, {hops} from peer 1, {time:.1} ms"),
            ));
        }
        let outcome = match (&self.reason, self.setup_ms) {
            (Some(reason), _) => format!("failed: {reason}"),
            (None, Some(setup)) => format!("answered after {setup:.1} ms, held, hung up"),
            (None, None) => "answered, held, hung up".to_owned(),
        };
        rows.push(("Call", outcome));
        let picture = self
            .ladder
            .as_ref()
            .map_or_else(String::new, |ladder| ladder.draw(has_colours) + "\n");
        format!("{}\n{picture}", two_columns(&rows))
    }
}
