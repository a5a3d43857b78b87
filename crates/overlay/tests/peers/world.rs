//! An overlay's authorities and members, made of seeds.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use identity::issue::{Authority, Profile, Serial, Subject, configuration_root, enrollment_ca};
use identity::{Key, Sign as _, Signer, Trust};
use overlay_config::{BootstrapNode, Document, Genesis, SignedDocument};
use wire::{NodeId, ResourceId};

pub const OVERLAY: &str = "dev.p2psip.test";

/// TLS looks at the clock, so everything is issued now.
pub fn now_ms() -> u64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(unix.as_millis()).expect("before the end of time")
}

pub struct World {
    ca: Authority,
    configuration: Signer,
    document: Document,
}

impl World {
    pub fn new(bootstrap_nodes: Vec<BootstrapNode>) -> Self {
        let root = configuration_root(&key(1), now_ms(), serial(1)).expect("a root");
        let ca = enrollment_ca(&key(2), now_ms(), serial(2)).expect("a CA");
        let (configuration, signer) = (node_id("configuration"), key(3));
        let subject = Subject {
            key: &signer.public(),
            node_id: configuration,
            overlay: OVERLAY,
            user: None,
        };
        let leaf = root
            .issue(Profile::ConfigurationSigner, &subject, now_ms(), serial(3))
            .expect("a signer");
        let document = Document::for_overlay(Genesis {
            overlay: OVERLAY,
            root_certs: vec![root.certificate().clone(), ca.certificate().clone()],
            configuration_signer: configuration,
            user_signer: node_id("user signer"),
            bootstrap_nodes,
        });
        let configuration = Signer::new(signer, &leaf, &[]).expect("its own key");
        Self {
            ca,
            configuration,
            document,
        }
    }

    /// The document that a peer is given at its start.
    pub fn first_document(&self) -> Arc<SignedDocument> {
        let first = Document {
            sequence: 1,
            bad_nodes: Default::default(),
            ..self.document.clone()
        };
        Arc::new(SignedDocument::sign(first, &self.configuration))
    }

    fn document(&self) -> Arc<SignedDocument> {
        Arc::new(SignedDocument::sign(self.document.clone(), &self.configuration))
    }

    pub fn trust(&self) -> Trust {
        self.document.trust()
    }

    /// The next document; it bans a peer.
    pub fn document_without(&mut self, name: &str) -> Arc<SignedDocument> {
        self.document.sequence += 1;
        self.document.bad_nodes.insert(node_id(name));
        self.document()
    }

    /// The next document; only a later version can obey it.
    pub fn document_of_later_version(&mut self) -> Arc<SignedDocument> {
        self.document.sequence += 1;
        let later = Document {
            mandatory_extensions: ["urn:example:later".to_owned()].into(),
            ..self.document.clone()
        };
        Arc::new(SignedDocument::sign(later, &self.configuration))
    }

    /// The next document, with nothing new in it.
    pub fn next_document(&mut self) -> Arc<SignedDocument> {
        self.document.sequence += 1;
        self.document()
    }

    /// Who writes users' records.
    pub fn user_signer(&self) -> Arc<Signer> {
        self.issue(Profile::UserRecord, "user signer").0
    }

    /// A peer's key with its certificate chain.
    pub fn member(&self, name: &str) -> (Arc<Signer>, Vec<Bytes>, Key) {
        self.issue(Profile::Node, name)
    }

    /// The same peer's next certificate, for the same key.
    pub fn renewed(&self, name: &str) -> Signer {
        let (signer, _, key) = self.member(name);
        let subject = Subject {
            key: &key.public(),
            node_id: signer.node_id(),
            overlay: OVERLAY,
            user: None,
        };
        let leaf = self.ca.issue(Profile::Node, &subject, now_ms(), serial(4));
        Signer::new(key, &leaf.expect("a certificate"), &[]).expect("its own key")
    }

    /// An edge's link key with its certificate chain.
    pub fn edge(&self, name: &str) -> Arc<Signer> {
        self.issue(Profile::Edge, name).0
    }

    fn issue(&self, profile: Profile, name: &str) -> (Arc<Signer>, Vec<Bytes>, Key) {
        let node_id = node_id(name);
        let own = Key::ed25519_from_seed([node_id.as_bytes()[0]; 32]);
        let user = (profile == Profile::UserRecord).then_some("alice@dev.p2psip.test");
        let subject = Subject {
            key: &own.public(),
            node_id,
            overlay: OVERLAY,
            user,
        };
        let leaf = self
            .ca
            .issue(profile, &subject, now_ms(), serial(node_id.as_bytes()[1]))
            .expect("a certificate");
        let signer = Signer::new(own.clone(), &leaf, &[]).expect("its own key");
        (Arc::new(signer), vec![leaf.der().clone()], own)
    }
}

pub fn node_id(name: &str) -> NodeId {
    ResourceId::of(name.as_bytes()).as_node_id()
}

fn key(seed: u8) -> Key {
    Key::ed25519_from_seed([seed; 32])
}

fn serial(seed: u8) -> Serial {
    Serial::new([seed; 9])
}
