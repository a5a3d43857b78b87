//! The section `[overlay]` of the configuration, and what a peer is besides.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use identity::{Key, Signer, Verifier};
use overlay_config::SignedDocument;
use rpc::Address;
use runtime::addresses::Advertised;

/// Settings of the component.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Addresses at which other peers connect.
    #[serde(with = "runtime::list")]
    pub bind: Vec<SocketAddr>,
    /// Addresses or names that other peers are told, with a port or with that of `bind`; without any those of `bind`, and of this
    /// machine's interfaces where that is a wildcard. Names are looked up again every 30 s.
    #[serde(with = "runtime::list")]
    pub advertise: Vec<Advertised>,
    /// Folder of what it keeps for the next start: the peers it knew, the newest configuration document. It is made if it is
    /// missing, and belongs to one Node-ID for ever.
    pub data: PathBuf,
    /// Entries of the successor and of the predecessor list: so many neighbours less one may die at once. At least 3.
    pub neighbors: usize,
    /// Where it listens for its edges and the operator, if it runs in a process of its own.
    pub listen: Address,
    /// Where its storage is, if it runs in a process of its own.
    pub storage: Address,
    /// Where the bootstrap services of this site are, if it has any in processes of their own. This overlay attaches to each, and
    /// each stores users through one of the overlays that are attached to it.
    #[serde(with = "runtime::list")]
    pub bootstrap: Vec<Address>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, RELOAD_PORT))],
            advertise: Vec::new(),
            data: PathBuf::from("/var/lib/p2psip/overlay"),
            neighbors: 8,
            listen: Address::Unix("/run/p2psip/overlay.sock".into()),
            storage: Address::Unix("/run/p2psip/storage.sock".into()),
            bootstrap: Vec::new(),
        }
    }
}

/// Who this peer is in which overlay.
#[derive(Clone)]
pub struct Member {
    /// Its key, with the certificate that names it and what must travel with it.
    pub signer: Arc<Signer>,
    /// Its certificate chain, the leaf first, for its links.
    pub chain: Vec<Bytes>,
    /// The key of that leaf.
    pub key: Key,
    /// Judges the certificates of others by the document.
    pub verifier: Arc<Verifier>,
    /// The overlay configuration document.
    pub document: Arc<SignedDocument>,
    /// Whether this peer forms the ring if it was never a member of it. Only one peer of an overlay may.
    pub founder: bool,
    /// Whether the secrets of its links go to the file that `SSLKEYLOGFILE` names, for Wireshark.
    pub key_log: bool,
}

/// The components that this one calls.
#[derive(Clone, Debug)]
pub struct Upstreams {
    /// Its storage.
    pub storage: rpc::Channel,
    /// The bootstrap services of its site.
    pub bootstrap: Vec<rpc::Channel>,
}

// RFC 6940 §14.2.
const RELOAD_PORT: u16 = 6084;
