//! An overlay's authorities and members, made of seeds.

use std::collections::BTreeMap;

use bytes::Bytes;
use identity::{
    Domains, Key, Sign, Signer,
    issue::{Authority, Profile, Serial, Subject, configuration_root, enrollment_ca},
};
use overlay_config::{AccessPolicy, Document, Genesis, KindDefinition, SignedDocument};
use wire::{DataModel, KindId, NodeId};

pub(crate) const OVERLAY: &str = "dev.p2psip.test";

/// A time to begin with, in milliseconds since 1970.
pub(crate) const EPOCH: u64 = 1_800_000_000_000;

/// A private Kind: one value, USER-MATCH, at most eight octets.
pub(crate) const NOTE: KindId = KindId(0xf000_0010);
/// A private Kind: an array of at most two values, USER-MATCH.
pub(crate) const LIST: KindId = KindId(0xf000_0011);
/// A private Kind: one value, NODE-MATCH.
pub(crate) const NODE: KindId = KindId(0xf000_0012);

/// The authorities, and every signer that was asked for.
pub(crate) struct World {
    ca: Authority,
    configuration: Signer,
    /// When everything is issued.
    pub(crate) epoch: u64,
    pub(crate) document: Document,
    signers: BTreeMap<String, Signer>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::at(EPOCH)
    }

    pub(crate) fn at(epoch: u64) -> Self {
        let root = configuration_root(&key(1), epoch, serial(1)).expect("a root");
        let ca = enrollment_ca(&key(2), epoch, serial(2)).expect("a CA");
        let (configuration, signer) = (node_id("configuration"), key(3));
        let subject = Subject {
            key: &signer.public(),
            node_id: configuration,
            overlay: OVERLAY,
            user: None,
        };
        let leaf = root
            .issue(Profile::ConfigurationSigner, &subject, epoch, serial(3))
            .expect("a signer");
        let mut document = Document::for_overlay(Genesis {
            overlay: OVERLAY,
            root_certs: vec![root.certificate().clone(), ca.certificate().clone()],
            configuration_signer: configuration,
            user_signer: node_id("u"),
            bootstrap_nodes: Vec::new(),
        });
        document.kinds.extend([
            kind(NOTE, DataModel::Single, AccessPolicy::UserMatch, 1),
            kind(LIST, DataModel::Array, AccessPolicy::UserMatch, 2),
            kind(NODE, DataModel::Single, AccessPolicy::NodeMatch, 1),
        ]);
        let configuration = Signer::new(signer, &leaf, &[]).expect("its own key");
        Self {
            ca,
            configuration,
            epoch,
            document,
            signers: BTreeMap::new(),
        }
    }

    /// Signs the document as it is now.
    pub(crate) fn signed_document(&self) -> Bytes {
        SignedDocument::sign(self.document.clone(), &self.configuration)
            .xml()
            .clone()
    }

    /// Gives a signer by its name: `node:USER/NODE` is a user's own client, `minted:USER/EDGE` a user at an edge,
    /// `record:USER/NODE` the writer of a user's record, `peer:NODE` a peer.
    pub(crate) fn signer(&mut self, name: &str) -> Signer {
        if let Some(signer) = self.signers.get(name) {
            return signer.clone();
        }
        let (class, who) = name.split_once(':').expect("class:who");
        let (user, node) = who
            .split_once('/')
            .map_or((None, who), |(user, node)| (Some(user_name(user)), node));
        let node_id = node_id(node);
        let seed = u32::try_from(self.signers.len() + 10).expect("few signers");
        let own = key(seed);
        let subject = Subject {
            key: &own.public(),
            node_id,
            overlay: OVERLAY,
            user: user.as_deref(),
        };
        let signer = match class {
            "minted" => {
                let ca_key = key(seed + OF_ITS_CA);
                let delegated = Subject {
                    key: &ca_key.public(),
                    node_id,
                    overlay: OVERLAY,
                    user: None,
                };
                let certificate = self.ca.issue(
                    Profile::DelegatedSigner,
                    &delegated,
                    self.epoch,
                    serial(seed + OF_ITS_CA),
                );
                let certificate = certificate.expect("a delegated signer");
                let edge = Authority::new(ca_key, certificate.clone()).expect("its own key");
                let leaf = edge
                    .issue(Profile::Minted, &subject, self.epoch, serial(seed))
                    .expect("a minted certificate");
                Signer::new(own, &leaf, &[certificate.der().clone()])
            }
            "record" => Signer::new(own, &self.issue(Profile::UserRecord, &subject, seed), &[]),
            _ => Signer::new(own, &self.issue(Profile::Node, &subject, seed), &[]),
        };
        let signer = signer.expect("its own key");
        self.signers.insert(name.to_owned(), signer.clone());
        signer
    }

    fn issue(&self, profile: Profile, subject: &Subject<'_>, seed: u32) -> identity::Certificate {
        self.ca
            .issue(profile, subject, self.epoch, serial(seed))
            .expect("a certificate")
    }
}

/// Gives the certificates that verify signatures of these signers.
pub(crate) fn bucket(signers: &[&Signer]) -> Vec<Bytes> {
    signers
        .iter()
        .flat_map(|signer| signer.certificates().iter().cloned())
        .collect()
}

pub(crate) fn node_id(name: &str) -> NodeId {
    wire::ResourceId::of(format!("node {name}").as_bytes()).as_node_id()
}

/// Gives a name in the overlay's domain, unless it has a domain already.
pub(crate) fn user_name(user: &str) -> String {
    if user.contains('@') {
        return user.to_owned();
    }
    format!("{user}@{OVERLAY}")
}

fn kind(id: KindId, data_model: DataModel, access: AccessPolicy, max_count: u32) -> KindDefinition {
    KindDefinition {
        id,
        name: String::new(),
        data_model,
        access,
        max_count,
        max_size: 8,
        max_node_multiple: None,
        longest_lifetime: Some(3600),
        writers: Vec::new(),
        domain_restriction: None::<Domains>,
    }
}

fn key(seed: u32) -> Key {
    let octets: [u8; 4] = seed.to_be_bytes();
    Key::ed25519_from_seed(std::array::from_fn(|at| octets[at % octets.len()]))
}

fn serial(seed: u32) -> Serial {
    let octets: [u8; 4] = seed.to_be_bytes();
    Serial::new(std::array::from_fn(|at| octets[at % octets.len()]))
}

/// Added to a signer's seed for the seed of the delegated signer above it.
const OF_ITS_CA: u32 = 100_000;
