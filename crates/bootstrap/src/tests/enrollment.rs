//! What a node gets, and what it does not.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use identity::{Certificate, Class, Key, Use};
use overlay_config::{Basis, SignedDocument};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, SanType};
use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::enroll_request::Credential;
use wire::NodeId;

use super::world::{ALICE, OPTIONS, OVERLAY, World, make_overlay, nodes, request};
use crate::error::{InitError, Refused};
use crate::{Genesis, init};

#[tokio::test]
async fn peer_and_edge_get_what_their_parts_need() {
    let mut world = World::new().await;
    let secret = world.token("first").await;
    let answer = world.enroll(nodes(&secret)).await.unwrap();
    let verifier = world.verifier();
    let verify = |der: &[u8], use_| verifier.verify(der, &[], world.now_ms, use_);

    let peer = answer.peer.unwrap();
    let identity = verify(&peer.certificate, Use::Node).unwrap();
    assert_eq!(identity.node_id().as_bytes()[..], peer.node_id[..]);
    assert_eq!(identity.user, Some(format!("{}@{OVERLAY}", identity.node_id())));
    assert_eq!(identity.class, Class::Peer);

    let edge = &answer.edges[0];
    let identity = verify(&edge.link, Use::Node).unwrap();
    assert_eq!(identity.class, Class::Edge);
    assert_eq!(identity.node_id().as_bytes()[..], edge.node_id[..]);
    let signer = Certificate::from_der(&edge.signer).unwrap();
    assert!(signer.is_ca() && signer.path_length() == Some(0));
    assert_eq!(signer.node_ids(), [identity.node_id()]);

    assert_eq!(answer.record_keys.len(), 1);
    let root = world.document.root_certs[0].hash();
    let read = SignedDocument::parse_and_verify(answer.document, Basis::Root(root), world.now_ms).unwrap();
    assert_eq!(read.document(), &world.document);
}

#[tokio::test]
async fn peer_without_edges_gets_no_record_key() {
    let mut world = World::new().await;
    let secret = world.token("first").await;
    let answer = world
        .enroll(proto::EnrollRequest {
            edges: Vec::new(),
            ..nodes(&secret)
        })
        .await
        .unwrap();
    assert!(answer.record_keys.is_empty() && answer.edges.is_empty() && answer.peer.is_some());
}

#[tokio::test]
async fn same_keys_get_the_same_answer() {
    let mut world = World::new().await;
    let secret = world.token("first").await;
    let [peer, link, signer] = [(); 3].map(|()| Key::generate().unwrap());
    // ECDSA signs a request differently each time: the keys count.
    let asked = || proto::EnrollRequest {
        credential: Some(Credential::Token(secret.clone())),
        peer: peer.request().unwrap().into(),
        edges: vec![proto::EdgeRequest {
            link: link.request().unwrap().into(),
            signer: signer.request().unwrap().into(),
        }],
        ..Default::default()
    };
    let first = world.enroll(asked()).await.unwrap();
    let mut world = world.reopened();
    world.pass(Duration::from_secs(60));
    assert_eq!(world.enroll(asked()).await.unwrap(), first);
    // Each part may also come by itself, as from a process of its own.
    let alone = proto::EnrollRequest {
        peer: bytes::Bytes::new(),
        ..asked()
    };
    let edge = world.enroll(alone).await.unwrap();
    assert_eq!((edge.peer, edge.edges), (None, first.edges));
    let other_signer = proto::EnrollRequest {
        edges: vec![proto::EdgeRequest {
            link: link.request().unwrap().into(),
            signer: request(),
        }],
        ..asked()
    };
    assert_eq!(world.enroll(other_signer).await, Err(Refused::Credential));
}

