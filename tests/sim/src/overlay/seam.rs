//! The session between the two cores: each has its own, equal shapes, as the contract in `proto/` has.

use overlay_core as o;
use storage_core as s;

/// Carries a command to storage.
pub(super) fn command(id: o::CommandId, command: o::Command) -> (s::CommandId, s::Command) {
    let command = match command {
        o::Command::Apply {
            code,
            body,
            certificates,
            signer,
        } => s::Command::Apply {
            code,
            body,
            certificates,
            signer,
        },
        o::Command::Scan { after, range } => s::Command::Scan { after, range },
        o::Command::Keep { own, replica } => s::Command::Keep { own, replica },
        o::Command::Forget {
            resource,
            stat,
            compare_only,
        } => s::Command::Forget {
            resource,
            stat,
            compare_only,
        },
        o::Command::Count => s::Command::Count,
        o::Command::Clock { unix_ms, voices } => s::Command::Clock { unix_ms, voices },
        o::Command::Document { xml } => s::Command::Document { xml },
    };
    (s::CommandId(id.0), command)
}

/// Carries an answer to the overlay.
pub(super) fn answer(id: s::CommandId, answer: s::Answer) -> (o::CommandId, o::Answer) {
    let stores = |stores: Vec<s::ReplicaStore>| stores.into_iter().map(store).collect();
    let answer = match answer {
        s::Answer::Applied {
            code,
            body,
            certificates,
            replicas,
        } => o::Answer::Applied {
            code,
            body,
            certificates,
            replicas: stores(replicas),
        },
        s::Answer::Refused { code, info } => o::Answer::Refused { code, info },
        s::Answer::Scanned { stores: found, next } => o::Answer::Scanned {
            stores: stores(found),
            next,
        },
        s::Answer::Counted { records } => o::Answer::Counted { records },
        s::Answer::Done => o::Answer::Done,
    };
    (o::CommandId(id.0), answer)
}

fn store(store: s::ReplicaStore) -> o::ReplicaStore {
    o::ReplicaStore {
        resource: store.resource,
        body: store.body,
        certificates: store.certificates,
    }
}
