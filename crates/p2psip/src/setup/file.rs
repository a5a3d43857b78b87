//! The configuration file that `init` and `join` write: only what differs from the defaults.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use runtime::private;
use serde::Serialize;

use crate::failure::Failure;

/// Where a peer keeps everything, and where others reach it.
pub(super) struct Layout<'a> {
    pub(super) data: &'a Path,
    /// Name or address of this host; without one, the addresses of its interfaces are told.
    pub(super) address: Option<&'a str>,
    /// Whether a bootstrap service is here too.
    pub(super) has_bootstrap: bool,
}

#[derive(Serialize)]
struct File {
    peer: Peer,
    overlay: Overlay,
    storage: Data,
    sip_edge: SipEdge,
    #[serde(skip_serializing_if = "Option::is_none")]
    bootstrap: Option<Bootstrap>,
}

#[derive(Serialize)]
struct Peer {
    folder: PathBuf,
    socket: PathBuf,
}

#[derive(Serialize)]
struct Overlay {
    data: PathBuf,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    advertise: Vec<SocketAddr>,
}

#[derive(Serialize)]
struct Data {
    data: PathBuf,
}

#[derive(Serialize)]
struct SipEdge {
    data: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    edge_advertise: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
}

#[derive(Serialize)]
struct Bootstrap {
    folder: PathBuf,
    names: Vec<String>,
}

impl Layout<'_> {
    /// The folder that the components share.
    pub(super) fn peer(&self) -> PathBuf {
        self.data.join("peer")
    }

    /// The data folder of a component.
    pub(super) fn component(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }

    /// The operator's socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.data.join(crate::settings::SOCKET)
    }

    /// Writes the file; returns where.
    pub(super) fn write(&self) -> Result<PathBuf, Failure> {
        let path = self.data.join("p2psip.toml");
        let text = toml::to_string(&self.file()).map_err(Failure::internal)?;
        let text =
            format!("# What differs from the defaults, which `p2psip config print --default` explains.\n\n{text}");
        private::write(&path, text.as_bytes())
            .map_err(|source| Failure::cannot_start(anyhow::Error::new(source).context(path.display().to_string())))?;
        Ok(path)
    }

    fn file(&self) -> File {
        let ip: Option<IpAddr> = self.address.and_then(|address| address.parse().ok());
        let at = |port| ip.map(|ip| SocketAddr::new(ip, port));
        let names: Vec<String> = self
            .address
            .filter(|_| ip.is_none())
            .map(str::to_owned)
            .into_iter()
            .collect();
        File {
            peer: Peer {
                folder: self.peer(),
                socket: self.socket(),
            },
            overlay: Overlay {
                data: self.component("overlay"),
                advertise: at(RELOAD_PORT).into_iter().collect(),
            },
            storage: Data {
                data: self.component("storage"),
            },
            sip_edge: SipEdge {
                data: self.component("sip-edge"),
                edge_advertise: at(EDGE_PORT),
                names: names.clone(),
            },
            bootstrap: self.has_bootstrap.then(|| Bootstrap {
                folder: self.component("bootstrap"),
                names,
            }),
        }
    }
}

// RFC 6940 §14.2.
pub(super) const RELOAD_PORT: u16 = 6084;
/// SIP between edges has no registered port.
const EDGE_PORT: u16 = 5062;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn written(address: Option<&str>, has_bootstrap: bool) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout {
            data: folder.path(),
            address,
            has_bootstrap,
        };
        let path = layout.write().unwrap();
        Settings::load(Some(&path)).unwrap()
    }

    #[test]
    fn what_is_written_is_understood() {
        let settings = written(Some("192.0.2.7"), true);
        assert_eq!(settings.overlay.advertise, ["192.0.2.7:6084".parse().unwrap()]);
        assert_eq!(settings.sip_edge.edge_advertise, "192.0.2.7:5062".parse().ok());
        assert!(settings.bootstrap.names.is_empty());
        assert!(settings.peer.socket.ends_with("peer.sock"));
    }

    #[test]
    fn a_name_is_no_address() {
        let settings = written(Some("peer1.example.org"), true);
        assert!(settings.overlay.advertise.is_empty() && settings.sip_edge.edge_advertise.is_none());
        assert_eq!(settings.bootstrap.names, ["peer1.example.org"]);
    }

    #[test]
    fn without_an_address_the_interfaces_tell() {
        let settings = written(None, false);
        assert!(settings.overlay.advertise.is_empty() && settings.sip_edge.names.is_empty());
    }
}
