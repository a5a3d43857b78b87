//! The operator's socket of `dev`, taken before anything else starts, so that a second `dev` finds out at once what runs already.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rpc::{Address, BindError, Channel, Role};
use tokio::net::UnixStream;

use super::ports::PortError;
use crate::failure::Failure;
use crate::operator::Bound;
use crate::socket;
use crate::status::{id, watch_once};

/// The socket, taken and not yet served.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) path: PathBuf,
    pub(crate) bound: Bound,
}

impl Door {
    /// Takes the socket of this user, in the first of `folders` that can be had; without one, a socket in the data folder.
    ///
    /// A `dev` that has it already is in the way only if it also has the ports, which `probe` finds out: one at another address
    /// or in another network namespace is not, and this one then takes the socket in its data folder.
    pub(crate) async fn take(
        folders: &[PathBuf],
        data: &Path,
        probe: impl FnOnce() -> Result<(), PortError>,
    ) -> Result<Self, Failure> {
        let own = data.join(socket::DEV);
        let shared = socket::place(socket::DEV, folders).unwrap_or_else(|| own.clone());
        match Bound::at(&shared).await {
            Ok(bound) => Ok(Self { path: shared, bound }),
            Err(BindError::InUse { .. }) if shared != own => match probe() {
                Ok(()) => Self::at(own).await,
                Err(port) => Err(Failure::cannot_start(Running::at(&shared).await.in_the_way(port))),
            },
            Err(BindError::InUse { .. }) => Err(Failure::cannot_start(anyhow::anyhow!(
                "{}",
                Running::at(&own).await.text()
            ))),
            Err(error) => Err(Failure::cannot_start(error)),
        }
    }

    async fn at(path: PathBuf) -> Result<Self, Failure> {
        match Bound::at(&path).await {
            Ok(bound) => Ok(Self { path, bound }),
            Err(error) => Err(Failure::cannot_start(error)),
        }
    }
}

/// What answers at a socket.
#[derive(Debug)]
struct Running {
    socket: PathBuf,
    process: Option<i32>,
    /// The overlay and the peer, unless it does not tell: it may be starting, or stopping.
    peer: Option<(String, String)>,
}

impl Running {
    async fn at(socket: &Path) -> Self {
        let process = match UnixStream::connect(socket).await {
            Ok(stream) => stream.peer_cred().ok().and_then(|credentials| credentials.pid()),
            Err(_) => None,
        };
        let asking = async {
            let channel = Channel::connect(&Address::Unix(socket.to_owned()), Role::Overlay, None).ok()?;
            let state = watch_once(channel).await.ok()?;
            Some((state.overlay, id(&state.node_id)))
        };
        Self {
            socket: socket.to_owned(),
            process,
            peer: tokio::time::timeout(PATIENCE, asking).await.ok().flatten(),
        }
    }

    fn text(&self) -> String {
        let process = self.process.map(|process| format!(", process {process}"));
        let peer = match &self.peer {
            Some((overlay, peer)) => format!("overlay {overlay}, Peer ID {peer}"),
            None => "it does not answer yet".to_owned(),
        };
        let end = self.process.map(|process| format!(", or kill {process}"));
        let socket = self.socket.display();
        format!(
            "a `dev` of this user runs already{} ({peer}). Ask it: p2psip --peer unix:{socket} status. End it: Ctrl-C in its \
             terminal{}",
            process.unwrap_or_default(),
            end.unwrap_or_default()
        )
    }

    /// It has a port that this one needs.
    fn in_the_way(&self, port: PortError) -> anyhow::Error {
        anyhow::Error::new(port).context(format!(
            "{}. Another one beside it needs an address of its own, as --bind 127.0.0.2",
            self.text()
        ))
    }
}

/// How long the other one may take to tell what it is.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use runtime::ExitCode;

    use super::super::ports::Ports;
    use super::*;

    fn taken() -> (TcpListener, Ports) {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let free = (Ipv4Addr::LOCALHOST, 0).into();
        let ports = Ports {
            sip: free,
            edge: free,
            reload: taken.local_addr().unwrap(),
            https: free,
            admin: free,
        };
        (taken, ports)
    }

    #[tokio::test]
    async fn a_second_one_is_told_what_runs_and_how_to_reach_it() {
        let folder = tempfile::tempdir().unwrap();
        let (folders, data) = ([folder.path().join("p2psip")], folder.path().join("data"));
        let first = Door::take(&folders, &data, || Ok(())).await.unwrap();
        let (_taken, ports) = taken();
        let refused = Door::take(&folders, &data, || ports.probe(1)).await.unwrap_err();
        assert_eq!(refused.code(), ExitCode::CannotStart);
        let text = refused.to_string();
        for part in [
            "runs already",
            &format!("process {}", std::process::id()),
            &format!("--peer unix:{} status", first.path.display()),
            "RELOAD of peer 1",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[tokio::test]
    async fn one_with_other_ports_takes_another_socket() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().join("p2psip")];
        let first = Door::take(&folders, folder.path(), || Ok(())).await.unwrap();
        let second = Door::take(&folders, folder.path(), || Ok(())).await.unwrap();
        assert_ne!(second.path, first.path);
        assert_eq!(second.path, folder.path().join(socket::DEV));
        // Two with one data folder are always in each other's way.
        let third = Door::take(&folders, folder.path(), || Ok(())).await;
        assert_eq!(third.unwrap_err().code(), ExitCode::CannotStart);
        // Once the first has ended, its place is free.
        drop(first);
        assert!(Door::take(&folders, folder.path(), || Ok(())).await.is_ok());
    }
}
