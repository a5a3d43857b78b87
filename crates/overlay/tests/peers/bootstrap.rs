//! A stub of the bootstrap service: it feeds what it was given, and keeps what was acknowledged.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, empty};
use tonic::{Request, Response, Status, Streaming};

use rpc::Served;
use rpc::proto::bootstrap::v1::bootstrap_server::{Bootstrap, BootstrapServer};
use rpc::proto::bootstrap::v1::{
    Acknowledge, CreateTokenRequest, CreateTokenResponse, DeleteUserRequest, DeleteUserResponse, DocumentRequest,
    DocumentResponse, EnrollRequest, EnrollResponse, FeedRequest, FeedResponse, ListTokensRequest, ListTokensResponse,
    ListUsersRequest, ListUsersResponse, PutUserRequest, PutUserResponse, RecordKeysRequest, RecordKeysResponse,
    RevokeTokenRequest, RevokeTokenResponse, RotateRecordKeyRequest, RotateRecordKeyResponse, feed_request,
    feed_response,
};

/// What a peer is fed, and what it acknowledged.
#[derive(Clone)]
pub struct Feed {
    items: mpsc::Sender<FeedResponse>,
    outbox: Arc<tokio::sync::Mutex<mpsc::Receiver<FeedResponse>>>,
    acknowledged: mpsc::Sender<Acknowledge>,
    inbox: Arc<tokio::sync::Mutex<mpsc::Receiver<Acknowledge>>>,
    opened: Arc<watch::Sender<Bytes>>,
}

impl Feed {
    pub fn new() -> Self {
        let (items, outbox) = mpsc::channel(4);
        let (acknowledged, inbox) = mpsc::channel(4);
        let (outbox, inbox) = (
            Arc::new(tokio::sync::Mutex::new(outbox)),
            Arc::new(tokio::sync::Mutex::new(inbox)),
        );
        Self {
            items,
            outbox,
            acknowledged,
            inbox,
            opened: Arc::new(watch::Sender::default()),
        }
    }

    /// Waits for a stream that opens with this document.
    pub async fn told(&self, expected: &Bytes) {
        let mut opened = self.opened.subscribe();
        let told = opened.wait_for(|document| document == expected);
        timeout(super::PATIENCE, told).await.expect("a stream").unwrap();
    }

    /// Feeds an item and waits until it is acknowledged.
    pub async fn push(&self, id: u64, item: feed_response::Item) -> Acknowledge {
        self.items.send(FeedResponse { id, item: Some(item) }).await.unwrap();
        let mut inbox = self.inbox.lock().await;
        timeout(super::PATIENCE, inbox.recv())
            .await
            .expect("an acknowledgement")
            .unwrap()
    }

    pub fn served(&self) -> Served {
        Served::builder().service(BootstrapServer::new(self.clone())).build()
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn nothing<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("a stub"))
}

#[tonic::async_trait]
impl Bootstrap for Feed {
    type FeedStream = Answers<FeedResponse>;
    type ListUsersStream = Answers<ListUsersResponse>;
    type ListTokensStream = Answers<ListTokensResponse>;

    async fn feed(&self, request: Request<Streaming<FeedRequest>>) -> Result<Response<Self::FeedStream>, Status> {
        let (items, stream) = mpsc::channel(1);
        let (mut requests, feed) = (request.into_inner(), self.clone());
        tokio::spawn(async move {
            let mut outbox = feed.outbox.lock().await;
            loop {
                tokio::select! {
                    Some(item) = outbox.recv() => drop(items.send(Ok(item)).await),
                    request = requests.message() => match request {
                        Ok(Some(FeedRequest { message: Some(feed_request::Message::Acknowledge(acknowledge)) })) => {
                            feed.acknowledged.send(acknowledge).await.unwrap();
                        }
                        Ok(Some(FeedRequest { message: Some(feed_request::Message::Open(open)) })) => {
                            feed.opened.send_replace(open.document);
                        }
                        Ok(Some(_)) => {}
                        Ok(None) | Err(_) => return,
                    },
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn document(&self, _: Request<DocumentRequest>) -> Result<Response<DocumentResponse>, Status> {
        nothing()
    }

    async fn enroll(&self, _: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        nothing()
    }

    async fn put_user(&self, _: Request<PutUserRequest>) -> Result<Response<PutUserResponse>, Status> {
        nothing()
    }

    async fn list_users(&self, _: Request<ListUsersRequest>) -> Result<Response<Self::ListUsersStream>, Status> {
        Ok(Response::new(Box::pin(empty())))
    }

    async fn delete_user(&self, _: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        nothing()
    }

    async fn create_token(&self, _: Request<CreateTokenRequest>) -> Result<Response<CreateTokenResponse>, Status> {
        nothing()
    }

    async fn list_tokens(&self, _: Request<ListTokensRequest>) -> Result<Response<Self::ListTokensStream>, Status> {
        Ok(Response::new(Box::pin(empty())))
    }

    async fn revoke_token(&self, _: Request<RevokeTokenRequest>) -> Result<Response<RevokeTokenResponse>, Status> {
        nothing()
    }

    async fn rotate_record_key(
        &self,
        _: Request<RotateRecordKeyRequest>,
    ) -> Result<Response<RotateRecordKeyResponse>, Status> {
        nothing()
    }

    async fn record_keys(&self, _: Request<RecordKeysRequest>) -> Result<Response<RecordKeysResponse>, Status> {
        nothing()
    }
}
