//! Each contract in a few words: a call that costs little, a stream that stays open, a message that is too large, and who
//! may ask for them.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use rpc::proto::bootstrap::v1 as bootstrap;
use rpc::proto::bootstrap::v1::bootstrap_client::BootstrapClient;
use rpc::proto::overlay::v1 as overlay;
use rpc::proto::overlay::v1::overlay_client::OverlayClient;
use rpc::proto::sip_edge::v1 as sip_edge;
use rpc::proto::sip_edge::v1::sip_edge_client::SipEdgeClient;
use rpc::proto::storage::v1 as storage;
use rpc::proto::storage::v1::storage_client::StorageClient;
use rpc::{Channel, Duplex, Role, unbounded};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use wire::{Destination, Encode as _, MessageContents, PingReq, ResourceId};

use crate::Service;
use crate::world::World;

/// An open stream; each item is a message of the callee.
pub type Stream = BoxStream<'static, Result<(), Status>>;

impl Service {
    /// A role that may make the call.
    pub fn caller(self) -> Role {
        match self {
            Self::Overlay | Self::Bootstrap | Self::SipEdge => Role::Operator,
            Self::Storage => Role::Overlay,
        }
    }

    /// A role that may open the stream.
    pub fn streamer(self) -> Role {
        match self {
            Self::Overlay | Self::SipEdge => Role::Operator,
            Self::Storage | Self::Bootstrap => Role::Overlay,
        }
    }

    /// A role that may do neither.
    pub fn stranger(self) -> Role {
        match self {
            Self::Overlay | Self::SipEdge => Role::Storage,
            Self::Storage | Self::Bootstrap => Role::SipEdge,
        }
    }

    /// Makes the call and waits at most `patience`. What RELOAD refuses is an answer too.
    ///
    /// # Errors
    /// What the seam says.
    pub async fn call(self, channel: &Channel, patience: Duration) -> Result<(), Status> {
        self.call_with(channel, patience, String::new()).await
    }

    /// Makes the call with a message beyond every limit.
    ///
    /// # Errors
    /// What the seam says.
    pub async fn call_oversize(self, channel: &Channel) -> Result<(), Status> {
        match self {
            // Its only call has nothing to fill.
            Self::Storage => {
                let mut session = session(channel, Bytes::from(vec![0; OVERSIZE])).await?;
                session.try_next().await.map(drop)
            }
            _ => self.call_with(channel, PATIENCE, "x".repeat(OVERSIZE)).await,
        }
    }

    /// Opens the stream; its first message has come when this returns.
    ///
    /// # Errors
    /// What the seam says.
    pub async fn open(self, channel: &Channel) -> Result<Stream, Status> {
        let mut stream = match self {
            Self::Overlay => {
                let mut client = OverlayClient::new(channel.clone());
                let states = client.watch(unbounded(overlay::WatchRequest {})).await?;
                states.into_inner().map_ok(drop).boxed()
            }
            Self::Storage => session(channel, document()).await?,
            Self::Bootstrap => feed(channel).await?,
            Self::SipEdge => {
                let mut client = SipEdgeClient::new(channel.clone());
                let request = sip_edge::RegistrationsRequest {
                    follow: true,
                    ..sip_edge::RegistrationsRequest::default()
                };
                let registrations = client.registrations(unbounded(request)).await?;
                registrations.into_inner().map_ok(drop).boxed()
            }
        };
        match tokio::time::timeout(PATIENCE, stream.try_next()).await {
            Ok(Ok(Some(()))) => Ok(stream),
            Ok(Ok(None)) => Err(Status::internal("the stream ended with its first message missing")),
            Ok(Err(status)) => Err(status),
            Err(_) => Err(Status::deadline_exceeded("no first message")),
        }
    }

