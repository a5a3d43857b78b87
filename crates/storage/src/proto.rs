//! Between the contract's types and the core's.

use bytes::Bytes;
use rpc::proto::storage::v1 as pb;
use storage_core::{Answer, Command, ReplicaStore, Summary};
use tonic::Status;
use wire::{NodeId, ResourceId};

/// A message that is not what the contract says.
pub(crate) fn invalid(what: &str) -> Status {
    Status::invalid_argument(format!("{what} is missing or malformed"))
}

pub(crate) fn node_id(octets: &Bytes) -> Result<NodeId, Status> {
    NodeId::try_from(&**octets).map_err(|_| invalid("a Node-ID"))
}

pub(crate) fn command(command: pb::session_request::Command) -> Result<Command, Status> {
    use pb::session_request::Command as Told;
    Ok(match command {
        Told::Open(_) => return Err(Status::invalid_argument("a session is opened once")),
        Told::Apply(pb::Apply {
            code,
            body,
            certificates,
            signer,
        }) => {
            let code = u16::try_from(code).map_err(|_| invalid("a message code"))?;
            Command::Apply {
                code,
                body,
                certificates,
                signer,
            }
        }
        Told::Scan(pb::Scan { after, range: arc }) => {
            let after = after.map(|after| ResourceId::try_from(&*after)).transpose();
            Command::Scan {
                after: after.map_err(|_| invalid("a Resource-ID"))?,
                range: range(arc)?,
            }
        }
        Told::Keep(pb::Keep { own, replica }) => Command::Keep {
            own: range(own)?,
            replica: range(replica)?,
        },
        Told::Forget(pb::Forget {
            resource_id,
            stat,
            compare_only,
        }) => Command::Forget {
            compare_only,
            resource: ResourceId::try_from(&*resource_id).map_err(|_| invalid("a Resource-ID"))?,
            stat,
        },
        Told::Count(pb::Count {}) => Command::Count,
        Told::Clock(pb::Clock { unix_ms, voices }) => Command::Clock { unix_ms, voices },
        Told::Document(pb::Document { xml }) => Command::Document { xml },
    })
}

pub(crate) fn answer(answer: Answer) -> pb::session_response::Answer {
    use pb::session_response::Answer as Told;
    match answer {
        Answer::Applied {
            code,
            body,
            certificates,
            replicas,
        } => Told::Applied(pb::Applied {
            code: code.into(),
            body,
            certificates,
            replicas: replicas.into_iter().map(replica_store).collect(),
        }),
        Answer::Refused { code, info } => Told::Refusal(pb::Refusal {
            code: code.into(),
            info,
        }),
        Answer::Scanned { stores, next } => Told::Scanned(pb::Scanned {
            stores: stores.into_iter().map(replica_store).collect(),
            next: next.map(|next| Bytes::copy_from_slice(next.as_bytes())),
        }),
        Answer::Counted { records } => Told::Counted(pb::Counted { records }),
        Answer::Done => Told::Done(pb::Done {}),
    }
}

pub(crate) fn stats(summary: &Summary, store_id: [u8; 16], holder: Option<pb::SessionHolder>) -> pb::StatsResponse {
    pb::StatsResponse {
        records: summary.records,
        values: summary.values,
        bytes: summary.bytes,
        oldest_unix_ms: summary.oldest_unix_ms,
        store_id: Bytes::copy_from_slice(&store_id),
        holder,
    }
}

fn range(range: Option<pb::Range>) -> Result<(NodeId, NodeId), Status> {
    let pb::Range { after, until } = range.ok_or_else(|| invalid("a range"))?;
    Ok((node_id(&after)?, node_id(&until)?))
}

fn replica_store(store: ReplicaStore) -> pb::ReplicaStore {
    let ReplicaStore {
        resource,
        body,
        certificates,
    } = store;
    pb::ReplicaStore {
        resource_id: Bytes::copy_from_slice(resource.as_bytes()),
        body,
        certificates,
    }
}
