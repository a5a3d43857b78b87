//! Certificates, keys and the configuration document of the simulated overlay: the same for all seeds, made once.
//!
//! All keys are Ed25519 from fixed seeds, and serial numbers are fixed: ECDSA is random and would not replay.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use identity::{
    Identity, Key, Signer, Use, Verifier,
    issue::{Authority, Profile, Serial, Subject, configuration_root, enrollment_ca},
};
use overlay_config::{AccessPolicy, Document, Genesis, KindDefinition, SignedDocument};
use wire::{DataModel, KindId, NodeId, ResourceId};

use crate::queue::EPOCH_MS;

/// What all simulated nodes believe in, and what each of them is.
pub struct Credentials {
    ca: Authority,
    /// The document in force.
    pub document: Arc<SignedDocument>,
    /// One for all: a verdict on a certificate does not depend on who asks.
    pub verifier: Arc<Verifier>,
    peers: Mutex<BTreeMap<usize, Peer>>,
    minted: Mutex<BTreeMap<(usize, usize), Arc<Signer>>>,
}

/// One peer, with the edge that is its client.
#[derive(Clone)]
pub struct Peer {
    /// Its Node-ID.
    pub node_id: NodeId,
    /// What others see of it over a link.
    pub identity: Arc<Identity>,
    /// Signs its messages.
    pub signer: Arc<Signer>,
    /// Where it listens.
    pub address: SocketAddr,
    /// The edge's Node-ID.
    pub edge: NodeId,
}

/// Why credentials cannot be made: a fault of this program.
const OWN: &str = "the simulator's certificates follow the rules";

impl Credentials {
    /// Makes the authorities and the document.
    #[must_use]
    pub fn new() -> Self {
        let root = configuration_root(&key(0, 0), EPOCH_MS, serial(0, 0)).expect(OWN);
        let ca = enrollment_ca(&key(0, 1), EPOCH_MS, serial(0, 1)).expect(OWN);
        let (signer, node_id) = (key(0, 2), node_id("configuration", 0));
        let subject = Subject {
            key: &signer.public(),
            node_id,
            overlay: OVERLAY,
            user: None,
        };
        let leaf = root
            .issue(Profile::ConfigurationSigner, &subject, EPOCH_MS, serial(0, 2))
            .expect(OWN);
        let mut document = Document::for_overlay(Genesis {
            overlay: OVERLAY,
            root_certs: vec![root.certificate().clone(), ca.certificate().clone()],
            configuration_signer: node_id,
            user_signer: self::node_id("users", 0),
            bootstrap_nodes: Vec::new(),
        });
        document.kinds.push(KindDefinition {
            id: LIST,
            name: String::new(),
            data_model: DataModel::Array,
            access: AccessPolicy::NodeMatch,
            max_count: 8,
            max_size: 512,
            max_node_multiple: None,
            longest_lifetime: Some(3600),
            writers: Vec::new(),
            domain_restriction: None,
        });
        let verifier = Arc::new(Verifier::new(document.trust()));
        let document = Arc::new(SignedDocument::sign(
            document,
            &Signer::new(signer, &leaf, &[]).expect(OWN),
        ));
        Self {
            ca,
            document,
            verifier,
            peers: Mutex::default(),
            minted: Mutex::default(),
        }
    }

    /// Gives the peer of a number.
    pub fn peer(&self, index: usize) -> Peer {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.entry(index).or_insert_with(|| self.make_peer(index)).clone()
    }

    /// Gives the signer that the edge of a peer mints for a user.
    pub fn minted(&self, user: usize, index: usize) -> Arc<Signer> {
        let mut minted = self.minted.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            minted
                .entry((user, index))
                .or_insert_with(|| Arc::new(self.mint(user, index))),
        )
    }

    fn make_peer(&self, index: usize) -> Peer {
        let (own, node_id) = (key(1, index), node_id("peer", index));
        let subject = Subject {
            key: &own.public(),
            node_id,
            overlay: OVERLAY,
            user: None,
        };
        let leaf = self
            .ca
            .issue(Profile::Node, &subject, EPOCH_MS, serial(1, index))
            .expect(OWN);
        let identity = self.verifier.verify(leaf.der(), &[], EPOCH_MS, Use::Node).expect(OWN);
        let signer = Arc::new(Signer::new(own, &leaf, &[]).expect(OWN));
        let host = Ipv4Addr::from_bits(0x0a00_0001 + u32::try_from(index).unwrap_or(0));
        Peer {
            node_id,
            identity,
            signer,
            address: SocketAddr::from((host, 6084)),
            edge: self::node_id("edge", index),
        }
    }

    fn mint(&self, user: usize, index: usize) -> Signer {
        let (delegated, node_id, user_name) = (key(2, index), node_id("edge", index), user_name(user));
        let subject = Subject {
            key: &delegated.public(),
            node_id,
            overlay: OVERLAY,
            user: None,
        };
        let certificate = self
            .ca
            .issue(Profile::DelegatedSigner, &subject, EPOCH_MS, serial(2, index))
            .expect(OWN);
        let authority = Authority::new(delegated, certificate.clone()).expect(OWN);
        let own = key(3 + user, index);
        let subject = Subject {
            key: &own.public(),
            node_id,
            overlay: OVERLAY,
            user: Some(&user_name),
        };
        let leaf = authority
            .issue(Profile::Minted, &subject, EPOCH_MS, serial(3 + user, index))
            .expect(OWN);
        Signer::new(own, &leaf, &[certificate.der().clone()]).expect(OWN)
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self::new()
    }
}

/// The user of a number: the name whose hash is the Resource-ID of the registration.
#[must_use]
pub fn user_name(user: usize) -> String {
    format!("user{user}@{OVERLAY}")
}

fn node_id(what: &str, index: usize) -> NodeId {
    ResourceId::of(format!("{what} {index}").as_bytes()).as_node_id()
}

fn key(sort: usize, index: usize) -> Key {
    let mut seed = [7; 32];
    let number = (u128::try_from(sort).unwrap_or(0) << 64) | u128::try_from(index).unwrap_or(0);
    seed[..16].copy_from_slice(&number.to_be_bytes());
    Key::ed25519_from_seed(seed)
}

fn serial(sort: usize, index: usize) -> Serial {
    let mut octets = [1; 9];
    let number = u64::try_from(sort * 0x1_0000 + index).unwrap_or(0);
    octets[1..].copy_from_slice(&number.to_be_bytes());
    Serial::new(octets)
}

/// Name of the simulated overlay.
pub const OVERLAY: &str = "sim.p2psip.test";

/// A private Kind: each peer's list, which the peer writes itself.
pub(super) const LIST: KindId = KindId(0xf000_0020);
