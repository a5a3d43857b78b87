//! Links on loopback between nodes with issued certificates, good and bad.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use identity::issue::{Authority, Profile, Serial, Subject, enrollment_ca};
use identity::{Key, Trust, Verifier};
use p2psip_link::{Connection, Endpoint, LinkError, PeerError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use wire::NodeId;

const OVERLAY: &str = "link.p2psip.test";
const ALICE: NodeId = NodeId::new([0xa1; 16]);
const BOB: NodeId = NodeId::new([0xb0; 16]);
const CAROL: NodeId = NodeId::new([0xca; 16]);

#[tokio::test]
async fn two_nodes_know_each_other_and_talk() {
    let overlay = Overlay::new();
    let (alice, bob) = link(&overlay.endpoint(ALICE), &overlay.endpoint(BOB), Some(BOB)).await;
    let (mut alice, mut bob) = (alice.unwrap(), bob.unwrap());
    assert_eq!(alice.peer().node_ids, [BOB]);
    assert_eq!(bob.peer().node_ids, [ALICE]);
    assert_eq!(alice.remote(), bob.local());
    assert!(alice.until_ms() > now_ms());

    alice.write_all(b"ping").await.unwrap();
    alice.shutdown().await.unwrap();
    let mut heard = Vec::new();
    bob.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"ping");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_by_all_clones() {
    let overlay = Overlay::new();
    let (alice, bob) = (overlay.endpoint(ALICE), overlay.endpoint(BOB));
    let clone = alice.clone();
    let renewed = overlay.chain(ALICE);
    alice.renew(&renewed, &overlay.key).unwrap();
    let (_, at_bob) = link(&clone, &bob, Some(BOB)).await;
    assert_eq!(at_bob.unwrap().peer().chain, renewed);
    let (at_bob, _) = link(&bob, &clone, Some(ALICE)).await;
    assert_eq!(at_bob.unwrap().peer().chain, renewed);
    assert!(alice.renew(&[], &overlay.key).is_err());
    let (_, at_bob) = link(&clone, &bob, Some(BOB)).await;
    assert_eq!(at_bob.unwrap().peer().chain, renewed);
}

#[tokio::test]
async fn a_bootstrap_link_takes_any_node() {
    let overlay = Overlay::new();
    let (alice, bob) = link(&overlay.endpoint(ALICE), &overlay.endpoint(BOB), None).await;
    assert_eq!(alice.unwrap().peer().node_ids, [BOB]);
    bob.unwrap();
}

#[tokio::test]
async fn another_node_than_expected_is_refused_with_both_named() {
    let overlay = Overlay::new();
    let (alice, bob) = link(&overlay.endpoint(ALICE), &overlay.endpoint(BOB), Some(CAROL)).await;
    let Err(LinkError::Peer { source, .. }) = alice else {
        panic!("{alice:?}")
    };
    assert_eq!(
        source,
        PeerError::OtherNode {
            expected: CAROL,
            found: vec![BOB]
        }
    );
    let text = source.to_string();
    assert!(
        text.contains(&CAROL.to_string()) && text.contains(&BOB.to_string()),
        "{text}"
    );
    // Bob heard the alert.
    let Err(LinkError::Tls { source, .. }) = bob else {
        panic!("{bob:?}")
    };
    assert!(source.to_string().contains("alert"), "{source}");
}

#[tokio::test]
async fn a_node_of_another_ca_is_refused_at_both_ends() {
    let (overlay, foreign) = (Overlay::new(), Overlay::new());
    let (alice, _) = link(&overlay.endpoint(ALICE), &foreign.endpoint(BOB), Some(BOB)).await;
    let Err(LinkError::Peer {
        source: PeerError::Refused { found, .. },
        ..
    }) = alice
    else {
        panic!("{alice:?}")
    };
    assert_eq!(found, [BOB]);

    // The dialler believes anybody here, so it is the acceptor that refuses.
    let gullible = Endpoint::new(overlay.verifier(), &foreign.chain(BOB), &foreign.key).unwrap();
    let (_, alice) = link(&gullible, &overlay.endpoint(ALICE), Some(ALICE)).await;
    let Err(LinkError::Peer {
        source: PeerError::Refused { found, .. },
        ..
    }) = alice
    else {
        panic!("{alice:?}")
    };
    assert_eq!(found, [BOB]);
}

#[tokio::test]
async fn a_banned_node_is_refused_from_the_next_document_on() {
    let overlay = Overlay::new();
    let verifier = overlay.verifier();
    let chain = overlay.chain(ALICE);
    let alice = Endpoint::new(verifier.clone(), &chain, &overlay.key).unwrap();
    let bob = overlay.endpoint(BOB);
    let (dialled, accepted) = link(&alice, &bob, Some(BOB)).await;
    dialled.unwrap();
    accepted.unwrap();

    let mut trust = overlay.trust();
    trust.bad_nodes.insert(BOB);
    verifier.set_trust(trust);
    let (dialled, _) = link(&alice, &bob, Some(BOB)).await;
    let Err(LinkError::Peer {
        source: PeerError::Refused { source, .. },
        ..
    }) = dialled
    else {
        panic!("{dialled:?}")
    };
    assert_eq!(source, identity::Error::BadNode { node_id: BOB });
}

#[tokio::test]
async fn a_certificate_for_documents_makes_no_link() {
    let overlay = Overlay::new();
    let record = overlay.issue(Profile::UserRecord, BOB, Some("bob@link.p2psip.test"));
    let bob = Endpoint::new(overlay.verifier(), &[record], &overlay.key).unwrap();
    let (alice, _) = link(&overlay.endpoint(ALICE), &bob, Some(BOB)).await;
    assert!(matches!(alice, Err(LinkError::Peer { .. })), "{alice:?}");
}

#[tokio::test]
async fn nobody_there_is_an_error_with_the_address() {
    let overlay = Overlay::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = overlay.endpoint(ALICE).connect(address, Some(BOB)).await.unwrap_err();
    assert!(matches!(error, LinkError::Connect { .. }), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn a_foreign_key_is_no_endpoint() {
    let overlay = Overlay::new();
    let other = Key::generate().unwrap();
    assert!(Endpoint::new(overlay.verifier(), &overlay.chain(ALICE), &other).is_err());
}

/// One enrollment CA and a key that all nodes of a test share.
struct Overlay {
    authority: Authority,
    key: Key,
}

impl Overlay {
    fn new() -> Self {
        let authority = enrollment_ca(&Key::generate().unwrap(), now_ms(), Serial::generate().unwrap()).unwrap();
        Self {
            authority,
            key: Key::generate().unwrap(),
        }
    }

    fn trust(&self) -> Trust {
        Trust {
            overlay: OVERLAY.into(),
            anchors: vec![self.authority.certificate().clone()],
            delegated_signers: true,
            private_namespace: true,
            ..Trust::default()
        }
    }

    fn verifier(&self) -> Arc<Verifier> {
        Arc::new(Verifier::new(self.trust()))
    }

    fn issue(&self, profile: Profile, node_id: NodeId, user: Option<&str>) -> bytes::Bytes {
        let subject = Subject {
            key: &self.key.public(),
            node_id,
            overlay: OVERLAY,
            user,
        };
        self.authority
            .issue(profile, &subject, now_ms(), Serial::generate().unwrap())
            .unwrap()
            .der()
            .clone()
    }

    fn chain(&self, node_id: NodeId) -> Vec<bytes::Bytes> {
        vec![self.issue(Profile::Node, node_id, None)]
    }

    fn endpoint(&self, node_id: NodeId) -> Endpoint {
        Endpoint::new(self.verifier(), &self.chain(node_id), &self.key).unwrap()
    }
}

type Outcome = Result<Connection, LinkError>;

/// Links two endpoints; the first dials.
async fn link(dialler: &Endpoint, acceptor: &Endpoint, expected: Option<NodeId>) -> (Outcome, Outcome) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let accepted = async {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await
    };
    tokio::join!(dialler.connect(address, expected), accepted)
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
