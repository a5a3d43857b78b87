//! What the operator may ask of an edge, over gRPC.

use futures_util::stream::{self, BoxStream};
use rpc::proto::sip_edge::v1::{
    DrainRequest, DrainResponse, RegistrationsRequest, RegistrationsResponse, sip_edge_server::SipEdge,
};
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};

use crate::driver::{Command, Registration};

/// Passes the operator's questions to the driver.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    commands: mpsc::Sender<Command>,
}

impl Service {
    pub(crate) fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Status> {
        let (answer, answered) = oneshot::channel();
        let gone = || Status::unavailable("the edge stops");
        self.commands.send(command(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}

#[tonic::async_trait]
impl SipEdge for Service {
    type RegistrationsStream = BoxStream<'static, Result<RegistrationsResponse, Status>>;

    async fn registrations(
        &self,
        request: Request<RegistrationsRequest>,
    ) -> Result<Response<Self::RegistrationsStream>, Status> {
        let wanted = request.into_inner().aor;
        let list = self.ask(Command::Registrations).await?;
        let list = list
            .into_iter()
            .filter(move |registration| wanted.is_empty() || registration.aor == wanted);
        Ok(Response::new(Box::pin(stream::iter(
            list.map(|registration| Ok(registration.into())),
        ))))
    }

    async fn drain(&self, _: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        self.ask(Command::Drain).await?;
        Ok(Response::new(DrainResponse {}))
    }
}

impl From<Registration> for RegistrationsResponse {
    fn from(registration: Registration) -> Self {
        let Registration {
            aor,
            binding,
            is_stored,
        } = registration;
        Self {
            aor,
            contact: binding.contact.to_string(),
            transport: binding.transport.via_name().to_ascii_lowercase(),
            remote: binding.remote.to_string(),
            reachable: binding.flow().is_some(),
            expires_unix_ms: binding.expires_ms,
            stored: is_stored,
        }
    }
}
