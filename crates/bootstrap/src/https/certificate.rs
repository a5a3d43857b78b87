//! The certificate of the enrollment server: made at the start, and anew when a third of its life is over.
//!
//! The service that serves is the CA that issues, so key and certificate live in memory alone.

use std::sync::Arc;
use std::time::Duration;

use identity::issue::renewal_due_ms;
use identity::{Certificate, Key, Verifier};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::NoServerSessionStorage;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::services::Clients;
use crate::driver::Command;
use crate::grpc::Handler;

/// The certificate in use; each connection takes the one of its moment.
pub(crate) struct Certificates {
    verifier: Arc<Verifier>,
    due_ms: u64,
    configs: watch::Sender<Arc<ServerConfig>>,
}

impl Certificates {
    pub(crate) fn new(
        verifier: Arc<Verifier>,
        (key, certificate): (Key, Certificate),
    ) -> Result<Certificates, rustls::Error> {
        let config = config(&verifier, &key, &certificate)?;
        Ok(Certificates {
            verifier,
            due_ms: renewal_due_ms(&certificate),
            configs: watch::Sender::new(config),
        })
    }

    pub(crate) fn configs(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.configs.subscribe()
    }

    fn replace(&mut self, (key, certificate): (Key, Certificate)) -> Result<(), rustls::Error> {
        let config = config(&self.verifier, &key, &certificate)?;
        self.due_ms = renewal_due_ms(&certificate);
        self.configs.send_replace(config);
        Ok(())
    }
}

/// Renews the certificate when it is due by `clock`.
pub(crate) async fn keep(
    mut certificates: Certificates,
    handler: Handler,
    hosts: Vec<String>,
    clock: fn() -> u64,
    stop: CancellationToken,
) {
    loop {
        let until_due = Duration::from_millis(certificates.due_ms.saturating_sub(clock()));
        let pause = tokio::time::sleep(until_due.clamp(LOOK_AGAIN, LOOK_EVERY));
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
        if clock() < certificates.due_ms {
            continue;
        }
        let made = handler.ask(|reply| Command::Server(hosts.clone(), reply)).await;
        let renewed = made
            .map_err(|status| status.to_string())
            .and_then(|made| certificates.replace(made).map_err(|error| error.to_string()));
        match renewed {
            Ok(()) => info!("certificate of the enrollment server renewed"),
            Err(error) => warn!(error, "certificate of the enrollment server cannot be renewed"),
        }
    }
}

fn config(verifier: &Arc<Verifier>, key: &Key, certificate: &Certificate) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Clients::new(verifier))
        .with_single_cert(chain, key)?;
    // A resumed session would skip the look at a certificate that has been banned meanwhile.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A third of the shortest life that can be configured; what cannot be renewed is tried again then.
const LOOK_AGAIN: Duration = Duration::from_secs(20);
/// The calendar may be set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
