//! The rules of the seam, checked over each wiring with the generated overlay contract and a stub behind it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use p2psip_rpc::proto::overlay::v1 as pb;
use p2psip_rpc::proto::overlay::v1::overlay_client::OverlayClient;
use p2psip_rpc::proto::overlay::v1::overlay_server::{Overlay, OverlayServer};
use p2psip_rpc::{
    Address, BindError, Caller, Channel, ComponentAuthority, ComponentIdentity, Deadline, Duplex, Listener, Role,
    Served, unbounded,
};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

/// Runs each test over every wiring.
macro_rules! on_each_wiring {
    ($($name:ident),* $(,)?) => {
        mod direct {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Wired::direct(super::Role::SipEdge)).await;
            })*
        }
        mod unix {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Wired::unix().await).await;
            })*
        }
        mod tcp {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Wired::tcp(super::Role::SipEdge).await).await;
            })*
        }
    };
}

on_each_wiring!(
    call_is_answered,
    deadline_is_told_to_the_handler_and_kept,
    the_channel_has_a_default_deadline,
    a_stream_outlives_the_default_deadline,
    dropping_a_call_cancels_its_handler,
    dropping_a_stream_ends_its_handler,
    a_panic_is_internal,
    a_panic_in_a_stream_is_internal,
    an_oversize_message_is_out_of_range,
    a_refusal_keeps_its_status,
    a_closed_server_is_unavailable,
    open_streams_are_asked_to_end,
    deaf_streams_are_cut_after_the_grace,
    watchers_of_the_server_do_not_hold_up_its_end,
    messages_pass_both_ways,
    health_answers,
    reflection_lists_the_contracts,
    trace_context_reaches_the_handler,
    an_unknown_method_is_unimplemented,
);

async fn call_is_answered(mut wired: Wired) {
    let response = wired.client.call(call("echo")).await.unwrap().into_inner();
    assert_eq!(
        response.result,
        Some(pb::call_response::Result::Contents(Bytes::from_static(b"echo")))
    );
}

async fn deadline_is_told_to_the_handler_and_kept(mut wired: Wired) {
    let mut request = Request::new(call("deadline"));
    request.set_timeout(Duration::from_secs(3));
    let left = wired.client.call(request).await.unwrap().into_inner().hops;
    assert!((1..=3000).contains(&left), "{left} ms");

    let mut request = Request::new(call("sleep"));
    request.set_timeout(Duration::from_millis(30));
    let status = wired.client.call(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    wired.stub.cancelled().await;
}

async fn the_channel_has_a_default_deadline(wired: Wired) {
    let mut client = OverlayClient::new(wired.channel.clone().with_default_deadline(Duration::from_millis(30)));
    let status = client.call(call("sleep")).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
}

async fn a_stream_outlives_the_default_deadline(wired: Wired) {
    let mut client = OverlayClient::new(wired.channel.clone().with_default_deadline(Duration::from_millis(30)));
    let mut stream = client.watch(unbounded(pb::WatchRequest {})).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.overlay, "watched");
    let silent = timeout(Duration::from_millis(90), stream.message()).await;
    assert!(silent.is_err(), "{silent:?}");
}

async fn dropping_a_call_cancels_its_handler(mut wired: Wired) {
    let stub = wired.stub.clone();
    tokio::select! {
        outcome = wired.client.call(call("sleep")) => panic!("{outcome:?}"),
        () = stub.entered() => {}
    }
    stub.cancelled().await;
}

async fn dropping_a_stream_ends_its_handler(mut wired: Wired) {
    let mut stream = wired
        .client
        .watch(unbounded(pb::WatchRequest {}))
        .await
        .unwrap()
        .into_inner();
    stream.message().await.unwrap().unwrap();
    drop(stream);
    wired.stub.cancelled().await;
}

async fn a_panic_is_internal(mut wired: Wired) {
    let status = wired.client.call(call("panic")).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    // The server goes on.
    wired.client.call(call("echo")).await.unwrap();
}

async fn a_panic_in_a_stream_is_internal(wired: Wired) {
    let attached = attach(&wired).await;
    attached.send(reply(PANIC)).await.unwrap();
    let mut attached = attached;
    let status = attached.receive().await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
}

async fn an_oversize_message_is_out_of_range(mut wired: Wired) {
    let big = pb::CallRequest {
        contents: Bytes::from(vec![0; FIVE_MIB]),
        ..Default::default()
    };
    let status = wired.client.call(big).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");

    let status = wired.client.call(call("big")).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
}

