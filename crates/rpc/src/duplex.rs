//! Both halves of a bidirectional stream in one value.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::deadline::unbounded;

/// A bidirectional stream at its caller. The halves live and die together: were the sender kept when the answers are
/// dropped, the callee would notice on the direct wiring but not on a socket.
#[derive(Debug)]
pub struct Duplex<Up, Down> {
    up: mpsc::Sender<Up>,
    down: Streaming<Down>,
}

impl<Up: Send + 'static, Down> Duplex<Up, Down> {
    /// Opens a stream: `open` calls the method of a generated client. It returns when the callee has sent its head, which
    /// it does before it reads anything.
    ///
    /// # Errors
    /// What the callee or the seam answers.
    ///
    /// # Cancel safety
    /// Dropping it closes the stream.
    pub async fn open<F>(open: impl FnOnce(Request<ReceiverStream<Up>>) -> F) -> Result<Self, Status>
    where
        F: Future<Output = Result<Response<Streaming<Down>>, Status>>,
    {
        let (up, messages) = mpsc::channel(QUEUE);
        let down = open(unbounded(ReceiverStream::new(messages))).await?.into_inner();
        Ok(Self { up, down })
    }

    /// Sends a message, waiting while the queue is full.
    ///
    /// # Errors
    /// UNAVAILABLE when the stream has ended; [`receive`](Self::receive) tells why.
    ///
    /// # Cancel safety
    /// Dropping it sends nothing.
    pub async fn send(&self, message: Up) -> Result<(), Status> {
        self.up
            .send(message)
            .await
            .map_err(|_| Status::unavailable("the stream has ended"))
    }

    /// Receives the next message; `None` when the callee ended the stream in good order.
    ///
    /// # Errors
    /// The status with which the stream ended.
    ///
    /// # Cancel safety
    /// Nothing is lost: a message not returned comes with the next call.
    pub async fn receive(&mut self) -> Result<Option<Down>, Status> {
        self.down.message().await
    }
}

/// Messages on their way up; when full, [`Duplex::send`] waits, so that a slow callee slows its caller.
const QUEUE: usize = 64;
