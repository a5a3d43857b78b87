//! What can be asked over HTTPS.
//!
//! ```text
//! GET  /.well-known/reload-config        the signed document (RFC 6940 §11.2)
//! POST /enroll                           a form with a certificate request (RFC 6940 §11.3)
//! POST /.well-known/p2psip/vouch         VouchRequest -> VouchResponse: the configuration root, to those who share a secret
//! POST /.well-known/p2psip/enroll        EnrollRequest -> EnrollResponse: all that a token covers
//! POST /.well-known/p2psip/renew         RenewRequest -> RenewResponse, of a node that shows its certificate
//! POST /.well-known/p2psip/record-keys   FetchRecordKeysRequest -> FetchRecordKeysResponse, of an edge that does
//! GET  /.well-known/p2psip/backup        the sealed backup, for a peer that does and has none so new (If-None-Match)
//! POST /.well-known/p2psip/replicate     ReplicateRequest -> ReplicateResponse, of another service that shows its certificate
//! ```

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRef, Multipart, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use identity::{Certificate, Class, Identity, Use, Verifier};
use prost::Message;
use rpc::proto::bootstrap::v1 as proto;
use rustls::pki_types::UnixTime;
use tonic::{Code, Status};

use super::Client;
use super::form::Fields;
use super::services::check_service;
use crate::backup;
use crate::driver::{Command, unix_ms};
use crate::exchange::REPLICATE;
use crate::grpc::Handler;

#[derive(Clone, FromRef)]
struct Service {
    handler: Handler,
    verifier: Arc<Verifier>,
    backup: backup::Latest,
}

pub(super) fn router(handler: Handler, verifier: Arc<Verifier>, backup: backup::Latest) -> Router {
    Router::new()
        .route("/.well-known/reload-config", get(document))
        .route("/enroll", post(enroll_by_form))
        .route("/.well-known/p2psip/vouch", post(vouch))
        .route("/.well-known/p2psip/enroll", post(enroll))
        .route("/.well-known/p2psip/renew", post(renew))
        .route("/.well-known/p2psip/record-keys", post(record_keys))
        .route("/.well-known/p2psip/backup", get(sealed_backup))
        .route(REPLICATE, post(replicate))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Service {
            handler,
            verifier,
            backup,
        })
}

async fn document(State(handler): State<Handler>) -> Result<Response, Failure> {
    let document = handler.ask(Command::Document).await?;
    // RFC 6940 §11.1: the media type of a configuration document.
    Ok(answer("application/p2p-overlay+xml", document))
}

async fn enroll_by_form(
    State(handler): State<Handler>,
    Extension(client): Extension<Client>,
    multipart: Multipart,
) -> Result<Response, Failure> {
    let form = Fields::read(multipart).await?.into_form()?;
    let certificate = handler
        .ask(|reply| Command::EnrollByForm(form, client.from, reply))
        .await?;
    // RFC 6940 §11.3: a single bare certificate.
    Ok(answer("application/pkix-cert", certificate))
}

async fn enroll(
    State(handler): State<Handler>,
    Extension(client): Extension<Client>,
    body: Bytes,
) -> Result<Response, Failure> {
    let request = proto::EnrollRequest::decode(body).map_err(|_| Failure::BadRequest)?;
    let enrolled = handler
        .ask(|reply| Command::Enroll(Box::new(request), Some(client.from), reply))
        .await?;
    Ok(answer(PROTOBUF, enrolled.encode_to_vec()))
}

async fn vouch(State(handler): State<Handler>, body: Bytes) -> Result<Response, Failure> {
    let request = proto::VouchRequest::decode(body).map_err(|_| Failure::BadRequest)?;
    let vouched = handler.ask(|reply| Command::Vouch(request, reply)).await?;
    Ok(answer(PROTOBUF, vouched.encode_to_vec()))
}

async fn renew(State(service): State<Service>, client: Extension<Client>, body: Bytes) -> Result<Response, Failure> {
    let shown = service.shown(&client)?;
    let request = proto::RenewRequest::decode(body).map_err(|_| Failure::BadRequest)?;
    let renewed = service
        .handler
        .ask(|reply| Command::Renew(shown, Box::new(request), reply))
        .await?;
    Ok(answer(PROTOBUF, renewed.encode_to_vec()))
}

