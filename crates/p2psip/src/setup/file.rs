//! The configuration file that `init` and `join` write: only what differs from the defaults.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use runtime::private;
use serde::Serialize;

use crate::failure::Failure;

/// Where a peer keeps everything, and where others reach it.
pub(super) struct Layout<'a> {
    pub(super) data: &'a Path,
    /// Name or address of this host.
    pub(super) address: Option<&'a str>,
    /// Whether that leads to a translator in front of this host. Others are then told it; else they are told the addresses of
    /// this host's interfaces, which are followed when they change.
    pub(super) is_translated: bool,
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
    advertise: Vec<String>,
}

#[derive(Serialize)]
struct Data {
    data: PathBuf,
}

#[derive(Serialize)]
struct SipEdge {
    data: PathBuf,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    edge_advertise: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Bootstrap {
    folder: PathBuf,
    names: Vec<String>,
}

impl Bootstrap {
    /// A service in this folder, on the host that others know by this name or address.
    pub(super) fn of(folder: PathBuf, address: &str) -> Bootstrap {
        // Its certificate carries names of DNS.
        let is_name = address.parse::<IpAddr>().is_err();
        Bootstrap {
            folder,
            names: is_name.then(|| address.to_owned()).into_iter().collect(),
        }
    }
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
        let names: Vec<String> = self.address.map(str::to_owned).into_iter().collect();
        let told = match self.is_translated {
            true => names.clone(),
            false => Vec::new(),
        };
        File {
            peer: Peer {
                folder: self.peer(),
                socket: self.socket(),
            },
            overlay: Overlay {
                data: self.component("overlay"),
                advertise: told.clone(),
            },
            storage: Data {
                data: self.component("storage"),
            },
            sip_edge: SipEdge {
                data: self.component("sip-edge"),
                edge_advertise: told,
                names: names.clone(),
            },
            bootstrap: self
                .has_bootstrap
                .then(|| Bootstrap::of(self.component("bootstrap"), self.address.unwrap_or_default())),
        }
    }
}

// RFC 6940 §14.2.
pub(super) const RELOAD_PORT: u16 = 6084;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn written(address: Option<&str>, is_translated: bool) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout {
            data: folder.path(),
            address,
            is_translated,
            has_bootstrap: true,
        };
        let path = layout.write().unwrap();
        Settings::load(Some(&path)).unwrap()
    }

    #[test]
    fn an_address_in_front_of_a_translator_is_told_to_others() {
        for address in ["192.0.2.7", "sip1.example.org"] {
            let settings = written(Some(address), true);
            let told = [address.parse().unwrap()];
            assert_eq!(settings.overlay.advertise, told);
            assert_eq!(settings.sip_edge.edge_advertise, told);
            assert_eq!(settings.sip_edge.names, [address]);
            assert!(settings.peer.socket.ends_with("peer.sock"));
        }
    }

    #[test]
    fn an_own_address_is_followed_and_not_written_down() {
        for address in ["192.0.2.7", "sip1.example.org"] {
            let settings = written(Some(address), false);
            assert!(settings.overlay.advertise.is_empty() && settings.sip_edge.edge_advertise.is_empty());
            assert_eq!(settings.sip_edge.names, [address]);
        }
    }

    #[test]
    fn the_bootstrap_service_is_certified_for_names_alone() {
        assert_eq!(
            written(Some("peer1.example.org"), false).bootstrap.names,
            ["peer1.example.org"]
        );
        assert!(written(Some("192.0.2.7"), false).bootstrap.names.is_empty());
    }

    #[test]
    fn without_an_address_the_interfaces_tell() {
        let settings = written(None, false);
        assert!(settings.overlay.advertise.is_empty() && settings.sip_edge.names.is_empty());
    }
}
