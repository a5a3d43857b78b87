//! What a process is told: one section for each component, and what they share.

use std::path::{Path, PathBuf};

use runtime::ExitCode;
use runtime::config::{Sources, load};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::node::Create;

/// All settings; each process reads those of its own components and lets the others be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// What the components of one peer share.
    pub(crate) peer: Peer,
    /// Routing.
    pub(crate) overlay: overlay::Config,
    /// The data of this peer.
    pub(crate) storage: storage::Config,
    /// Phones.
    pub(crate) sip_edge: sip_edge::Config,
    /// Enrollment and users.
    pub(crate) bootstrap: bootstrap::Config,
    /// Health and metrics.
    pub(crate) admin: runtime::admin::Config,
    /// Logs and traces.
    pub(crate) telemetry: runtime::telemetry::Config,
    /// What a bootstrap service makes on an empty volume; without it an empty folder is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) create: Option<Create>,
}

/// The section `[peer]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Peer {
    /// Folder that `init`, `join` or the bootstrap service made for this peer: the token for its enrollment, and for each component
    /// the certificate under which it meets the others.
    pub(crate) folder: PathBuf,
    /// The operator's socket of `p2psip peer`, which runs all components in one process.
    pub(crate) socket: PathBuf,
    /// File with the token for this peer's enrollment, if the folder holds none; or with the bare secret of a token that the
    /// bootstrap service has by its configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// URLs of enrollment servers, where the token is a bare secret.
    #[serde(with = "runtime::list")]
    pub(crate) servers: Vec<String>,
    /// File with the secret of a site, whose components believe each other's certificates over TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) site_file: Option<PathBuf>,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("/var/lib/p2psip/peer"),
            socket: PathBuf::from("/run/p2psip/peer.sock"),
            token_file: None,
            servers: Vec::new(),
            site_file: None,
        }
    }
}

impl Settings {
    /// Reads the file (the default one if none is named), and over it the environment.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, Failure> {
        load(&Sources::of_process(file.map(Path::to_owned))).map_err(|error| Failure::new(ExitCode::Usage, error))
    }
}

/// Where `init` and `join` put a peer, unless told otherwise.
pub(crate) const DATA: &str = "/var/lib/p2psip";

/// What the operator's socket is called in there.
pub(crate) const SOCKET: &str = "peer.sock";
