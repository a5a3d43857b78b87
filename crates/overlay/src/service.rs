//! The gRPC service `Overlay`: where generated types become the core's, and back.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Request as Asked, Response, Status, Streaming};
use tracing::{Instrument as _, Span, field};

use identity::Verifier;
use overlay_core::{Call, CallId, CallResult};
use rpc::proto::overlay::v1::{
    AttachRequest, AttachResponse, CallRequest, CallResponse, LeaveRequest, LeaveResponse, PutDocumentRequest,
    PutDocumentResponse, Refusal, WatchRequest, WatchResponse, call_response, overlay_server::Overlay,
};
use rpc::{Caller, Deadline, Role};
use wire::{Decode, Destination, MessageContents, NodeId, SecurityBlock, TransactionId};

use crate::documents::Documents;
use crate::driver::{Request, Unaccepted};
use crate::view::View;
use crate::{edge, trace};

/// What every handler needs.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) driver: mpsc::Sender<Request>,
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) verifier: Arc<Verifier>,
    /// The signal at which streams end themselves.
    pub(crate) draining: CancellationToken,
    pub(crate) node_id: NodeId,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Overlay for Service {
    type AttachStream = Answers<AttachResponse>;
    type WatchStream = Answers<WatchResponse>;

    async fn call(&self, request: Asked<CallRequest>) -> Result<Response<CallResponse>, Status> {
        let caller = Caller::of(&request)?;
        let deadline = Deadline::of(&request).instant();
        let mut call = call_of(request.into_inner(), deadline)?;
        // Only an edge has a Node-ID to speak under.
        if call.from_client.is_some() && !caller.has(Role::SipEdge) {
            return Err(Status::permission_denied("only an edge calls as a client"));
        }
        let span = span_of(&call, &self.view.borrow().document.document().overlay);
        async {
            call.trace = trace::current();
            let result = self.run(call).await;
            record(&Span::current(), &result);
            Ok(Response::new(response_of(result?)))
        }
        .instrument(span)
        .await
    }

    async fn attach(&self, request: Asked<Streaming<AttachRequest>>) -> Result<Response<Self::AttachStream>, Status> {
        let (answers, stream) = mpsc::channel(ATTACH_QUEUE);
        let attachment = edge::Attachment::new(self.clone(), request.into_inner(), answers);
        tokio::spawn(attachment.run().in_current_span());
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn watch(&self, _: Asked<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (answers, stream) = mpsc::channel(1);
        let (mut view, draining) = (self.view.clone(), self.draining.clone());
        let watching = async move {
            loop {
                let state = view.borrow_and_update().to_proto();
                if answers.send(Ok(state)).await.is_err() {
                    return;
                }
                let end = tokio::select! {
                    () = answers.closed() => return,
                    () = draining.cancelled() => true,
                    changed = view.changed() => changed.is_err(),
                };
                if end {
                    // Whoever closed it in between needs no reason.
                    let _ = answers.send(Err(Status::unavailable("draining"))).await;
                    return;
                }
                // Changes come in bursts; a watcher wants their outcome.
                tokio::time::sleep(MERGE).await;
            }
        };
        tokio::spawn(watching.in_current_span());
        Ok(Response::new(Box::pin(ReceiverStream::new(stream).map(|item| item))))
    }

    async fn leave(&self, _: Asked<LeaveRequest>) -> Result<Response<LeaveResponse>, Status> {
        let mut view = self.view.clone();
        {
            let view = view.borrow();
            let status = &view.status;
            if status.joined && !status.storage_up {
                return Err(Status::failed_precondition(
                    "no storage session: nothing can be handed over",
                ));
            }
            if status.joined && status.successors.is_empty() {
                return Err(Status::failed_precondition("no neighbour to hand over to"));
            }
        }
        let before = view.borrow().handed_over;
        self.driver.send(Request::Leave).await.map_err(|_| ending())?;
        let left = view.wait_for(|view| !view.status.joined).await.map_err(|_| ending())?;
        let records = left.handed_over.saturating_sub(before);
        Ok(Response::new(LeaveResponse { records }))
    }

    async fn put_document(&self, request: Asked<PutDocumentRequest>) -> Result<Response<PutDocumentResponse>, Status> {
        let sequence = self.documents().put(request.into_inner().document).await?;
        let sequence = u32::from(sequence);
        Ok(Response::new(PutDocumentResponse { sequence }))
    }
}

impl Service {
    fn documents(&self) -> Documents {
        Documents {
            driver: self.driver.clone(),
            view: self.view.clone(),
        }
    }

    async fn run(&self, call: Call) -> Result<CallResult, Status> {
        let (done, result) = oneshot::channel();
        let id = Arc::new(AtomicU64::new(0));
        let _cancel = CancelOnDrop {
            driver: self.driver.clone(),
            id: Arc::clone(&id),
        };
        self.driver
            .send(Request::Call {
                call,
                done,
                id: Arc::clone(&id),
                span: Span::current(),
            })
            .await
            .map_err(|_| ending())?;
        let result = result.await.map_err(|_| ending())?;
        id.store(0, Ordering::Relaxed);
        result.map_err(|unaccepted| match unaccepted {
            Unaccepted::NotAttached => Status::failed_precondition("the client is not attached"),
            Unaccepted::TooMany => Status::resource_exhausted("too many calls are open"),
        })
    }
}

/// Tells the driver when nobody waits any more: the handler was dropped with its call.
struct CancelOnDrop {
    driver: mpsc::Sender<Request>,
    /// 0 before the call has an id and after it has a result.
    id: Arc<AtomicU64>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let id = self.id.load(Ordering::Relaxed);
        if id != 0 {
            // If the queue is full the call ends at its own deadline.
            let _ = self.driver.try_send(Request::Cancel(CallId(id)));
        }
    }
}

