//! Tests of the end of an idle peer, in one process and in separate ones: it waits for nothing in vain.
//!
//! Each wait of an end is bounded, and says in a line with the field `grace` when its time has run out before that which it
//! waited for came. An end without such a line waited for nothing but what came by itself, so no time has to be measured.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bootstrap::Server;
use rpc::proto::overlay::v1::WatchRequest;
use rpc::proto::overlay::v1::overlay_client::OverlayClient;
use rpc::proto::sip_edge::v1::RegistrationsRequest;
use rpc::proto::sip_edge::v1::sip_edge_client::SipEdgeClient;
use rpc::{Address, Channel, Role, unbounded};
use runtime::Monitor;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::start::Start;
use super::{Create, Node, Part, Place, token};
use crate::settings::Settings;
use crate::supervisor::Supervisor;

/// Far beyond what it takes on a busy machine.
const LONGEST: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_idle_peer_in_one_process_ends_without_waiting_in_vain() {
    let waits = Waits::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(waits.clone()));
    let folder = tempfile::tempdir().unwrap();
    let settings = Made::new(folder.path(), "127.79.0.1").settings("127.79.0.1:9090").await;
    let mut running = Running::start(&settings, Part::Peer).await;
    running.ready().await;

    let socket = Address::Unix(settings.peer.socket.clone());
    let channel = Channel::connect(&socket, Role::Overlay, None).unwrap();
    let watched = watch(&channel).await;
    running.supervisor.stop().await.unwrap();
    drop(watched);
    assert_eq!(waits.in_vain(), [""; 0]);
}

#[tokio::test]
async fn each_component_apart_ends_without_waiting_in_vain() {
    let waits = Waits::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(waits.clone()));
    let folder = tempfile::tempdir().unwrap();
    let made = Made::new(folder.path(), "127.79.0.2");
    let parts = [
        (Part::Bootstrap, "127.79.0.2:9093"),
        (Part::Storage, "127.79.0.2:9091"),
        (Part::Overlay, "127.79.0.2:9090"),
        (Part::SipEdge, "127.79.0.2:9092"),
    ];
    // Each is ended while the others run, and started anew; the last round ends all of them, the storage of the overlay first.
    let mut running = Vec::new();
    for (part, admin) in parts {
        let settings = made.settings(admin).await;
        running.push(Running::start(&settings, part).await);
    }
    for running in &running {
        running.ready().await;
    }
    for (index, (part, admin)) in parts.into_iter().enumerate() {
        let settings = made.settings(admin).await;
        running[index].supervisor.stop().await.unwrap();
        assert_eq!(waits.in_vain(), [""; 0], "{part:?}");
        running[index] = Running::start(&settings, part).await;
        for running in &running {
            running.ready().await;
        }
    }
    for running in &mut running {
        running.supervisor.stop().await.unwrap();
    }
    assert_eq!(waits.in_vain(), [""; 0]);
}

/// Opens the streams that an operator's screens hold open.
async fn watch(channel: &Channel) -> impl Sized {
    let health = unbounded(HealthCheckRequest::default());
    let registrations = RegistrationsRequest {
        follow: true,
        ..RegistrationsRequest::default()
    };
    (
        HealthClient::new(channel.clone()).watch(health).await.unwrap(),
        OverlayClient::new(channel.clone())
            .watch(unbounded(WatchRequest {}))
            .await
            .unwrap(),
        SipEdgeClient::new(channel.clone())
            .registrations(unbounded(registrations))
            .await
            .unwrap(),
    )
}

/// What runs in one process.
struct Running {
    monitor: Monitor,
    supervisor: Supervisor,
}

impl Running {
    async fn start(settings: &Settings, part: Part) -> Self {
        let (monitor, mut supervisor) = (Monitor::new(), Supervisor::default());
        let start = Start::new(settings, &monitor, &mut supervisor).part(part);
        start.await.unwrap();
        Self { monitor, supervisor }
    }

    async fn ready(&self) {
        let ready = async {
            while !self.monitor.readiness().ready {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(LONGEST, ready).await;
        assert!(waited.is_ok(), "not ready: {:?}", self.monitor.readiness());
    }
}

/// An overlay of one peer, as `init` makes it, at an address of its own.
struct Made<'a> {
    folder: &'a Path,
    address: &'static str,
}

impl<'a> Made<'a> {
    fn new(folder: &'a Path, address: &'static str) -> Self {
        Self { folder, address }
    }

    /// The settings of a process; the first makes what they name.
    async fn settings(&self, admin: &str) -> Settings {
        let Self { folder, address } = self;
        let folder = folder.display();
        let text = format!(
            r#"
            [peer]
            folder = "{folder}/peer"
            socket = "{folder}/peer.sock"
            [overlay]
            bind = ["{address}:6084"]
            data = "{folder}/overlay"
            listen = "unix:{folder}/overlay.sock"
            storage = "unix:{folder}/storage.sock"
            bootstrap = "unix:{folder}/bootstrap.sock"
            [storage]
            data = "{folder}/storage"
            listen = "unix:{folder}/storage.sock"
            [sip_edge]
            bind = ["{address}:5060"]
            edge_bind = "{address}:5062"
            data = "{folder}/sip-edge"
            listen = "unix:{folder}/sip-edge.sock"
            overlay = "unix:{folder}/overlay.sock"
            [bootstrap]
            folder = "{folder}/bootstrap"
            https_bind = ["{address}:8443"]
            listen = "unix:{folder}/bootstrap.sock"
            [admin]
            bind = "{admin}"
            "#
        );
        let settings: Settings = toml::from_str(&text).unwrap();
        if !settings.peer.folder.exists() {
            self.make(&settings).await;
        }
        settings
    }

    async fn make(&self, settings: &Settings) {
        let servers = vec![format!("https://{}:8443", self.address)];
        let create = Create {
            overlay: "stop.p2psip.test".to_owned(),
            nodes: vec![Node {
                host: self.address.to_owned(),
                port: 6084,
            }],
            servers: servers.clone(),
            off_line: self.folder.join("off-line"),
            places: self.folder.join("places"),
            peers: Vec::new(),
        };
        create.overlay(&settings.bootstrap.folder).await.unwrap();
        let component = Monitor::new().component("bootstrap", "");
        let mut service = Server::bind(&settings.bootstrap, Default::default(), component)
            .await
            .unwrap();
        let operator = Channel::direct(service.served(), Role::Operator);
        let token = token(operator, servers).await.unwrap();
        Place::at(&settings.peer.folder).make(&token, true).unwrap();
        service.shutdown(LONGEST).await.unwrap();
    }
}

/// Keeps the lines of waits whose time ran out.
#[derive(Clone, Default)]
struct Waits(Arc<Mutex<Vec<String>>>);

impl Waits {
    fn in_vain(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl<S: Subscriber> Layer<S> for Waits {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().fields().field("grace").is_some() {
            let mut line = Line(String::new());
            event.record(&mut line);
            self.0.lock().unwrap().push(line.0);
        }
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}
