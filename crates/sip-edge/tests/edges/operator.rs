//! What the operator sees of an edge, and asks of it.

use std::time::Instant;

use p2psip_sip_edge::Server;
use rpc::proto::sip_edge::v1::sip_edge_client::SipEdgeClient;
use rpc::proto::sip_edge::v1::{
    CallState, CallsRequest, CallsResponse, DrainRequest, Event, RegistrationsRequest, RegistrationsResponse,
};
use rpc::{Channel, Role, unbounded};
use sip_core::ua::Event as Told;
use tonic::{Code, Status, Streaming};

use crate::world::{PASSWORD, Phone, World, eventually, hang_up, localhost};

const ALICE: &str = "alice@overlay.example.org";
const BOB: &str = "bob@overlay.example.org";

fn client(edge: &Server) -> SipEdgeClient<Channel> {
    SipEdgeClient::new(Channel::direct(edge.served(), Role::Operator))
}

async fn follow_registrations(edge: &Server, aor: &str) -> Streaming<RegistrationsResponse> {
    let request = RegistrationsRequest {
        aor: aor.into(),
        follow: true,
    };
    let stream = client(edge).registrations(unbounded(request)).await;
    stream.unwrap().into_inner()
}

async fn follow_calls(edge: &Server) -> Streaming<CallsResponse> {
    let stream = client(edge).calls(unbounded(CallsRequest { follow: true })).await;
    stream.unwrap().into_inner()
}

/// Reads until an item is as wanted.
async fn until<T>(stream: &mut Streaming<T>, is_wanted: impl Fn(&T) -> bool) -> T {
    let reading = async {
        loop {
            let item = stream.message().await.unwrap().expect("it goes on");
            if is_wanted(&item) {
                return item;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), reading)
        .await
        .expect("it is told in time")
}

async fn end<T>(mut stream: Streaming<T>) -> Status {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => return status,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registrations_are_followed() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let edge = world.edge(world.credentials(), folder.path(), localhost()).await;
    let mut alice = Phone::new("alice", PASSWORD, edge.addresses()[0]).await;
    let mut bob = Phone::new("bob", PASSWORD, edge.addresses()[0]).await;
    alice.register().await;

    let mut all = follow_registrations(&edge, "").await;
    let first = all.message().await.unwrap().unwrap();
    assert_eq!((first.event(), &*first.aor), (Event::Held, ALICE));
    assert!(first.stored && first.reachable);
    assert_eq!(all.message().await.unwrap().unwrap().event(), Event::Listed);
    let mut hers = follow_registrations(&edge, ALICE).await;

    bob.register().await;
    let new = until(&mut all, |told| told.stored).await;
    assert_eq!((new.event(), &*new.aor), (Event::Held, BOB));
    // A refresh is not told: the next that is told is the end.
    bob.register().await;
    bob.agent.unregister(Instant::now()).unwrap();
    bob.until(|event| *event == Told::Unregistered).await;
    let gone = all.message().await.unwrap().unwrap();
    assert_eq!(
        (gone.event(), gone.aor, gone.contact),
        (Event::Gone, BOB.into(), new.contact)
    );

    alice.agent.unregister(Instant::now()).unwrap();
    alice.until(|event| *event == Told::Unregistered).await;
    let gone = until(&mut hers, |told| told.event() == Event::Gone).await;
    assert_eq!(gone.aor, ALICE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_followed_from_its_invite_to_its_end() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let edge = world.edge(world.credentials(), folder.path(), localhost()).await;
    let mut alice = Phone::new("alice", PASSWORD, edge.addresses()[0]).await;
    let mut bob = Phone::new("bob", PASSWORD, edge.addresses()[0]).await;
    bob.register().await;
    let mut calls = follow_calls(&edge).await;
    assert_eq!(calls.message().await.unwrap().unwrap().event(), Event::Listed);

    alice.agent.call(Instant::now(), "sip:bob@overlay.example.org").unwrap();
    let is_up = |event: &Told| *event == Told::Established;
    tokio::join!(alice.until(is_up), bob.until(is_up));

    let ringing = until(&mut calls, |call| call.state() == CallState::Ringing).await;
    assert_eq!(
        (ringing.event(), &*ringing.from, &*ringing.to),
        (Event::Held, ALICE, BOB)
    );
    assert!(ringing.source.starts_with("udp:127.0.0.1:"), "{ringing:?}");
    assert!(
        matches!(&*ringing.targets, [bob] if bob.starts_with("udp:127.0.0.1:")),
        "{ringing:?}"
    );
    let standing = until(&mut calls, |call| call.state() == CallState::Standing).await;
    assert_eq!((standing.id, standing.event()), (ringing.id, Event::Held));
    assert_eq!(
        (&standing.source, &standing.targets),
        (&ringing.source, &ringing.targets)
    );
    assert!(standing.answered_unix_ms >= standing.since_unix_ms, "{standing:?}");
    // One who asks now is told of it too.
    let listed = client(&edge).calls(unbounded(CallsRequest::default())).await.unwrap();
    assert_eq!(listed.into_inner().message().await.unwrap(), Some(standing));

    hang_up(&mut alice, &mut bob).await;
    let gone = until(&mut calls, |call| call.event() == Event::Gone).await;
    assert_eq!(gone.id, ringing.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_returns_at_once_and_tells_how_far_it_is() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let monitor = runtime::Monitor::new();
    let edge = world
        .monitored_edge(world.credentials(), folder.path(), localhost(), &monitor)
        .await;
    let mut alice = Phone::new("alice", PASSWORD, edge.addresses()[0]).await;
    let mut bob = Phone::new("bob", PASSWORD, edge.addresses()[0]).await;
    bob.register().await;
    alice.agent.call(Instant::now(), "sip:bob@overlay.example.org").unwrap();
    let rings = |event: &Told| matches!(event, Told::Progress { .. });
    let comes = |event: &Told| matches!(event, Told::Incoming { .. });
    tokio::join!(alice.until(rings), bob.until(comes));
    let followed = follow_registrations(&edge, "").await;

    // Bob's phone rings on.
    let mut operator = client(&edge);
    let drained = operator.drain(DrainRequest {}).await.unwrap().into_inner();
    assert!(drained.transactions > 0, "{drained:?}");
    let left = |left: u64| [format!("sip-edge: draining, {left} transactions left")];
    assert_eq!(monitor.readiness().reasons, left(drained.transactions));
    let status = end(followed).await;
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "draining"));
    let listed = operator.calls(unbounded(CallsRequest::default())).await.unwrap();
    let call = listed.into_inner().message().await.unwrap().unwrap();
    assert_eq!((&*call.from, call.state()), (ALICE, CallState::Ringing));

    let is_up = |event: &Told| *event == Told::Established;
    tokio::join!(alice.until(is_up), bob.until(is_up));
    eventually(|| monitor.readiness().reasons == left(0)).await;
    let drained = operator.drain(DrainRequest {}).await.unwrap().into_inner();
    assert_eq!(drained.transactions, 0);
}
