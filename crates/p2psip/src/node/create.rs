//! What a bootstrap service makes on an empty volume: the overlay, and for each of its peers a folder with all that the peer's
//! components need to begin.

use std::path::{Path, PathBuf};

use bootstrap::{Genesis, InitError};
use overlay_config::BootstrapNode;
use rpc::Channel;
use rpc::proto::bootstrap::v1::CreateTokenRequest;
use rpc::proto::bootstrap::v1::bootstrap_client::BootstrapClient;
use runtime::ExitCode;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::place::Place;
use crate::enroll::{Token, now_ms};
use crate::failure::Failure;

/// The section `[create]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    /// Overlay Name; also the SIP domain.
    pub(crate) overlay: String,
    /// The bootstrap nodes of its document, `HOST:PORT` of peers' RELOAD ports.
    #[serde(with = "runtime::list")]
    pub(crate) nodes: Vec<Node>,
    /// The URLs of its enrollment servers, `https://HOST:PORT`.
    #[serde(with = "runtime::list")]
    pub(crate) servers: Vec<String>,
    /// Folder for the keys that rule the overlay. Move it away from this host.
    pub(crate) off_line: PathBuf,
    /// Folder in which each peer gets one of its own, where peers bring no token.
    #[serde(default)]
    pub(crate) places: PathBuf,
    /// Names of those folders; the first peer forms the ring.
    #[serde(with = "runtime::list", default)]
    pub(crate) peers: Vec<String>,
}

/// A bootstrap node as it is written: `HOST:PORT`, an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Create {
    /// Makes the overlay, unless the folder of the bootstrap service holds one.
    pub(crate) async fn overlay(&self, folder: &Path) -> Result<(), Failure> {
        let node = |node: &Node| BootstrapNode {
            host: node.host.clone(),
            port: node.port,
        };
        let genesis = Genesis {
            overlay: self.overlay.clone(),
            bootstrap_nodes: self.nodes.iter().map(node).collect(),
            enrollment_servers: self.servers.clone(),
            off_line: Some(self.off_line.clone()),
            now_ms: now_ms(),
        };
        match bootstrap::init(folder, Default::default(), &genesis).await {
            Ok(_) => info!(overlay = self.overlay, "made the overlay"),
            Err(InitError::Exists { .. }) => {}
            Err(error) => return Err(Failure::cannot_start(error)),
        }
        // Said at each start: the one after the first is when nobody thinks of them any more.
        if self.off_line.exists() {
            warn!(off_line = %self.off_line.display(), "the keys that control the overlay are still here: move this folder away");
        }
        Ok(())
    }

    /// Makes a folder for each peer that has none, with a token of its own.
    pub(crate) async fn places(&self, bootstrap: Channel) -> Result<(), Failure> {
        for (index, peer) in self.peers.iter().enumerate() {
            let place = Place::at(&self.places.join(peer));
            if place.exists() {
                continue;
            }
            place.make(&token(bootstrap.clone(), self.servers.clone()).await?, index == 0)?;
            info!(peer, "made the folder of a peer");
        }
        Ok(())
    }
}

/// Makes a token for one peer and its edges.
pub(crate) async fn token(bootstrap: Channel, servers: Vec<String>) -> Result<Token, Failure> {
    let id = identity::issue::random_node_id().map_err(Failure::internal)?;
    let request = CreateTokenRequest {
        id: id.to_string(),
        lifetime_seconds: TOKEN_LIFETIME,
        peer: true,
        edges: EDGES,
        ..CreateTokenRequest::default()
    };
    let made = BootstrapClient::new(bootstrap).create_token(request).await;
    let made = made.map_err(|status| Failure::of_status(&status, "bootstrap"))?;
    Token::of(made.into_inner(), servers).ok_or_else(|| {
        Failure::new(
            ExitCode::Internal,
            anyhow::anyhow!("the bootstrap service made no token"),
        )
    })
}

impl Node {
    /// The host as it stands before a port.
    pub(crate) fn bracketed(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        }
    }
}

impl std::str::FromStr for Node {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || "it is not HOST:PORT".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() {
            return Err(malformed());
        }
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().map_err(|_| malformed())?,
        })
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.bracketed(), self.port)
    }
}

/// A week, in seconds: a peer that is started later is given a new one by its operator.
const TOKEN_LIFETIME: u64 = 7 * 24 * 3600;
/// Several edges may stand on one peer.
const EDGES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_read_as_they_are_written() {
        for text in ["peer1.example.org:6084", "192.0.2.1:6084", "[2001:db8::1]:6084"] {
            assert_eq!(text.parse::<Node>().unwrap().to_string(), text);
        }
        for text in ["", "peer1", ":6084", "peer1:port"] {
            assert!(text.parse::<Node>().is_err(), "{text}");
        }
    }
}
