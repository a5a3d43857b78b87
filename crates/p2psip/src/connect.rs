//! The way to the peer that a command asks.

use std::path::PathBuf;
use std::time::Duration;

use rpc::{Address, Channel, Role};
use runtime::ExitCode;

use crate::cli::Global;
use crate::failure::Failure;

/// A peer, and how its address was written.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) channel: Channel,
    pub(crate) name: String,
}

impl Peer {
    /// Finds the peer that is meant. It connects at the first call.
    pub(crate) fn of(global: &Global) -> Result<Self, Failure> {
        let address = match &global.peer {
            Some(address) => socket_of(address)?,
            None => Address::Unix(default_socket().ok_or_else(|| {
                let message =
                    "which peer? XDG_RUNTIME_DIR is not set: give --peer unix:PATH, as `p2psip dev` prints it";
                Failure::new(ExitCode::Usage, anyhow::anyhow!(message))
            })?),
        };
        let channel = Channel::connect(&address, Role::Overlay, None);
        let channel = channel.map_err(|error| Failure::new(ExitCode::Usage, error))?;
        let channel = channel.with_default_deadline(global.timeout);
        let name = address.to_string();
        Ok(Self { channel, name })
    }

    /// Waits for an answer no longer than asked for; streams have no deadline of their own.
    pub(crate) async fn within<T>(
        &self,
        timeout: Duration,
        answer: impl Future<Output = Result<T, tonic::Status>>,
    ) -> Result<T, Failure> {
        let outcome = tokio::time::timeout(timeout, answer).await;
        let late = |_| tonic::Status::deadline_exceeded(format!("waited {}", runtime::units::format_duration(timeout)));
        outcome
            .map_err(late)
            .and_then(|answered| answered)
            .map_err(|status| Failure::of_status(&status, &self.name))
    }
}

/// Where `dev` puts its socket unless its data folder has to do.
pub(crate) fn default_socket() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty())?;
    Some(PathBuf::from(folder).join("p2psip/dev.sock"))
}

/// The operator's door is a Unix socket.
fn socket_of(address: &str) -> Result<Address, Failure> {
    let usage = |error: anyhow::Error| Failure::new(ExitCode::Usage, error);
    match address.parse() {
        Ok(address @ Address::Unix(_)) => Ok(address),
        Ok(address) => Err(usage(anyhow::anyhow!(
            "peer address {address} is not of the form unix:PATH"
        ))),
        Err(error) => Err(usage(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unix_paths() {
        assert_eq!(
            socket_of("unix:/run/x.sock").unwrap(),
            Address::Unix("/run/x.sock".into())
        );
        assert_eq!(socket_of("unix:").unwrap_err().code(), ExitCode::Usage);
        assert_eq!(socket_of("127.0.0.1:7400").unwrap_err().code(), ExitCode::Usage);
        assert_eq!(socket_of("tcp:127.0.0.1:7400").unwrap_err().code(), ExitCode::Usage);
    }
}
