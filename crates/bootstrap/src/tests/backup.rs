//! A service that is lost with its machine, and one that is restored from its backup on another.

use std::path::Path;

use bytes::Bytes;
use identity::{Certificate, Class, Use, Verifier};
use kv::Store;
use overlay_config::{BootstrapNode, SignedDocument};
use rpc::proto::bootstrap::v1 as proto;
use runtime::Monitor;
use tempfile::TempDir;

use super::world::{ALICE, OPTIONS, OVERLAY, alice, nodes};
use crate::backup::{BackupError, MAX_BACKUP, Sealed, write};
use crate::core::{Arrival, Core};
use crate::driver::unix_ms;
use crate::error::{Refused, RestoreError};
use crate::state::{self, Octets, USERS, UserRecord};
use crate::{Config, Genesis, Restore, Server, backup_file, init, restore};

#[tokio::test]
async fn a_restored_service_goes_on_where_the_lost_one_ended() {
    let mut lost = Lost::new().await;
    lost.put_user().await;
    let secret = lost.token().await;
    let enrolled = lost.enroll(&secret).await.unwrap();
    let peer = Certificate::from_der(&enrolled.peer.unwrap().certificate).unwrap();
    let sealed = lost.backup();
    assert_eq!(sealed.header().overlay, OVERLAY);
    assert_eq!(lost.backup().header().sequence, 2);

    let (folder, document) = lost.restore(sealed.octets()).await.unwrap();
    let before = lost.document.document();
    assert_eq!(document.document().sequence, before.sequence + 1);
    assert_eq!(document.document().enrollment_servers, [SERVER]);
    assert_eq!(document.document().root_certs[..2], before.root_certs[..]);
    assert_eq!(document.document().root_certs.len(), 3);
    let kept = std::fs::read(lost.off_line().join("document-2.xml")).unwrap();
    assert_eq!(document.xml(), &kept);

    let store = state::open(&folder, OPTIONS).unwrap();
    let mut core = Core::load(&store, unix_ms()).unwrap();
    // All users are signed anew.
    let (count, _) = core.refresh(unix_ms()).unwrap();
    assert_eq!(count, 1);
    let users = core.list_users(&proto::ListUsersRequest::default(), None).0;
    assert_eq!(users[0].aor, ALICE);
    // A used token stays used, and an enrolled node is renewed under the new CA.
    let again = core.enroll(arrival(), &nodes(&secret));
    assert_eq!(again.map(drop), Err(Refused::Credential));
    let insists = proto::RenewRequest {
        anew: true,
        ..proto::RenewRequest::default()
    };
    let (renewed, _) = core.renew(unix_ms(), &peer, &insists).unwrap();
    let renewed = renewed.node.unwrap().certificate;
    let identity = Verifier::new(document.document().trust())
        .verify(&renewed, &[], unix_ms(), Use::Node)
        .unwrap();
    assert_eq!(
        (identity.class, identity.node_ids.as_slice()),
        (Class::Peer, peer.node_ids())
    );
    assert_ne!(identity.certificate.issuer_key_id(), peer.issuer_key_id());
    // The next backup opens with the same key.
    drop((core, store));
    let store = state::open(&folder, OPTIONS).unwrap();
    let next = write(&store, &backup_file(&folder), unix_ms()).unwrap().unwrap();
    let elsewhere = lost.folder.path().join("elsewhere");
    restore(&elsewhere, OPTIONS, &lost.from(next.octets())).await.unwrap();
}

#[tokio::test]
async fn nothing_is_restored_over_a_state_or_from_what_does_not_fit() {
    let (lost, other) = (Lost::new().await, Lost::new().await);
    let sealed = lost.backup();
    let there = restore(&lost.state(), OPTIONS, &lost.from(sealed.octets())).await;
    assert!(matches!(there, Err(RestoreError::Exists { .. })), "{there:?}");

    let mut damaged = sealed.octets().to_vec();
    damaged[100] ^= 1;
    let cut = sealed.octets().slice(..200);
    let large = Bytes::from(vec![0; MAX_BACKUP + 1]);
    for octets in [Bytes::from(damaged), cut, large, other.backup().octets().clone()] {
        let refused = lost.restore(&octets).await.unwrap_err();
        assert!(matches!(refused, RestoreError::Backup(_)), "{refused}");
    }
    // The key of this overlay in the folder of another.
    std::fs::copy(lost.off_line().join("backup.key"), other.off_line().join("backup.key")).unwrap();
    let refused = other.restore(sealed.octets()).await.unwrap_err();
    assert!(matches!(refused, RestoreError::OtherOverlay { .. }), "{refused}");
    std::fs::remove_file(lost.off_line().join("configuration-signer.key")).unwrap();
    let refused = lost.restore(sealed.octets()).await.unwrap_err();
    assert!(refused.to_string().contains("configuration-signer.key"), "{refused}");
    for world in [&lost, &other] {
        assert!(!world.folder.path().join("restored").exists());
        assert!(!world.off_line().join("document-2.xml").exists());
    }
}

