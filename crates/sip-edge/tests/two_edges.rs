//! Two real edges over real sockets and TLS, on a stub of the overlay; phones are scripted agents.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod stub;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use identity::issue::{Authority, Class, Serial, Subject, configuration_root, enrollment_ca, random_node_id};
use identity::{Certificate, Key, Signer};
use overlay_config::{Document, Genesis, SignedDocument};
use p2psip_sip_edge::{Config, Credentials, Server};
use sip_core::aor::Aor;
use sip_core::ua::{Agent, Event, Output, Password, Settings};
use tokio::net::UdpSocket;
use usage::user::{Hashes, Public, RecordKey, Secret, State};
use wire::{NodeId, ResourceId, TransactionId};

use stub::Stub;

const DOMAIN: &str = "overlay.example.org";
const PASSWORD: &str = "secret";

/// Everything that enrollment would give.
struct World {
    ca: Authority,
    now_ms: u64,
    document: SignedDocument,
    record_key: RecordKey,
    /// The signer of user records.
    writer: NodeId,
    stub: Stub,
}

impl World {
    fn new(users: &[&str]) -> Self {
        let now_ms = u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        let serial = || Serial::generate().unwrap();
        let root = configuration_root(&Key::generate().unwrap(), now_ms, serial()).unwrap();
        let ca = enrollment_ca(&Key::generate().unwrap(), now_ms, serial()).unwrap();
        let (signer_id, writer) = (random_node_id().unwrap(), random_node_id().unwrap());
        let signer = signer(
            &root,
            Class::ConfigurationSigner,
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
            world.put_user(user, &world.record_key, 1);
        }
        world
    }

    fn put_user(&self, user: &str, key: &RecordKey, version: u64) {
        let aor = format!("{user}@{DOMAIN}");
        let public = Public {
            state: State::Active,
            version,
            issued_ms: self.now_ms,
            allowed_edges: Vec::new(),
            record_key_version: key.version(),
        };
        let secret = Secret {
            user: aor.clone(),
            realm: DOMAIN.into(),
            display_name: String::new(),
            hashes: Hashes::new(&aor, DOMAIN, PASSWORD),
        };
        let record = key
            .seal(DOMAIN, ResourceId::of(aor.as_bytes()), public, &secret, [3; 12])
            .unwrap();
        let signer = signer(&self.ca, Class::UserRecord, self.writer, Some(&aor), self.now_ms);
        let signed = usage::user::store(&signer, DOMAIN, &aor, &record, (self.now_ms, TransactionId(1)));
        self.stub.store(&signed.contents, &signed.security);
    }

    fn credentials(&self) -> Credentials {
        let node = random_node_id().unwrap();
        let delegated = Key::generate().unwrap();
        let certificate = issue(&self.ca, Class::DelegatedSigner, node, None, (&delegated, self.now_ms));
        Credentials {
            link: signer(&self.ca, Class::Edge, node, None, self.now_ms),
            delegated: Authority::new(delegated, certificate).unwrap(),
            values: Key::generate().unwrap(),
            record_keys: vec![self.record_key.clone()],
        }
    }

    async fn edge(&self, credentials: Credentials, folder: &Path, bind: SocketAddr) -> Server {
        let config = Config {
            bind: vec![bind],
            edge_bind: "127.0.0.1:0".parse().unwrap(),
            data: folder.into(),
            ..Config::default()
        };
        let overlay = rpc::Channel::direct(self.stub.served(), rpc::Role::SipEdge);
        let component = runtime::Monitor::new().component("sip-edge", "");
        Server::bind(config, credentials, self.document.clone(), overlay, component)
            .await
            .unwrap()
    }
}

fn issue(
    authority: &Authority,
    class: Class,
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
        .issue(class, &subject, now_ms, Serial::generate().unwrap())
        .unwrap()
}

fn signer(authority: &Authority, class: Class, node_id: NodeId, user: Option<&str>, now_ms: u64) -> Signer {
    let key = Key::generate().unwrap();
    let certificate = issue(authority, class, node_id, user, (&key, now_ms));
    Signer::new(key, &certificate, &[]).unwrap()
}

