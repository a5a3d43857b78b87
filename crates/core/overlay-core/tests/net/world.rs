//! An overlay's authorities and members, made of seeds.

use std::sync::Arc;

use identity::issue::{Authority, Profile, Serial, Subject, configuration_root, enrollment_ca};
use identity::{Identity, Key, Sign, Signer, Use, Verifier, sign_message};
use overlay_config::{Document, Genesis, SignedDocument};
use wire::{
    Destination, Encode, ForwardingHeader, Fragment, MessageContents, NodeId, Packet, ResourceId, TransactionId,
    VERSION, Writer, overlay_hash,
};

pub const OVERLAY: &str = "dev.p2psip.test";

/// When everything is issued, in milliseconds since 1970.
pub const EPOCH: u64 = 1_800_000_000_000;

pub struct World {
    ca: Authority,
    configuration: Signer,
    /// What is signed next.
    pub draft: Document,
}

impl World {
    pub fn new() -> Self {
        let root = configuration_root(&key(1), EPOCH, serial(1)).expect("a root");
        let ca = enrollment_ca(&key(2), EPOCH, serial(2)).expect("a CA");
        let (configuration, signer) = (node_id("configuration"), key(3));
        let subject = Subject {
            key: &signer.public(),
            node_id: configuration,
            overlay: OVERLAY,
            user: None,
        };
        let leaf = root
            .issue(Profile::ConfigurationSigner, &subject, EPOCH, serial(3))
            .expect("a signer");
        let draft = Document::for_overlay(Genesis {
            overlay: OVERLAY,
            root_certs: vec![root.certificate().clone(), ca.certificate().clone()],
            configuration_signer: configuration,
            user_signer: node_id("user signer"),
            bootstrap_nodes: Vec::new(),
        });
        let configuration = Signer::new(signer, &leaf, &[]).expect("its own key");
        Self {
            ca,
            configuration,
            draft,
        }
    }

    pub fn document(&self) -> Arc<SignedDocument> {
        Arc::new(SignedDocument::sign(self.draft.clone(), &self.configuration))
    }

    /// The next document, signed by who may sign it.
    pub fn next_document(&mut self) -> Arc<SignedDocument> {
        self.draft.sequence += 1;
        self.document()
    }

    pub fn verifier(&self) -> Arc<Verifier> {
        Arc::new(Verifier::new(self.draft.trust()))
    }

    pub fn signer(&self, index: usize) -> Arc<Signer> {
        self.named(
            &format!("peer {index}"),
            u8::try_from(index + 10).expect("few nodes"),
            None,
        )
    }

    /// A client, such as an edge.
    pub fn client(&self, index: usize) -> Arc<Signer> {
        let seed = u8::try_from(index + 100).expect("few clients");
        self.named(&format!("client {index}"), seed, None)
    }

    /// A user's own node: it may not be a peer.
    pub fn user(&self, index: usize) -> Arc<Signer> {
        let seed = u8::try_from(index + 200).expect("few users");
        let user = format!("user{index}@{OVERLAY}");
        self.named(&format!("user {index}"), seed, Some(&user))
    }

    /// What others learn of a node from its certificate.
    pub fn identity(&self, signer: &Signer) -> Arc<Identity> {
        let leaf = signer.certificates().first().expect("a certificate");
        let verified = self.verifier().verify(leaf, &[], EPOCH, Use::Node);
        verified.expect("a good certificate")
    }

    /// A message as a node would send it over a link.
    pub fn packet(&self, signer: &Signer, id: u64, to: Vec<Destination>, contents: &MessageContents) -> Packet {
        let transaction_id = TransactionId(id);
        let contents = contents.to_bytes();
        let mut payload = Writer::new();
        payload.octets(&contents);
        sign_message(signer, OVERLAY, transaction_id, &contents).encode(&mut payload);
        let header = ForwardingHeader {
            overlay: overlay_hash(OVERLAY),
            configuration_sequence: self.draft.sequence,
            version: VERSION,
            ttl: 10,
            fragment: Fragment::WHOLE,
            transaction_id,
            max_response_length: 0,
            via_list: Vec::new(),
            destination_list: to,
            options: Vec::new(),
        };
        Packet {
            header,
            payload: payload.into_bytes(),
        }
    }

    fn named(&self, name: &str, seed: u8, user: Option<&str>) -> Arc<Signer> {
        let own = key(seed);
        let node_id = node_id(name);
        let subject = Subject {
            key: &own.public(),
            node_id,
            overlay: OVERLAY,
            user,
        };
        let leaf = self
            .ca
            .issue(Profile::Node, &subject, EPOCH, serial(seed))
            .expect("a certificate");
        Arc::new(Signer::new(own, &leaf, &[]).expect("its own key"))
    }
}

fn node_id(name: &str) -> NodeId {
    ResourceId::of(name.as_bytes()).as_node_id()
}

fn key(seed: u8) -> Key {
    Key::ed25519_from_seed([seed; 32])
}

fn serial(seed: u8) -> Serial {
    Serial::new([seed; 9])
}
