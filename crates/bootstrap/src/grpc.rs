//! The contract `p2psip.bootstrap.v1.Bootstrap`: requests become commands of the driver.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::bootstrap_server::Bootstrap;
use rpc::proto::bootstrap::v1::feed_request::Message;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use crate::core::TokenCursor;
use crate::driver::{Command, DOWN, Down, Reply};

/// The service; clones share the driver.
#[derive(Clone)]
pub(crate) struct Handler {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) draining: CancellationToken,
    /// Tasks of streams; they end with their stream or at `draining`.
    pub(crate) streams: TaskTracker,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Bootstrap for Handler {
    type FeedStream = ReceiverStream<Result<proto::FeedResponse, Status>>;
    type ListUsersStream = Answers<proto::ListUsersResponse>;
    type ListTokensStream = Answers<proto::ListTokensResponse>;

    async fn feed(
        &self,
        request: Request<Streaming<proto::FeedRequest>>,
    ) -> Result<Response<Self::FeedStream>, Status> {
        let (down, answers) = mpsc::channel(DOWN);
        let stream = FeedStream {
            handler: self.clone(),
            up: request.into_inner(),
            down,
        };
        self.streams.spawn(stream.run().in_current_span());
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn document(&self, _: Request<proto::DocumentRequest>) -> Result<Response<proto::DocumentResponse>, Status> {
        let document = self.ask(Command::Document).await?;
        Ok(Response::new(proto::DocumentResponse { document }))
    }

    async fn enroll(&self, request: Request<proto::EnrollRequest>) -> Result<Response<proto::EnrollResponse>, Status> {
        self.unary(|reply| Command::Enroll(Box::new(request.into_inner()), None, reply))
            .await
    }

    async fn put_user(
        &self,
        request: Request<proto::PutUserRequest>,
    ) -> Result<Response<proto::PutUserResponse>, Status> {
        self.unary(|reply| Command::PutUser(Box::new(request.into_inner()), reply))
            .await
    }

    async fn list_users(
        &self,
        request: Request<proto::ListUsersRequest>,
    ) -> Result<Response<Self::ListUsersStream>, Status> {
        let (handler, request) = (self.clone(), request.into_inner());
        let pages = stream::try_unfold(Some(None), move |after: Option<Option<String>>| {
            let (handler, request) = (handler.clone(), request.clone());
            async move {
                let Some(after) = after else { return Ok(None) };
                let (page, last) = handler.ask(|reply| Command::ListUsers(request, after, reply)).await?;
                Ok(Some((page, last.map(Some))))
            }
        });
        Ok(Response::new(one_by_one(pages)))
    }

    async fn delete_user(
        &self,
        request: Request<proto::DeleteUserRequest>,
    ) -> Result<Response<proto::DeleteUserResponse>, Status> {
        self.unary(|reply| Command::DeleteUser(request.into_inner(), reply))
            .await
    }

    async fn create_token(
        &self,
        request: Request<proto::CreateTokenRequest>,
    ) -> Result<Response<proto::CreateTokenResponse>, Status> {
        self.unary(|reply| Command::CreateToken(request.into_inner(), reply))
            .await
    }

    async fn list_tokens(
        &self,
        _request: Request<proto::ListTokensRequest>,
    ) -> Result<Response<Self::ListTokensStream>, Status> {
        let handler = self.clone();
        let pages = stream::try_unfold(Some(None), move |after: Option<Option<TokenCursor>>| {
            let handler = handler.clone();
            async move {
                let Some(after) = after else { return Ok(None) };
                let (page, last) = handler.ask(|reply| Command::ListTokens(after, reply)).await?;
                Ok(Some((page, last.map(Some))))
            }
        });
        Ok(Response::new(one_by_one(pages)))
    }

    async fn revoke_token(
        &self,
        request: Request<proto::RevokeTokenRequest>,
    ) -> Result<Response<proto::RevokeTokenResponse>, Status> {
        self.unary(|reply| Command::RevokeToken(request.into_inner(), reply))
            .await
    }

    async fn rotate_record_key(
        &self,
        request: Request<proto::RotateRecordKeyRequest>,
    ) -> Result<Response<proto::RotateRecordKeyResponse>, Status> {
        self.unary(|reply| Command::RotateRecordKey(request.into_inner(), reply))
            .await
    }

    async fn record_keys(
        &self,
        _request: Request<proto::RecordKeysRequest>,
    ) -> Result<Response<proto::RecordKeysResponse>, Status> {
        self.unary(Command::RecordKeys).await
    }
}

impl Handler {
    async fn unary<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<Response<T>, Status> {
        self.ask(command).await.map(Response::new)
    }

    /// Asks the driver and waits; given up by the caller, the operation is carried out all the same.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// One stream of the overlay, from its opening to its end.
struct FeedStream {
    handler: Handler,
    up: Streaming<proto::FeedRequest>,
    down: Down,
}

impl FeedStream {
    async fn run(mut self) {
        let outcome = self.serve().await;
        if let Err(status) = outcome {
            // A full queue means that nobody reads.
            let _ = self.down.try_send(Err(status));
        }
    }

    async fn serve(&mut self) -> Result<(), Status> {
        let first = tokio::time::timeout(OPEN_WITHIN, self.next()).await;
        let open = match first.map_err(|_| Status::deadline_exceeded("the stream was not opened"))?? {
            Some(Message::Open(open)) => open,
            Some(Message::Acknowledge(_)) => return Err(Status::invalid_argument("the first message is not Open")),
            None => return Ok(()),
        };
        let down = self.down.clone();
        let feed = self.handler.ask(|reply| Command::Attach(open, down, reply)).await?;
        let outcome = self.acknowledgements(feed).await;
        // When the driver is gone, so is the feed.
        let _ = self.handler.commands.send(Command::Detach(feed)).await;
        outcome
    }

    async fn acknowledgements(&mut self, feed: u64) -> Result<(), Status> {
        loop {
            let acknowledge = match self.next().await? {
                Some(Message::Acknowledge(acknowledge)) => acknowledge,
                Some(Message::Open(_)) => return Err(Status::invalid_argument("the stream is open already")),
                None => return Ok(()),
            };
            self.handler
                .commands
                .send(Command::Acknowledge { feed, acknowledge })
                .await
                .map_err(|_| gone())?;
        }
    }

    /// The overlay's next message, `None` when it is gone.
    async fn next(&mut self) -> Result<Option<Message>, Status> {
        tokio::select! {
            biased;
            () = self.handler.draining.cancelled() => Err(Status::unavailable("draining")),
            () = self.down.closed() => Ok(None),
            () = self.handler.commands.closed() => Err(gone()),
            message = self.up.message() => match message? {
                Some(request) => match request.message {
                    Some(message) => Ok(Some(message)),
                    None => Err(Status::invalid_argument("the message is empty")),
                },
                None => Ok(None),
            },
        }
    }
}

fn one_by_one<T: Send + 'static>(pages: impl Stream<Item = Result<Vec<T>, Status>> + Send + 'static) -> Answers<T> {
    Box::pin(pages.flat_map(|page| {
        stream::iter(match page {
            Ok(entries) => entries.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(status) => vec![Err(status)],
        })
    }))
}

fn gone() -> Status {
    Status::unavailable("the bootstrap service has ended")
}

/// The overlay opens its stream in one go.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