/// A scripted phone with a real socket.
struct Phone {
    agent: Agent,
    socket: UdpSocket,
}

impl Phone {
    async fn new(user: &str, password: &str, edge: SocketAddr) -> Self {
        Self::bound(user, password, edge, "127.0.0.1:0").await
    }

    async fn bound(user: &str, password: &str, edge: SocketAddr, local: &str) -> Self {
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
    async fn until(&mut self, is_wanted: impl Fn(&Event) -> bool) -> Event {
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

    async fn register(&mut self) {
        let event = self.try_to_register().await;
        assert!(matches!(event, Event::Registered { .. }), "{event:?}");
    }

    async fn try_to_register(&mut self) -> Event {
        self.agent.register(Instant::now()).unwrap();
        self.until(|event| matches!(event, Event::Registered { .. } | Event::RegisterFailed { .. }))
            .await
    }
}

/// A call from one phone to another, from INVITE to BYE.
async fn call(caller: &mut Phone, callee: &mut Phone, to: &str) {
    caller
        .agent
        .call(Instant::now(), &format!("sip:{to}@{DOMAIN}"))
        .unwrap();
    let is_up = |event: &Event| matches!(event, Event::Established | Event::CallFailed { .. });
    let (event, _) = tokio::join!(caller.until(is_up), callee.until(is_up));
    assert_eq!(event, Event::Established);
    hang_up(caller, callee).await;
}

async fn hang_up(one: &mut Phone, other: &mut Phone) {
    one.agent.hang_up(Instant::now()).unwrap();
    let is_over = |event: &Event| *event == Event::Ended;
    tokio::join!(one.until(is_over), other.until(is_over));
}

async fn fails(caller: &mut Phone, to: &str) -> u16 {
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

fn localhost() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phones_of_two_edges_call_each_other() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let one = world
        .edge(world.credentials(), &folder.path().join("1"), localhost())
        .await;
    let other = world
        .edge(world.credentials(), &folder.path().join("2"), localhost())
        .await;
    let mut alice = Phone::new("alice", PASSWORD, one.addresses()[0]).await;
    let mut bob = Phone::new("bob", PASSWORD, other.addresses()[0]).await;

    assert_eq!(fails(&mut alice, "nobody").await, 404);
    alice.register().await;
    bob.register().await;
    assert_eq!(world.stub.registrations("bob@overlay.example.org"), 1);
    call(&mut alice, &mut bob, "bob").await;
    call(&mut bob, &mut alice, "alice").await;
    // And over the connection that exists.
    call(&mut alice, &mut bob, "bob").await;

    bob.agent.unregister(Instant::now()).unwrap();
    bob.until(|event| *event == Event::Unregistered).await;
    eventually(|| world.stub.registrations("bob@overlay.example.org") == 0).await;
    one.shutdown(Duration::from_secs(1)).await;
    other.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phones_of_one_edge_call_each_other() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let edge = world
        .edge(world.credentials(), folder.path(), "[::1]:0".parse().unwrap())
        .await;
    let edge_v6 = edge.addresses()[0];
    let mut alice = Phone::bound("alice", PASSWORD, edge_v6, "[::1]:0").await;
    let mut bob = Phone::bound("bob", PASSWORD, edge_v6, "[::1]:0").await;
    alice.register().await;
    bob.register().await;
    call(&mut alice, &mut bob, "bob").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_a_phone_is_not_reached() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let edge = world.edge(world.credentials(), folder.path(), localhost()).await;
    let mut alice = Phone::new("alice", PASSWORD, edge.addresses()[0]).await;
    assert_eq!(fails(&mut alice, "bob").await, 480);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_whose_port_is_closed_is_given_up_by_the_systems_word() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let edge = world.edge(world.credentials(), folder.path(), localhost()).await;
    let mut alice = Phone::new("alice", PASSWORD, edge.addresses()[0]).await;
    let mut bob = Phone::new("bob", PASSWORD, edge.addresses()[0]).await;
    bob.register().await;
    drop(bob);
    // A silent phone would end as 408.
    assert_eq!(fails(&mut alice, "bob").await, 480);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_refused() {
    let (world, folder) = (World::new(&["alice"]), tempfile::tempdir().unwrap());
    let edge = world.edge(world.credentials(), folder.path(), localhost()).await;
    let mut alice = Phone::new("alice", "wrong", edge.addresses()[0]).await;
    assert_eq!(alice.try_to_register().await, Event::RegisterFailed { code: 401 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_opened_under_each_key_that_the_edge_holds() {
    let (world, folder) = (World::new(&["alice"]), tempfile::tempdir().unwrap());
    let (old, new) = (world.record_key.clone(), RecordKey::new(2, [8; 32]));
    let edge = world.edge(world.credentials(), folder.path(), localhost()).await;
    let keys = edge.renewer();
    let mut alice = Phone::new("alice", PASSWORD, edge.addresses()[0]).await;
    let mut bob = Phone::new("bob", PASSWORD, edge.addresses()[0]).await;
    world.put_user("bob", &new, 1);
    alice.register().await;
    // Neither yes nor no: at 401 the phone would ask for another password, at 403 give up.
    assert_eq!(bob.try_to_register().await, Event::RegisterFailed { code: 503 });
    keys.set_record_keys(vec![old, new.clone()]).await;
    alice.register().await;
    bob.register().await;
    // Sealed again; what the edge keeps is still under the old key when that goes.
    world.put_user("alice", &new, 2);
    keys.set_record_keys(vec![new]).await;
    alice.register().await;
    bob.register().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_outlives_the_restart_of_its_edge() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let credentials = world.credentials();
    let again = again(&credentials, credentials.record_keys.clone());
    let first = world.edge(credentials, &folder.path().join("1"), localhost()).await;
    let address = first.addresses()[0];
    let other = world
        .edge(world.credentials(), &folder.path().join("2"), localhost())
        .await;
    let mut alice = Phone::new("alice", PASSWORD, address).await;
    let mut bob = Phone::new("bob", PASSWORD, other.addresses()[0]).await;
    alice.register().await;
    bob.register().await;
    alice.agent.call(Instant::now(), "sip:bob@overlay.example.org").unwrap();
    let is_up = |event: &Event| *event == Event::Established;
    tokio::join!(alice.until(is_up), bob.until(is_up));

    first.shutdown(Duration::ZERO).await;
    let second = world.edge(again, &folder.path().join("1"), address).await;
    assert_eq!(second.addresses()[0], address);
    eventually(|| world.stub.attachments() == 3).await;
    // Both ways: the caller's edge knows its phone by the binding on disk.
    hang_up(&mut bob, &mut alice).await;
    call(&mut bob, &mut alice, "alice").await;
    call(&mut alice, &mut bob, "bob").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_on_disk_under_a_key_that_is_gone_is_fetched_anew() {
    let (world, folder) = (World::new(&["alice"]), tempfile::tempdir().unwrap());
    let (credentials, new) = (world.credentials(), RecordKey::new(2, [8; 32]));
    let later = again(&credentials, vec![new.clone()]);
    let first = world.edge(credentials, folder.path(), localhost()).await;
    let address = first.addresses()[0];
    let mut alice = Phone::new("alice", PASSWORD, address).await;
    alice.register().await;
    first.shutdown(Duration::ZERO).await;
    world.put_user("alice", &new, 2);
    let _second = world.edge(later, folder.path(), address).await;
    eventually(|| world.stub.attachments() == 2).await;
    alice.register().await;
}

/// The same edge once more, with these record keys.
fn again(credentials: &Credentials, record_keys: Vec<RecordKey>) -> Credentials {
    let (key, certificate) = (credentials.delegated.key(), credentials.delegated.certificate());
    Credentials {
        link: credentials.link.clone(),
        delegated: Authority::new(key.clone(), certificate.clone()).unwrap(),
        values: credentials.values.clone(),
        record_keys,
    }
}

async fn eventually(is_so: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < limit, "waited in vain");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