async fn a_refusal_keeps_its_status(mut wired: Wired) {
    let status = wired.client.call(call("refuse")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.message(), "not attached");
}

async fn a_closed_server_is_unavailable(mut wired: Wired) {
    wired.client.call(call("echo")).await.unwrap();
    wired.served.close(Duration::from_secs(1)).await;
    let status = wired.client.call(call("echo")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

async fn open_streams_are_asked_to_end(mut wired: Wired) {
    let mut stream = wired
        .client
        .watch(unbounded(pb::WatchRequest {}))
        .await
        .unwrap()
        .into_inner();
    stream.message().await.unwrap().unwrap();
    timeout(Duration::from_secs(5), wired.served.close(Duration::from_secs(60)))
        .await
        .unwrap();
    let status = stream.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "draining"));
}

async fn deaf_streams_are_cut_after_the_grace(mut wired: Wired) {
    let mut attached = attach(&wired).await;
    wired.served.close(Duration::from_millis(20)).await;
    let status = attached.receive().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    wired.finished().await;
}

/// Streams of health and reflection have no end of their own: an end that waited for them would take the whole grace period.
async fn watchers_of_the_server_do_not_hold_up_its_end(mut wired: Wired) {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

    let request = unbounded(HealthCheckRequest::default());
    let mut health = HealthClient::new(wired.channel.clone())
        .watch(request)
        .await
        .unwrap()
        .into_inner();
    health.message().await.unwrap().unwrap();
    let (_asking, questions) = mpsc::channel(1);
    let request = unbounded(ReceiverStream::new(questions));
    let mut reflection = ServerReflectionClient::new(wired.channel.clone())
        .server_reflection_info(request)
        .await
        .unwrap()
        .into_inner();

    let closing = timeout(Duration::from_secs(5), wired.served.close(Duration::from_secs(60)));
    closing.await.expect("it waits for nothing that only watches");
    let ended = async {
        loop {
            if let Err(status) = health.message().await {
                return status.code();
            }
        }
    };
    assert_eq!(ended.await, Code::Unavailable);
    assert_eq!(reflection.message().await.unwrap_err().code(), Code::Unavailable);
    wired.finished().await;
}

async fn messages_pass_both_ways(wired: Wired) {
    let mut attached = attach(&wired).await;
    for id in 1..=200 {
        attached.send(reply(id)).await.unwrap();
        let message = attached.receive().await.unwrap().unwrap().message;
        let Some(pb::attach_response::Message::Incoming(incoming)) = message else {
            panic!("{message:?}")
        };
        assert_eq!(incoming.id, id);
    }
    drop(attached);
    wired.stub.cancelled().await;
}

async fn health_answers(wired: Wired) {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;

    const OVERLAY: &str = "p2psip.overlay.v1.Overlay";
    wired.served.set_health(OVERLAY, false).await;
    let mut client = HealthClient::new(wired.channel.clone());
    let mut check = async || {
        let response = client
            .check(HealthCheckRequest {
                service: OVERLAY.into(),
            })
            .await
            .unwrap();
        response.into_inner().status()
    };
    assert_eq!(check().await, ServingStatus::NotServing);
    wired.served.set_health(OVERLAY, true).await;
    assert_eq!(check().await, ServingStatus::Serving);
}

async fn reflection_lists_the_contracts(wired: Wired) {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

    let mut client = ServerReflectionClient::new(wired.channel.clone());
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices("".into())),
        host: "".into(),
    };
    let mut answers = client
        .server_reflection_info(unbounded(tokio_stream::once(request)))
        .await
        .unwrap()
        .into_inner();
    let answer: ServerReflectionResponse = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}")
    };
    assert!(
        list.service
            .iter()
            .any(|service| service.name == "p2psip.overlay.v1.Overlay"),
        "{list:?}"
    );
}

async fn trace_context_reaches_the_handler(mut wired: Wired) {
    let mut request = Request::new(call("trace"));
    request
        .metadata_mut()
        .insert("traceparent", TRACEPARENT.parse().unwrap());
    let response = wired.client.call(request).await.unwrap().into_inner();
    assert_eq!(
        response.result,
        Some(pb::call_response::Result::Contents(Bytes::from_static(
            TRACEPARENT.as_bytes()
        )))
    );
}

