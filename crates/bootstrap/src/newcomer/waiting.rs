//! A new service until it is one of the overlay: it waits for a document that names it, and takes the state of another service.

use std::collections::HashMap;
use std::time::Duration;

use identity::issue::{Authority, Serial};
use identity::{Certificate, Key};
use kv::{Batch, Store};
use overlay_config::{Basis, SignedDocument};
use runtime::{Component, State, Tasks};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{error, info, warn};

use crate::core::CatchUp;
use crate::driver::unix_ms;
use crate::error::StartError;
use crate::exchange::replicate;
use crate::https::ServiceClient;
use crate::server::Parts;
use crate::state::{self, Octets, SERVICE, SERVICE_KEY, ServiceRecord};

/// Refuses what it is asked until it is one of the overlay, and serves from then on, until the stop signal.
pub(crate) async fn become_one(mut parts: Parts, record: ServiceRecord, stop: CancellationToken) {
    let waiting = Waiting {
        store: parts.store.clone(),
        component: parts.component.clone(),
        pause: parts.pauses.exchange,
        record,
        catch_up: HashMap::new(),
    };
    let waiting = waiting.run();
    tokio::pin!(waiting);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            outcome = &mut waiting => match outcome {
                Ok(()) => break,
                Err(failure) => return error!(error = %failure, "new bootstrap service cannot go on"),
            },
            Some(command) = parts.queue.recv() => command.refuse(Status::unavailable(NOT_YET)),
        }
    }
    let mut tasks = Tasks::new();
    if let Err(failure) = parts.serve(&mut tasks).await {
        return error!(error = %failure, "new bootstrap service cannot start");
    }
    tokio::select! {
        () = stop.cancelled() => {}
        outcome = tasks.join() => if let Err(failure) = outcome {
            error!(error = %failure, "bootstrap service ended");
        },
    }
    // The process gives the whole component its time.
    if let Err(failure) = tasks.shutdown(GRACE).await {
        error!(error = %failure, "bootstrap service ended badly");
    }
}

struct Waiting {
    store: Store,
    component: Component,
    pause: Duration,
    record: ServiceRecord,
    /// The state taken so far, by the URL of the service that it came from.
    catch_up: HashMap<String, CatchUp>,
}

impl Waiting {
    async fn run(mut self) -> Result<(), StartError> {
        let mut looks: u32 = 0;
        loop {
            let lacking = self.look().await?;
            if !self.record.is_waiting() {
                info!("this bootstrap service is one of the overlay");
                return Ok(());
            }
            if looks.is_multiple_of(SAY_EVERY) {
                warn!(lacking, "new bootstrap service waits");
            }
            looks = looks.wrapping_add(1);
            self.component.tell(State::down(&lacking));
            tokio::time::sleep(self.pause).await;
        }
    }

    /// Does what can be done now; says what is lacking then.
    async fn look(&mut self) -> Result<String, StartError> {
        let document = self.record.document(unix_ms())?;
        let trust = document.document().trust();
        let own = self.authority()?.hash();
        let services = document.document().bootstrap_services();
        let named = services.iter().find(|service| service.authority == own);
        let shown = named.map(|_| self.certificate(&document)).transpose()?;
        let client = match ServiceClient::new(&trust, shown) {
            Ok(client) => client,
            Err(error) => return Ok(error.to_string()),
        };
        let mut lacking = "no other bootstrap service is in the document".to_owned();
        let urls = document.document().enrollment_servers.iter();
        for url in urls.filter(|url| named.is_none_or(|named| named.url != **url)) {
            let outcome = match named.is_some() {
                true => self.take_all(&client, url).await?,
                false => self.fetch_document(&client, url, &document).await?,
            };
            match outcome {
                Ok(()) if !self.record.is_waiting() => return Ok(String::new()),
                Ok(()) => lacking = UNNAMED.to_owned(),
                Err(reason) => lacking = format!("bootstrap service {url}: {reason}"),
            }
        }
        Ok(lacking)
    }

    /// Takes a newer document from another service.
    async fn fetch_document(
        &mut self,
        client: &ServiceClient,
        url: &str,
        known: &SignedDocument,
    ) -> Result<Result<(), String>, StartError> {
        let xml = match client.get(url, "/.well-known/reload-config").await {
            Ok(xml) if xml == *known.xml() => return Ok(Ok(())),
            Ok(xml) => xml,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let newer = SignedDocument::parse_and_verify(xml, Basis::Previous(known.document()), unix_ms());
        let Ok(newer) = newer.map_err(|error| warn!(url, %error, "document of another service is not taken")) else {
            return Ok(Ok(()));
        };
        self.record.document = Octets::of(newer.xml());
        let mut batch = Batch::new();
        state::put(&mut batch, SERVICE, SERVICE_KEY, &self.record);
        self.store.apply(batch).await?;
        Ok(Ok(()))
    }

    /// Takes the state of another service; from the last answer on, this is one too.
    async fn take_all(&mut self, client: &ServiceClient, url: &str) -> Result<Result<(), String>, StartError> {
        let catch_up = self.catch_up.entry(url.to_owned()).or_default();
        while self.record.is_waiting() {
            let request = catch_up.request();
            let answer = match replicate(client, url, &request).await {
                Ok(answer) => answer,
                Err(error) => return Ok(Err(error.to_string())),
            };
            match catch_up.take(&answer, &mut self.record) {
                Ok(batch) => self.store.apply(batch).await?,
                Err(error) => return Ok(Err(error.to_string())),
            }
            // One that promises more and gives nothing would be asked for ever.
            let is_further = answer.has_more && catch_up.request() != request;
            if !is_further && self.record.is_waiting() {
                return Ok(Err("it told no record keys".to_owned()));
            }
        }
        Ok(Ok(()))
    }

    fn authority(&self) -> Result<Certificate, StartError> {
        Certificate::from_der(&self.record.authority_certificate.0).map_err(StartError::service)
    }

    /// A key and a certificate by which others know a service.
    fn certificate(&self, document: &SignedDocument) -> Result<(Key, Certificate), StartError> {
        let key = Key::from_pkcs8(&self.record.authority_key.0).map_err(StartError::service)?;
        let authority = Authority::new(key, self.authority()?).map_err(StartError::service)?;
        let (own, serial) = (Key::generate(), Serial::generate());
        let (own, serial) = (own.map_err(StartError::service)?, serial.map_err(StartError::service)?);
        let hosts = [document.document().overlay.as_str()];
        let issued = authority.issue_server(&own.public(), &hosts, unix_ms(), serial);
        Ok((own, issued.map_err(StartError::service)?))
    }
}

const UNNAMED: &str =
    "no document names this bootstrap service yet: where the off-line keys are, add its request to the document";
const NOT_YET: &str = "this bootstrap service is not yet one of the overlay";
/// The lack is told at every so many looks: once a minute.
const SAY_EVERY: u32 = 12;
/// For tasks that have nothing to wait for.
const GRACE: Duration = Duration::from_secs(2);
