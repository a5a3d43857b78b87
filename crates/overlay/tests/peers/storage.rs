//! A stub of the storage component: one value a resource; the newest session has it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
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

#[derive(Clone, Default)]
pub struct Stub {
    values: Arc<Mutex<BTreeMap<ResourceId, StoreKindData>>>,
    sessions: Arc<Mutex<Sessions>>,
}

#[derive(Default)]
struct Sessions {
    /// How many there were.
    count: u64,
    /// Ends the one that is open.
    open: Option<oneshot::Sender<Status>>,
    /// Commands are taken and never answered.
    is_deaf: bool,
    /// Commands that were taken and not answered.
    unanswered: usize,
}

impl Stub {
    pub fn served(&self) -> Served {
        Served::builder().service(StorageServer::new(self.clone())).build()
    }

    /// How many sessions there were.
    pub fn sessions(&self) -> u64 {
        self.sessions.lock().unwrap().count
    }

    /// Takes commands from now on and answers none, or answers the next ones again.
    pub fn set_deaf(&self, is_deaf: bool) {
        self.sessions.lock().unwrap().is_deaf = is_deaf;
    }

    /// How many commands were not answered.
    pub fn unanswered(&self) -> usize {
        self.sessions.lock().unwrap().unanswered
    }

    /// Ends the open session.
    pub fn end(&self, status: Status) {
        if let Some(open) = self.sessions.lock().unwrap().open.take() {
            // A session that has ended by itself does not hear it.
            let _ = open.send(status);
        }
    }

    fn begin(&self) -> oneshot::Receiver<Status> {
        let (open, over) = oneshot::channel();
        let mut sessions = self.sessions.lock().unwrap();
        sessions.count += 1;
        let older = sessions.open.replace(open);
        drop(sessions);
        if let Some(older) = older {
            let _ = older.send(Status::failed_precondition("storage taken by instance 2"));
        }
        over
    }

    fn is_heard(&self, request: &SessionRequest) -> bool {
        let mut sessions = self.sessions.lock().unwrap();
        let is_open = matches!(request.command, Some(session_request::Command::Open(_)));
        let is_lost = sessions.is_deaf && !is_open;
        sessions.unanswered += usize::from(is_lost);
        !is_lost
    }
}

#[tonic::async_trait]
impl Storage for Stub {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (stub, mut requests) = (self.clone(), request.into_inner());
        let (answers, stream) = mpsc::channel(256);
        let mut over = self.begin();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    status = &mut over => {
                        let status = status.unwrap_or_else(|_| Status::unavailable("the stub is gone"));
                        // The caller may have gone.
                        let _ = answers.send(Err(status)).await;
                        return;
                    }
                    request = requests.message() => match request {
                        Ok(Some(request)) if stub.is_heard(&request) => {
                            if answers.send(Ok(stub.answer(request))).await.is_err() {
                                return;
                            }
                        }
                        Ok(Some(_)) => {}
                        Ok(None) | Err(_) => return,
                    },
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
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
