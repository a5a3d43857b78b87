//! The session with storage: opened, kept, opened again after a loss.
//!
//! Each session has a channel of its own for commands, made when it is open and dropped when it ends: what the core had
//! open goes again on the next one, and nothing of an older session can follow it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};
use tracing::{debug, error, info};

use overlay_core::{Answer, Command, CommandId, ReplicaStore};
use rpc::proto::storage::v1::{
    Apply, Clock, Count, Document, Forget, Keep, Open, Range, Scan, SessionRequest, SessionResponse, session_request,
    session_response, storage_client::StorageClient,
};
use rpc::{Backoff, Channel};
use wire::{NodeId, ResourceId};

use crate::driver::Request;
use crate::view::View;

/// Both halves of the session's stream. They are used at the same time: were answers not read while a command waits to be
/// sent, both ends could wait for each other.
struct Stream {
    up: mpsc::Sender<SessionRequest>,
    down: Streaming<SessionResponse>,
}

/// Where the commands of a session go, each with the trace that it is part of.
pub(crate) type Commands = mpsc::Sender<(CommandId, String, Command)>;

/// Keeps a session until the stop signal, or until another overlay has taken the store.
pub(crate) async fn keep(
    storage: Channel,
    driver: mpsc::Sender<Request>,
    view: watch::Receiver<Arc<View>>,
    stop: CancellationToken,
) {
    let work = async {
        let mut backoff = Backoff::of_streams();
        let instance = instance();
        loop {
            let status = match open(&storage, &view, instance).await {
                Ok((stream, opened)) => {
                    backoff.reset();
                    let status = run(stream, opened, &driver).await;
                    info!(code = ?status.code(), reason = status.message(), "storage session ended");
                    status
                }
                Err(status) => {
                    debug!(code = ?status.code(), reason = status.message(), "no storage session");
                    status
                }
            };
            let is_final = matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument);
            let refusal = is_final.then(|| status.message().to_owned());
            if driver.send(Request::SessionDown(refusal)).await.is_err() || is_final {
                if is_final {
                    // Opening it again would throw out whoever has it now, and be thrown out in turn.
                    error!(reason = status.message(), "storage is not to be had");
                }
                return std::future::pending().await;
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Tells this run of the overlay from others.
fn instance() -> u64 {
    identity::issue::random_node_id().map_or(0, |id| u64::try_from(id.to_u128() >> 64).unwrap_or_default())
}

struct Opened {
    session: u64,
    store_id: [u8; 16],
}

async fn open(storage: &Channel, view: &watch::Receiver<Arc<View>>, instance: u64) -> Result<(Stream, Opened), Status> {
    let mut client = StorageClient::new(storage.clone());
    let (up, messages) = mpsc::channel(UP);
    let mut down = client
        .session(rpc::unbounded(ReceiverStream::new(messages)))
        .await?
        .into_inner();
    let open = {
        let view = view.borrow();
        Open {
            node_id: octets(view.status.node_id),
            instance,
            document: view.document.xml().clone(),
        }
    };
    let gone = |_| Status::unavailable("storage ended the session");
    up.send(request(0, String::new(), session_request::Command::Open(open)))
        .await
        .map_err(gone)?;
    let answer = down.message().await?.and_then(|response| response.answer);
    let Some(session_response::Answer::Opened(opened)) = answer else {
        return Err(Status::unavailable("storage did not open the session"));
    };
    let store_id = opened.store_id.as_ref().try_into();
    let store_id = store_id.map_err(|_| Status::unavailable("storage has no identity"))?;
    Ok((
        Stream { up, down },
        Opened {
            session: opened.session,
            store_id,
        },
    ))
}

/// Moves commands and answers until the session ends.
async fn run(stream: Stream, opened: Opened, driver: &mpsc::Sender<Request>) -> Status {
    let Stream { up, mut down } = stream;
    let (commands, mut queue) = mpsc::channel(COMMANDS);
    let Opened { session, store_id } = opened;
    let ending = || Status::unavailable("the overlay is ending");
    if driver
        .send(Request::SessionUp {
            session,
            store_id,
            commands,
        })
        .await
        .is_err()
    {
        return ending();
    }
    let mut next: Option<SessionRequest> = None;
    loop {
        tokio::select! {
            biased;
            answer = down.message() => {
                let response = match answer {
                    Ok(Some(response)) => response,
                    Ok(None) => return Status::unavailable("storage ended the session"),
                    Err(status) => return status,
                };
                let Some((id, answer)) = answer_of(response) else {
                    return Status::unavailable("storage gave an answer that is none");
                };
                if driver.send(Request::Storage(id, answer)).await.is_err() {
                    return ending();
                }
            }
            permit = up.reserve(), if next.is_some() => match (permit, next.take()) {
                (Ok(permit), Some(request)) => permit.send(request),
                // The stream itself says better why it ended.
                _ => return down.message().await.err().unwrap_or_else(ending),
            },
            command = queue.recv(), if next.is_none() => match command {
                Some((CommandId(id), traceparent, command)) => next = Some(request(id, traceparent, command_of(command))),
                None => return Status::unavailable("the overlay gave the session up"),
            },
        }
    }
}

fn request(id: u64, traceparent: String, command: session_request::Command) -> SessionRequest {
    SessionRequest {
        id,
        traceparent,
        command: Some(command),
    }
}

fn command_of(command: Command) -> session_request::Command {
    use session_request::Command as Proto;
    match command {
        Command::Apply {
            code,
            body,
            certificates,
            signer,
        } => Proto::Apply(Apply {
            code: u32::from(code),
            body,
            certificates,
            signer,
        }),
        Command::Scan { after, range: ends } => Proto::Scan(Scan {
            after: after.map(|resource| Bytes::copy_from_slice(resource.as_bytes())),
            range: Some(range(ends)),
        }),
        Command::Keep { own, replica } => Proto::Keep(Keep {
            own: Some(range(own)),
            replica: Some(range(replica)),
        }),
        Command::Forget {
            resource,
            stat,
            compare_only,
        } => Proto::Forget(Forget {
            compare_only,
            resource_id: Bytes::copy_from_slice(resource.as_bytes()),
            stat,
        }),
        Command::Count => Proto::Count(Count {}),
        Command::Clock { unix_ms, voices } => Proto::Clock(Clock { unix_ms, voices }),
        Command::Document { xml } => Proto::Document(Document { xml }),
    }
}

fn range((after, until): (NodeId, NodeId)) -> Range {
    Range {
        after: octets(after),
        until: octets(until),
    }
}

fn octets(node: NodeId) -> Bytes {
    Bytes::copy_from_slice(node.as_bytes())
}

fn answer_of(response: SessionResponse) -> Option<(CommandId, Answer)> {
    use session_response::Answer as Proto;
    let answer = match response.answer? {
        Proto::Applied(applied) => Answer::Applied {
            code: u16::try_from(applied.code).ok()?,
            body: applied.body,
            certificates: applied.certificates,
            replicas: applied.replicas.into_iter().map(replica_of).collect::<Option<_>>()?,
        },
        Proto::Refusal(refusal) => Answer::Refused {
            code: u16::try_from(refusal.code).ok()?,
            info: refusal.info,
        },
        Proto::Scanned(scanned) => Answer::Scanned {
            stores: scanned.stores.into_iter().map(replica_of).collect::<Option<_>>()?,
            next: match scanned.next {
                Some(next) => Some(ResourceId::try_from(next.as_ref()).ok()?),
                None => None,
            },
        },
        Proto::Counted(counted) => Answer::Counted {
            records: counted.records,
        },
        Proto::Done(_) => Answer::Done,
        Proto::Opened(_) => return None,
    };
    Some((CommandId(response.id), answer))
}

fn replica_of(store: rpc::proto::storage::v1::ReplicaStore) -> Option<ReplicaStore> {
    let resource = ResourceId::try_from(store.resource_id.as_ref()).ok()?;
    Some(ReplicaStore {
        resource,
        body: store.body,
        certificates: store.certificates,
    })
}

/// Commands on their way up; while it is full they wait in the queue of the session.
const UP: usize = 64;

/// Commands of one session that wait to be sent: as many as the core has open at most. When it is full the session is
/// given up.
const COMMANDS: usize = 8192;
