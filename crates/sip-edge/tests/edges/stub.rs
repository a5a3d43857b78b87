//! An overlay of one peer without a ring: keeps what is stored and passes AppAttach between its edges. It checks no policy.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use rpc::proto::overlay::v1 as proto;
use rpc::proto::overlay::v1::overlay_server::{Overlay, OverlayServer};
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status, Streaming};
use wire::{
    Body, Decode as _, Destination, Encode as _, FetchAns, FetchKindResponse, KindId, MessageContents, NodeId,
    ResourceId, SecurityBlock, StoreAns, StoreKindResponse, StoredData, StoredDataValue,
};

/// The home peer of all edges.
pub(crate) const HOME: NodeId = NodeId::WILDCARD;

type Down = mpsc::Sender<Result<proto::AttachResponse, Status>>;
type Slot = (ResourceId, KindId, Bytes);

#[derive(Clone, Default)]
pub(crate) struct Stub(Arc<State>);

#[derive(Default)]
struct State {
    values: Mutex<HashMap<Slot, (StoredData, Vec<Bytes>)>>,
    edges: Mutex<HashMap<NodeId, Down>>,
    replies: Mutex<HashMap<u64, oneshot::Sender<proto::Reply>>>,
    next: AtomicU64,
    attachments: AtomicU64,
    document: Bytes,
}

impl Stub {
    pub(crate) fn new(document: Bytes) -> Self {
        Self(Arc::new(State {
            document,
            ..State::default()
        }))
    }

    pub(crate) fn served(&self) -> rpc::Served {
        rpc::Served::builder().service(OverlayServer::new(self.clone())).build()
    }

    /// Carries out a StoreReq.
    pub(crate) fn store(&self, contents: &Bytes, security: &SecurityBlock) -> Body {
        let Body::StoreReq(request) = MessageContents::from_bytes(contents).unwrap().body().unwrap() else {
            panic!("not a StoreReq")
        };
        let mut values = self.0.values.lock().unwrap();
        for kind in &request.kind_data {
            for data in &kind.values {
                let StoredDataValue::Dictionary { key, .. } = &data.value else {
                    panic!("not a dictionary")
                };
                values.insert(
                    (request.resource, kind.kind, key.clone()),
                    (data.clone(), identity::bucket(security)),
                );
            }
        }
        let kinds = request.kind_data.iter().map(|kind| StoreKindResponse {
            kind: kind.kind,
            generation_counter: 1,
            replicas: vec![HOME],
        });
        Body::StoreAns(StoreAns {
            kind_responses: kinds.collect(),
        })
    }

    /// How many registrations exist for an AOR.
    pub(crate) fn registrations(&self, aor: &str) -> usize {
        let resource = ResourceId::of(aor.as_bytes());
        let values = self.0.values.lock().unwrap();
        let exists =
            |data: &StoredData| matches!(&data.value, StoredDataValue::Dictionary { value, .. } if value.exists);
        values
            .iter()
            .filter(|((at, kind, _), (data, _))| *at == resource && *kind == KindId::SIP_REGISTRATION && exists(data))
            .count()
    }

    /// How often an edge has attached.
    pub(crate) fn attachments(&self) -> u64 {
        self.0.attachments.load(Ordering::Relaxed)
    }

    fn fetch(&self, contents: &MessageContents) -> (Body, Vec<Bytes>) {
        let Body::FetchReq(request) = contents.body().unwrap() else {
            panic!("not a FetchReq")
        };
        let values = self.0.values.lock().unwrap();
        let mut certificates = Vec::new();
        let kinds = request.specifiers.iter().map(|specifier| {
            let found = values
                .iter()
                .filter(|((resource, kind, _), _)| *resource == request.resource && *kind == specifier.kind);
            let values = found.map(|(_, (data, bucket))| {
                certificates.extend(bucket.iter().cloned());
                data.clone()
            });
            FetchKindResponse {
                kind: specifier.kind,
                generation: 1,
                values: values.collect(),
            }
        });
        let body = Body::FetchAns(FetchAns {
            kind_responses: kinds.collect(),
        });
        (body, certificates)
    }

