//! Lists that go on: what is there now, then each change as it comes.

use std::time::Duration;

use runtime::ExitCode;
use tonic::{Response, Status, Streaming};

use crate::connect::Peer;
use crate::failure::{Failure, reason};

/// The changes of a list.
#[derive(Debug)]
pub(crate) struct Changes<T> {
    stream: Streaming<T>,
    peer: String,
}

/// Gathers the list, in no longer than asked for, and goes on behind the item that ends it.
pub(crate) async fn follow<T>(
    peer: &Peer,
    timeout: Duration,
    opening: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    is_end_of_list: impl Fn(&T) -> bool,
) -> Result<(Vec<T>, Changes<T>), Failure> {
    let gathering = async {
        let mut stream = opening.await?.into_inner();
        let mut items = Vec::new();
        loop {
            match stream.message().await? {
                Some(item) if is_end_of_list(&item) => return Ok((items, stream)),
                Some(item) => items.push(item),
                None => return Err(Status::internal("the list ended before its end")),
            }
        }
    };
    let (items, stream) = peer.within(timeout, gathering).await?;
    let peer = peer.name.clone();
    Ok((items, Changes { stream, peer }))
}

impl<T> Changes<T> {
    /// Waits for the next change, however long that takes. It only ends with a failure: the edge drains, stops, or is gone.
    pub(crate) async fn next(&mut self) -> Result<T, Failure> {
        let why = match self.stream.message().await {
            Ok(Some(change)) => return Ok(change),
            Ok(None) => "it ended".to_owned(),
            Err(status) => reason(&status).to_owned(),
        };
        let error = anyhow::anyhow!("peer {} tells no more: {why}", self.peer);
        Err(Failure::new(ExitCode::Unreachable, error))
    }
}