    /// `filling` goes where the contract has room for text.
    async fn call_with(self, channel: &Channel, patience: Duration, filling: String) -> Result<(), Status> {
        let channel = channel.clone();
        match self {
            Self::Overlay => {
                let mut contents = MessageContents::of(&PingReq::default().into()).to_bytes().to_vec();
                contents.extend_from_slice(filling.as_bytes());
                let request = overlay::CallRequest {
                    destinations: vec![Destination::from(ResourceId::of(b"anybody")).to_bytes()],
                    contents: contents.into(),
                    ..overlay::CallRequest::default()
                };
                let mut client = OverlayClient::new(channel);
                client.call(within(patience, request)).await.map(drop)
            }
            Self::Storage => {
                let mut client = StorageClient::new(channel);
                client.stats(within(patience, storage::StatsRequest {})).await.map(drop)
            }
            Self::Bootstrap => {
                let request = bootstrap::CreateTokenRequest {
                    id: format!("contract{filling}"),
                    lifetime_seconds: 600,
                    peer: true,
                    edges: 1,
                    ..bootstrap::CreateTokenRequest::default()
                };
                let mut client = BootstrapClient::new(channel);
                client.create_token(within(patience, request)).await.map(drop)
            }
            Self::SipEdge => {
                let request = sip_edge::RegistrationsRequest {
                    aor: filling,
                    follow: false,
                };
                let mut client = SipEdgeClient::new(channel);
                let listed = client.registrations(within(patience, request)).await?;
                listed.into_inner().try_for_each(|_| async { Ok(()) }).await
            }
        }
    }
}

/// Asks an edge to drain; says how many transactions are left.
///
/// # Errors
/// What the seam says.
pub async fn drain(channel: &Channel) -> Result<u64, Status> {
    let mut client = SipEdgeClient::new(channel.clone());
    let drained = client.drain(within(PATIENCE, sip_edge::DrainRequest {})).await?;
    Ok(drained.into_inner().transactions)
}

/// What the health service says of an edge.
///
/// # Errors
/// What the seam says.
pub async fn edge_health(channel: &Channel) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest {
        service: "p2psip.sip_edge.v1.SipEdge".into(),
    };
    let mut client = HealthClient::new(channel.clone());
    Ok(client.check(within(PATIENCE, request)).await?.into_inner().status())
}

fn within<T>(patience: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(patience);
    request
}

/// A storage session.
async fn session(channel: &Channel, document: Bytes) -> Result<Stream, Status> {
    let mut client = StorageClient::new(channel.clone());
    let session = Duplex::open(|request| client.session(request)).await?;
    let open = storage::Open {
        node_id: Bytes::from_static(&[7; 16]),
        instance: 1,
        document,
    };
    let open = storage::SessionRequest {
        id: 1,
        traceparent: String::new(),
        command: Some(storage::session_request::Command::Open(open)),
    };
    session.send(open).await?;
    Ok(whole(session))
}

/// A bootstrap feed; its first item is the document.
async fn feed(channel: &Channel) -> Result<Stream, Status> {
    let mut client = BootstrapClient::new(channel.clone());
    let feed = Duplex::open(|request| client.feed(request)).await?;
    let open = bootstrap::FeedOpen {
        node_id: Bytes::from_static(&[7; 16]),
        document_sequence: 0,
        document: Bytes::new(),
    };
    let open = bootstrap::FeedRequest {
        message: Some(bootstrap::feed_request::Message::Open(open)),
    };
    feed.send(open).await?;
    Ok(whole(feed))
}

/// Keeps both halves as long as the answers are wanted.
fn whole<Up: Send + 'static, Down: Send + 'static>(duplex: Duplex<Up, Down>) -> Stream {
    let next = async |mut duplex: Duplex<Up, Down>| Ok(duplex.receive().await?.map(|_| ((), duplex)));
    stream::try_unfold(duplex, next).boxed()
}

/// Any document will do for a session.
fn document() -> Bytes {
    let world = World::new().expect("an overlay can be made");
    world.document().xml().clone()
}

/// More than the 4 MiB of a message.
const OVERSIZE: usize = 5 << 20;
/// Bounds what should come at once, on a machine that has much else to do.
pub const PATIENCE: Duration = Duration::from_secs(20);
