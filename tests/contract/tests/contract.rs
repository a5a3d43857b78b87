//! What a caller meets with, whichever component it calls and however it is wired.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::time::Duration;

use futures_util::TryStreamExt as _;
use p2psip_contract::calls::{self, PATIENCE, Stream};
use p2psip_contract::fault::{self, Fault};
use p2psip_contract::{Callee, Service, Wiring};
use rpc::{Channel, Deadline};
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;

/// Makes a test of each case for each service on each wiring.
macro_rules! suite {
    ($($service:ident: $variant:ident),* $(,)?) => {
        $(mod $service {
            mod direct {
                on!($variant, Direct, [
                    a_killed_callee_is_unavailable, a_stopped_callee_is_noticed, a_caller_gives_up, a_panic_is_internal,
                    an_oversize_message_is_out_of_range, the_wrong_role_is_denied, open_streams_end_at_shutdown,
                ]);
            }
            mod unix {
                on!($variant, Unix, [
                    a_killed_callee_is_unavailable, a_stopped_callee_is_noticed, a_caller_gives_up, a_panic_is_internal,
                    an_oversize_message_is_out_of_range, open_streams_end_at_shutdown,
                ]);
            }
            mod tcp {
                on!($variant, Tcp, [
                    a_killed_callee_is_unavailable, a_stopped_callee_is_noticed, a_caller_gives_up, a_panic_is_internal,
                    an_oversize_message_is_out_of_range, the_wrong_role_is_denied, open_streams_end_at_shutdown,
                    the_wrong_authority_is_unavailable, the_wrong_server_is_unavailable,
                ]);
            }
        })*
    };
}

macro_rules! on {
    ($service:ident, $wiring:ident, [$($case:ident),* $(,)?]) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let callee = super::super::Callee::start(super::super::Service::$service, super::super::Wiring::$wiring);
            super::super::$case(callee.await).await;
        })*
    };
}

suite!(overlay: Overlay, storage: Storage, bootstrap: Bootstrap, sip_edge: SipEdge);

/// What an edge promises beside what all do.
mod drain {
    mod direct {
        on!(SipEdge, Direct, [a_drain_is_begun_and_told]);
    }
    mod unix {
        on!(SipEdge, Unix, [a_drain_is_begun_and_told]);
    }
    mod tcp {
        on!(SipEdge, Tcp, [a_drain_is_begun_and_told]);
    }
}

async fn a_killed_callee_is_unavailable(mut callee: Callee) {
    let service = callee.service;
    let (channel, mut stream) = ready(&callee).await;

    // Stopped first, so that a call is on its way when it dies.
    callee.stop().await;
    let calling = channel.clone();
    let mut call = std::pin::pin!(service.call(&calling, PATIENCE));
    let early = timeout(A_MOMENT, &mut call).await;
    assert!(early.is_err(), "answered by a stopped callee: {early:?}");
    callee.kill().await;

    assert_unavailable(&call.await);
    assert_unavailable(&ended(&mut stream).await);
    assert_unavailable(&service.call(&channel, PATIENCE).await);
    callee.restart().await;
    let channel = callee.again(channel, service.caller());
    service.call(&channel, PATIENCE).await.unwrap();
}

async fn a_stopped_callee_is_noticed(callee: Callee) {
    let service = callee.service;
    let (channel, mut stream) = ready(&callee).await;
    callee.stop().await;

    let status = service.call(&channel, A_MOMENT).await.unwrap_err();
    assert!(is_no_answer(&status), "{status}");
    if callee.wiring != Wiring::Direct {
        // Its kernel takes our octets; pings find out.
        assert_unavailable(&ended(&mut stream).await);
    }

    callee.resume().await;
    eventually_good(service, &channel).await;
    // And for streams, the one before notwithstanding.
    let again = service.open(&callee.channel(service.streamer())).await;
    drop(again.unwrap());
}

async fn a_caller_gives_up(callee: Callee) {
    let service = callee.service;
    let (channel, stream) = ready(&callee).await;

    let status = fault::ask(&channel, Fault::Hang, A_MOMENT).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    let dropped = timeout(A_MOMENT, fault::ask(&channel, Fault::Hang, PATIENCE)).await;
    assert!(dropped.is_err(), "{dropped:?}");
    let cancelled = async {
        while fault::ask(&channel, Fault::Count, PATIENCE).await.unwrap() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, cancelled).await.unwrap();

    drop(stream);
    service.call(&channel, PATIENCE).await.unwrap();
    let again = service.open(&callee.channel(service.streamer())).await;
    drop(again.unwrap());
}