#[tokio::test]
async fn an_attempt_that_was_cut_off_is_begun_anew() {
    let lost = Lost::new().await;
    let sealed = lost.backup();
    let draft = lost.folder.path().join("restored.new");
    std::fs::create_dir(&draft).unwrap();
    std::fs::write(draft.join("half"), "written").unwrap();
    let (folder, _) = lost.restore(sealed.octets()).await.unwrap();
    assert!(!folder.join("half").exists() && !draft.exists());
}

#[tokio::test]
async fn a_service_backs_up_as_soon_as_it_runs() {
    let Lost {
        folder, core, store, ..
    } = Lost::new().await;
    drop((core, store));
    let config = Config {
        folder: folder.path().join("state"),
        https_bind: Vec::new(),
        ..Config::default()
    };
    let component = Monitor::new().component("bootstrap", "");
    let mut server = Server::bind(&config, OPTIONS, component).await.unwrap();
    let path = backup_file(&config.folder);
    let written = async {
        while !path.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.unwrap();
    server.shutdown(PATIENCE).await.unwrap();
    Sealed::read(Bytes::from(std::fs::read(path).unwrap())).unwrap();
}

#[tokio::test]
async fn what_no_peer_keeps_is_left_out_or_said() {
    let lost = Lost::new().await;
    let fill = async |tree: kv::Tree, record: serde_json::Value| {
        let mut batch = kv::Batch::new();
        for number in 0..20_u32 {
            state::put(&mut batch, tree, &number.to_be_bytes(), &record);
        }
        lost.store.apply(batch).await.unwrap();
    };
    let filling = "0".repeat(MAX_BACKUP / 16);
    fill(state::NODES, serde_json::Value::String(filling.clone())).await;
    assert!(lost.backup().octets().len() < MAX_BACKUP / 16, "without nodes");
    let user = UserRecord {
        record: Octets(vec![0; MAX_BACKUP / 32]),
        published: 0,
        published_key: 0,
        storage_time: 0,
        signed_ms: 0,
        writer: None,
    };
    fill(USERS, serde_json::to_value(user).unwrap()).await;
    let refused = write(&lost.store, &backup_file(&lost.state()), unix_ms()).unwrap_err();
    assert!(matches!(refused, BackupError::TooLarge), "{refused}");
}

/// A service that will be lost.
struct Lost {
    folder: TempDir,
    store: Store,
    core: Core,
    document: SignedDocument,
}

impl Lost {
    async fn new() -> Lost {
        let folder = tempfile::tempdir().unwrap();
        let genesis = Genesis {
            overlay: OVERLAY.to_owned(),
            bootstrap_nodes: Vec::new(),
            enrollment_servers: vec!["https://lost.example.org:8443".to_owned()],
            off_line: Some(folder.path().join("off-line")),
            now_ms: unix_ms(),
        };
        let state = folder.path().join("state");
        let document = init(&state, OPTIONS, &genesis).await.unwrap().document;
        let store = state::open(&state, OPTIONS).unwrap();
        Lost {
            core: Core::load(&store, unix_ms()).unwrap(),
            store,
            document,
            folder,
        }
    }

    fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    fn off_line(&self) -> std::path::PathBuf {
        self.folder.path().join("off-line")
    }

    fn backup(&self) -> Sealed {
        write(&self.store, &backup_file(&self.state()), unix_ms())
            .unwrap()
            .unwrap()
    }

    fn from(&self, backup: &Bytes) -> Restore {
        Restore {
            off_line: self.off_line(),
            backup: backup.clone(),
            server: SERVER.to_owned(),
            node: BootstrapNode {
                host: "new.example.org".to_owned(),
                port: 6084,
            },
            is_alone: false,
            now_ms: unix_ms(),
        }
    }

    async fn restore(&self, backup: &Bytes) -> Result<(std::path::PathBuf, SignedDocument), RestoreError> {
        let folder = self.folder.path().join("restored");
        let document = restore(Path::new(&folder), OPTIONS, &self.from(backup)).await?;
        Ok((folder, document))
    }

    async fn put_user(&mut self) {
        let (_, batch) = self.core.put_user(unix_ms(), &alice()).unwrap();
        self.store.apply(batch).await.unwrap();
    }

    async fn token(&mut self) -> String {
        let request = proto::CreateTokenRequest {
            id: "once".to_owned(),
            lifetime_seconds: 3600,
            peer: true,
            edges: 1,
            ..Default::default()
        };
        let (created, batch) = self.core.create_token(unix_ms(), &request).unwrap();
        self.store.apply(batch).await.unwrap();
        created.secret
    }

    async fn enroll(&mut self, secret: &str) -> Result<proto::EnrollResponse, Refused> {
        let (enrolled, batch) = self.core.enroll(arrival(), &nodes(secret))?;
        self.store.apply(batch).await.unwrap();
        Ok(enrolled)
    }
}

fn arrival() -> Arrival {
    Arrival {
        now: std::time::Instant::now(),
        now_ms: unix_ms(),
        from: None,
    }
}

const SERVER: &str = "https://new.example.org:8443";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
