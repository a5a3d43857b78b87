//! One event for each SIP message that passes, from which the ladder of a call is drawn; `dev` shows all of it, others hide whom it is about.

use bytes::Bytes;
use runtime::Pii;
use sip_core::flow::{Flow, FlowKind};
use sip_core::message::Message;
use tracing::Level;
use wire::NodeId;

/// The target to ask for, as in `RUST_LOG=p2psip::ladder=trace`.
const TARGET: &str = "p2psip::ladder";

/// Shows a message that was received.
pub(crate) fn received(node: NodeId, flow: &Flow, message: &Message) {
    if tracing::enabled!(target: TARGET, Level::TRACE) {
        show(node, flow, message, "in");
    }
}

/// Shows a message that goes to a phone. Those to edges are shown where they arrive.
pub(crate) fn sent(node: NodeId, flow: &Flow, bytes: &Bytes) {
    if tracing::enabled!(target: TARGET, Level::TRACE)
        && flow.kind == FlowKind::Phone
        && let Ok(message) = Message::parse_datagram(bytes.clone())
    {
        show(node, flow, &message, "out");
    }
}

fn show(node: NodeId, flow: &Flow, message: &Message, direction: &str) {
    let peer = match &flow.kind {
        FlowKind::Phone => format!(
            "{} {}",
            flow.transport.via_name().to_ascii_lowercase(),
            Pii(flow.remote)
        ),
        FlowKind::Edge(node) | FlowKind::Stranger { node, .. } => node.to_string(),
    };
    let text = match (message.status(), message.request_uri()) {
        (Some(status), _) => format!(
            "{status} {} ({})",
            message.reason().unwrap_or_default(),
            message.method().as_str()
        ),
        (None, uri) => format!("{} {}", message.method().as_str(), Pii(uri.unwrap_or_default())),
    };
    let id = message.call_id().unwrap_or_default();
    tracing::trace!(target: TARGET, protocol = "SIP", %node, peer, direction, text, id, "message");
}
