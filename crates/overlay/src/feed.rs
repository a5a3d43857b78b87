//! What the bootstrap service beside this peer wants in the overlay: newer documents, signed user records, and requests
//! whose answers it wants.
//!
//! Documents and records are taken one after the other, and each is acknowledged when it is in force or stored (or refused
//! for good). Until then the service keeps it, so nothing is lost when either end restarts. Requests do not wait for them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{Span, debug, info, warn};

use overlay_config::{Basis, SignedDocument};
use overlay_core::{Call, CallResult, Refusal};
use rpc::proto::bootstrap::v1::{
    Acknowledge, Ask, FeedOpen, FeedRequest, FeedResponse, Refusal as Refused, SignedStore,
    bootstrap_client::BootstrapClient, feed_request, feed_response::Item,
};
use rpc::{Backoff, Channel, Duplex};
use wire::{Body, Decode, Destination, ErrorCode, MessageContents, SecurityBlock, TransactionId};

use crate::driver::{Request, Unaccepted, now};
use crate::view::View;

/// Keeps the feed open until the stop signal.
pub(crate) async fn keep(
    bootstrap: Channel,
    driver: mpsc::Sender<Request>,
    view: watch::Receiver<Arc<View>>,
    stop: CancellationToken,
) {
    let feed = Feed { driver, view };
    let work = async {
        let mut backoff = Backoff::of_streams();
        loop {
            let status = match feed.run(&bootstrap, &mut backoff).await {
                Ok(()) => Status::unavailable("the service ended the feed, or there is another document"),
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

#[derive(Clone)]
struct Feed {
    driver: mpsc::Sender<Request>,
    view: watch::Receiver<Arc<View>>,
}

impl Feed {
    async fn run(&self, bootstrap: &Channel, backoff: &mut Backoff) -> Result<(), Status> {
        let mut client = BootstrapClient::new(bootstrap.clone());
        let mut stream = Duplex::open(|request| client.feed(request)).await?;
        let open = self.open();
        let mut known = vec![open.document.clone()];
        let message = Some(feed_request::Message::Open(open));
        stream.send(FeedRequest { message }).await?;
        let (answers, mut answered) = mpsc::channel(1);
        let (items, queue) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().take_in_order(queue, answers.clone()));
        loop {
            tokio::select! {
                received = stream.receive() => {
                    let Some(FeedResponse { id, item }) = received? else { return Ok(()) };
                    backoff.reset();
                    match item {
                        Some(Item::Ask(ask)) if tasks.len() <= ASKS => {
                            tasks.spawn(self.clone().answer(id, ask, answers.clone()));
                        }
                        Some(Item::Ask(_)) => {
                            let refusal = refused(ErrorCode::RequestTimeout, "too many requests");
                            stream.send(acknowledge(id, Some(refusal))).await?;
                        }
                        item => {
                            if let Some(Item::Document(xml)) = &item {
                                known.push(xml.clone());
                            }
                            items
                                .try_send((id, item))
                                .map_err(|_| Status::resource_exhausted("more items than a feed may have"))?;
                        }
                    }
                }
                // The next stream begins with it.
                () = other_document(self.view.clone(), &known) => return Ok(()),
                Some(answer) = answered.recv() => stream.send(answer).await?,
                Some(ended) = tasks.join_next() => {
                    ended.map_err(|error| Status::internal(error.to_string()))??;
                }
            }
        }
    }

    fn open(&self) -> FeedOpen {
        let view = self.view.borrow();
        FeedOpen {
            node_id: Bytes::copy_from_slice(view.status.node_id.as_bytes()),
            document_sequence: u32::from(view.status.document_sequence),
            document: view.document.xml().clone(),
        }
    }

    /// Takes documents and records, each after the one before it.
    async fn take_in_order(
        mut self,
        mut queue: mpsc::Receiver<(u64, Option<Item>)>,
        answers: mpsc::Sender<FeedRequest>,
    ) -> Result<(), Status> {
        while let Some((id, item)) = queue.recv().await {
            let refusal = match item {
                Some(Item::Document(xml)) => self.take_document(xml).await?,
                Some(Item::Store(store)) => self.store(store).await?,
                Some(Item::Ask(_)) | None => Some(refused(ErrorCode::InvalidMessage, "an item of an unknown sort")),
            };
            if let Some(refusal) = &refusal {
                warn!(code = refusal.code, "fed item refused");
            }
            // The feed may have ended; likewise below.
            let _ = answers.send(acknowledge(id, refusal)).await;
        }
        Ok(())
    }

    /// Sends a request for the service and tells it what came back.
    async fn answer(self, id: u64, ask: Ask, answers: mpsc::Sender<FeedRequest>) -> Result<(), Status> {
        let answer = match call_of(&ask) {
            Ok(call) => match self.call(call).await? {
                Ok(CallResult::Answered {
                    contents, certificates, ..
                }) => Acknowledge {
                    id,
                    refusal: None,
                    contents,
                    certificates,
                },
                Ok(CallResult::Refused(refusal)) => refusal_of(id, refused_as(refusal)),
                Err(_) => refusal_of(id, refused(ErrorCode::RequestTimeout, "too many calls are open")),
            },
            Err(refusal) => refusal_of(id, refusal),
        };
        let message = Some(feed_request::Message::Acknowledge(answer));
        let _ = answers.send(FeedRequest { message }).await;
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
            Err(error) => {
                let refusal = refused(ErrorCode::InvalidMessage, &error.to_string());
                if let overlay_config::Error::CannotObey(demand) = error {
                    self.driver.send(Request::Demand(demand)).await.map_err(|_| ending())?;
                }
                Ok(Some(refusal))
            }
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
                deadline: runtime::clock::now() + STORE_TIME,
                trace: None,
            };
            match self.call(call).await? {
                Ok(CallResult::Answered { .. }) => return Ok(None),
                Ok(CallResult::Refused(refusal)) if !is_passing(&refusal) => {
                    return Ok(Some(refused_as(refusal)));
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

/// Waits until a document is in force that the service neither sent nor was told of.
async fn other_document(mut view: watch::Receiver<Arc<View>>, known: &[Bytes]) {
    let is_other = |view: &Arc<View>| !known.contains(view.document.xml());
    if view.wait_for(is_other).await.is_err() {
        std::future::pending::<()>().await;
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

fn refused_as(refusal: Refusal) -> Refused {
    Refused {
        code: u32::from(refusal.code.number()),
        info: refusal.info,
    }
}

fn refusal_of(id: u64, refusal: Refused) -> Acknowledge {
    Acknowledge {
        id,
        refusal: Some(refusal),
        ..Acknowledge::default()
    }
}

fn acknowledge(id: u64, refusal: Option<Refused>) -> FeedRequest {
    let acknowledge = Acknowledge {
        id,
        refusal,
        ..Acknowledge::default()
    };
    FeedRequest {
        message: Some(feed_request::Message::Acknowledge(acknowledge)),
    }
}

/// The call that an Ask wants.
fn call_of(ask: &Ask) -> Result<Call, Refused> {
    let decoded = ask.destinations.iter().map(Destination::from_bytes);
    let destination: Vec<Destination> = decoded
        .collect::<Result<_, _>>()
        .map_err(|_| refused(ErrorCode::InvalidMessage, "a destination does not decode"))?;
    let timeout = Duration::from_millis(u64::from(ask.timeout_ms)).min(ASK_TIME);
    Ok(Call {
        destination,
        contents: ask.contents.clone(),
        signed: None,
        from_client: None,
        deadline: runtime::clock::now() + timeout,
        trace: None,
    })
}

fn ending() -> Status {
    Status::unavailable("the overlay is ending")
}

/// Documents and records that wait for their turn: more than the service sends before they are acknowledged. A service that
/// sends more loses its feed.
const QUEUE: usize = 64;

/// Requests of the service under way at once; a further one is refused.
const ASKS: usize = 64;

/// The answer to a request is waited for so long at most.
const ASK_TIME: Duration = Duration::from_secs(10);

/// One try to store a record: the five transmissions of a request, and a bit.
const STORE_TIME: Duration = Duration::from_secs(4);
