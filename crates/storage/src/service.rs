//! The gRPC contract.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt};
use rpc::proto::storage::v1::{SessionRequest, SessionResponse, StatsRequest, StatsResponse, storage_server::Storage};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use crate::{
    driver::{Input, Line},
    owner::Owner,
    session::{IN_PROGRESS, Session},
};

pub(crate) struct Service {
    pub(crate) driver: mpsc::Sender<Input>,
    pub(crate) sessions: TaskTracker,
    pub(crate) draining: CancellationToken,
    pub(crate) owner: Arc<Owner>,
}

#[tonic::async_trait]
impl Storage for Service {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        // One place more than commands in progress: for the reason of an end.
        let (answers, told) = mpsc::channel(IN_PROGRESS + 2);
        let session = Session {
            requests: request.into_inner(),
            driver: self.driver.clone(),
            line: Line {
                answers,
                over: CancellationToken::new(),
            },
            draining: self.draining.clone(),
            owner: Arc::clone(&self.owner),
        };
        self.sessions.spawn(session.run().in_current_span());
        // With the answer the permit of its command goes.
        let answers = ReceiverStream::new(told).map(|(answer, _permit)| answer);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn stats(&self, _: Request<StatsRequest>) -> Result<Response<StatsResponse>, Status> {
        let (reply, stats) = oneshot::channel();
        let ended = || Status::unavailable("storage has ended");
        self.driver.send(Input::Stats(reply)).await.map_err(|_| ended())?;
        Ok(Response::new(stats.await.map_err(|_| ended())?))
    }
}
