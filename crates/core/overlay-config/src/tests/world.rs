//! A new overlay's document with its signers, all keys from seeds.

use identity::issue::{Authority, Profile, Serial, Subject, configuration_root, enrollment_ca};
use identity::{Key, Signer};
use wire::NodeId;

use crate::{BootstrapNode, Document, Genesis};

pub(super) const OVERLAY: &str = "overlay.example.org";
pub(super) const NOW: u64 = 1_800_000_000_000;
pub(super) const SERIAL: Serial = Serial::new([7; 9]);

pub(super) struct World {
    pub(super) root: Authority,
    pub(super) ca: Authority,
    pub(super) signer: Signer,
    pub(super) document: Document,
}

impl World {
    pub(super) fn new() -> World {
        let root = configuration_root(&key(1), NOW, SERIAL).unwrap();
        let ca = enrollment_ca(&key(2), NOW, SERIAL).unwrap();
        let signer = signer(&root, 10);
        let document = Document::for_overlay(Genesis {
            overlay: OVERLAY,
            root_certs: vec![root.certificate().clone(), ca.certificate().clone()],
            configuration_signer: node(10),
            user_signer: node(11),
            bootstrap_nodes: vec![
                BootstrapNode {
                    host: "192.0.2.1".to_owned(),
                    port: 6084,
                },
                BootstrapNode {
                    host: "2001:db8::1".to_owned(),
                    port: 6094,
                },
                BootstrapNode {
                    host: "peer.example.org".to_owned(),
                    port: 6084,
                },
            ],
        });
        World {
            root,
            ca,
            signer,
            document,
        }
    }

    pub(super) fn root_hash(&self) -> [u8; 32] {
        self.root.certificate().hash()
    }
}

/// A configuration signer whose Node-ID repeats `number`.
pub(super) fn signer(root: &Authority, number: u8) -> Signer {
    let key = key(number);
    let user = format!("signer{number}@{OVERLAY}");
    let public = key.public();
    let subject = Subject {
        key: &public,
        node_id: node(number),
        overlay: OVERLAY,
        user: Some(&user),
    };
    let leaf = root.issue(Profile::ConfigurationSigner, &subject, NOW, SERIAL).unwrap();
    Signer::new(key, &leaf, &[]).unwrap()
}

pub(super) fn key(seed: u8) -> Key {
    Key::ed25519_from_seed([seed; 32])
}

pub(super) fn node(number: u8) -> NodeId {
    NodeId::from([number; 16])
}
