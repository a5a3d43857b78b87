//! A stub of the storage component: one value a resource, and every session is welcome.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use bytes::Bytes;
use rpc::Served;
use rpc::proto::storage::v1::storage_server::{Storage, StorageServer};
use rpc::proto::storage::v1::{
    Applied, Apply, Counted, Done, Opened, Refusal, ReplicaStore, Scanned, SessionRequest, SessionResponse,
    StatsRequest, StatsResponse, session_request, session_response,
};
use wire::{
    Decode, Encode, ErrorCode, FetchAns, FetchKindResponse, FetchReq, MessageCode, ResourceId, StoreAns, StoreKindData,
    StoreKindResponse, StoreReq,
};

pub fn served() -> Served {
    Served::builder().service(StorageServer::new(Stub::default())).build()
}

#[derive(Clone, Default)]
struct Stub {
    values: Arc<Mutex<BTreeMap<ResourceId, StoreKindData>>>,
}

#[tonic::async_trait]
impl Storage for Stub {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let stub = self.clone();
        let answers = request.into_inner().map(move |request| Ok(stub.answer(request?)));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn stats(&self, _: Request<StatsRequest>) -> Result<Response<StatsResponse>, Status> {
        Ok(Response::new(StatsResponse::default()))
    }
}

impl Stub {
    fn answer(&self, request: SessionRequest) -> SessionResponse {
        use session_request::Command;
        let answer = match request.command.expect("a command") {
            Command::Open(_) => session_response::Answer::Opened(Opened {
                session: 1,
                store_id: Bytes::from_static(&[7; 16]),
                ..Opened::default()
            }),
            Command::Apply(apply) => self.apply(&apply),
            Command::Scan(_) => session_response::Answer::Scanned(Scanned::default()),
            Command::Count(_) => session_response::Answer::Counted(Counted {
                records: u64::try_from(self.values.lock().unwrap().len()).unwrap(),
            }),
            Command::Keep(_) | Command::Forget(_) | Command::Clock(_) | Command::Document(_) => {
                session_response::Answer::Done(Done {})
            }
        };
        SessionResponse {
            id: request.id,
            document_sequence: 1,
            answer: Some(answer),
        }
    }

    fn apply(&self, apply: &Apply) -> session_response::Answer {
        let mut values = self.values.lock().unwrap();
        match MessageCode(u16::try_from(apply.code).unwrap()) {
            MessageCode::STORE_REQ => {
                let store = StoreReq::from_bytes(&apply.body).unwrap();
                let kind = store.kind_data.first().unwrap().clone();
                values.insert(store.resource, kind.clone());
                let response = StoreKindResponse {
                    kind: kind.kind,
                    generation_counter: kind.generation_counter,
                    replicas: Vec::new(),
                };
                let copy = StoreReq {
                    replica_number: 1,
                    ..store
                };
                session_response::Answer::Applied(Applied {
                    code: u32::from(MessageCode::STORE_ANS.0),
                    body: StoreAns {
                        kind_responses: vec![response],
                    }
                    .to_bytes(),
                    replicas: vec![ReplicaStore {
                        resource_id: Bytes::copy_from_slice(copy.resource.as_bytes()),
                        body: copy.to_bytes(),
                        certificates: apply.certificates.clone(),
                    }],
                    ..Applied::default()
                })
            }
            MessageCode::FETCH_REQ => {
                let fetch = FetchReq::from_bytes(&apply.body).unwrap();
                let kind_responses = fetch.specifiers.iter().map(|specifier| {
                    let held = values.get(&fetch.resource).filter(|held| held.kind == specifier.kind);
                    FetchKindResponse {
                        kind: specifier.kind,
                        generation: held.map_or(0, |held| held.generation_counter),
                        values: held.map_or_else(Vec::new, |held| held.values.clone()),
                    }
                });
                session_response::Answer::Applied(Applied {
                    code: u32::from(MessageCode::FETCH_ANS.0),
                    body: FetchAns {
                        kind_responses: kind_responses.collect(),
                    }
                    .to_bytes(),
                    ..Applied::default()
                })
            }
            _ => session_response::Answer::Refusal(Refusal {
                code: u32::from(ErrorCode::InvalidMessage.number()),
                info: Bytes::new(),
            }),
        }
    }
}
