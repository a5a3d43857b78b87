//! What the bootstrap service beside this peer wants in the overlay: newer documents, and signed user records.
//!
//! Items come one after the other, and each is acknowledged when it is stored (or refused for good). Until then the
//! service keeps it, so nothing is lost when either end restarts.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{Span, debug, info, warn};

use overlay_config::{Basis, SignedDocument};
use overlay_core::{Call, CallResult, Refusal};
use rpc::proto::bootstrap::v1::{
    Acknowledge, FeedOpen, FeedRequest, FeedResponse, Refusal as Refused, SignedStore,
    bootstrap_client::BootstrapClient, feed_request, feed_response,
};
use rpc::{Backoff, Channel, Duplex};
use wire::{Body, Decode, ErrorCode, MessageContents, SecurityBlock, TransactionId};

use crate::driver::{Request, Unaccepted, now};
use crate::view::View;

/// Keeps the feed open until the stop signal.
pub(crate) async fn keep(
    bootstrap: Channel,
    driver: mpsc::Sender<Request>,
    view: watch::Receiver<Arc<View>>,
    stop: CancellationToken,
) {
    let mut feed = Feed { driver, view };
    let work = async {
        let mut backoff = Backoff::of_streams();
        loop {
            let status = match feed.run(&bootstrap, &mut backoff).await {
                Ok(()) => Status::unavailable("the service ended the feed"),
                Err(status) => status,
            };
            info!(code = ?status.code(), reason = status.message(), "bootstrap feed ended");
            tokio::time::sleep(backoff.pause()).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

struct Feed {
    driver: mpsc::Sender<Request>,
    view: watch::Receiver<Arc<View>>,
}

impl Feed {
    async fn run(&mut self, bootstrap: &Channel, backoff: &mut Backoff) -> Result<(), Status> {
        let mut client = BootstrapClient::new(bootstrap.clone());
        let mut stream = Duplex::open(|request| client.feed(request)).await?;
        let open = {
            let view = self.view.borrow();
            FeedOpen {
                node_id: Bytes::copy_from_slice(view.status.node_id.as_bytes()),
                document_sequence: u32::from(view.status.document_sequence),
            }
        };
        stream
            .send(FeedRequest {
                message: Some(feed_request::Message::Open(open)),
            })
            .await?;
        while let Some(FeedResponse { id, item }) = stream.receive().await? {
            backoff.reset();
            let refusal = match item {
                Some(feed_response::Item::Document(xml)) => self.take_document(xml).await?,
                Some(feed_response::Item::Store(store)) => self.store(store).await?,
                None => Some(refused(ErrorCode::InvalidMessage, "an item of an unknown sort")),
            };
            if let Some(refusal) = &refusal {
                warn!(code = refusal.code, "fed item refused");
            }
            let acknowledge = Acknowledge { id, refusal };
            stream
                .send(FeedRequest {
                    message: Some(feed_request::Message::Acknowledge(acknowledge)),
                })
                .await?;
        }
        Ok(())
    }

    async fn take_document(&mut self, xml: Bytes) -> Result<Option<Refused>, Status> {
        let verified = {
            let view = self.view.borrow();
            if *view.document.xml() == xml {
                return Ok(None);
            }
            SignedDocument::parse_and_verify(xml, Basis::Previous(view.document.document()), now().unix_ms)
        };
        match verified {
            Ok(document) => {
                let sent = self.driver.send(Request::Document(Arc::new(document))).await;
                sent.map(|()| None).map_err(|_| ending())
            }
            Err(error) => Ok(Some(refused(ErrorCode::InvalidMessage, &error.to_string()))),
        }
    }

    /// Stores a record. While the ring does not take it, it is tried again.
    async fn store(&mut self, store: SignedStore) -> Result<Option<Refused>, Status> {
        let contents = MessageContents::from_bytes(&store.contents).ok();
        let resource = match contents.and_then(|contents| contents.body().ok()) {
            Some(Body::StoreReq(request)) => request.resource,
            _ => return Ok(Some(refused(ErrorCode::InvalidMessage, "no StoreReq"))),
        };
        let Ok(security) = SecurityBlock::from_bytes(&store.security_block) else {
            return Ok(Some(refused(ErrorCode::InvalidMessage, "no security block")));
        };
        let mut backoff = Backoff::of_streams();
        loop {
            self.view
                .wait_for(|view| view.status.serving)
                .await
                .map_err(|_| ending())?;
            let call = Call {
                destination: vec![resource.into()],
                contents: store.contents.clone(),
                signed: Some((TransactionId(store.transaction_id), security.clone())),
                from_client: None,
                deadline: (Instant::now() + STORE_TIME).into_std(),
                trace: None,
            };
            match self.call(call).await? {
                Ok(CallResult::Answered { .. }) => return Ok(None),
                Ok(CallResult::Refused(refusal)) if !is_passing(&refusal) => {
                    return Ok(Some(Refused {
                        code: u32::from(refusal.code.number()),
                        info: refusal.info,
                    }));
                }
                Ok(CallResult::Refused(refusal)) => debug!(code = %refusal.code, "record not stored yet"),
                Err(unaccepted) => debug!(?unaccepted, "record not stored yet"),
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    async fn call(&self, call: Call) -> Result<Result<CallResult, Unaccepted>, Status> {
        let (done, result) = oneshot::channel();
        let id = Arc::new(AtomicU64::new(0));
        self.driver
            .send(Request::Call {
                call,
                done,
                id,
                span: Span::none(),
            })
            .await
            .map_err(|_| ending())?;
        result.await.map_err(|_| ending())
    }
}

/// Whether the same request may be taken later.
fn is_passing(refusal: &Refusal) -> bool {
    matches!(
        refusal.code,
        ErrorCode::RequestTimeout
            | ErrorCode::InProgress
            | ErrorCode::NotFound
            | ErrorCode::TtlExceeded
            | ErrorCode::ConfigTooOld
            | ErrorCode::ConfigTooNew
    )
}

fn refused(code: ErrorCode, info: &str) -> Refused {
    Refused {
        code: u32::from(code.number()),
        info: Bytes::copy_from_slice(info.as_bytes()),
    }
}

fn ending() -> Status {
    Status::unavailable("the overlay is ending")
}

/// One try to store a record: the five transmissions of a request, and a bit.
const STORE_TIME: Duration = Duration::from_secs(4);