fn call_of(request: CallRequest, deadline: Option<std::time::Instant>) -> Result<Call, Status> {
    let malformed = |what: &str| Status::invalid_argument(format!("{what} does not decode"));
    let destination = request
        .destinations
        .iter()
        .map(|destination| Destination::from_bytes(destination).map_err(|_| malformed("destination")))
        .collect::<Result<Vec<_>, _>>()?;
    if destination.is_empty() {
        return Err(Status::invalid_argument("no destination"));
    }
    MessageContents::from_bytes(&request.contents).map_err(|_| malformed("contents"))?;
    let from_client = match request.client.as_ref() {
        [] => None,
        octets => Some(NodeId::try_from(octets).map_err(|_| malformed("client"))?),
    };
    let signed = match request.transaction_id {
        None => None,
        Some(_) if from_client.is_none() => {
            return Err(Status::invalid_argument("a signed request names its client"));
        }
        Some(id) => {
            let block = SecurityBlock::from_bytes(&request.security_block);
            Some((TransactionId(id), block.map_err(|_| malformed("security_block"))?))
        }
    };
    // The core counts by a clock that runs on while the machine sleeps.
    let deadline = deadline.map_or_else(|| runtime::clock::now() + CALL_TIME, runtime::clock::of_monotonic);
    Ok(Call {
        destination,
        contents: request.contents,
        signed,
        from_client,
        deadline,
        trace: None,
    })
}

fn response_of(result: CallResult) -> CallResponse {
    match result {
        CallResult::Answered {
            contents,
            certificates,
            responder,
            hops,
        } => CallResponse {
            result: Some(call_response::Result::Contents(contents)),
            certificates,
            responder: Bytes::copy_from_slice(responder.as_bytes()),
            hops: u32::from(hops),
        },
        CallResult::Refused(refusal) => {
            let code = u32::from(refusal.code.number());
            let refusal = Refusal {
                code,
                info: refusal.info,
            };
            CallResponse {
                result: Some(call_response::Result::Refusal(refusal)),
                ..CallResponse::default()
            }
        }
    }
}

/// The span of a request at its origin.
fn span_of(call: &Call, overlay: &str) -> Span {
    let span = tracing::info_span!(
        "reload",
        otel.name = format!("reload {}", call.code().method()),
        otel.kind = "client",
        reload.overlay = overlay,
        reload.transaction_id = field::Empty,
        reload.resource_id = field::Empty,
        reload.kind_id = field::Empty,
        reload.node_id = field::Empty,
        reload.hops = field::Empty,
        error.type = field::Empty,
    );
    if span.is_disabled() {
        return span;
    }
    match call.destination.last() {
        Some(Destination::Resource(resource)) => drop(span.record("reload.resource_id", field::display(resource))),
        Some(Destination::Node(node)) => drop(span.record("reload.node_id", field::display(node))),
        _ => {}
    }
    if let Ok(body) = MessageContents::from_bytes(&call.contents).and_then(|contents| contents.body()) {
        trace::record_kinds(&span, &body.kinds());
    }
    span
}

/// Notes in the span how the request ended.
fn record(span: &Span, result: &Result<CallResult, Status>) {
    match result {
        Ok(CallResult::Answered { responder, hops, .. }) => {
            span.record("reload.node_id", field::display(responder));
            span.record("reload.hops", u64::from(*hops));
        }
        Ok(CallResult::Refused(refusal)) => drop(span.record("error.type", field::display(refusal.code))),
        // It never left this peer.
        Err(status) => drop(span.record("error.type", rpc::code_name(status.code()))),
    }
}

fn ending() -> Status {
    Status::unavailable("the overlay is ending")
}

/// Requests and words of the protocol that wait for an attached edge.
const ATTACH_QUEUE: usize = 16;

/// Changes within this time are told as one.
const MERGE: Duration = Duration::from_millis(50);

/// For a caller without a deadline.
const CALL_TIME: Duration = Duration::from_secs(5);
