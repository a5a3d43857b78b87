//! Certificates that are renewed while the edge runs.

use std::sync::Arc;

use identity::{Sign as _, Signer};
use overlay_config::SignedDocument;
use tokio::sync::{mpsc, oneshot, watch};
use usage::user::RecordKey;

use crate::config::Credentials;
use crate::driver::Command;
use crate::server::BindError;

/// Gives a running edge its next certificates and keys.
#[derive(Clone, Debug)]
pub struct Renewer {
    pub(crate) endpoint: Arc<link::Endpoint>,
    pub(crate) link: watch::Sender<Arc<Signer>>,
    pub(crate) commands: mpsc::WeakSender<Command>,
}

impl Renewer {
    /// Takes over the certificates: the link certificate for connections, messages and attachments to come, the delegated signer for
    /// what is minted from now on. Open connections stay as they are, and so do the record keys.
    ///
    /// # Errors
    /// When key and certificate do not make a link; nothing changes then.
    ///
    /// # Cancel safety
    /// Dropped on the way, a part may be taken over: call it again.
    pub async fn renew(&self, credentials: Credentials) -> Result<(), BindError> {
        let link = &credentials.link;
        let renewed = self.endpoint.renew(link.certificates(), link.key());
        renewed.map_err(|error| BindError::Link(error.to_string()))?;
        self.link.send_replace(Arc::new(link.clone()));
        // An edge that ends needs none any more.
        if let Some(commands) = self.commands.upgrade() {
            let _ = commands.send(Command::Renewed(Box::new(credentials))).await;
        }
        Ok(())
    }

    /// Opens user records under these keys from now on, and under no other: once this returns, the edge holds them.
    ///
    /// # Cancel safety
    /// Dropped on the way, they may be taken over: call it again.
    pub async fn set_record_keys(&self, keys: Vec<RecordKey>) {
        let (done, is_done) = oneshot::channel();
        // An edge that ends needs none any more.
        if let Some(commands) = self.commands.upgrade()
            && commands.send(Command::RecordKeys(keys, done)).await.is_ok()
        {
            let _ = is_done.await;
        }
    }

    /// Gives the configuration document that the edge obeys; none once it has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn document(&self) -> Option<SignedDocument> {
        let (answer, document) = oneshot::channel();
        let commands = self.commands.upgrade()?;
        commands.send(Command::Document(answer)).await.ok()?;
        document.await.ok()
    }
}
