//! HTTPS as any client of RFC 6940 sees it: the document, the form of §11.3, and the bounds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use identity::{Class, Key, Use, Verifier};
use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::bootstrap_client::BootstrapClient;
use rpc::{Channel, Role};
use runtime::Monitor;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::world::{ALICE, OPTIONS, OVERLAY, PASSWORD, make_overlay};
use crate::driver::unix_ms;
use crate::{Config, OffLine, Server, User};

#[tokio::test]
async fn document_is_served_under_the_overlays_name_and_those_of_the_host() {
    let world = World::start().await;
    for name in [OVERLAY, "boot.example.org"] {
        let answer = world
            .ask(name, "GET /.well-known/reload-config HTTP/1.1", "", b"")
            .await;
        assert!(answer.head.starts_with("HTTP/1.1 200 OK"), "{}", answer.head);
        assert!(
            answer.head.contains("content-type: application/p2p-overlay+xml"),
            "{}",
            answer.head
        );
        assert_eq!(&answer.body, world.off_line.document.xml());
    }
    assert!(world.connect("other.example.org").await.is_err());
}

#[tokio::test]
async fn form_gives_a_user_one_bare_certificate() {
    let world = World::start().await;
    let key = Key::generate().unwrap();
    let csr = key.request().unwrap();
    let answer = world.form(&[("username", ALICE), ("password", PASSWORD)], &csr).await;
    assert!(answer.head.starts_with("HTTP/1.1 200 OK"), "{}", answer.head);
    assert!(
        answer.head.contains("content-type: application/pkix-cert"),
        "{}",
        answer.head
    );
    let verifier = Verifier::new(world.off_line.document.document().trust());
    let identity = verifier.verify(&answer.body, &[], unix_ms(), Use::Node).unwrap();
    assert_eq!(identity.user.as_deref(), Some(ALICE));
    assert_eq!(identity.certificate.public_key(), key.public().spki());
    // Who returns with the same key gets the same Node-ID.
    let again = world.form(&[("username", ALICE), ("password", PASSWORD)], &csr).await;
    assert_eq!(again.body, answer.body);
}

/// How a foreign implementation enrolls a peer: it knows the form of RFC 6940 §11.3 and nothing else of ours.
#[tokio::test]
async fn form_grants_what_a_token_covers() {
    let world = World::start().await;
    let verifier = Verifier::new(world.off_line.document.document().trust());
    let csr = Key::generate().unwrap().request().unwrap();
    let secret = world.token("peers", true, 1, "").await;
    let peer = world.form(&[("username", "peers"), ("password", &secret)], &csr).await;
    let identity = verifier.verify(&peer.body, &[], unix_ms(), Use::Node).unwrap();
    assert_eq!(identity.class, Class::Peer);
    // The account is the token's id and nothing else.
    for account in ["token", "peer", ALICE] {
        let answer = world.form(&[("username", account), ("password", &secret)], &csr).await;
        assert_eq!(answer.body, b"failed_authentication", "{account}");
    }
    let secret = world.token("phones", false, 0, ALICE).await;
    let client = world.form(&[("username", "phones"), ("password", &secret)], &csr).await;
    let identity = verifier.verify(&client.body, &[], unix_ms(), Use::Node).unwrap();
    assert_eq!((identity.class, identity.user.as_deref()), (Class::Client, Some(ALICE)));
    // An edge has two keys, the form one.
    let secret = world.token("edges", false, 1, "").await;
    let edge = world.form(&[("username", "edges"), ("password", &secret)], &csr).await;
    assert_eq!(edge.body, b"bad_CSR");
}

#[tokio::test]
async fn form_takes_no_password_unless_the_operator_wants_it() {
    let world = World::start_with(false).await;
    let csr = Key::generate().unwrap().request().unwrap();
    let answer = world.form(&[("username", ALICE), ("password", PASSWORD)], &csr).await;
    assert!(answer.head.starts_with("HTTP/1.1 403 "), "{}", answer.head);
    assert_eq!(answer.body, b"failed_authentication");
}

