//! One request through the overlay, as the operator's commands send it: the peer that is asked signs it as itself.

use std::time::{Duration, Instant};

use rpc::Deadline;
use rpc::proto::overlay::v1::overlay_client::OverlayClient;
use rpc::proto::overlay::v1::{CallRequest, CallResponse, Refusal};
use runtime::ExitCode;
use tonic::Status;
use wire::{Body, Destination, Encode as _, ErrorCode, MessageContents};

use crate::connect::Peer;
use crate::failure::Failure;

/// An answer, and how long it took to come.
pub(crate) struct Answered {
    pub(crate) response: CallResponse,
    pub(crate) roundtrip: Duration,
}

/// Sends a request and waits for its answer; what the overlay refuses is an answer too.
pub(crate) async fn call(
    peer: &Peer,
    timeout: Duration,
    destination: &Destination,
    body: &Body,
) -> Result<Answered, Status> {
    let request = CallRequest {
        destinations: vec![destination.to_bytes()],
        contents: MessageContents::of(body).to_bytes(),
        ..CallRequest::default()
    };
    let request = Deadline::after(timeout).pass(request, Duration::ZERO);
    let started = Instant::now();
    let response = OverlayClient::new(peer.channel.clone()).call(request).await?;
    Ok(Answered {
        response: response.into_inner(),
        roundtrip: started.elapsed(),
    })
}

/// A refusal in words: its name and what was said with it.
pub(crate) fn refusal(refusal: &Refusal) -> String {
    let code = error_code(refusal);
    let name = code.map_or_else(|| refusal.code.to_string(), |code| code.to_string());
    format!("{name} {}", String::from_utf8_lossy(&refusal.info))
        .trim_end()
        .to_owned()
}

/// A refusal that leaves a command without a result.
pub(crate) fn refused(refused: &Refusal) -> Failure {
    let exit = match error_code(refused) {
        Some(ErrorCode::RequestTimeout) => ExitCode::Timeout,
        _ => ExitCode::Degraded,
    };
    Failure::new(exit, anyhow::anyhow!("the overlay refused: {}", refusal(refused)))
}

/// A time in milliseconds, to the microsecond.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn error_code(refusal: &Refusal) -> Option<ErrorCode> {
    u16::try_from(refusal.code).ok().map(ErrorCode::from)
}