async fn record_keys(
    State(service): State<Service>,
    client: Extension<Client>,
    body: Bytes,
) -> Result<Response, Failure> {
    let shown = service.shown(&client)?;
    let request = proto::FetchRecordKeysRequest::decode(body).map_err(|_| Failure::BadRequest)?;
    let fetched = service
        .handler
        .ask(|reply| Command::FetchRecordKeys(shown, request, reply))
        .await?;
    Ok(answer(PROTOBUF, fetched.encode_to_vec()))
}

/// Each peer keeps a copy; the tag is the time at which it was made.
async fn sealed_backup(
    State(service): State<Service>,
    client: Extension<Client>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    if service.identity(&client)?.class != Class::Peer {
        return Err(Failure::NotCovered);
    }
    let newest = service.backup.borrow().clone();
    let Some(newest) = newest else {
        return Ok(StatusCode::NOT_FOUND.into_response());
    };
    let known = headers.get(IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
    let known_ms: Option<u64> = known.and_then(|tag| tag.trim_matches('"').parse().ok());
    match known_ms {
        Some(known_ms) if known_ms >= newest.header().time_ms => Ok(StatusCode::NOT_MODIFIED.into_response()),
        _ => Ok(answer("application/octet-stream", newest.octets().clone())),
    }
}

async fn replicate(
    State(service): State<Service>,
    client: Extension<Client>,
    body: Bytes,
) -> Result<Response, Failure> {
    let leaf = client.leaf.as_ref().ok_or(Failure::NotAuthenticated)?;
    check_service(&service.verifier.trust(), leaf, UnixTime::now()).map_err(|_| Failure::NotAuthenticated)?;
    let request = proto::ReplicateRequest::decode(body).map_err(|_| Failure::BadRequest)?;
    let changes = service.handler.ask(|reply| Command::Replicate(request, reply)).await?;
    Ok(answer(PROTOBUF, changes.encode_to_vec()))
}

impl Service {
    /// The certificate that the client showed.
    fn shown(&self, client: &Client) -> Result<Certificate, Failure> {
        Ok(self.identity(client)?.certificate.clone())
    }

    /// The client's identity. It is judged again: the document may have banned the node since the handshake.
    fn identity(&self, client: &Client) -> Result<Arc<Identity>, Failure> {
        let leaf = client.leaf.as_ref().ok_or(Failure::NotAuthenticated)?;
        let identity = self.verifier.verify(leaf, &[], unix_ms(), Use::Node);
        identity.map_err(|_| Failure::NotAuthenticated)
    }
}

fn answer(media_type: &'static str, body: impl Into<axum::body::Body>) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, body.into()).into_response()
}

/// Why nothing was issued. RFC 6940 §11.3: 403 with one of these tokens.
///
/// Whether a credential is unknown, used up, revoked or expired is told to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    NotAuthenticated,
    NodeIds,
    BadRequest,
    NotCovered,
    TooMany,
    Unavailable,
}

impl Failure {
    fn parts(self) -> (StatusCode, &'static str) {
        match self {
            Failure::NotAuthenticated => (StatusCode::FORBIDDEN, "failed_authentication"),
            Failure::NodeIds => (StatusCode::FORBIDDEN, "Node-IDs_not_available"),
            Failure::BadRequest => (StatusCode::FORBIDDEN, "bad_CSR"),
            Failure::NotCovered => (StatusCode::FORBIDDEN, "not_covered"),
            Failure::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            Failure::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        match status.code() {
            // The user of a client is gone.
            Code::Unauthenticated | Code::PermissionDenied | Code::NotFound => Failure::NotAuthenticated,
            Code::InvalidArgument => Failure::BadRequest,
            Code::FailedPrecondition => Failure::NotCovered,
            Code::ResourceExhausted => Failure::TooMany,
            _ => Failure::Unavailable,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, token) = self.parts();
        // As text/plain.
        (status, token).into_response()
    }
}

/// The messages of the gRPC contract.
const PROTOBUF: &str = "application/x-protobuf";
/// A peer and sixteen edges with the largest keys need less.
const MAX_BODY: usize = 64 * 1024;