async fn a_panic_is_internal(callee: Callee) {
    let service = callee.service;
    let (channel, mut stream) = ready(&callee).await;
    let status = fault::ask(&channel, Fault::Panic, PATIENCE).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");

    // Nobody else notices.
    service.call(&channel, PATIENCE).await.unwrap();
    let broken = timeout(A_MOMENT, ended(&mut stream)).await;
    assert!(broken.is_err(), "{broken:?}");
}

async fn an_oversize_message_is_out_of_range(callee: Callee) {
    let service = callee.service;
    let (channel, _stream) = ready(&callee).await;
    let status = service.call_oversize(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    service.call(&channel, PATIENCE).await.unwrap();
}

async fn the_wrong_role_is_denied(callee: Callee) {
    let service = callee.service;
    let channel = callee.channel(service.stranger());
    let status = service.call(&channel, PATIENCE).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    service.call(&callee.channel(service.caller()), PATIENCE).await.unwrap();
}

async fn the_wrong_authority_is_unavailable(callee: Callee) {
    let status = callee.service.call(&callee.foreign(), PATIENCE).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("UnknownIssuer"), "{status}");
}

async fn the_wrong_server_is_unavailable(callee: Callee) {
    let status = callee.service.call(&callee.mistaken(), PATIENCE).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("the component there is"), "{status}");
    assert!(status.message().contains("not operator"), "{status}");
}

async fn open_streams_end_at_shutdown(mut callee: Callee) {
    let service = callee.service;
    let (channel, mut stream) = ready(&callee).await;
    let ((), told) = tokio::join!(callee.end(), ended(&mut stream));
    assert_unavailable(&told);
    assert_unavailable(&service.call(&channel, PATIENCE).await);
    callee.restart().await;
    let channel = callee.again(channel, service.caller());
    service.call(&channel, PATIENCE).await.unwrap();
}

async fn a_drain_is_begun_and_told(callee: Callee) {
    let (channel, mut stream) = ready(&callee).await;
    assert_eq!(calls::edge_health(&channel).await.unwrap(), ServingStatus::Serving);
    assert_eq!(calls::drain(&channel).await.unwrap(), 0);

    let told = ended(&mut stream).await;
    assert_unavailable(&told);
    assert_eq!(told.unwrap_err().message(), "draining");
    let not_serving = async {
        while calls::edge_health(&channel).await.unwrap() != ServingStatus::NotServing {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, not_serving).await.unwrap();
    // What is there can still be looked at, and asking again does no harm.
    callee.service.call(&channel, PATIENCE).await.unwrap();
    assert_eq!(calls::drain(&channel).await.unwrap(), 0);
}

/// A channel over which a call has been answered, and an open stream.
async fn ready(callee: &Callee) -> (Channel, Stream) {
    let service = callee.service;
    let channel = callee.channel(service.caller());
    service.call(&channel, PATIENCE).await.unwrap();
    let stream = service.open(&callee.channel(service.streamer())).await.unwrap();
    (channel, stream)
}

/// Waits for the end of a stream.
async fn ended(stream: &mut Stream) -> Result<(), Status> {
    let end = async {
        while stream.try_next().await?.is_some() {}
        Ok(())
    };
    timeout(PATIENCE, end).await.expect("the stream ends in time")
}

async fn eventually_good(service: Service, channel: &Channel) {
    let again = async |_| match service.call(channel, A_MOMENT).await {
        Err(status) if is_no_answer(&status) => Err(Status::unavailable(status.message())),
        outcome => outcome,
    };
    rpc::retry(Deadline::after(PATIENCE), again).await.unwrap();
}

/// What a caller meets with while the callee is stopped.
fn is_no_answer(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
}

fn assert_unavailable(outcome: &Result<(), Status>) {
    let code = outcome.as_ref().map_err(Status::code);
    assert_eq!(code, Err(Code::Unavailable), "{outcome:?}");
}

/// Long enough for an answer, if there is one.
const A_MOMENT: Duration = Duration::from_millis(300);
