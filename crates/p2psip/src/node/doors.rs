//! The socket of a component that runs in a process of its own.

use std::time::Duration;

use rpc::{Listener, Served};
use tokio::task::JoinHandle;

use crate::supervisor::Component;

/// A bound socket, not yet served.
#[derive(Debug)]
pub(crate) struct Door(pub(crate) Listener);

/// A socket that is served. It ends with its component, which closes the server.
#[derive(Debug)]
pub(crate) struct Open(JoinHandle<Result<(), tonic::transport::Error>>);

/// Why a socket is not served any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoorError {
    /// The server failed.
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
    /// Its task did.
    #[error("the task of the socket failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Door {
    pub(crate) fn open(self, served: Served) -> Open {
        tracing::info!(address = %self.0.address(), "component listens");
        Open(tokio::spawn(served.serve(self.0)))
    }
}

impl Component for Open {
    type Error = DoorError;

    async fn join(&mut self) -> Result<(), DoorError> {
        Ok((&mut self.0).await??)
    }

    async fn shutdown(self, grace: Duration) -> Result<(), DoorError> {
        // Its server was closed with the component, so this is about last frames only.
        let abort = self.0.abort_handle();
        match tokio::time::timeout(grace, self.0).await {
            Ok(ended) => Ok(ended??),
            Err(_) => {
                abort.abort();
                Ok(())
            }
        }
    }
}
