//! A new overlay in a temporary folder, and its state machine.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use identity::issue::{Serial, enrollment_ca};
use identity::{Key, Signer, Trust, Verifier};
use kv::{Batch, Durability, Options, Store};
use overlay_config::{BootstrapNode, Document, SignedDocument};
use rpc::proto::bootstrap::v1 as proto;
use tempfile::TempDir;

use crate::core::{Arrival, Core};
use crate::driver::unix_ms;
use crate::error::Refused;
use crate::state::{Octets, SERVICE, SERVICE_KEY, ServiceRecord};
use crate::{Genesis, OffLine, init, state};

pub(super) const OVERLAY: &str = "overlay.example.org";
pub(super) const ALICE: &str = "alice@overlay.example.org";
pub(super) const PASSWORD: &str = "correct horse";

pub(super) const OPTIONS: Options = Options {
    cache_bytes: 1 << 20,
    durability: Durability::System,
};

/// The core over a real store; every operation is written as the driver would.
pub(super) struct World {
    pub(super) core: Core,
    pub(super) store: Store,
    /// The clock of durations,
    pub(super) now: Instant,
    /// and the calendar.
    pub(super) now_ms: u64,
    pub(super) document: Document,
    /// Signs documents.
    signer: Signer,
    folder: TempDir,
}

impl World {
    pub(super) async fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let made = make_overlay(folder.path()).await;
        let store = state::open(folder.path(), OPTIONS).unwrap();
        let core = Core::load(&store, unix_ms()).unwrap();
        World {
            core,
            store,
            now: Instant::now(),
            now_ms: unix_ms(),
            document: made.document.document().clone(),
            signer: made.signer,
            folder,
        }
    }

    /// What is in memory is lost; what was written is read again.
    pub(super) fn reopened(self) -> World {
        let World {
            core,
            store,
            now,
            now_ms,
            document,
            signer,
            folder,
        } = self;
        drop((core, store));
        let store = state::open(folder.path(), OPTIONS).unwrap();
        let core = Core::load(&store, now_ms).unwrap();
        World {
            core,
            store,
            now,
            now_ms,
            document,
            signer,
            folder,
        }
    }

    /// The service gets a document that bans a node.
    pub(super) async fn ban(mut self, node_id: wire::NodeId) -> World {
        self.document.bad_nodes.insert(node_id);
        self.document.sequence += 1;
        let signed = SignedDocument::sign(self.document.clone(), &self.signer);
        let mut record: ServiceRecord = state::get(&self.store, SERVICE, SERVICE_KEY).unwrap().unwrap();
        record.document = Octets::of(signed.xml());
        let mut batch = Batch::new();
        state::put(&mut batch, SERVICE, SERVICE_KEY, &record);
        self.store.apply(batch).await.unwrap();
        self.reopened()
    }

    /// Another service of the same overlay: its disk is empty, its CA its own, and the document names both CAs.
    pub(super) async fn second_service(&self) -> World {
        let folder = tempfile::tempdir().unwrap();
        let store = state::open(folder.path(), OPTIONS).unwrap();
        let key = Key::generate().unwrap();
        let authority = enrollment_ca(&key, self.now_ms, Serial::generate().unwrap()).unwrap();
        let mut document = self.document.clone();
        document.root_certs.push(authority.certificate().clone());
        document.sequence += 1;
        let mut record: ServiceRecord = state::get(&self.store, SERVICE, SERVICE_KEY).unwrap().unwrap();
        record.authority_key = Octets::of(key.pkcs8());
        record.authority_certificate = Octets::of(authority.certificate().der());
        record.document = Octets::of(SignedDocument::sign(document.clone(), &self.signer).xml());
        let mut batch = Batch::new();
        state::put(&mut batch, SERVICE, SERVICE_KEY, &record);
        store.apply(batch).await.unwrap();
        World {
            core: Core::load(&store, self.now_ms).unwrap(),
            store,
            now: self.now,
            now_ms: self.now_ms,
            document,
            signer: self.signer.clone(),
            folder,
        }
    }

    /// Runs an operation and writes what it changed.
    pub(super) async fn run<T>(
        &mut self,
        operation: impl FnOnce(&mut Core, u64) -> Result<(T, Batch), Refused>,
    ) -> Result<T, Refused> {
        let (answer, batch) = operation(&mut self.core, self.now_ms)?;
        self.store.apply(batch).await.unwrap();
        Ok(answer)
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.now_ms += u64::try_from(time.as_millis()).unwrap();
    }

    pub(super) fn trust(&self) -> Trust {
        self.document.trust()
    }

    pub(super) fn verifier(&self) -> Verifier {
        Verifier::new(self.trust())
    }

    /// A token for a peer and two edges.
    pub(super) async fn token(&mut self, id: &str) -> String {
        let request = proto::CreateTokenRequest {
            id: id.to_owned(),
            lifetime_seconds: 3600,
            peer: true,
            edges: 2,
            ..Default::default()
        };
        self.create(request).await.unwrap()
    }

    /// The secret of a new token.
    pub(super) async fn create(&mut self, request: proto::CreateTokenRequest) -> Result<String, Refused> {
        let created = self.run(|core, now| core.create_token(now, &request)).await;
        created.map(|created| created.secret)
    }

    pub(super) async fn put(&mut self, request: proto::PutUserRequest) -> Result<u64, Refused> {
        self.run(|core, now| core.put_user(now, &request))
            .await
            .map(|answer| answer.version)
    }

    pub(super) async fn enroll(&mut self, request: proto::EnrollRequest) -> Result<proto::EnrollResponse, Refused> {
        self.enroll_from(None, request).await
    }

    pub(super) async fn enroll_from(
        &mut self,
        from: Option<IpAddr>,
        request: proto::EnrollRequest,
    ) -> Result<proto::EnrollResponse, Refused> {
        let arrival = self.arrival(from);
        self.run(|core, _| core.enroll(arrival, &request)).await
    }

    /// A request at this moment.
    pub(super) fn arrival(&self, from: Option<IpAddr>) -> Arrival {
        Arrival {
            now: self.now,
            now_ms: self.now_ms,
            from,
        }
    }

    pub(super) fn users(&self, with_removed: bool) -> Vec<proto::ListUsersResponse> {
        let request = proto::ListUsersRequest {
            prefix: String::new(),
            with_removed,
        };
        self.core.list_users(&request, None).0
    }
}