    /// Brings a request to an attached edge and waits for what it answers.
    pub(crate) async fn ask(&self, node: NodeId, request: proto::CallRequest) -> Option<proto::Reply> {
        let down = self.0.edges.lock().unwrap().get(&node).cloned()?;
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (reply, replied) = oneshot::channel();
        self.0.replies.lock().unwrap().insert(id, reply);
        let incoming = proto::Incoming {
            id,
            transaction_id: request.transaction_id.unwrap(),
            contents: request.contents,
            security_block: request.security_block,
        };
        down.send(Ok(proto::AttachResponse {
            message: Some(proto::attach_response::Message::Incoming(incoming)),
        }))
        .await
        .ok()?;
        replied.await.ok()
    }
}

#[tonic::async_trait]
impl Overlay for Stub {
    type AttachStream = BoxStream<'static, Result<proto::AttachResponse, Status>>;
    type WatchStream = BoxStream<'static, Result<proto::WatchResponse, Status>>;

    async fn call(&self, request: Request<proto::CallRequest>) -> Result<Response<proto::CallResponse>, Status> {
        let request = request.into_inner();
        let contents = MessageContents::from_bytes(&request.contents).unwrap();
        let destination = Destination::from_bytes(request.destinations.last().unwrap()).unwrap();
        let mut response = proto::CallResponse {
            responder: HOME.as_bytes().to_vec().into(),
            ..Default::default()
        };
        let (body, certificates) = match (contents.body().unwrap(), destination) {
            (Body::StoreReq(_), _) => (
                self.store(
                    &request.contents,
                    &SecurityBlock::from_bytes(&request.security_block).unwrap(),
                ),
                Vec::new(),
            ),
            (Body::FetchReq(_), _) => self.fetch(&contents),
            (_, Destination::Node(node)) => {
                response.result = Some(match self.ask(node, request).await {
                    Some(reply) => proto::call_response::Result::Contents(reply.contents),
                    None => proto::call_response::Result::Refusal(proto::Refusal {
                        code: 3,
                        info: Bytes::new(),
                    }),
                });
                return Ok(Response::new(response));
            }
            (body, _) => panic!("unexpected request {body:?}"),
        };
        response.result = Some(proto::call_response::Result::Contents(
            MessageContents::of(&body).to_bytes(),
        ));
        response.certificates = certificates;
        Ok(Response::new(response))
    }

    async fn attach(
        &self,
        request: Request<Streaming<proto::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        use proto::attach_request::Message as Up;
        use proto::attach_response::Message as DownMessage;

        let (down, stream) = mpsc::channel(16);
        let (stub, mut up) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            let send = async |message| {
                down.send(Ok(proto::AttachResponse { message: Some(message) }))
                    .await
                    .unwrap()
            };
            send(DownMessage::Challenge(proto::Challenge {
                nonce: Bytes::from_static(&[7; 32]),
            }))
            .await;
            while let Some(Ok(message)) = up.next().await {
                match message.message.unwrap() {
                    Up::Hello(hello) => {
                        let security = SecurityBlock::from_bytes(&hello.security_block).unwrap();
                        let certificate = identity::Certificate::from_der(&identity::bucket(&security)[0]).unwrap();
                        stub.0
                            .edges
                            .lock()
                            .unwrap()
                            .insert(certificate.node_ids()[0], down.clone());
                        stub.0.attachments.fetch_add(1, Ordering::Relaxed);
                        send(DownMessage::Attached(proto::Attached {
                            node_id: HOME.as_bytes().to_vec().into(),
                        }))
                        .await;
                    }
                    Up::Reply(reply) => {
                        let waiting = stub.0.replies.lock().unwrap().remove(&reply.id);
                        let _ = waiting.unwrap().send(reply);
                    }
                }
            }
        });
        Ok(Response::new(
            tokio_stream::wrappers::ReceiverStream::new(stream).boxed(),
        ))
    }

    async fn watch(&self, _: Request<proto::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let state = proto::WatchResponse {
            joined: true,
            serving: true,
            ready: true,
            document_sequence: 1,
            document: self.0.document.clone(),
            ..Default::default()
        };
        Ok(Response::new(
            futures_util::stream::once(async { Ok(state) })
                .chain(futures_util::stream::pending())
                .boxed(),
        ))
    }

    async fn put_document(
        &self,
        _: Request<proto::PutDocumentRequest>,
    ) -> Result<Response<proto::PutDocumentResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn leave(&self, _: Request<proto::LeaveRequest>) -> Result<Response<proto::LeaveResponse>, Status> {
        Err(Status::failed_precondition("a stub has no ring"))
    }
}
