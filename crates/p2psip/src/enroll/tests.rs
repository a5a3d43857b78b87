//! Real enrollment over HTTPS on loopback, each test at an address of its own.

mod over_time;
mod vouching;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use identity::Sign as _;
use identity::issue::{Profile, Serial, Subject, configuration_root, enrollment_ca};
use overlay_config::{Demand, Document, Genesis};
use rpc::proto::bootstrap::v1::bootstrap_client::BootstrapClient;
use rpc::proto::bootstrap::v1::{
    CreateTokenRequest, RecordKeysRequest, RecordKeysResponse, RevokeTokenRequest, RotateRecordKeyRequest,
};
use rpc::{Channel, Role};
use runtime::Monitor;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use usage::user::RecordKey;
use wire::NodeId;

use super::documents::{Brought, Outsider};
use super::renew::When;
use super::renewal::{RenewError, Shows};
use super::*;

const OVERLAY: &str = "enroll.p2psip.test";

#[tokio::test]
async fn peer_and_edge_enroll_each_by_itself_with_one_token() {
    let world = World::new(1).await;
    let token = world.token("one").await;
    let (peer_folder, edge_folder) = (world.folder("peer"), world.folder("edge"));
    let (first, second) = tokio::join!(peer(&peer_folder, &token), edge(&edge_folder, &token));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(first.node_id(), second.node_id());
    assert_eq!(first.root, token.root);
    assert_eq!(second.edge.record_keys.len(), 1);
    for file in fs::read_dir(&edge_folder)
        .unwrap()
        .chain(fs::read_dir(&peer_folder).unwrap())
    {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // Once enrolled, nobody is asked any more.
    let nobody = Token {
        servers: Vec::new(),
        ..token.clone()
    };
    assert_eq!(peer(&peer_folder, &nobody).await.unwrap().node_id(), first.node_id());
    // Both places are taken.
    let refused = edge(&world.folder("other"), &token).await.unwrap_err();
    assert!(refused.is_refusal(), "{refused}");
    assert_eq!(Failure::from(refused).code(), ExitCode::Credentials);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_asked_for_again_with_the_same_key() {
    let world = World::new(2).await;
    let token = world.token("one").await;
    let folder = world.folder("edge");
    let first = edge(&folder, &token).await.unwrap().node_id();
    // As if the last rename had not been reached.
    fs::rename(&folder, folder.with_file_name("edge.new")).unwrap();
    assert!(EdgeCredentials::load(&folder, now_ms()).unwrap().is_none());
    assert_eq!(edge(&folder, &token).await.unwrap().node_id(), first);
}

#[tokio::test]
async fn a_document_under_another_root_is_refused() {
    let world = World::new(3).await;
    let token = world.token("one").await;
    let wrong = Token {
        root: [1; 32],
        ..token.clone()
    };
    let refused = peer(&world.folder("peer"), &wrong).await.unwrap_err();
    assert!(matches!(refused, EnrollError::Document { .. }), "{refused}");
    assert!(refused.to_string().contains(&world.url), "{refused}");
    // The token was not spent.
    peer(&world.folder("peer"), &token).await.unwrap();
}

#[tokio::test]
async fn a_server_of_another_ca_gets_no_secret() {
    let world = World::new(4).await;
    let token = world.token("one").await;
    let document = document(&token.servers, token.root).await.unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let impostor = impostor(&document, Arc::clone(&heard)).await;
    let misled = Token {
        servers: vec![impostor],
        ..token.clone()
    };
    let refused = peer(&world.folder("peer"), &misled).await.unwrap_err();
    assert!(
        matches!(refused, EnrollError::Https(HttpsError::Tls { .. })),
        "{refused}"
    );
    let heard = String::from_utf8(heard.lock().unwrap().clone()).unwrap();
    assert!(heard.starts_with("GET /.well-known/reload-config"), "{heard}");
    assert!(!heard.contains(&token.secret));
    // With the right server behind it in the list all is well.
    let both = Token {
        servers: [misled.servers, token.servers.clone()].concat(),
        ..token
    };
    peer(&world.folder("peer"), &both).await.unwrap();
}

#[tokio::test]
async fn unknown_used_revoked_and_expired_tokens_are_not_told_apart() {
    let world = World::new(5).await;
    let used = world.token("used").await;
    peer(&world.folder("first"), &used).await.unwrap();
    let revoked = world.token("revoked").await;
    let request = RevokeTokenRequest { id: "revoked".into() };
    world.operator().revoke_token(request).await.unwrap();
    let unknown = Token {
        secret: "guess".into(),
        ..used.clone()
    };
    let mut told = Vec::new();
    for (number, token) in [used, revoked, unknown].iter().enumerate() {
        let refused = peer(&world.folder(&format!("peer{number}")), token).await.unwrap_err();
        told.push(refused.to_string());
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0], told[2]);
    assert!(told[0].contains("ask for a new token"), "{}", told[0]);
}

#[tokio::test]
async fn nobody_at_home_is_told_with_the_address() {
    let token = Token {
        overlay: OVERLAY.into(),
        root: [0; 32],
        servers: vec!["https://127.17.0.6:1".into()],
        secret: String::new(),
    };
    let folder = tempfile::tempdir().unwrap();
    let failed = peer(&folder.path().join("peer"), &token).await.unwrap_err();
    assert!(failed.to_string().contains("https://127.17.0.6:1"), "{failed}");
    assert_eq!(Failure::from(failed).code(), ExitCode::Unreachable);
}

#[tokio::test]
async fn a_delegated_signer_is_renewed_with_a_new_key() {
    let world = World::new(7).await;
    let folder = world.folder("edge");
    let first = edge(&folder, &world.token("one").await).await.unwrap();
    let nothing = renew::edge(&folder, When::DueAt(now_ms())).await.unwrap();
    assert!(nothing.is_none());
    let second = renew::edge(&folder, When::DueAt(now_ms() + 11 * DAY_MS))
        .await
        .unwrap()
        .unwrap();
    let key = |credentials: &EdgeCredentials| credentials.edge.delegated.certificate().public_key().to_vec();
    assert_ne!(key(&first), key(&second));
    assert_eq!(first.node_id(), second.node_id());
    // Cut off before the key had its own name: the next one goes on from there.
    fs::copy(folder.join("signer.key"), folder.join("signer.next.key")).unwrap();
    fs::write(folder.join("signer.key"), first.edge.delegated.key().to_pem().unwrap()).unwrap();
    let found = EdgeCredentials::load(&folder, now_ms()).unwrap().unwrap();
    assert_eq!(key(&found), key(&second));
    let third = renew::edge(&folder, When::DueAt(now_ms() + 11 * DAY_MS))
        .await
        .unwrap()
        .unwrap();
    assert!(key(&third) != key(&second) && !folder.join("signer.next.key").exists());
}

#[tokio::test]
async fn record_keys_follow_a_rotation_from_its_begin_to_its_end() {
    let world = World::new(11).await;
    let folder = world.folder("edge");
    edge(&folder, &world.token("one").await).await.unwrap();
    let fetch = async || {
        let keys = record_keys::fetch(&folder).await.unwrap();
        keys.map(|keys| keys.iter().map(RecordKey::version).collect::<Vec<_>>())
    };
    assert_eq!(fetch().await, None);
    assert_eq!(world.record_keys().await.edges_in_step, 1);
    let request = RotateRecordKeyRequest {
        target: 2,
        without: Vec::new(),
    };
    world.operator().rotate_record_key(request).await.unwrap();
    assert_eq!(fetch().await, Some(vec![1, 2]));
    // On the disk, and for its owner alone.
    let kept = EdgeCredentials::load(&folder, now_ms()).unwrap().unwrap();
    assert_eq!(kept.edge.record_keys.len(), 2);
    let mode = folder.join("record-keys").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(world.record_keys().await.edges_behind, 1);
    // What is held is reported; there is no user whose record would have to be sealed again.
    assert_eq!(fetch().await, None);
    let dropped = async {
        while world.record_keys().await.versions != [2] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), dropped)
        .await
        .expect("the old key goes once all edges hold the new one");
    assert_eq!(fetch().await, Some(vec![2]));
    assert_eq!(fetch().await, None);
    assert_eq!(world.record_keys().await.edges_in_step, 1);
}

