//! The two signals that end a process: the first asks, the second insists.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Listens for SIGINT and SIGTERM for as long as it lives.
#[derive(Debug)]
pub struct Shutdown {
    asked: CancellationToken,
    _listener: AbortOnDropHandle<()>,
}

impl Shutdown {
    /// Begins to listen. The first signal cancels [`token`](Self::token); the second ends the process at once.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let asked = CancellationToken::new();
        let token = asked.clone();
        let listener = tokio::spawn(async move {
            next(&mut interrupt, &mut terminate).await;
            tracing::info!("shutting down; a second signal ends at once");
            token.cancel();
            let signal = next(&mut interrupt, &mut terminate).await;
            std::process::exit(SIGNALLED + signal.as_raw_value());
        });
        Ok(Self {
            asked,
            _listener: AbortOnDropHandle::new(listener),
        })
    }

    /// Cancelled at the first signal.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.asked.clone()
    }
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    }
}

/// What shells add to the number of the signal that ended a process.
const SIGNALLED: i32 = 128;
