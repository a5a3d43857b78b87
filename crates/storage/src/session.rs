//! The task of one session: reads commands and passes them on, in order.

use std::sync::Arc;

use rpc::proto::storage::v1 as pb;
use storage_core::Command;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::Span;
use wire::MessageCode;

use crate::{
    driver::{Given, Input, Line, Opening},
    owner::Owner,
    proto,
};

/// A session from its first message to its end.
pub(crate) struct Session {
    pub(crate) requests: Streaming<pb::SessionRequest>,
    pub(crate) driver: mpsc::Sender<Input>,
    pub(crate) line: Line,
    pub(crate) draining: CancellationToken,
    pub(crate) owner: Arc<Owner>,
}

impl Session {
    /// Reads until either side ends.
    pub(crate) async fn run(mut self) {
        let (line, driver) = (self.line.clone(), self.driver.clone());
        let ended = tokio::select! {
            biased;
            () = line.over.cancelled() => return,
            () = line.answers.closed() => Ok(()),
            () = driver.closed() => Err(Status::unavailable("storage has ended")),
            () = self.draining.clone().cancelled_owned() => Err(Status::unavailable("draining")),
            ended = self.read() => ended,
        };
        if let Err(status) = ended {
            // Beyond the places of the commands there is one for the reason.
            let _ = line.answers.try_send((Err(status), None));
        }
        // A driver that has ended has no session to close.
        let _ = self.driver.send(Input::Close(line)).await;
    }

    async fn read(&mut self) -> Result<(), Status> {
        let places = Arc::new(Semaphore::new(IN_PROGRESS));
        let mut opened_by = None;
        while let Some(request) = self.requests.message().await? {
            let place = Arc::clone(&places).acquire_owned().await;
            let permit = place.map_err(|_| Status::internal("the session's bound is closed"))?;
            let pb::SessionRequest {
                id,
                traceparent,
                command,
            } = request;
            let line = self.line.clone();
            let input = match command.ok_or_else(|| proto::invalid("a command"))? {
                pb::session_request::Command::Open(open) if opened_by.is_none() => {
                    let pb::Open {
                        node_id,
                        instance,
                        document,
                    } = open;
                    let node_id = proto::node_id(&node_id)?;
                    opened_by = Some(node_id);
                    Input::Open(Opening {
                        id,
                        node_id,
                        instance,
                        document,
                        line,
                        permit,
                    })
                }
                command => {
                    let unopened = || Status::invalid_argument("the first command of a session is Open");
                    let node_id = opened_by.ok_or_else(unopened)?;
                    let command = proto::command(command)?;
                    // An overlay sends commands only once its session was opened, so the node is the right one.
                    let span = self.owner.span(node_id).in_scope(|| span(&command, &traceparent));
                    Input::Command(Given {
                        id,
                        command,
                        line,
                        permit,
                        span,
                    })
                }
            };
            self.driver
                .send(input)
                .await
                .map_err(|_| Status::unavailable("storage has ended"))?;
        }
        Ok(())
    }
}

/// The span of a command, from its arrival until its answer.
fn span(command: &Command, traceparent: &str) -> Span {
    let span = match command {
        Command::Apply { code, body, .. } if MessageCode(*code) == MessageCode::STORE_REQ && is_replica(body) => {
            tracing::info_span!(parent: None, "storage replicate", bytes = body.len())
        }
        Command::Apply { code, .. } => {
            let method = MessageCode(*code).method();
            tracing::info_span!(parent: None, "storage apply", reload.method = method)
        }
        Command::Scan { .. } => tracing::info_span!(parent: None, "storage handoff"),
        Command::Keep { .. }
        | Command::Forget { .. }
        | Command::Count
        | Command::Clock { .. }
        | Command::Document { .. } => return Span::none(),
    };
    rpc::set_parent(&span, traceparent);
    span
}

/// Looks at the replica number, which stands behind the length and the octets of the Resource-ID.
fn is_replica(body: &bytes::Bytes) -> bool {
    body.get(REPLICA_NUMBER).is_some_and(|number| *number != 0)
}

/// Where a StoreReq has its replica number (RFC 6940 §7.4.1.1).
const REPLICA_NUMBER: usize = 17;

/// Commands of a session that may be in progress; then its stream is read no further, which slows the overlay down.
pub(crate) const IN_PROGRESS: usize = 256;
