//! A new overlay in a temporary folder, and its state machine.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use identity::issue::{Serial, enrollment_ca};
use identity::{Key, Signer, Trust, Verifier};
use kv::{Batch, Durability, Options, Store};
use overlay_config::{BootstrapNode, Document, Service, SignedDocument};
use rpc::proto::bootstrap::v1 as proto;
use tempfile::TempDir;

use crate::core::{Arrival, CatchUp, Core, Phase};
use crate::driver::unix_ms;
use crate::error::Refused;
use crate::state::{Octets, SERVICE, SERVICE_KEY, ServiceRecord};
use crate::{Existing, Genesis, Newcomer, OffLine, init, make, state};

pub(crate) const OVERLAY: &str = "overlay.example.org";
pub(crate) const ALICE: &str = "alice@overlay.example.org";
pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) const OPTIONS: Options = Options {
    cache_bytes: 1 << 20,
    durability: Durability::System,
};

/// The core over a real store; every operation is written as the driver would.
pub(crate) struct World {
    pub(crate) core: Core,
    pub(crate) store: Store,
    /// The clock of durations,
    pub(crate) now: Instant,
    /// and the calendar.
    pub(crate) now_ms: u64,
    pub(crate) document: Document,
    /// Signs documents.
    signer: Signer,
    folder: TempDir,
}