#[tokio::test]
async fn record_keys_are_for_edges_alone() {
    let world = World::new(13).await;
    let peer = peer(&world.folder("peer"), &world.token("one").await).await.unwrap();
    let server = Server::of(&world.url).unwrap();
    for shown in [None, Some(&peer.signer)] {
        let client = Client::of(peer.document.document(), shown).unwrap();
        let refused = client
            .post(&server, "/.well-known/p2psip/record-keys", Vec::new())
            .await;
        assert!(matches!(refused, Err(HttpsError::Refused { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn an_edge_that_was_left_out_is_refused_and_keeps_what_it_has() {
    let world = World::new(12).await;
    let folder = world.folder("edge");
    let node_id = edge(&folder, &world.token("one").await).await.unwrap().node_id();
    let request = RotateRecordKeyRequest {
        target: 2,
        without: vec![node_id.as_bytes().to_vec().into()],
    };
    world.operator().rotate_record_key(request).await.unwrap();
    let refused = record_keys::fetch(&folder).await.unwrap_err();
    assert!(refused.is_refusal(), "{refused}");
    let kept = EdgeCredentials::load(&folder, now_ms()).unwrap().unwrap();
    assert_eq!(kept.edge.record_keys[0].version(), 1);
}

/// A peer that is outside and stays so; it tells what it was brought.
struct Outside(String, tokio::sync::mpsc::Sender<Result<u16, Demand>>);

impl Outsider for Outside {
    async fn wants_document(&mut self) {}

    fn servers(&self) -> Vec<String> {
        vec![self.0.clone()]
    }

    async fn bring(&self, document: Brought) {
        let sequence = document.map(|document| document.document().sequence);
        self.1.send(sequence).await.unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_is_outside_is_brought_a_document_every_ten_minutes() {
    let world = World::new(15).await;
    let folder = world.folder("peer");
    peer(&folder, &world.token("one").await).await.unwrap();
    let (brings, mut brought) = tokio::sync::mpsc::channel(1);
    let (outside, stop) = (Outside(world.url.clone(), brings), CancellationToken::new());
    let keeping = tokio::spawn({
        let stop = stop.clone();
        async move { documents::keep(&folder, outside, stop).await }
    });
    assert_eq!(brought.recv().await, Some(Ok(1)));
    // From here on ten minutes are over as soon as there is nothing else to do.
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(599)).await;
    assert!(brought.try_recv().is_err(), "not more often");
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::time::resume();
    assert_eq!(brought.recv().await, Some(Ok(1)));
    stop.cancel();
    keeping.await.unwrap();
}

#[tokio::test]
async fn a_document_that_cannot_be_obeyed_is_a_demand_while_it_runs_and_code_2_at_the_start() {
    let (root, document) = document_with_ice();
    let url = impostor(&document, Arc::default()).await;
    let demand = "document 1 needs no-ice false: upgrade";
    // A peer that joins.
    let token = Token {
        overlay: OVERLAY.into(),
        root,
        servers: vec![url],
        secret: String::new(),
    };
    let folder = tempfile::tempdir().unwrap();
    let refused = peer(&folder.path().join("new"), &token).await.unwrap_err();
    assert!(refused.to_string().contains(demand), "{refused}");
    assert_eq!(Failure::from(refused).code(), ExitCode::Usage);
    // A peer that starts with it.
    let files = Files::draft(&folder.path().join("old")).unwrap();
    files.write_document(&document, root).unwrap();
    let refused = files.document(now_ms()).unwrap_err();
    assert!(refused.to_string().contains(demand), "{refused}");
    assert_eq!(Failure::from(refused).code(), ExitCode::Usage);
    // A peer that is outside already.
    let found = documents::newest(&token.servers, root).await.unwrap();
    assert_eq!(found.unwrap_err().to_string(), demand);
}

/// A document that this version cannot obey, with the hash of the root that it is signed under.
fn document_with_ice() -> ([u8; 32], SignedDocument) {
    let (root_key, signer_key, node_id) = (Key::generate().unwrap(), Key::generate().unwrap(), NodeId::new([7; 16]));
    let serial = || Serial::generate().unwrap();
    let root = configuration_root(&root_key, now_ms(), serial()).unwrap();
    let subject = Subject {
        key: &signer_key.public(),
        node_id,
        overlay: OVERLAY,
        user: None,
    };
    let leaf = root
        .issue(Profile::ConfigurationSigner, &subject, now_ms(), serial())
        .unwrap();
    let mut document = Document::for_overlay(Genesis {
        overlay: OVERLAY,
        root_certs: vec![root.certificate().clone()],
        configuration_signer: node_id,
        user_signer: node_id,
        bootstrap_nodes: Vec::new(),
    });
    document.no_ice = false;
    let signer = identity::Signer::new(signer_key, &leaf, &[]).unwrap();
    (root.certificate().hash(), SignedDocument::sign(document, &signer))
}

/// One overlay with its bootstrap service.
struct World {
    folder: TempDir,
    server: bootstrap::Server,
    url: String,
    off_line: bootstrap::OffLine,
}

impl World {
    async fn new(number: u8) -> Self {
        Self::with_tokens(number, Vec::new()).await
    }

    async fn with_tokens(number: u8, tokens: Vec<bootstrap::Token>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from((Ipv4Addr::new(127, 17, 0, number), 8443));
        let url = format!("https://{address}");
        let genesis = bootstrap::Genesis {
            overlay: OVERLAY.into(),
            bootstrap_nodes: Vec::new(),
            enrollment_servers: vec![format!("{url}/enroll")],
            off_line: None,
            now_ms: now_ms(),
        };
        let config = bootstrap::Config {
            folder: folder.path().join("bootstrap"),
            https_bind: vec![address],
            tokens,
            ..bootstrap::Config::default()
        };
        let off_line = bootstrap::init(&config.folder, Default::default(), &genesis)
            .await
            .unwrap();
        let server = bootstrap::Server::bind(&config, Default::default(), Monitor::new().component("bootstrap", ""))
            .await
            .unwrap();
        Self {
            folder,
            server,
            url,
            off_line,
        }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn operator(&self) -> BootstrapClient<Channel> {
        BootstrapClient::new(Channel::direct(self.server.served(), Role::Operator))
    }

    async fn record_keys(&self) -> RecordKeysResponse {
        let answer = self.operator().record_keys(RecordKeysRequest {}).await;
        answer.unwrap().into_inner()
    }

    /// A token for a peer and one edge, as it is printed and pasted.
    async fn token(&self, id: &str) -> Token {
        let request = CreateTokenRequest {
            id: id.to_owned(),
            lifetime_seconds: 60,
            peer: true,
            edges: 1,
            ..CreateTokenRequest::default()
        };
        let made = self.operator().create_token(request).await.unwrap().into_inner();
        Token::of(made, Vec::new()).unwrap().to_string().parse().unwrap()
    }
}

/// Somebody with the document, which is no secret, and a CA of his own.
async fn impostor(document: &SignedDocument, heard: Arc<Mutex<Vec<u8>>>) -> String {
    let authority = enrollment_ca(&Key::generate().unwrap(), now_ms(), Serial::generate().unwrap()).unwrap();
    let key = Key::generate().unwrap();
    let certificate = authority
        .issue_server(&key.public(), &[OVERLAY], now_ms(), Serial::generate().unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate.der().to_vec())],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec())),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let xml = document.xml().clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap_or(0);
            heard.lock().unwrap().extend_from_slice(&request[..length]);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", xml.len());
            stream.write_all(&[head.as_bytes(), &xml].concat()).await.unwrap();
            stream.flush().await.unwrap();
        }
    });
    url
}

const DAY_MS: u64 = 24 * 3600 * 1000;

#[test]
fn credentials_of_an_earlier_version_are_read() {
    let of = |component: &str| {
        let folder = volumes::of(component);
        let credentials = folder.path().join(component).join("credentials");
        (folder, credentials)
    };
    let (_kept, folder) = of("overlay");
    let peer = PeerCredentials::load(&folder, volumes::WRITTEN_MS).unwrap().unwrap();
    assert_eq!(peer.node_id(), volumes::PEER.parse().unwrap());
    let (_kept, folder) = of("sip-edge");
    let edge = EdgeCredentials::load(&folder, volumes::WRITTEN_MS).unwrap().unwrap();
    assert_eq!(edge.node_id(), volumes::EDGE.parse().unwrap());
    assert!(!edge.edge.record_keys.is_empty());
}
