//! One overlay with every sort of certificate, all keys from seeds.

use bytes::Bytes;
use wire::NodeId;

use crate::issue::{Authority, Profile, Serial, Subject, Template, configuration_root, enrollment_ca};
use crate::{Certificate, Domains, Key, PublicKey, Signer, Trust, Verifier};

pub(super) const OVERLAY: &str = "overlay.example.org";
pub(super) const NOW: u64 = 1_800_000_000_000;
pub(super) const DAY: u64 = 24 * 3600 * 1000;
pub(super) const SERIAL: Serial = Serial::new([7; 9]);

pub(super) struct World {
    pub(super) root: Authority,
    pub(super) ca: Authority,
    pub(super) stranger: Authority,
    pub(super) signer: Authority,
    pub(super) trust: Trust,
}

impl World {
    pub(super) fn new() -> World {
        let root = configuration_root(&key(1), NOW, SERIAL).unwrap();
        let ca = enrollment_ca(&key(2), NOW, SERIAL).unwrap();
        let signer = ca
            .issue(
                Profile::DelegatedSigner,
                &subject(&key(4).public(), edge()),
                NOW,
                SERIAL,
            )
            .unwrap();
        let trust = Trust {
            overlay: OVERLAY.to_owned(),
            anchors: vec![root.certificate().clone(), ca.certificate().clone()],
            domains: Domains::Overlay,
            delegated_signers: true,
            private_namespace: true,
            ..Trust::default()
        };
        World {
            root,
            ca,
            stranger: enrollment_ca(&key(3), NOW, SERIAL).unwrap(),
            signer: Authority::new(key(4), signer).unwrap(),
            trust,
        }
    }

    pub(super) fn verifier(&self) -> Verifier {
        Verifier::new(self.trust.clone())
    }

    pub(super) fn issuer(&self, profile: Profile) -> &Authority {
        match profile {
            Profile::ConfigurationSigner => &self.root,
            Profile::Minted => &self.signer,
            _ => &self.ca,
        }
    }

    /// What would be issued, to be spoiled.
    pub(super) fn template(&self, profile: Profile) -> Template {
        self.issuer(profile)
            .template(profile, &subject(&leaf_key().public(), edge()), NOW)
            .unwrap()
    }

    pub(super) fn issue(&self, profile: Profile) -> Certificate {
        let key = leaf_key().public();
        self.issuer(profile)
            .issue(profile, &subject(&key, edge()), NOW, SERIAL)
            .unwrap()
    }

    pub(super) fn signer_of(&self, profile: Profile, key: Key) -> Signer {
        let public = key.public();
        let leaf = self
            .issuer(profile)
            .issue(profile, &subject(&public, edge()), NOW, SERIAL)
            .unwrap();
        let issuers: Vec<Bytes> = if profile == Profile::Minted {
            vec![self.signer.certificate().der().clone()]
        } else {
            Vec::new()
        };
        Signer::new(key, &leaf, &issuers).unwrap()
    }

    pub(super) fn bucket(&self) -> Vec<Bytes> {
        vec![self.signer.certificate().der().clone()]
    }
}

pub(super) fn key(seed: u8) -> Key {
    Key::ed25519_from_seed([seed; 32])
}

pub(super) fn leaf_key() -> Key {
    key(100)
}

pub(super) fn edge() -> NodeId {
    NodeId::from([0xed; 16])
}

pub(super) fn subject(key: &PublicKey, node_id: NodeId) -> Subject<'_> {
    Subject {
        key,
        node_id,
        overlay: OVERLAY,
        user: Some("alice@overlay.example.org"),
    }
}
