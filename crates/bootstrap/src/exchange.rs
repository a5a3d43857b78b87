//! Takes from the other services of the overlay what changed there, again and again.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use rpc::proto::bootstrap::v1 as proto;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{info, warn};

use crate::driver::Command;
use crate::grpc::Handler;
use crate::https::{AskError, ServiceClient};

/// The other services as this one has found them.
#[derive(Default)]
struct Others {
    by_url: HashMap<String, Other>,
}

#[derive(Default)]
struct Other {
    log: Bytes,
    next: u64,
    is_lost: bool,
}

/// Asks each of the others again and again, until the stop signal.
pub(crate) async fn keep(handler: Handler, every: Duration, stop: CancellationToken) {
    let mut others = Others::default();
    while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
        if stop.run_until_cancelled(others.ask_each(&handler)).await.is_none() {
            return;
        }
    }
}

impl Others {
    async fn ask_each(&mut self, handler: &Handler) {
        // A driver that has ended ends the component.
        let Ok(urls) = handler.ask(Command::OtherServices).await else {
            return;
        };
        self.by_url.retain(|url, _| urls.contains(url));
        if urls.is_empty() {
            return;
        }
        let client = match client(handler).await {
            Ok(client) => client,
            Err(error) => return warn!(error, "other bootstrap services cannot be asked"),
        };
        for url in urls {
            self.by_url.entry(url).or_default();
        }
        let each = self.by_url.iter_mut();
        // One that does not answer keeps nobody waiting for the others.
        futures_util::future::join_all(each.map(|(url, other)| other.look(handler, &client, url))).await;
    }
}

impl Other {
    async fn look(&mut self, handler: &Handler, client: &ServiceClient, url: &str) {
        match (self.ask(handler, client, url).await, self.is_lost) {
            (Ok(()), true) => info!(url, "bootstrap service answers again"),
            (Ok(()), false) => return,
            (Err(error), false) => warn!(url, %error, "bootstrap service cannot be asked what changed there"),
            (Err(_), true) => return,
        }
        self.is_lost = !self.is_lost;
    }

    /// Takes all that it has.
    async fn ask(&mut self, handler: &Handler, client: &ServiceClient, url: &str) -> Result<(), AskError> {
        loop {
            let request = proto::ReplicateRequest {
                log: self.log.clone(),
                next: self.next,
            };
            let answer = replicate(client, url, &request).await?;
            let (log, next, has_more) = (answer.log.clone(), answer.next, answer.has_more);
            let merged = handler
                .ask(|reply| Command::Merge(url.to_owned(), Box::new(answer), reply))
                .await;
            merged.map_err(|status| AskError::Answer(status.message().to_owned()))?;
            // One that promises more and gives nothing would keep the others from being asked.
            let is_further = log != self.log || next > self.next;
            // The merged records are on the disk.
            (self.log, self.next) = (log, next);
            if !has_more || !is_further {
                return Ok(());
            }
        }
    }
}

/// Asks a service what changed there.
pub(crate) async fn replicate(
    client: &ServiceClient,
    url: &str,
    request: &proto::ReplicateRequest,
) -> Result<proto::ReplicateResponse, AskError> {
    let answer = client.post(url, REPLICATE, request.encode_to_vec()).await?;
    proto::ReplicateResponse::decode(answer).map_err(|error| AskError::Answer(error.to_string()))
}

async fn client(handler: &Handler) -> Result<ServiceClient, String> {
    let failed = |status: Status| status.message().to_owned();
    let own = handler
        .ask(|reply| Command::Server(Vec::new(), reply))
        .await
        .map_err(failed)?;
    let trust = handler.ask(Command::Trust).await.map_err(failed)?;
    ServiceClient::new(&trust, Some(own)).map_err(|error| error.to_string())
}

/// Where a service tells what changed there.
pub(crate) const REPLICATE: &str = "/.well-known/p2psip/replicate";
/// A change is everywhere soon after.
pub(crate) const EVERY: Duration = Duration::from_secs(5);