impl World {
    pub(crate) async fn new() -> World {
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
    pub(crate) fn reopened(self) -> World {
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
    pub(crate) async fn ban(mut self, node_id: wire::NodeId) -> World {
        self.document.bad_nodes.insert(node_id);
        self.with_next_document().await
    }

    /// The service gets the document as it is now, with the next sequence number.
    pub(crate) async fn with_next_document(mut self) -> World {
        self.document.sequence += 1;
        let signed = SignedDocument::sign(self.document.clone(), &self.signer);
        put_document(&self.store, &signed).await;
        self.reopened()
    }

    /// Another service of the same overlay, after the first was lost: its disk is empty, its CA its own, and the document names both
    /// CAs.
    pub(super) async fn second_service(&self) -> World {
        let folder = tempfile::tempdir().unwrap();
        let store = state::open(folder.path(), OPTIONS).unwrap();
        let key = Key::generate().unwrap();
        let authority = enrollment_ca(&key, self.now_ms, Serial::generate().unwrap()).unwrap();
        let mut document = self.document.clone();
        document.root_certs.push(authority.certificate().clone());
        document.services = vec![Service {
            url: "https://127.8.36.3:8443".to_owned(),
            authority: authority.certificate().hash(),
            writer: document.user_signers()[0],
        }];
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

    /// A second service of the overlay, which the next document names; it has what the first has.
    pub(crate) async fn second(&mut self) -> World {
        let folder = tempfile::tempdir().unwrap();
        let record: ServiceRecord = state::get(&self.store, SERVICE, SERVICE_KEY).unwrap().unwrap();
        let existing = Existing {
            root: record.root.0.as_slice().try_into().unwrap(),
            document: record.document.0.into(),
            now_ms: self.now_ms,
        };
        let made = make(folder.path(), OPTIONS, &existing).await.unwrap();
        name_service(&mut self.document, &made, "https://127.8.36.2:8443");
        let signed = SignedDocument::sign(self.document.clone(), &self.signer);
        let store = state::open(folder.path(), OPTIONS).unwrap();
        for store in [&self.store, &store] {
            put_document(store, &signed).await;
        }
        self.core = Core::load(&self.store, self.now_ms).unwrap();
        let mut record: ServiceRecord = state::get(&store, SERVICE, SERVICE_KEY).unwrap().unwrap();
        let mut catch_up = CatchUp::default();
        while record.is_waiting() {
            let answer = self.core.changes(&self.store, &catch_up.request()).unwrap();
            store.apply(catch_up.take(&answer, &mut record).unwrap()).await.unwrap();
        }
        World {
            core: Core::load(&store, self.now_ms).unwrap(),
            store,
            now: self.now,
            now_ms: self.now_ms,
            document: self.document.clone(),
            signer: self.signer.clone(),
            folder,
        }
    }

    /// Brings a rotation of the record key on.
    pub(crate) async fn advance(&mut self) -> Phase {
        self.run(|core, now| Ok(core.advance_rotation(now))).await.unwrap()
    }

    /// Its own URL: the document names it and at most one other service.
    fn url(&self) -> String {
        let others = self.core.other_services();
        let mut urls = self.document.enrollment_servers.iter();
        urls.find(|url| !others.contains(url)).unwrap().clone()
    }

    /// Takes everything that another service has.
    pub(crate) async fn pull(&mut self, other: &World) {
        let mut request = proto::ReplicateRequest::default();
        loop {
            let answer = other.core.changes(&other.store, &request).unwrap();
            let batch = self.core.merge(self.now_ms, &answer.changes);
            self.core.heard_of(other.url(), &answer);
            self.core.note(&batch);
            self.store.apply(batch).await.unwrap();
            if !answer.has_more {
                return;
            }
            request = proto::ReplicateRequest {
                log: answer.log,
                next: answer.next,
            };
        }
    }

    /// Runs an operation and writes what it changed.
    pub(crate) async fn run<T>(
        &mut self,
        operation: impl FnOnce(&mut Core, u64) -> Result<(T, Batch), Refused>,
    ) -> Result<T, Refused> {
        let (answer, batch) = operation(&mut self.core, self.now_ms)?;
        self.core.note(&batch);
        self.store.apply(batch).await.unwrap();
        Ok(answer)
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.now_ms += u64::try_from(time.as_millis()).unwrap();
    }

    pub(crate) fn trust(&self) -> Trust {
        self.document.trust()
    }

    pub(crate) fn verifier(&self) -> Verifier {
        Verifier::new(self.trust())
    }

    /// A token for a peer and two edges.
    pub(crate) async fn token(&mut self, id: &str) -> String {
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
    pub(crate) async fn create(&mut self, request: proto::CreateTokenRequest) -> Result<String, Refused> {
        let created = self.run(|core, now| core.create_token(now, &request)).await;
        created.map(|created| created.secret)
    }

    pub(crate) async fn put(&mut self, request: proto::PutUserRequest) -> Result<u64, Refused> {
        self.run(|core, now| core.put_user(now, &request))
            .await
            .map(|answer| answer.version)
    }

    pub(crate) async fn enroll(&mut self, request: proto::EnrollRequest) -> Result<proto::EnrollResponse, Refused> {
        self.enroll_from(None, request).await
    }

    pub(crate) async fn enroll_from(
        &mut self,
        from: Option<IpAddr>,
        request: proto::EnrollRequest,
    ) -> Result<proto::EnrollResponse, Refused> {
        let arrival = self.arrival(from);
        self.run(|core, _| core.enroll(arrival, &request)).await
    }

    /// A request at this moment.
    pub(crate) fn arrival(&self, from: Option<IpAddr>) -> Arrival {
        Arrival {
            now: self.now,
            now_ms: self.now_ms,
            from,
        }
    }

    pub(crate) fn users(&self, with_removed: bool) -> Vec<proto::ListUsersResponse> {
        let request = proto::ListUsersRequest {
            prefix: String::new(),
            with_removed,
        };
        self.core.list_users(&request, None).0
    }
}

/// The next document names a further service.
pub(crate) fn name_service(document: &mut Document, made: &Newcomer, url: &str) {
    document.services = document.bootstrap_services();
    document.services.push(Service {
        url: url.to_owned(),
        authority: made.authority.hash(),
        writer: made.writer,
    });
    document.enrollment_servers.push(url.to_owned());
    document.root_certs.push(made.authority.clone());
    let users = document
        .kinds
        .iter_mut()
        .find(|kind| kind.id == wire::KindId::P2PSIP_USER);
    users.unwrap().writers.push(made.writer);
    document.sequence += 1;
}

pub(crate) async fn put_document(store: &Store, signed: &SignedDocument) {
    let mut record: ServiceRecord = state::get(store, SERVICE, SERVICE_KEY).unwrap().unwrap();
    record.document = Octets::of(signed.xml());
    let mut batch = Batch::new();
    state::put(&mut batch, SERVICE, SERVICE_KEY, &record);
    store.apply(batch).await.unwrap();
}

pub(crate) async fn make_overlay(folder: &Path) -> OffLine {
    make_overlay_at(folder, "https://127.0.0.1:8443/enroll").await
}

/// An overlay whose first service has this URL.
pub(crate) async fn make_overlay_at(folder: &Path, url: &str) -> OffLine {
    let genesis = Genesis {
        overlay: OVERLAY.to_owned(),
        bootstrap_nodes: vec![BootstrapNode {
            host: "127.0.0.1".to_owned(),
            port: 6084,
        }],
        enrollment_servers: vec![url.to_owned()],
        off_line: None,
        now_ms: unix_ms(),
    };
    init(folder, OPTIONS, &genesis).await.unwrap()
}

pub(crate) fn alice() -> proto::PutUserRequest {
    proto::PutUserRequest {
        aor: ALICE.to_owned(),
        password: Some(PASSWORD.to_owned()),
        ..Default::default()
    }
}

/// Requests for a peer and one edge with new keys.
pub(crate) fn nodes(token: &str) -> proto::EnrollRequest {
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

pub(crate) fn request() -> bytes::Bytes {
    Key::generate().unwrap().request().unwrap().into()
}

/// A request for a user's client with a new key.
pub(crate) fn client(user: &str, password: &str) -> proto::EnrollRequest {
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
pub(crate) fn address(number: usize) -> Option<IpAddr> {
    Some(IpAddr::from(u32::try_from(number).unwrap().to_be_bytes()))
}
