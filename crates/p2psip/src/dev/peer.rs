//! One peer of the overlay: its components, wired with direct channels.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rpc::{Channel, Role, Served};
use runtime::{Component, Monitor};
use wire::NodeId;

use super::ports::Ports;
use crate::enroll::{EdgeCredentials, PeerCredentials, Renewal};
use crate::failure::Failure;
use crate::supervisor::Supervisor;

/// A running peer, as others in this process see it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) ports: Ports,
    pub(crate) peer_id: NodeId,
    pub(crate) edge_id: NodeId,
    /// The overlay in the operator's role.
    pub(crate) overlay: Channel,
    pub(crate) storage: Channel,
    pub(crate) sip_edge: Channel,
}

/// How a peer is started.
pub(crate) struct Start<'a> {
    pub(crate) number: u16,
    pub(crate) folder: &'a Path,
    pub(crate) ports: Ports,
    /// Further names of its edge.
    pub(crate) names: &'a [String],
    pub(crate) member: PeerCredentials,
    pub(crate) edge: EdgeCredentials,
    /// The bootstrap service beside it; its peer forms the ring, the first time.
    pub(crate) bootstrap: Option<&'a Served>,
    pub(crate) key_log: bool,
    pub(crate) monitor: Monitor,
}

impl Start<'_> {
    /// Starts storage and overlay; the edge follows once the overlay serves.
    pub(crate) async fn overlay(self, supervisor: &mut Supervisor) -> Result<(Peer, EdgeStart), Failure> {
        let (peer_id, edge_id) = (self.member.node_id(), self.edge.node_id());
        let config = storage::Config {
            data: self.folder.join("storage"),
            cache: STORAGE_CACHE,
            ..storage::Config::default()
        };
        let pages = supervisor.pages(ADMIN, self.ports.admin, &self.monitor).await;
        pages.map_err(Failure::cannot_start)?;
        let component = self.monitor.component("storage", &peer_id.short());
        let storage = storage::Server::bind(config, Some(peer_id), component).await?;
        let stored = storage.served();
        supervisor.run(STORAGE, storage);

        let member = self.member.member(self.key_log);
        let upstreams = overlay::Upstreams {
            storage: Channel::direct(stored.clone(), Role::Overlay),
            bootstrap: self
                .bootstrap
                .map(|served| Channel::direct(served.clone(), Role::Overlay))
                .into_iter()
                .collect(),
        };
        let config = overlay::Config {
            bind: vec![self.ports.reload],
            data: self.folder.join("overlay"),
            ..overlay::Config::default()
        };
        let component = self.monitor.component("overlay", &peer_id.short());
        let overlay = overlay::Server::bind(config, member, upstreams, component).await?;
        let routed = overlay.served();
        let renewal = Renewal::of_peer(peer_folder(self.folder), overlay.renewer(), overlay.documents());
        supervisor.run(&overlay_group(self.number), overlay);
        supervisor.run(RENEWAL, renewal);

        let peer = Peer {
            ports: self.ports,
            peer_id,
            edge_id,
            overlay: Channel::direct(routed.clone(), Role::Operator),
            storage: Channel::direct(stored, Role::Operator),
            // Replaced when the edge runs.
            sip_edge: Channel::direct(Served::builder().build(), Role::Operator),
        };
        let edge = EdgeStart {
            config: sip_edge::Config {
                bind: vec![self.ports.sip],
                edge_bind: vec![self.ports.edge],
                names: self.names.to_vec(),
                key_log: self.key_log,
                // RFC 8760 §2.3: phones and test tools that know no SHA-256 read the first challenge and no other. Whoever
                // tries this out may have one of them.
                algorithms: vec![sip_edge::Algorithm::Md5, sip_edge::Algorithm::Sha256],
                data: self.folder.join("sip-edge"),
                ..sip_edge::Config::default()
            },
            credentials: self.edge.edge,
            document: (*self.edge.document).clone(),
            overlay: Channel::direct(routed, Role::SipEdge),
            place: edge_folder(self.folder),
            component: self.monitor.component("sip-edge", &edge_id.short()),
        };
        Ok((peer, edge))
    }
}

/// What an edge will be.
pub(crate) struct EdgeStart {
    config: sip_edge::Config,
    credentials: sip_edge::Credentials,
    document: overlay_config::SignedDocument,
    overlay: Channel,
    /// Where its credentials are.
    place: PathBuf,
    component: Component,
}

impl EdgeStart {
    /// Starts the edge of a peer that serves.
    pub(crate) async fn edge(self, peer: &mut Peer, supervisor: &mut Supervisor) -> Result<(), Failure> {
        let edge = sip_edge::Server::bind(
            self.config,
            self.credentials,
            self.document,
            self.overlay,
            self.component,
        )
        .await?;
        peer.sip_edge = Channel::direct(edge.served(), Role::Operator);
        supervisor.run(RENEWAL, Renewal::of_edge(self.place, edge.renewer(), RECORD_KEYS_EVERY));
        supervisor.run(EDGE, edge);
        Ok(())
    }
}

/// Where the credentials of the peer in this folder are.
pub(crate) fn peer_folder(folder: &Path) -> PathBuf {
    folder.join("credentials/peer")
}

/// Where those of its edge are.
pub(crate) fn edge_folder(folder: &Path) -> PathBuf {
    folder.join("credentials/edge")
}

/// Peers leave one after the other, so that each has somebody to hand its range to.
fn overlay_group(number: u16) -> String {
    format!("overlay of peer {number}")
}

/// Name of the group that the pages of all peers are: the last to end.
pub(crate) const ADMIN: &str = "admin";
/// Name of the group that the storages of all peers are.
pub(crate) const STORAGE: &str = "storage";
/// Name of the group that renews certificates.
const RENEWAL: &str = "renewal";
/// Name of the group that all edges are.
pub(crate) const EDGE: &str = "sip-edge";
/// Somebody waits in front of it. All edges share one address, from which the bootstrap service takes 16 requests a second.
const RECORD_KEYS_EVERY: Duration = Duration::from_secs(5);
/// Five peers share one machine, and hold little.
const STORAGE_CACHE: u64 = 8 << 20;
