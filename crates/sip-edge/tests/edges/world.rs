//! What enrollment would give, the users, and phones with real sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use identity::issue::{Authority, Profile, Serial, Subject, configuration_root, enrollment_ca, random_node_id};
use identity::{Certificate, Key, Signer};
use overlay_config::{Document, Genesis, SignedDocument};
use p2psip_sip_edge::{Config, Credentials, Server};
use sip_core::aor::Aor;
use sip_core::ua::{Agent, Event, Output, Password, Settings};
use tokio::net::UdpSocket;
use usage::user::{Hashes, Public, RecordKey, Secret, State};
use wire::{NodeId, ResourceId, TransactionId};

use crate::stub::Stub;

pub(crate) const DOMAIN: &str = "overlay.example.org";
pub(crate) const PASSWORD: &str = "secret";

/// Everything that enrollment would give.
pub(crate) struct World {
    ca: Authority,
    now_ms: u64,
    document: SignedDocument,
    record_key: RecordKey,
    /// The signer of user records.
    writer: NodeId,
    pub(crate) stub: Stub,
}

impl World {
    pub(crate) fn new(users: &[&str]) -> Self {
        let now_ms = u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        let serial = || Serial::generate().unwrap();
        let root = configuration_root(&Key::generate().unwrap(), now_ms, serial()).unwrap();
        let ca = enrollment_ca(&Key::generate().unwrap(), now_ms, serial()).unwrap();
        let (signer_id, writer) = (random_node_id().unwrap(), random_node_id().unwrap());
        let signer = signer(
            &root,
            Profile::ConfigurationSigner,
            signer_id,
            Some("config@overlay.example.org"),
            now_ms,
        );
        let root_certs = vec![root.certificate().clone(), ca.certificate().clone()];
        let genesis = Genesis {
            overlay: DOMAIN,
            root_certs,
            configuration_signer: signer_id,
            user_signer: writer,
            bootstrap_nodes: Vec::new(),
        };
        let document = SignedDocument::sign(Document::for_overlay(genesis), &signer);
        let world = Self {
            stub: Stub::new(document.xml().clone()),
            ca,
            now_ms,
            document,
            record_key: RecordKey::new(1, [9; 32]),
            writer,
        };
        for user in users {
            world.put_user(user, PASSWORD, &world.record_key, 1);
        }
        world
    }

    pub(crate) fn overlay(&self) -> &'static str {
        DOMAIN
    }

    pub(crate) fn trust(&self) -> identity::Trust {
        self.document.document().trust()
    }

    /// When it was made.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The record key that edges have.
    pub(crate) fn record_key(&self) -> &RecordKey {
        &self.record_key
    }

    /// Stores a user's record, sealed under a key; each further one has a greater version.
    pub(crate) fn put_user(&self, user: &str, password: &str, key: &RecordKey, version: u64) {
        self.put_record(user, password, key, (State::Active, version));
    }

    /// Stores a user's record that says that the user is suspended.
    pub(crate) fn suspend_user(&self, user: &str, version: u64) {
        self.put_record(user, PASSWORD, &self.record_key, (State::Suspended, version));
    }

    fn put_record(&self, user: &str, password: &str, key: &RecordKey, (state, version): (State, u64)) {
        let aor = format!("{user}@{DOMAIN}");
        let public = Public {
            state,
            version,
            issued_ms: self.now_ms,
            allowed_edges: Vec::new(),
            record_key_version: key.version(),
        };
        let secret = Secret {
            user: aor.clone(),
            realm: DOMAIN.into(),
            display_name: String::new(),
            hashes: Hashes::new(&aor, DOMAIN, password),
        };
        let record = key
            .seal(DOMAIN, ResourceId::of(aor.as_bytes()), public, &secret, [3; 12])
            .unwrap();
        let signer = signer(&self.ca, Profile::UserRecord, self.writer, Some(&aor), self.now_ms);
        let signed = usage::user::store(
            &signer,
            DOMAIN,
            &aor,
            &record,
            (self.now_ms + version, TransactionId(version)),
        );
        self.stub.store(&signed.contents, &signed.security);
    }

    pub(crate) fn credentials(&self) -> Credentials {
        let node = random_node_id().unwrap();
        let delegated = Key::generate().unwrap();
        let certificate = issue(
            &self.ca,
            Profile::DelegatedSigner,
            node,
            None,
            (&delegated, self.now_ms),
        );
        Credentials {
            link: signer(&self.ca, Profile::Edge, node, None, self.now_ms),
            delegated: Authority::new(delegated, certificate).unwrap(),
            values: Key::generate().unwrap(),
            record_keys: vec![self.record_key.clone()],
        }
    }

    pub(crate) async fn edge(&self, credentials: Credentials, folder: &Path, bind: SocketAddr) -> Server {
        let monitor = runtime::Monitor::new();
        self.monitored_edge(credentials, folder, bind, &monitor).await
    }

    pub(crate) async fn monitored_edge(
        &self,
        credentials: Credentials,
        folder: &Path,
        bind: SocketAddr,
        monitor: &runtime::Monitor,
    ) -> Server {
        let config = Config {
            bind: vec![bind],
            ..self.config(folder)
        };
        self.start(credentials, config, monitor).await
    }

    /// An edge with its own settings.
    pub(crate) async fn edge_with(&self, config: Config) -> Server {
        self.start(self.credentials(), config, &runtime::Monitor::new()).await
    }

    /// What all edges here have in common.
    pub(crate) fn config(&self, folder: &Path) -> Config {
        Config {
            bind: vec![localhost()],
            edge_bind: vec![localhost()],
            data: folder.into(),
            ..Config::default()
        }
    }

    async fn start(&self, credentials: Credentials, config: Config, monitor: &runtime::Monitor) -> Server {
        let overlay = rpc::Channel::direct(self.stub.served(), rpc::Role::SipEdge);
        let component = monitor.component("sip-edge", "");
        Server::bind(config, credentials, self.document.clone(), overlay, component)
            .await
            .unwrap()
    }
}