pub(super) async fn make_overlay(folder: &Path) -> OffLine {
    let genesis = Genesis {
        overlay: OVERLAY.to_owned(),
        bootstrap_nodes: vec![BootstrapNode {
            host: "127.0.0.1".to_owned(),
            port: 6084,
        }],
        enrollment_servers: vec!["https://127.0.0.1:8443/enroll".to_owned()],
        off_line: None,
        now_ms: unix_ms(),
    };
    init(folder, OPTIONS, &genesis).await.unwrap()
}

pub(super) fn alice() -> proto::PutUserRequest {
    proto::PutUserRequest {
        aor: ALICE.to_owned(),
        password: Some(PASSWORD.to_owned()),
        ..Default::default()
    }
}

/// Requests for a peer and one edge with new keys.
pub(super) fn nodes(token: &str) -> proto::EnrollRequest {
    proto::EnrollRequest {
        credential: Some(proto::enroll_request::Credential::Token(token.to_owned())),
        peer: request(),
        edges: vec![proto::EdgeRequest {
            link: request(),
            signer: request(),
        }],
        ..Default::default()
    }
}

pub(super) fn request() -> bytes::Bytes {
    Key::generate().unwrap().request().unwrap().into()
}

/// A request for a user's client with a new key.
pub(super) fn client(user: &str, password: &str) -> proto::EnrollRequest {
    proto::EnrollRequest {
        credential: Some(proto::enroll_request::Credential::Password(proto::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        })),
        client: request(),
        ..Default::default()
    }
}

/// An address of somebody.
pub(super) fn address(number: usize) -> Option<IpAddr> {
    Some(IpAddr::from(u32::try_from(number).unwrap().to_be_bytes()))
}