/// An address that opens connections and says nothing loses its own oldest one at its share, and costs nobody else any.
#[tokio::test]
async fn one_address_takes_places_from_itself() {
    let world = World::start().await;
    let mut oldest = TcpStream::connect(world.address()).await.unwrap();
    let mut others = Vec::new();
    let mut heard = Vec::new();
    let is_over = async {
        loop {
            tokio::select! {
                biased;
                _ = oldest.read_to_end(&mut heard) => return,
                connected = TcpStream::connect(world.address()) => others.push(connected.unwrap()),
            }
        }
    };
    tokio::time::timeout(PATIENCE, is_over).await.unwrap();
    let is_open = others[1].try_read(&mut [0; 1]).unwrap_err();
    assert_eq!(is_open.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn refusals_are_the_tokens_of_the_clause() {
    let world = World::start().await;
    let csr = Key::generate().unwrap().request().unwrap();
    let right = [("username", ALICE), ("password", PASSWORD)];
    let wrong = [("username", ALICE), ("password", "guess")];
    let unknown = [("username", "nobody@overlay.example.org"), ("password", "guess")];
    let many = [("username", ALICE), ("password", PASSWORD), ("nodeids", "2")];
    for (fields, csr, token) in [
        (&wrong[..], csr.as_slice(), "failed_authentication"),
        (&unknown[..], &csr, "failed_authentication"),
        (&right[..1], &csr, "failed_authentication"),
        (&many[..], &csr, "Node-IDs_not_available"),
        (&right[..], b"nonsense", "bad_CSR"),
    ] {
        let answer = world.form(fields, csr).await;
        assert!(answer.head.starts_with("HTTP/1.1 403 "), "{}", answer.head);
        assert!(answer.head.contains("content-type: text/plain"), "{}", answer.head);
        assert_eq!(answer.body, token.as_bytes());
    }
}

#[tokio::test]
async fn oversize_bodies_are_refused() {
    let world = World::start().await;
    let big = vec![0; 128 * 1024];
    let answer = world
        .ask(OVERLAY, "POST /.well-known/p2psip/enroll HTTP/1.1", "", &big)
        .await;
    assert!(answer.head.starts_with("HTTP/1.1 413 "), "{}", answer.head);
}

#[tokio::test]
async fn who_says_nothing_is_hung_up_on() {
    let world = World::start().await;
    let mut silent = TcpStream::connect(world.address()).await.unwrap();
    let mut slow = world.connect(OVERLAY).await.unwrap();
    slow.write_all(b"POST /enroll HTTP/1.1\r\n").await.unwrap();
    let both = async {
        let mut heard = Vec::new();
        let _ = silent.read_to_end(&mut heard).await;
        let _ = slow.read_to_end(&mut heard).await;
        heard
    };
    assert_eq!(tokio::time::timeout(PATIENCE, both).await.unwrap(), b"");
}

#[tokio::test]
async fn configured_users_exist_unless_an_operator_removed_them() {
    let world = World::start().await;
    let mut operator = world.operator();
    let request = proto::DeleteUserRequest {
        aor: ALICE.to_owned(),
        if_version: None,
    };
    operator.delete_user(request).await.unwrap();
    let world = world.restarted().await;
    let csr = Key::generate().unwrap().request().unwrap();
    let answer = world.form(&[("username", ALICE), ("password", PASSWORD)], &csr).await;
    assert_eq!(answer.body, b"failed_authentication");
}

struct World {
    folder: TempDir,
    server: Server,
    off_line: OffLine,
}

struct Answer {
    head: String,
    body: Vec<u8>,
}

impl World {
    async fn start() -> World {
        World::start_with(true).await
    }

    async fn start_with(password_enrollment: bool) -> World {
        let folder = tempfile::tempdir().unwrap();
        let off_line = make_overlay(&folder.path().join("state")).await;
        std::fs::write(folder.path().join("alice"), format!("{PASSWORD}\n")).unwrap();
        let server = bind(&folder, password_enrollment).await;
        World {
            folder,
            server,
            off_line,
        }
    }

    async fn restarted(mut self) -> World {
        self.server.shutdown(PATIENCE).await.unwrap();
        drop(self.server);
        World {
            server: bind(&self.folder, true).await,
            ..self
        }
    }

    fn address(&self) -> SocketAddr {
        self.server.https_addresses()[0]
    }

    fn operator(&self) -> BootstrapClient<Channel> {
        BootstrapClient::new(Channel::direct(self.server.served(), Role::Operator))
    }

    async fn token(&self, id: &str, peer: bool, edges: u32, user: &str) -> String {
        let request = proto::CreateTokenRequest {
            id: id.to_owned(),
            lifetime_seconds: 60,
            peer,
            edges,
            user: user.to_owned(),
            ..Default::default()
        };
        self.operator().create_token(request).await.unwrap().into_inner().secret
    }

    /// Connects and believes servers of the enrollment CA, under this name.
    async fn connect(&self, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let enrollment_ca = &self.off_line.document.document().root_certs[1];
        roots.add(CertificateDer::from(enrollment_ca.der().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address()).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn ask(&self, name: &str, line: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect(name).await.unwrap();
        let head = format!(
            "{line}\r\nhost: {name}\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        // Who is refused by its length may be hung up on while it still sends.
        let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        Answer {
            head: String::from_utf8(answer[..end].to_vec()).unwrap(),
            body: answer[end + 4..].to_vec(),
        }
    }

    async fn form(&self, fields: &[(&str, &str)], csr: &[u8]) -> Answer {
        let mut body = Vec::new();
        for (name, value) in fields {
            let part = format!("--part\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(part.as_bytes());
        }
        body.extend_from_slice(
            b"--part\r\ncontent-disposition: form-data; name=\"csr\"\r\ncontent-type: application/pkcs10\r\n\r\n",
        );
        body.extend_from_slice(csr);
        body.extend_from_slice(b"\r\n--part--\r\n");
        let headers = "content-type: multipart/form-data; boundary=part\r\naccept: application/pkix-cert\r\n";
        self.ask(OVERLAY, "POST /enroll HTTP/1.1", headers, &body).await
    }
}

async fn bind(folder: &TempDir, password_enrollment: bool) -> Server {
    let config = Config {
        folder: folder.path().join("state"),
        https_bind: vec!["127.0.0.1:0".parse().unwrap()],
        names: vec!["boot.example.org".to_owned()],
        password_enrollment,
        users: vec![User {
            name: "alice".to_owned(),
            password_file: folder.path().join("alice"),
        }],
        ..Config::default()
    };
    Server::bind(&config, OPTIONS, Monitor::new().component("bootstrap", ""))
        .await
        .unwrap()
}

/// Longer than the server waits for anybody.
const PATIENCE: Duration = Duration::from_secs(60);