async fn an_unknown_method_is_unimplemented(wired: Wired) {
    let mut client = p2psip_rpc::proto::storage::v1::storage_client::StorageClient::new(wired.channel.clone());
    // A caller of one role may not call it at all; on the Unix socket every role is there, and finds no such service.
    let expected = if wired.is_unix() {
        Code::Unimplemented
    } else {
        Code::PermissionDenied
    };
    let status = client
        .stats(p2psip_rpc::proto::storage::v1::StatsRequest {})
        .await
        .unwrap_err();
    assert_eq!(status.code(), expected, "{status}");
}

#[tokio::test]
async fn the_wrong_role_is_denied() {
    for mut wired in [Wired::direct(Role::Storage), Wired::tcp(Role::Storage).await] {
        let status = wired.client.call(call("echo")).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    }
    for mut wired in [Wired::direct(Role::Operator), Wired::tcp(Role::Operator).await] {
        let status = wired.client.attach(unbounded(tokio_stream::empty())).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    }
}

#[tokio::test]
async fn a_caller_names_itself_by_its_connection() {
    for (mut wired, named) in [
        (Wired::direct(Role::SipEdge), "Direct(SipEdge)"),
        (Wired::unix().await, "Unix { uid: "),
        (Wired::tcp(Role::SipEdge).await, "Tls({SipEdge})"),
    ] {
        let response = wired.client.call(call("caller")).await.unwrap().into_inner();
        let caller = contents(response);
        assert!(caller.starts_with(named), "{caller}");
    }
}

#[tokio::test]
async fn a_missing_server_is_unavailable_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let authority = ComponentAuthority::generate().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for address in [
        Address::Unix(folder.path().join("nobody.sock")),
        format!("tcp:{closed}").parse().unwrap(),
    ] {
        let identity = authority.issue(Role::SipEdge).unwrap();
        let channel = Channel::connect(&address, Role::Overlay, Some(&identity)).unwrap();
        let status = OverlayClient::new(channel).call(call("echo")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains(&address.to_string()), "{status}");
    }
}

#[tokio::test]
async fn a_channel_goes_to_the_next_server_when_one_is_gone() {
    let authority = ComponentAuthority::of_site("one site").unwrap();
    let mut addresses = Vec::new();
    let mut servers = Vec::new();
    for _ in 0..2 {
        let (served, _) = served();
        let identity = authority.issue(Role::Overlay).unwrap();
        let listener = Listener::bind(&"tcp:127.0.0.1:0".parse().unwrap(), Some(&identity))
            .await
            .unwrap();
        addresses.push(listener.address().clone());
        servers.push((served.clone(), tokio::spawn(served.serve(listener))));
    }
    let identity = authority.issue(Role::SipEdge).unwrap();
    let channel = Channel::connect_any(&addresses, Role::Overlay, Some(&identity)).unwrap();
    let mut client = OverlayClient::new(channel);
    client.call(call("echo")).await.unwrap();
    for index in [0, 1] {
        let (served, task) = servers.remove(0);
        served.close(Duration::ZERO).await;
        task.await.unwrap().unwrap();
        let asked = p2psip_rpc::retry(Deadline::after(Duration::from_secs(5)), |deadline| {
            let mut client = client.clone();
            async move { client.call(deadline.pass(call("echo"), Duration::ZERO)).await }
        });
        assert_eq!(asked.await.is_ok(), index == 0);
    }
}

