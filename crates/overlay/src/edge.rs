//! One attached edge: it proves its Node-ID, then gets the requests that arrive for it and answers them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::{debug, info};

use identity::{Use, verify_message};
use overlay_core::{Incoming, IncomingId};
use rpc::proto::overlay::v1::{
    self as proto, AttachRequest, AttachResponse, Attached, Challenge, Reply, attach_request, attach_response,
};
use wire::{Decode, Encode, NodeId, SecurityBlock, TransactionId};

use crate::driver::{Edge, Request, now};
use crate::service::Service;

/// A stream from its opening to its end.
pub(crate) struct Attachment {
    service: Service,
    requests: Streaming<AttachRequest>,
    answers: mpsc::Sender<Result<AttachResponse, Status>>,
}

impl Attachment {
    pub(crate) fn new(
        service: Service,
        requests: Streaming<AttachRequest>,
        answers: mpsc::Sender<Result<AttachResponse, Status>>,
    ) -> Self {
        Self {
            service,
            requests,
            answers,
        }
    }

    /// Serves the stream; its end is told to the edge.
    pub(crate) async fn run(mut self) {
        let draining = self.service.draining.clone();
        let answers = self.answers.clone();
        let ended = tokio::select! {
            () = answers.closed() => return,
            () = draining.cancelled() => Err(Status::unavailable("draining")),
            ended = self.greet() => ended,
        };
        let status = match ended {
            Ok(node_id) => self.serve(node_id).await,
            Err(status) => Some(status),
        };
        if let Some(status) = status {
            debug!(code = ?status.code(), reason = status.message(), "attachment ended");
            // If the edge is gone it needs no reason.
            let _ = answers.send(Err(status)).await;
        }
    }

    /// Has the edge sign a fresh number under its link certificate.
    async fn greet(&mut self) -> Result<NodeId, Status> {
        let nonce = nonce()?;
        let challenge = Challenge {
            nonce: Bytes::copy_from_slice(&nonce),
        };
        self.say(attach_response::Message::Challenge(challenge)).await?;
        let message = tokio::time::timeout(HELLO_TIME, self.requests.message());
        let message = message.await.map_err(|_| Status::unauthenticated("no Hello"))??;
        let Some(attach_request::Message::Hello(hello)) = message.and_then(|request| request.message) else {
            return Err(Status::invalid_argument("the first message is not a Hello"));
        };
        let security = SecurityBlock::from_bytes(&hello.security_block)
            .map_err(|_| Status::invalid_argument("security_block does not decode"))?;
        let overlay = self.service.view.borrow().document.document().overlay.clone();
        let contents = rpc::attach_contents(&nonce);
        let verifier = &self.service.verifier;
        let id = TransactionId(0);
        let identity = verify_message(verifier, &overlay, id, &contents, &security, now().unix_ms, Use::Node)
            .map_err(|error| Status::unauthenticated(error.to_string()))?;
        match identity.node_id() {
            own if own == self.service.node_id => Err(Status::unauthenticated("that is this peer's own Node-ID")),
            node_id => Ok(node_id),
        }
    }

    /// Moves requests and answers. Returns why the stream ends; none if the edge ended it.
    async fn serve(&mut self, node_id: NodeId) -> Option<Status> {
        let (incoming, mut queue) = mpsc::channel(INCOMING);
        let attachment = NEXT.fetch_add(1, Ordering::Relaxed);
        let replaced = CancellationToken::new();
        let edge = Edge {
            node_id,
            attachment,
            incoming,
            replaced: replaced.clone(),
        };
        let driver = self.service.driver.clone();
        driver.send(Request::Attach(edge)).await.ok()?;
        info!(node_id = %node_id.short(), "edge attached");
        let ended = self.converse(&mut queue, &replaced).await;
        info!(node_id = %node_id.short(), "edge detached");
        // If the driver is gone, so is what it knew of the edge.
        let _ = driver.send(Request::Detach { node_id, attachment }).await;
        ended.err()
    }

    async fn converse(
        &mut self,
        queue: &mut mpsc::Receiver<Incoming>,
        replaced: &CancellationToken,
    ) -> Result<(), Status> {
        let own = Bytes::copy_from_slice(self.service.node_id.as_bytes());
        self.say(attach_response::Message::Attached(Attached { node_id: own }))
            .await?;
        let draining = self.service.draining.clone();
        let answers = self.answers.clone();
        loop {
            tokio::select! {
                biased;
                () = replaced.cancelled() => return Err(Status::aborted("a newer attachment took this Node-ID")),
                () = draining.cancelled() => return Err(Status::unavailable("draining")),
                () = answers.closed() => return Ok(()),
                Some(incoming) = queue.recv() => {
                    self.say(attach_response::Message::Incoming(to_proto(incoming))).await?;
                }
                message = self.requests.message() => match message?.map(|request| request.message) {
                    Some(Some(attach_request::Message::Reply(reply))) => self.reply(reply).await?,
                    Some(_) => return Err(Status::invalid_argument("only replies follow the Hello")),
                    None => return Ok(()),
                },
            }
        }
    }

    async fn reply(&self, reply: Reply) -> Result<(), Status> {
        let security = SecurityBlock::from_bytes(&reply.security_block)
            .map_err(|_| Status::invalid_argument("security_block does not decode"))?;
        let request = Request::Reply {
            id: IncomingId(reply.id),
            contents: reply.contents,
            security,
        };
        self.service
            .driver
            .send(request)
            .await
            .map_err(|_| Status::unavailable("the overlay is ending"))
    }

    async fn say(&self, message: attach_response::Message) -> Result<(), Status> {
        let sent = self.answers.send(Ok(AttachResponse { message: Some(message) })).await;
        sent.map_err(|_| Status::unavailable("the edge is gone"))
    }
}

fn to_proto(incoming: Incoming) -> proto::Incoming {
    proto::Incoming {
        id: incoming.id.0,
        transaction_id: incoming.transaction_id.0,
        contents: incoming.contents,
        security_block: incoming.security.to_bytes(),
    }
}

/// Octets that nobody can foresee.
fn nonce() -> Result<[u8; rpc::NONCE_LENGTH], Status> {
    let mut nonce = [0; rpc::NONCE_LENGTH];
    for part in nonce.chunks_mut(16) {
        let random = identity::issue::random_node_id().map_err(|error| Status::unavailable(error.to_string()))?;
        part.copy_from_slice(random.as_bytes().get(..part.len()).unwrap_or_default());
    }
    Ok(nonce)
}

/// Tells attachments apart.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// How long an edge has to prove its Node-ID.
const HELLO_TIME: Duration = Duration::from_secs(5);

/// Requests that wait for one edge: a burst of calls for all its users. Beyond this they are left unanswered, and come again.
const INCOMING: usize = 256;
