//! A certificate that is renewed while the peer runs.

use std::sync::Arc;

use identity::{Sign as _, Signer};
use link::Endpoint;
use runtime::Component;
use tokio::sync::mpsc;

use crate::driver::Request;
use crate::server::Error;

/// Gives a running peer its next certificate.
#[derive(Clone, Debug)]
pub struct Renewer {
    pub(crate) endpoint: Endpoint,
    pub(crate) driver: mpsc::Sender<Request>,
    pub(crate) component: Component,
}

impl Renewer {
    /// Shows this certificate in links to come, and signs messages under it. Open links stay as they are.
    ///
    /// # Errors
    /// When key and certificate do not make a link; nothing changes then.
    ///
    /// # Cancel safety
    /// Dropped on the way, links may have the new certificate and messages the old one: call it again.
    pub async fn renew(&self, signer: Signer) -> Result<(), Error> {
        self.endpoint.renew(signer.certificates(), signer.key())?;
        self.component.certificate("node", signer.until_ms());
        // A driver that is gone signs nothing any more.
        let _ = self.driver.send(Request::Renewed(Arc::new(signer))).await;
        Ok(())
    }

    /// Counts when something else ends on which this peer depends, as its document.
    pub fn tell_end(&self, what: &'static str, until_ms: u64) {
        self.component.certificate(what, until_ms);
    }
}
