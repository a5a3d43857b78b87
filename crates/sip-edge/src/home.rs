//! The overlay peer that this edge is a client of (RFC 6940 §4.2), over gRPC.
//!
//! One task keeps the edge attached and brings what arrives for its Node-ID; another watches the peer's state. Both reopen their stream when it
//! ends, except after a newer attachment of the same Node-ID: two edges that threw each other out would never stop.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use identity::{Sign, Signer};
use rpc::proto::overlay::v1 as proto;
use rpc::{Backoff, Deadline, Duplex};
use tokio::sync::{mpsc, watch};
use tonic::{Code, Status};
use wire::{Decode as _, Destination, Encode as _, MessageContents, NodeId, SecurityBlock, TransactionId};

type Client = proto::overlay_client::OverlayClient<rpc::Channel>;

/// Requests that arrived for this edge and wait for its answer at most; the overlay is held back beyond it.
pub(crate) const REPLIES: usize = 64;

/// What the overlay peer tells.
#[derive(Debug)]
pub(crate) enum HomeEvent {
    /// Attached; this is the home peer, the first entry of routes that lead here.
    Attached(NodeId),
    /// Not attached any more.
    Detached,
    /// Another edge attached with our Node-ID; this one stays detached.
    Replaced,
    /// A request for this edge.
    Incoming(Incoming),
    /// The peer's state.
    State(HomeState),
}

/// A request for this edge; its signature is not yet verified.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) id: u64,
    pub(crate) transaction_id: TransactionId,
    pub(crate) contents: Bytes,
    pub(crate) security: SecurityBlock,
}

/// The answer to an [`Incoming`].
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) id: u64,
    pub(crate) contents: Bytes,
    pub(crate) security: SecurityBlock,
}

/// What the edge needs to know of its peer.
#[derive(Debug, Clone)]
pub(crate) struct HomeState {
    /// Joined and not isolated.
    pub(crate) is_serving: bool,
    pub(crate) document_sequence: u32,
    /// The signed configuration document.
    pub(crate) document: Bytes,
}

/// A request into the overlay.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) destinations: Vec<Destination>,
    pub(crate) contents: Bytes,
    /// Set when the edge signed the message itself.
    pub(crate) signed: Option<(TransactionId, SecurityBlock)>,
}

/// The overlay's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) contents: MessageContents,
    /// They vouch for the values in it.
    pub(crate) certificates: Vec<Bytes>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// A peer refused.
    #[error("refused with RELOAD error {code}")]
    Refused { code: u16 },
    /// Nobody answered in time; the request may have been carried out.
    #[error("no answer in time")]
    TimedOut,
    /// The overlay cannot be asked.
    #[error("the overlay is not available: {0}")]
    Unavailable(String),
    /// The answer makes no sense.
    #[error("malformed answer: {0}")]
    Malformed(#[from] wire::DecodeError),
}

/// What an edge attaches with.
pub(crate) struct Attachment {
    /// Proves the Node-ID, under the newest certificate.
    pub(crate) link: watch::Receiver<Arc<Signer>>,
    /// The overlay's name.
    pub(crate) overlay: String,
    pub(crate) events: mpsc::Sender<HomeEvent>,
    pub(crate) replies: mpsc::Receiver<Reply>,
}

/// A handle to ask the overlay; clones share the channel.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    client: Client,
    own: NodeId,
}

impl Home {
    /// A handle for the edge `own`.
    pub(crate) fn new(channel: rpc::Channel, own: NodeId) -> Self {
        Self {
            client: Client::new(channel),
            own,
        }
    }

    /// Sends a request and waits for its answer, at most `timeout`.
    ///
    /// # Errors
    /// See [`CallError`].
    ///
    /// # Cancel safety
    /// Dropping it gives the call up; it may have been carried out.
    pub(crate) async fn call(&self, request: Request, timeout: Duration) -> Result<Answer, CallError> {
        let message = proto::CallRequest {
            destinations: request
                .destinations
                .iter()
                .map(|destination| destination.to_bytes())
                .collect(),
            contents: request.contents,
            transaction_id: request.signed.as_ref().map(|(id, _)| id.0),
            security_block: request
                .signed
                .as_ref()
                .map(|(_, security)| security.to_bytes())
                .unwrap_or_default(),
            client: Bytes::copy_from_slice(self.own.as_bytes()),
        };
        let response = rpc::retry(Deadline::after(timeout), |deadline| {
            let (mut client, message) = (self.client.clone(), message.clone());
            async move { client.call(deadline.pass(message, Duration::ZERO)).await }
        });
        let response = response.await.map_err(CallError::from)?.into_inner();
        match response.result {
            Some(proto::call_response::Result::Contents(contents)) => Ok(Answer {
                contents: MessageContents::from_bytes(&contents)?,
                certificates: response.certificates,
            }),
            Some(proto::call_response::Result::Refusal(refusal)) => Err(CallError::refused(refusal.code)),
            None => Err(CallError::Unavailable("an answer without a result".into())),
        }
    }

