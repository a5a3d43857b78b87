//! The commands of the driver, and how they are refused.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use identity::{Certificate, Key, Trust};
use rpc::proto::bootstrap::v1 as proto;
use tokio::sync::oneshot;
use tonic::Status;

use super::Down;
use crate::core::{Form, TokenCursor, TokenPage, UserPage};

/// Where an answer goes; nobody may be waiting any more.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Status>>;

/// A command of the driver.
pub(crate) enum Command {
    /// A request and where it came from; an operator's comes from nowhere.
    Enroll(Box<proto::EnrollRequest>, Option<IpAddr>, Reply<proto::EnrollResponse>),
    /// The form of RFC 6940 §11.3, and where it came from; the answer is a certificate.
    EnrollByForm(Form, IpAddr, Reply<Bytes>),
    /// A host that shares a secret wants to know the configuration root.
    Vouch(proto::VouchRequest, Reply<proto::VouchResponse>),
    /// The certificate that a node showed, verified, and what it asks for.
    Renew(Certificate, Box<proto::RenewRequest>, Reply<proto::RenewResponse>),
    /// A key and a certificate of the enrollment server, for these hosts.
    Server(Vec<String>, Reply<(Key, Certificate)>),
    /// The document.
    Document(Reply<Bytes>),
    PutUser(Box<proto::PutUserRequest>, Reply<proto::PutUserResponse>),
    DeleteUser(proto::DeleteUserRequest, Reply<proto::DeleteUserResponse>),
    ListUsers(proto::ListUsersRequest, Option<String>, Reply<UserPage>),
    CreateToken(proto::CreateTokenRequest, Reply<proto::CreateTokenResponse>),
    RevokeToken(proto::RevokeTokenRequest, Reply<proto::RevokeTokenResponse>),
    ListTokens(Option<TokenCursor>, Reply<TokenPage>),
    RotateRecordKey(proto::RotateRecordKeyRequest, Reply<proto::RotateRecordKeyResponse>),
    RecordKeys(Reply<proto::RecordKeysResponse>),
    /// The certificate that an edge showed, verified, and which record keys it holds.
    FetchRecordKeys(
        Certificate,
        proto::FetchRecordKeysRequest,
        Reply<proto::FetchRecordKeysResponse>,
    ),
    /// The URLs of the other services of the overlay.
    OtherServices(Reply<Vec<String>>),
    /// Whom the document trusts.
    Trust(Reply<Arc<Trust>>),
    /// Another service asks what changed here.
    Replicate(proto::ReplicateRequest, Reply<proto::ReplicateResponse>),
    /// The changes at the service with this URL.
    Merge(String, Box<proto::ReplicateResponse>, Reply<()>),
    /// A stream of an overlay begins; its number is the answer.
    Attach(proto::FeedOpen, Down, Reply<u64>),
    Acknowledge {
        feed: u64,
        acknowledge: proto::Acknowledge,
    },
    Detach(u64),
}

impl Command {
    /// Whether what is decided goes to the disk. Edges also say which keys they hold, which is a few octets.
    pub(super) fn is_change(&self) -> bool {
        matches!(
            self,
            Command::Enroll(..)
                | Command::EnrollByForm(..)
                | Command::Renew(..)
                | Command::PutUser(..)
                | Command::DeleteUser(..)
                | Command::CreateToken(..)
                | Command::RevokeToken(..)
                | Command::RotateRecordKey(..)
                | Command::Merge(..)
        )
    }

    /// Answers with the reason why it is not carried out.
    pub(crate) fn refuse(self, status: Status) {
        fn to<T>(reply: Reply<T>, status: Status) {
            // Who asked may have left.
            let _ = reply.send(Err(status));
        }
        match self {
            Command::Enroll(_, _, reply) => to(reply, status),
            Command::EnrollByForm(_, _, reply) => to(reply, status),
            Command::Renew(_, _, reply) => to(reply, status),
            Command::Server(_, reply) => to(reply, status),
            Command::Document(reply) => to(reply, status),
            Command::PutUser(_, reply) => to(reply, status),
            Command::DeleteUser(_, reply) => to(reply, status),
            Command::ListUsers(_, _, reply) => to(reply, status),
            Command::CreateToken(_, reply) => to(reply, status),
            Command::RevokeToken(_, reply) => to(reply, status),
            Command::ListTokens(_, reply) => to(reply, status),
            Command::RotateRecordKey(_, reply) => to(reply, status),
            Command::RecordKeys(reply) => to(reply, status),
            Command::FetchRecordKeys(_, _, reply) => to(reply, status),
            Command::OtherServices(reply) => to(reply, status),
            Command::Trust(reply) => to(reply, status),
            Command::Replicate(_, reply) => to(reply, status),
            Command::Merge(_, _, reply) => to(reply, status),
            Command::Attach(_, _, reply) => to(reply, status),
            Command::Vouch(_, reply) => to(reply, status),
            Command::Acknowledge { .. } | Command::Detach(_) => {}
        }
    }
}