#[tokio::test]
async fn off_line_keys_are_files_of_their_owner_before_the_overlay_exists() {
    let folder = tempfile::tempdir().unwrap();
    let off_line = folder.path().join("off-line");
    let genesis = Genesis {
        overlay: OVERLAY.into(),
        bootstrap_nodes: Vec::new(),
        enrollment_servers: Vec::new(),
        off_line: Some(off_line.clone()),
        now_ms: crate::driver::unix_ms(),
    };
    let made = init(&folder.path().join("state"), OPTIONS, &genesis).await.unwrap();
    let pem = std::fs::read_to_string(off_line.join("configuration-root.key")).unwrap();
    assert_eq!(Key::from_pem(&pem).unwrap().public(), made.root.key().public());
    for name in ["configuration-root.key", "configuration-signer.key"] {
        let mode = std::fs::metadata(off_line.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    // Where they cannot be written nothing is made.
    let blocked = Genesis {
        off_line: Some(off_line.join("configuration-root.key/below")),
        ..genesis
    };
    let state = folder.path().join("other");
    let error = init(&state, OPTIONS, &blocked).await.unwrap_err();
    assert!(matches!(error, InitError::OffLine { .. }), "{error}");
    let error = crate::core::Core::load(&crate::state::open(&state, OPTIONS).unwrap(), 0)
        .err()
        .unwrap();
    assert!(matches!(error, crate::StartError::Empty { .. }), "{error}");
}

#[tokio::test]
async fn request_grants_nothing_but_its_key() {
    let mut world = World::new().await;
    let secret = world.token("first").await;
    let wanted = "reload://011001010101010101010101010101010101@overlay.example.org/";
    let mut greedy = CertificateParams::default();
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    greedy.subject_alt_names = vec![
        SanType::URI(wanted.try_into().unwrap()),
        SanType::Rfc822Name(ALICE.try_into().unwrap()),
    ];
    let key = Key::generate().unwrap();
    let asked = proto::EnrollRequest {
        peer: greedy.serialize_request(&key).unwrap().der().to_vec().into(),
        edges: Vec::new(),
        ..nodes(&secret)
    };
    let peer = world.enroll(asked).await.unwrap().peer.unwrap();
    let certificate = Certificate::from_der(&peer.certificate).unwrap();
    assert!(!certificate.is_ca() && !certificate.is_edge());
    assert_ne!(certificate.node_ids(), [NodeId::from([1; 16])]);
    assert_ne!(certificate.user(), Some(ALICE));
    assert_eq!(certificate.public_key(), key.public().spki());
}

#[tokio::test]
async fn token_covers_its_parts_only() {
    let mut world = World::new().await;
    let secret = world.token("first").await;
    let edge = || proto::EdgeRequest {
        link: request(),
        signer: request(),
    };
    let three = proto::EnrollRequest {
        edges: vec![edge(), edge(), edge()],
        ..nodes(&secret)
    };
    assert!(matches!(world.enroll(three).await, Err(Refused::NotCovered(_))));
    let client = proto::EnrollRequest {
        client: request(),
        ..nodes(&secret)
    };
    assert!(matches!(world.enroll(client).await, Err(Refused::NotCovered(_))));
    let edges_only = proto::CreateTokenRequest {
        id: "e".into(),
        lifetime_seconds: 60,
        edges: 1,
        ..Default::default()
    };
    let token = world.create(edges_only).await.unwrap();
    assert!(matches!(world.enroll(nodes(&token)).await, Err(Refused::NotCovered(_))));
    // Nothing of this used the token up.
    assert!(world.enroll(nodes(&secret)).await.is_ok());
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let mut world = World::new().await;
    let secret = world.token("first").await;
    let key = Key::generate().unwrap();
    let mut forged = request().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let twice = proto::EdgeRequest {
        link: key.request().unwrap().into(),
        signer: key.request().unwrap().into(),
    };
    for asked in [
        proto::EnrollRequest {
            peer: bytes::Bytes::from_static(b"nonsense"),
            ..nodes(&secret)
        },
        proto::EnrollRequest {
            peer: forged.into(),
            ..nodes(&secret)
        },
        proto::EnrollRequest {
            edges: vec![twice],
            ..nodes(&secret)
        },
        proto::EnrollRequest {
            peer: bytes::Bytes::new(),
            edges: Vec::new(),
            ..nodes(&secret)
        },
        proto::EnrollRequest {
            credential: None,
            ..nodes(&secret)
        },
    ] {
        assert!(matches!(world.enroll(asked).await, Err(Refused::Invalid(_))));
    }
    assert!(world.enroll(nodes(&secret)).await.is_ok());
}

#[tokio::test]
async fn folder_holds_one_overlay() {
    let folder = tempfile::tempdir().unwrap();
    let off_line = make_overlay(folder.path()).await;
    assert_eq!(off_line.document.document().root_certs[0], *off_line.root.certificate());
    let again = Genesis {
        overlay: "other.example.org".into(),
        bootstrap_nodes: Vec::new(),
        enrollment_servers: Vec::new(),
        off_line: None,
        now_ms: 0,
    };
    let error = init(folder.path(), OPTIONS, &again).await.unwrap_err();
    assert!(matches!(error, InitError::Exists { .. }), "{error}");
    let bad = Genesis {
        overlay: "no name".into(),
        ..again
    };
    let error = init(&folder.path().join("new"), OPTIONS, &bad).await.unwrap_err();
    assert!(error.to_string().contains("instance-name"), "{error}");
}