fn issue(
    authority: &Authority,
    profile: Profile,
    node_id: NodeId,
    user: Option<&str>,
    (key, now_ms): (&Key, u64),
) -> Certificate {
    let subject = Subject {
        key: &key.public(),
        node_id,
        overlay: DOMAIN,
        user,
    };
    authority
        .issue(profile, &subject, now_ms, Serial::generate().unwrap())
        .unwrap()
}

fn signer(authority: &Authority, profile: Profile, node_id: NodeId, user: Option<&str>, now_ms: u64) -> Signer {
    let key = Key::generate().unwrap();
    let certificate = issue(authority, profile, node_id, user, (&key, now_ms));
    Signer::new(key, &certificate, &[]).unwrap()
}

/// A scripted phone with a real socket.
pub(crate) struct Phone {
    pub(crate) agent: Agent,
    socket: UdpSocket,
}

impl Phone {
    pub(crate) async fn new(user: &str, password: &str, edge: SocketAddr) -> Self {
        Self::bound(user, password, edge, "127.0.0.1:0").await
    }

    pub(crate) async fn bound(user: &str, password: &str, edge: SocketAddr, local: &str) -> Self {
        let socket = UdpSocket::bind(local).await.unwrap();
        let local = socket.local_addr().unwrap();
        let settings = Settings {
            aor: Aor::new(user, DOMAIN).unwrap(),
            password: Password(password.into()),
            local,
            edge,
            media: SocketAddr::new(local.ip(), 4000),
            ring: Duration::from_millis(50),
            seed: Key::generate().unwrap().public().spki()[40..72].try_into().unwrap(),
        };
        Self {
            agent: Agent::new(settings),
            socket,
        }
    }

    /// Runs the phone until it reports what `is_wanted` accepts.
    pub(crate) async fn until(&mut self, is_wanted: impl Fn(&Event) -> bool) -> Event {
        let limit = Instant::now() + Duration::from_secs(15);
        let mut buffer = vec![0; 65_536];
        loop {
            let mut wanted = None;
            let due = loop {
                match self.agent.poll_output() {
                    Output::Send { to, bytes } => drop(self.socket.send_to(&bytes, to).await.unwrap()),
                    Output::Event(event) => wanted = wanted.or(Some(event).filter(&is_wanted)),
                    Output::Timeout(due) => break due.unwrap_or(limit).min(limit),
                }
            };
            if let Some(event) = wanted {
                return event;
            }
            assert!(Instant::now() < limit, "the phone waited in vain");
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => {
                    let (length, source) = received.unwrap();
                    self.agent.handle_datagram(Instant::now(), source, Bytes::copy_from_slice(&buffer[..length]));
                }
                () = tokio::time::sleep_until(due.into()) => self.agent.handle_timeout(Instant::now()),
            }
        }
    }

    pub(crate) async fn register(&mut self) {
        let event = self.try_to_register().await;
        assert!(matches!(event, Event::Registered { .. }), "{event:?}");
    }

    /// Registers; tells how that ended.
    pub(crate) async fn try_to_register(&mut self) -> Event {
        self.agent.register(Instant::now()).unwrap();
        self.until(|event| matches!(event, Event::Registered { .. } | Event::RegisterFailed { .. }))
            .await
    }
}

/// A call from one phone to another, from INVITE to BYE.
pub(crate) async fn call(caller: &mut Phone, callee: &mut Phone, to: &str) {
    caller
        .agent
        .call(Instant::now(), &format!("sip:{to}@{DOMAIN}"))
        .unwrap();
    let is_up = |event: &Event| matches!(event, Event::Established | Event::CallFailed { .. });
    let (event, _) = tokio::join!(caller.until(is_up), callee.until(is_up));
    assert_eq!(event, Event::Established);
    hang_up(caller, callee).await;
}

pub(crate) async fn hang_up(one: &mut Phone, other: &mut Phone) {
    one.agent.hang_up(Instant::now()).unwrap();
    let is_over = |event: &Event| *event == Event::Ended;
    tokio::join!(one.until(is_over), other.until(is_over));
}

pub(crate) async fn fails(caller: &mut Phone, to: &str) -> u16 {
    caller
        .agent
        .call(Instant::now(), &format!("sip:{to}@{DOMAIN}"))
        .unwrap();
    match caller
        .until(|event| matches!(event, Event::Established | Event::CallFailed { .. }))
        .await
    {
        Event::CallFailed { code, .. } => code,
        event => panic!("{event:?}"),
    }
}

pub(crate) fn localhost() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// The same edge once more, with these record keys.
pub(crate) fn again(credentials: &Credentials, record_keys: Vec<RecordKey>) -> Credentials {
    let (key, certificate) = (credentials.delegated.key(), credentials.delegated.certificate());
    Credentials {
        link: credentials.link.clone(),
        delegated: Authority::new(key.clone(), certificate.clone()).unwrap(),
        values: credentials.values.clone(),
        record_keys,
    }
}

pub(crate) async fn eventually(is_so: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < limit, "waited in vain");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
