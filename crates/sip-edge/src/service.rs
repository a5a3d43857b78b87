//! What the operator may ask of an edge, over gRPC.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use rpc::proto::sip_edge::v1::{
    CallState, CallsRequest, CallsResponse, DrainRequest, DrainResponse, Event, RegistrationsRequest,
    RegistrationsResponse, sip_edge_server::SipEdge,
};
use sip_core::aor::Aor;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::driver::Command;
use crate::feed::{Change, Listed, TooMany};
use crate::listed::{Call, Registration, Stage, difference};

/// Passes the operator's questions to the driver.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    commands: mpsc::Sender<Command>,
    draining: CancellationToken,
    /// The overlay's domain, which a bare user name gets.
    domain: Arc<str>,
}

type Items<T> = BoxStream<'static, Result<T, Status>>;

impl Service {
    /// A service of the driver that reads `commands` and drains when `draining` says so.
    pub(crate) fn new(commands: mpsc::Sender<Command>, draining: CancellationToken, domain: &str) -> Self {
        Self {
            commands,
            draining,
            domain: domain.into(),
        }
    }

    /// The AOR that is asked for; empty for all.
    fn aor(&self, text: String) -> Result<String, Status> {
        if text.is_empty() || text.contains('@') {
            return Ok(text);
        }
        let aor = Aor::new(&text, &self.domain);
        let aor = aor.map_err(|error| Status::invalid_argument(format!("user {text}: {error}")))?;
        Ok(aor.as_str().to_owned())
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Status> {
        let (answer, answered) = oneshot::channel();
        let gone = || Status::unavailable("the edge stops");
        self.commands.send(command(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }

    /// Makes messages of a list and, if it is followed, a `mark` at its end and messages of its changes.
    fn stream<T, R>(&self, listed: Listed<T>, mark: R, tell: impl Fn(Change<T>) -> Vec<R> + Send + 'static) -> Items<R>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        let Listed { items, changes } = listed;
        let came = |item| Change {
            before: None,
            after: Some(item),
        };
        let list: Vec<R> = items.into_iter().flat_map(|item| tell(came(item))).collect();
        let list = stream::iter(list);
        let Some(changes) = changes else {
            return list.map(Ok).boxed();
        };
        let changes = ReceiverStream::new(changes).take_until(self.draining.clone().cancelled_owned());
        let changes = changes.flat_map(move |change| stream::iter(tell(change)));
        let draining = self.draining.clone();
        let end = stream::once(async move {
            Err(Status::unavailable(match draining.is_cancelled() {
                true => "draining",
                false => "the edge stops, or this reader lags too far behind",
            }))
        });
        list.chain(stream::iter([mark]))
            .chain(changes)
            .map(Ok)
            .chain(end)
            .boxed()
    }
}

#[tonic::async_trait]
impl SipEdge for Service {
    type RegistrationsStream = Items<RegistrationsResponse>;
    type CallsStream = Items<CallsResponse>;

    async fn registrations(
        &self,
        request: Request<RegistrationsRequest>,
    ) -> Result<Response<Self::RegistrationsStream>, Status> {
        let RegistrationsRequest { aor, follow } = request.into_inner();
        let aor = self.aor(aor)?;
        let listed = self.ask(|answer| Command::Registrations { follow, answer }).await?;
        let mark = RegistrationsResponse {
            event: Event::Listed.into(),
            ..RegistrationsResponse::default()
        };
        let tell = move |change: Change<Vec<Registration>>| {
            let (before, after) = (change.before.unwrap_or_default(), change.after.unwrap_or_default());
            let (gone, other) = difference(&before, &after);
            let gone = gone.map(|registration| (Event::Gone, registration));
            let all = gone.chain(other.map(|registration| (Event::Held, registration)));
            all.filter(|(_, registration)| aor.is_empty() || registration.aor == aor)
                .map(registration_response)
                .collect()
        };
        Ok(Response::new(self.stream(listed?, mark, tell)))
    }

    async fn calls(&self, request: Request<CallsRequest>) -> Result<Response<Self::CallsStream>, Status> {
        let CallsRequest { follow } = request.into_inner();
        let listed = self.ask(|answer| Command::Calls { follow, answer }).await?;
        let mark = CallsResponse {
            event: Event::Listed.into(),
            ..CallsResponse::default()
        };
        let tell = |Change { before, after }| {
            let event = if after.is_some() { Event::Held } else { Event::Gone };
            let call: Option<Call> = after.or(before);
            call.into_iter().map(|call| calls_response(event, call)).collect()
        };
        Ok(Response::new(self.stream(listed?, mark, tell)))
    }

    async fn drain(&self, _: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        self.draining.cancel();
        let left = self.ask(Command::UnderWay).await?;
        let transactions = u64::try_from(left).unwrap_or(u64::MAX);
        Ok(Response::new(DrainResponse { transactions }))
    }
}

fn registration_response((event, registration): (Event, &Registration)) -> RegistrationsResponse {
    let Registration {
        aor,
        binding,
        expires_unix_ms,
        is_stored,
    } = registration;
    RegistrationsResponse {
        aor: aor.clone(),
        contact: binding.contact.to_string(),
        transport: binding.transport.via_name().to_ascii_lowercase(),
        remote: binding.remote.to_string(),
        reachable: binding.flow().is_some(),
        expires_unix_ms: *expires_unix_ms,
        stored: *is_stored,
        event: event.into(),
    }
}

fn calls_response(event: Event, call: Call) -> CallsResponse {
    let state = match call.stage {
        Stage::Trying => CallState::Trying,
        Stage::Ringing => CallState::Ringing,
        Stage::Standing => CallState::Standing,
    };
    CallsResponse {
        event: event.into(),
        id: call.id,
        call_id: call.call_id,
        from: call.from,
        to: call.to,
        state: state.into(),
        since_unix_ms: call.since_ms,
        answered_unix_ms: call.answered_ms,
        source: call.source,
        targets: call.targets,
    }
}

impl From<TooMany> for Status {
    fn from(_: TooMany) -> Self {
        Self::resource_exhausted("too many follow this list")
    }
}
