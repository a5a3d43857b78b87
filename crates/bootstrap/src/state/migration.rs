//! Records as they were when a token had one use and its nodes stood in it, and users' clients in a tree of their own.

use kv::{Batch, Store, Tree};
use serde::Deserialize;

use super::{Credential, NODES, NodeClass, NodeRecord, Octets, TOKENS, TokenRecord, all, put};
use crate::error::StartError;

#[derive(Deserialize)]
struct OldToken {
    #[serde(flatten)]
    kept: TokenRecord,
    #[serde(default)]
    used: Option<Used>,
}

#[derive(Deserialize)]
struct Used {
    peer: Option<OldNode>,
    edges: Vec<OldEdge>,
}

#[derive(Deserialize)]
struct OldNode {
    node_id: Octets,
    certificate: Octets,
}

#[derive(Deserialize)]
struct OldEdge {
    node_id: Octets,
    link: Octets,
    signer: Octets,
}

/// Gives each node a record of its own, before anything is read. Interrupted, it goes on at the next start: nodes leave their old
/// record in the write that makes their new ones.
pub(crate) async fn migrate(store: &Store) -> Result<(), StartError> {
    for (key, token) in all::<OldToken>(store, TOKENS)? {
        let Some(used) = token.used else { continue };
        let by = Credential::Token(String::from_utf8_lossy(&key).into_owned());
        let mut batch = Batch::new();
        if let Some(peer) = used.peer {
            let record = node(&by, NodeClass::Peer, peer.certificate, None);
            put(&mut batch, NODES, &peer.node_id.0, &record);
        }
        for edge in used.edges {
            let record = node(&by, NodeClass::Edge, edge.link, Some(edge.signer));
            put(&mut batch, NODES, &edge.node_id.0, &record);
        }
        put(&mut batch, TOKENS, &key, &token.kept);
        store.apply(batch).await?;
    }
    for (key, client) in all::<OldNode>(store, CLIENTS)? {
        let aor = key.split(|octet| *octet == 0).next().unwrap_or_default();
        let by = Credential::Password(String::from_utf8_lossy(aor).into_owned());
        let mut batch = Batch::new();
        let record = node(&by, NodeClass::Client, client.certificate, None);
        put(&mut batch, NODES, &client.node_id.0, &record);
        batch.delete(CLIENTS, &key);
        store.apply(batch).await?;
    }
    Ok(())
}

fn node(by: &Credential, class: NodeClass, certificate: Octets, signer: Option<Octets>) -> NodeRecord {
    NodeRecord {
        by: by.clone(),
        class,
        certificate,
        signer,
        from: None,
        at_ms: None,
        retired: false,
    }
}

/// `AOR NUL key id` → what the client got.
const CLIENTS: Tree = Tree::new("client");
