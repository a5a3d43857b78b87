//! The socket of a component that runs in a process of its own.

use std::time::Duration;

use rpc::{Listener, Served};
use tokio::task::JoinHandle;

use crate::supervisor::Component;

/// A bound socket, not yet served.
#[derive(Debug)]
pub(crate) struct Door(pub(crate) Listener);

/// A socket that is served, until its component closes the server.
#[derive(Debug)]
pub(crate) struct Open(Option<JoinHandle<Result<(), tonic::transport::Error>>>);

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
        Open(Some(tokio::spawn(served.serve(self.0))))
    }
}

impl Component for Open {
    type Error = DoorError;

    async fn join(&mut self) -> Result<(), DoorError> {
        if let Some(task) = &mut self.0 {
            let ended = task.await;
            self.0 = None;
            ended??;
        }
        // Closed by its component, which is ending: what comes of that is the component's to tell.
        std::future::pending().await
    }

    async fn shutdown(self, grace: Duration) -> Result<(), DoorError> {
        let Some(task) = self.0 else { return Ok(()) };
        // Its server was closed with the component, so this is about last frames only.
        let abort = task.abort_handle();
        match tokio::time::timeout(grace, task).await {
            Ok(ended) => Ok(ended??),
            Err(_) => {
                tracing::warn!(?grace, "socket closed with connections that took nothing more");
                abort.abort();
                Ok(())
            }
        }
    }
}
