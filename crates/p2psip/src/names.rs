//! How people name users and nodes: a bare name for a user of the overlay's domain, the first digits of a Node-ID that the peer
//! knows.

use std::collections::BTreeSet;
use std::time::Duration;

use overlay_config::Document;
use rpc::proto::bootstrap::v1::DocumentRequest;
use rpc::proto::bootstrap::v1::bootstrap_client::BootstrapClient;
use rpc::proto::overlay::v1::WatchResponse;
use runtime::ExitCode;
use sip_core::aor::Aor;
use wire::NodeId;

use crate::connect::Peer;
use crate::failure::Failure;

/// A user; a bare name means one of the overlay's own domain.
pub(crate) fn aor(text: &str, overlay: &str) -> Result<Aor, Failure> {
    let text = text.strip_prefix("sip:").unwrap_or(text);
    let aor = if text.contains('@') {
        Aor::parse(text)
    } else {
        Aor::new(text, overlay)
    };
    aor.map_err(|error| {
        Failure::new(
            ExitCode::Usage,
            anyhow::Error::new(error).context(format!("user {text}")),
        )
    })
}

/// The same, where only a bare name makes it necessary to ask the bootstrap service for the overlay's domain.
pub(crate) async fn aor_at(peer: &Peer, timeout: Duration, text: &str) -> Result<Aor, Failure> {
    if text.contains('@') {
        return aor(text, "");
    }
    let mut client = BootstrapClient::new(peer.channel.clone());
    let answer = peer
        .within(timeout, client.document(DocumentRequest {}))
        .await?
        .into_inner();
    let xml = std::str::from_utf8(&answer.document).map_err(Failure::internal)?;
    let document = Document::from_xml(xml).map_err(Failure::internal)?;
    aor(text, &document.overlay)
}

/// A user as an edge takes it, which completes a bare name itself.
pub(crate) fn aor_or_bare(text: &str) -> Result<String, Failure> {
    let aor = aor(text, PLACEHOLDER)?;
    let is_bare = !text.contains('@');
    let bare = aor.as_str().split('@').next().filter(|_| is_bare);
    Ok(bare.unwrap_or(aor.as_str()).to_owned())
}

/// The Node-ID that `text` writes out, or begins if it is one of `known`; `None` when it names no node.
pub(crate) fn node(text: &str, known: &BTreeSet<NodeId>) -> Result<Option<NodeId>, Failure> {
    let text = text.to_ascii_lowercase();
    if let Ok(id) = text.parse() {
        return Ok(Some(id));
    }
    let mut begun = known.iter().filter(|id| id.to_string().starts_with(&text));
    match (begun.next(), begun.next()) {
        (Some(id), None) => Ok(Some(*id)),
        (Some(one), Some(other)) => Err(Failure::usage(format!(
            "{text} begins several Node-IDs, such as {one} and {other}: write more digits"
        ))),
        (None, _) => Ok(None),
    }
}

/// The nodes that a peer knows: itself, its Neighbors, its fingers and its edges.
pub(crate) fn known_nodes(state: &WatchResponse) -> BTreeSet<NodeId> {
    let neighbors = state.successors.iter().chain(&state.predecessors);
    let ids = std::iter::once(&state.node_id)
        .chain(neighbors.map(|neighbor| &neighbor.node_id))
        .chain(state.fingers.iter().map(|finger| &finger.node_id))
        .chain(&state.edges);
    ids.filter_map(|id| NodeId::try_from(id.as_ref()).ok()).collect()
}

/// Stands for the domain while a bare name is checked.
const PLACEHOLDER: &str = "overlay.invalid";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_gets_the_domain() {
        let complete = |text: &str| aor(text, "dev.p2psip.test").map(|aor| aor.as_str().to_owned());
        assert_eq!(complete("alice").unwrap(), "alice@dev.p2psip.test");
        assert_eq!(complete("sip:alice").unwrap(), "alice@dev.p2psip.test");
        assert_eq!(complete("sip:bob@other.test").unwrap(), "bob@other.test");
        assert_eq!(complete("a@b@c").unwrap_err().code(), ExitCode::Usage);
    }

    #[test]
    fn a_bare_name_stays_bare_for_an_edge() {
        let taken = |text| aor_or_bare(text).unwrap();
        assert_eq!(taken("sip:alice"), "alice");
        assert_eq!(taken("alice@Dev.p2psip.test"), "alice@dev.p2psip.test");
        assert_eq!(aor_or_bare("a@b@c").unwrap_err().code(), ExitCode::Usage);
    }

    #[test]
    fn a_prefix_means_a_node_that_is_known() {
        let [first, second, far] = ["ab01", "ab02", "cd00"].map(|start| {
            let text = format!("{start:0<32}");
            text.parse::<NodeId>().unwrap()
        });
        let known = BTreeSet::from([first, second]);
        assert_eq!(node("AB01", &known).unwrap(), Some(first));
        assert_eq!(node(&far.to_string(), &known).unwrap(), Some(far));
        assert_eq!(node("cd", &known).unwrap(), None);
        assert_eq!(node("alice", &known).unwrap(), None);
        let message = node("ab", &known).unwrap_err().to_string();
        assert!(message.contains(&second.to_string()), "{message}");
    }
}