    /// Keeps the edge attached until `events` is closed or a newer attachment takes over.
    pub(crate) async fn stay_attached(self, mut attachment: Attachment) {
        let mut backoff = Backoff::of_streams();
        loop {
            let end = self.attached(&mut attachment, &mut backoff).await;
            let events = &attachment.events;
            if events.send(HomeEvent::Detached).await.is_err() {
                return;
            }
            if end.code() == Code::Aborted {
                tracing::error!(
                    reason = end.message(),
                    "another edge attached with this Node-ID; this one stays detached"
                );
                let _ = events.send(HomeEvent::Replaced).await;
                return;
            }
            tracing::debug!(reason = end.message(), "not attached");
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    async fn attached(&self, attachment: &mut Attachment, backoff: &mut Backoff) -> Status {
        let mut client = self.client.clone();
        let opened = Duplex::open(|up| async move { client.attach(up).await }).await;
        let result = match opened {
            Ok(stream) => converse(stream, attachment, backoff).await,
            Err(status) => Err(status),
        };
        result.err().unwrap_or_else(|| Status::unavailable("the stream ended"))
    }

    /// Reports the peer's state until `events` is closed.
    pub(crate) async fn watch(self, events: mpsc::Sender<HomeEvent>) {
        let mut backoff = Backoff::of_streams();
        loop {
            let mut client = self.client.clone();
            if let Ok(response) = client.watch(rpc::unbounded(proto::WatchRequest {})).await {
                let mut states = response.into_inner();
                while let Ok(Some(state)) = states.message().await {
                    backoff.reset();
                    let state = HomeState {
                        is_serving: state.serving,
                        document_sequence: state.document_sequence,
                        document: state.document,
                    };
                    if events.send(HomeEvent::State(state)).await.is_err() {
                        return;
                    }
                }
            }
            if events.is_closed() {
                return;
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }
}

/// Proves the Node-ID, then carries requests down and replies up until the stream ends.
async fn converse(
    mut stream: Duplex<proto::AttachRequest, proto::AttachResponse>,
    attachment: &mut Attachment,
    backoff: &mut Backoff,
) -> Result<(), Status> {
    use proto::attach_response::Message;

    let Attachment {
        link,
        overlay,
        events,
        replies,
    } = attachment;
    loop {
        tokio::select! {
            received = stream.receive() => {
                let Some(message) = received?.and_then(|response| response.message) else { return Ok(()) };
                match message {
                    Message::Challenge(challenge) => {
                        let link = Arc::clone(&link.borrow());
                        stream.send(hello(&*link, overlay, &challenge.nonce)).await?;
                    }
                    Message::Attached(attached) => {
                        backoff.reset();
                        let home = node_id(&attached.node_id)?;
                        tracing::info!(home = %home.short(), "attached to the overlay");
                        emit(events, HomeEvent::Attached(home)).await?;
                    }
                    Message::Incoming(incoming) => emit(events, HomeEvent::Incoming(Incoming::try_from(incoming)?)).await?,
                }
            }
            Some(reply) = replies.recv() => stream.send(reply.into()).await?,
        }
    }
}

async fn emit(events: &mpsc::Sender<HomeEvent>, event: HomeEvent) -> Result<(), Status> {
    events
        .send(event)
        .await
        .map_err(|_| Status::cancelled("the edge stops"))
}

fn hello(link: &dyn Sign, overlay: &str, nonce: &[u8]) -> proto::AttachRequest {
    let security = identity::sign_message(link, overlay, TransactionId(0), &rpc::attach_contents(nonce));
    let hello = proto::Hello {
        security_block: security.to_bytes(),
    };
    proto::AttachRequest {
        message: Some(proto::attach_request::Message::Hello(hello)),
    }
}

fn node_id(octets: &[u8]) -> Result<NodeId, Status> {
    let octets: [u8; 16] = octets
        .try_into()
        .map_err(|_| Status::internal("a Node-ID that is not 16 octets long"))?;
    Ok(NodeId::from(octets))
}

impl TryFrom<proto::Incoming> for Incoming {
    type Error = Status;

    fn try_from(incoming: proto::Incoming) -> Result<Self, Status> {
        let security =
            SecurityBlock::from_bytes(&incoming.security_block).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Self {
            id: incoming.id,
            transaction_id: TransactionId(incoming.transaction_id),
            contents: incoming.contents,
            security,
        })
    }
}

impl From<Reply> for proto::AttachRequest {
    fn from(reply: Reply) -> Self {
        let reply = proto::Reply {
            id: reply.id,
            contents: reply.contents,
            security_block: reply.security.to_bytes(),
        };
        Self {
            message: Some(proto::attach_request::Message::Reply(reply)),
        }
    }
}

impl CallError {
    fn refused(code: u32) -> Self {
        let code = u16::try_from(code).unwrap_or(u16::MAX);
        if code == wire::ErrorCode::RequestTimeout.number() {
            Self::TimedOut
        } else {
            Self::Refused { code }
        }
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::DeadlineExceeded => Self::TimedOut,
            code => Self::Unavailable(format!("{code:?}: {}", status.message())),
        }
    }
}