#[tokio::test]
async fn a_restarted_server_is_found_again() {
    for mut wired in [Wired::unix().await, Wired::tcp(Role::SipEdge).await] {
        wired.client.call(call("echo")).await.unwrap();
        let socket = wired.close().await;

        let (served, _) = served();
        let listener = Listener::bind(&socket.address, socket.identity.as_ref()).await.unwrap();
        tokio::spawn(served.serve(listener));
        let deadline = Deadline::after(Duration::from_secs(5));
        let client = wired.client.clone();
        p2psip_rpc::retry(deadline, |deadline| {
            let mut client = client.clone();
            async move { client.call(deadline.pass(call("echo"), Duration::ZERO)).await }
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2psip.sock");
    let address = Address::Unix(path.clone());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());

    let listener = Listener::bind(&address, None).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let error = Listener::bind(&address, None).await.unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    drop(listener);
    assert!(!path.exists());

    std::fs::write(&path, "a file").unwrap();
    let error = Listener::bind(&address, None).await.unwrap_err();
    assert!(matches!(error, BindError::NotASocket { .. }), "{error}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let identity = ComponentAuthority::generate().unwrap().issue(Role::Overlay).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", taken.local_addr().unwrap()).parse().unwrap();
    let error = Listener::bind(&address, Some(&identity)).await.unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn tcp_goes_with_certificates_only() {
    let address = "tcp:127.0.0.1:0".parse().unwrap();
    let error = Listener::bind(&address, None).await.unwrap_err();
    assert!(matches!(error, BindError::NoIdentity { .. }), "{error}");
    let error = Channel::connect(&address, Role::Overlay, None).unwrap_err();
    assert!(error.to_string().contains("tcp:127.0.0.1:0"), "{error}");
}

const FIVE_MIB: usize = 5 << 20;
const PANIC: u64 = u64::MAX;
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A client and a server with one wiring between them.
struct Wired {
    client: OverlayClient<Channel>,
    channel: Channel,
    served: Served,
    stub: Stub,
    socket: Option<Socket>,
}

/// The server's end, unless the wiring is direct.
struct Socket {
    address: Address,
    identity: Option<ComponentIdentity>,
    serving: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
    _folder: tempfile::TempDir,
}

impl Wired {
    fn direct(role: Role) -> Self {
        let (served, stub) = served();
        let channel = Channel::direct(served.clone(), role);
        Self::new(channel, (served, stub), None)
    }

    async fn unix() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix(folder.path().join("p2psip.sock"));
        Self::over(address, None, folder).await
    }

    async fn tcp(role: Role) -> Self {
        let authority = ComponentAuthority::generate().unwrap();
        let identities = (authority.issue(Role::Overlay).unwrap(), authority.issue(role).unwrap());
        let address = "tcp:localhost:0".parse().unwrap();
        Self::over(address, Some(identities), tempfile::tempdir().unwrap()).await
    }

    /// With the identities of server and client.
    async fn over(
        address: Address,
        identities: Option<(ComponentIdentity, ComponentIdentity)>,
        folder: tempfile::TempDir,
    ) -> Self {
        let (served, stub) = served();
        let (own, client) = identities.unzip();
        let listener = Listener::bind(&address, own.as_ref()).await.unwrap();
        let address = listener.address().clone();
        let channel = Channel::connect(&address, Role::Overlay, client.as_ref()).unwrap();
        let socket = Socket {
            address,
            identity: own,
            serving: tokio::spawn(served.clone().serve(listener)),
            _folder: folder,
        };
        Self::new(channel, (served, stub), Some(socket))
    }

    fn new(channel: Channel, (served, stub): (Served, Stub), socket: Option<Socket>) -> Self {
        Self {
            client: OverlayClient::new(channel.clone()),
            channel,
            served,
            stub,
            socket,
        }
    }

    fn is_unix(&self) -> bool {
        matches!(&self.socket, Some(socket) if matches!(socket.address, Address::Unix(_)))
    }

    /// Waits until the socket's server has returned.
    async fn finished(&mut self) {
        if let Some(socket) = &mut self.socket {
            let serving = timeout(Duration::from_secs(5), &mut socket.serving).await;
            serving.unwrap().unwrap().unwrap();
        }
    }

    /// Ends the server; its address is free then.
    async fn close(&mut self) -> Socket {
        self.served.close(Duration::from_millis(100)).await;
        self.finished().await;
        self.socket.take().unwrap()
    }
}

fn served() -> (Served, Stub) {
    let builder = Served::builder();
    let stub = Stub {
        draining: builder.draining(),
        counts: Arc::default(),
    };
    (builder.service(OverlayServer::new(stub.clone())).build(), stub)
}

fn call(what: &'static str) -> pb::CallRequest {
    pb::CallRequest {
        contents: Bytes::from_static(what.as_bytes()),
        ..Default::default()
    }
}

fn reply(id: u64) -> pb::AttachRequest {
    let reply = pb::Reply {
        id,
        ..Default::default()
    };
    pb::AttachRequest {
        message: Some(pb::attach_request::Message::Reply(reply)),
    }
}

fn contents(response: pb::CallResponse) -> String {
    let Some(pb::call_response::Result::Contents(bytes)) = response.result else {
        panic!("{response:?}")
    };
    String::from_utf8(bytes.into()).unwrap()
}

async fn attach(wired: &Wired) -> Duplex<pb::AttachRequest, pb::AttachResponse> {
    let mut client = wired.client.clone();
    Duplex::open(async move |request| client.attach(request).await)
        .await
        .unwrap()
}

/// Does what the contents say, and counts how often a handler was entered and dropped unfinished.
#[derive(Clone)]
struct Stub {
    draining: CancellationToken,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    entered: AtomicUsize,
    dropped: AtomicUsize,
    changed: Notify,
}

/// Counts its own end.
struct Guard(Arc<Counts>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

impl Stub {
    fn guard(&self) -> Guard {
        self.counts.entered.fetch_add(1, Ordering::SeqCst);
        self.counts.changed.notify_waiters();
        Guard(self.counts.clone())
    }

    async fn entered(&self) {
        self.wait(&self.counts.entered).await;
    }

    async fn cancelled(&self) {
        self.wait(&self.counts.dropped).await;
    }

    async fn wait(&self, count: &AtomicUsize) {
        let reached = async {
            loop {
                let changed = self.counts.changed.notified();
                if count.load(Ordering::SeqCst) > 0 {
                    return;
                }
                changed.await;
            }
        };
        timeout(Duration::from_secs(5), reached).await.unwrap();
    }
}

#[tonic::async_trait]
impl Overlay for Stub {
    async fn call(&self, request: Request<pb::CallRequest>) -> Result<Response<pb::CallResponse>, Status> {
        let deadline = Deadline::of(&request);
        let traceparent = request
            .metadata()
            .get("traceparent")
            .map(|value| value.to_str().unwrap().to_owned());
        let caller = Caller::of(&request)?;
        let contents = request.into_inner().contents;
        let answer = |contents| {
            Ok(Response::new(pb::CallResponse {
                result: Some(pb::call_response::Result::Contents(contents)),
                hops: u32::try_from(deadline.remaining().unwrap().as_millis()).unwrap(),
                ..Default::default()
            }))
        };
        match contents.as_ref() {
            b"panic" => panic!("asked to"),
            b"big" => answer(Bytes::from(vec![0; FIVE_MIB])),
            b"refuse" => Err(Status::failed_precondition("not attached")),
            b"trace" => answer(traceparent.unwrap_or_default().into()),
            b"caller" => answer(format!("{caller:?}").into()),
            b"sleep" => {
                let _guard = self.guard();
                std::future::pending().await
            }
            _ => answer(contents),
        }
    }

    type AttachStream = Pin<Box<dyn Stream<Item = Result<pb::AttachResponse, Status>> + Send>>;

    /// Answers each Reply with an Incoming of its id; does not listen to `draining`.
    async fn attach(
        &self,
        request: Request<Streaming<pb::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let guard = self.guard();
        let answers = request.into_inner().map_while(Result::ok).map(move |message| {
            let _held = &guard;
            let Some(pb::attach_request::Message::Reply(reply)) = message.message else {
                panic!("{message:?}")
            };
            assert_ne!(reply.id, PANIC, "asked to");
            let incoming = pb::Incoming {
                id: reply.id,
                ..Default::default()
            };
            Ok(pb::AttachResponse {
                message: Some(pb::attach_response::Message::Incoming(incoming)),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    type WatchStream = ReceiverStream<Result<pb::WatchResponse, Status>>;

    /// Sends one state and then waits for the end.
    async fn watch(&self, _: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (states, stream) = mpsc::channel(4);
        let guard = self.guard();
        let draining = self.draining.clone();
        tokio::spawn(async move {
            let _guard = guard;
            let _ = states
                .send(Ok(pb::WatchResponse {
                    overlay: "watched".into(),
                    ..Default::default()
                }))
                .await;
            tokio::select! {
                () = states.closed() => {}
                () = draining.cancelled() => {
                    let _ = states.send(Err(Status::unavailable("draining"))).await;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn put_document(
        &self,
        _: Request<pb::PutDocumentRequest>,
    ) -> Result<Response<pb::PutDocumentResponse>, Status> {
        Ok(Response::new(pb::PutDocumentResponse { sequence: 0 }))
    }

    async fn leave(&self, _: Request<pb::LeaveRequest>) -> Result<Response<pb::LeaveResponse>, Status> {
        Ok(Response::new(pb::LeaveResponse { records: 0 }))
    }
}
