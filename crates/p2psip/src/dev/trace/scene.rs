//! What is traced: an overlay of three peers, a call from one to another for a user whose record lies at the third, and a look-up by a given way.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use rpc::proto::overlay::v1::overlay_client::OverlayClient;
use rpc::proto::overlay::v1::{CallRequest, call_response};
use runtime::telemetry::{self, Format, Options, Privacy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wire::{Body, Destination, Encode as _, MessageContents, ResourceId};

use super::super::call::{Call, Edges};
use super::super::folder::Folder;
use super::super::overlay::{Overlay, Shape};
use super::super::peer::Peer;
use super::super::users::DOMAIN;
use crate::supervisor::Supervisor;

/// Its name among the tests.
pub(super) const NAME: &str = "dev::trace::scene::the_scene";

/// Begins the line that says which node plays which part.
pub(super) const ROLE: &str = "role ";

/// Far beyond what it takes on a busy machine.
const LONGEST: Duration = Duration::from_secs(120);

/// A loopback address of its own, so that no other test has its ports.
const BIND: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of one_call_is_one_trace, which runs it in a process of its own"]
async fn the_scene() {
    tokio::time::timeout(LONGEST, play()).await.expect("the scene ends");
}

async fn play() {
    let options = Options {
        filter: "warn".into(),
        format: Format::Text,
        privacy: Privacy::Hash,
    };
    telemetry::init(&options).unwrap();
    let folder = Folder::open(None).unwrap();
    let mut supervisor = Supervisor::default();
    let overlay = Overlay::start(&folder, Shape::of(IpAddr::V4(BIND), Some(3)), &mut supervisor, |_| {})
        .await
        .unwrap();
    overlay.attached().await.unwrap();
    overlay.feed_users().await.unwrap();

    let [caller, callee, record] = parts(&overlay.peers);
    for (peer, role) in [(caller, "caller"), (callee, "callee"), (record, "record")] {
        println!("{ROLE}{} {role}", peer.peer_id.short());
        println!("{ROLE}{} {role}", peer.edge_id.short());
    }
    let mut call = Call::prepare(Edges {
        of_alice: caller.ports.sip,
        of_bob: callee.ports.sip,
    })
    .await
    .unwrap();
    call.register().await.unwrap();
    call.make().await.unwrap();
    call.unregister().await.unwrap();
    look_up_by(caller, callee).await;
    check_metrics(caller.ports.admin).await;
    supervisor.stop().await.unwrap();
    telemetry::flush(Duration::from_secs(10)).await;
}

/// Who calls, who is called, and who holds the callee's record.
fn parts(peers: &[Peer]) -> [&Peer; 3] {
    let resource = bob().as_node_id().to_u128();
    // RFC 6940 §10.3: the first peer at or after the Resource-ID is responsible.
    let record = peers
        .iter()
        .min_by_key(|peer| peer.peer_id.to_u128().wrapping_sub(resource))
        .unwrap();
    let mut others = peers.iter().filter(|peer| peer.peer_id != record.peer_id);
    [others.next().unwrap(), others.next().unwrap(), record]
}

fn bob() -> ResourceId {
    ResourceId::of(format!("bob@{DOMAIN}").as_bytes())
}

/// Fetches the callee's record, from one peer by way of another.
async fn look_up_by(peer: &Peer, way: &Peer) {
    let fetch = usage::sip::fetch(&format!("bob@{DOMAIN}"));
    let route = [Destination::Node(way.peer_id), Destination::Resource(fetch.resource)];
    let request = CallRequest {
        destinations: route.iter().map(Destination::to_bytes).collect(),
        contents: MessageContents::of(&Body::FetchReq(fetch)).to_bytes(),
        ..CallRequest::default()
    };
    let answer = OverlayClient::new(peer.overlay.clone()).call(request).await.unwrap();
    let result = answer.into_inner().result;
    assert!(matches!(result, Some(call_response::Result::Contents(_))), "{result:?}");
}

/// Reads the metrics of a peer, and has Prometheus' own tool judge them if it is there.
async fn check_metrics(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
        .await
        .unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    let (_, metrics) = page.split_once("\r\n\r\n").unwrap();
    for name in METRICS {
        let help = format!("# HELP p2psip_{name} ");
        assert!(metrics.contains(&help), "{name} is not in:\n{metrics}");
    }
    let calls = "p2psip_sip_requests_total{method=\"INVITE\"} 2\n";
    assert!(metrics.contains(calls), "{metrics}");
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("not judged: there is no promtool (Debian package prometheus)");
        return;
    };
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, metrics.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}\n{metrics}"
    );
}

/// What a peer with all its components counts.
const METRICS: [&str; 24] = [
    "build_info",
    "ready",
    "certificate_expiry_seconds",
    "otlp_dropped_total",
    "overlay_neighbors",
    "overlay_fingers",
    "overlay_links",
    "overlay_responsible_fraction",
    "overlay_requests_total",
    "overlay_request_duration_seconds",
    "overlay_hops",
    "overlay_forwarded_total",
    "storage_values",
    "storage_bytes",
    "storage_replicas_missing",
    "storage_handoff_values_total",
    "sip_registrations",
    "sip_dialogs",
    "sip_flows",
    "sip_requests_total",
    "sip_responses_total",
    "sip_registration_request_delay_seconds",
    "sip_session_request_delay_seconds",
    "sip_auth_failures_total",
];
