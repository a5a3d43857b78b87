//! What enrollment gives: an overlay, a peer that forms it, and an edge.

use std::sync::Arc;
use std::time::SystemTime;

use identity::issue::{Authority, Profile, Serial, Subject, configuration_root, enrollment_ca, random_node_id};
use identity::{Certificate, Key, Sign as _, Signer, Verifier};
use overlay_config::{Document, Genesis, SignedDocument};
use usage::user::RecordKey;
use wire::NodeId;

pub(crate) const OVERLAY: &str = "contract.p2psip.test";

/// A new overlay.
pub(crate) struct World {
    ca: Authority,
    document: SignedDocument,
    now_ms: u64,
}

impl World {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let now_ms = now_ms();
        let root = configuration_root(&Key::generate()?, now_ms, Serial::generate()?)?;
        let ca = enrollment_ca(&Key::generate()?, now_ms, Serial::generate()?)?;
        let configuration_signer = random_node_id()?;
        let genesis = Genesis {
            overlay: OVERLAY,
            root_certs: vec![root.certificate().clone(), ca.certificate().clone()],
            configuration_signer,
            user_signer: random_node_id()?,
            bootstrap_nodes: Vec::new(),
        };
        let key = Key::generate()?;
        let certificate = issue(&root, Profile::ConfigurationSigner, configuration_signer, &key, now_ms)?;
        let signer = Signer::new(key, &certificate, &[])?;
        let document = SignedDocument::sign(Document::for_overlay(genesis), &signer);
        Ok(Self { ca, document, now_ms })
    }

    pub(crate) fn document(&self) -> SignedDocument {
        self.document.clone()
    }

    /// A peer that forms the ring.
    pub(crate) fn member(&self) -> anyhow::Result<overlay::Member> {
        let key = Key::generate()?;
        let certificate = issue(&self.ca, Profile::Node, random_node_id()?, &key, self.now_ms)?;
        let signer = Signer::new(key.clone(), &certificate, &[])?;
        Ok(overlay::Member {
            key,
            chain: signer.certificates().to_vec(),
            signer: Arc::new(signer),
            verifier: Arc::new(Verifier::new(self.document.document().trust())),
            document: Arc::new(self.document()),
            founder: true,
            key_log: false,
        })
    }

    pub(crate) fn edge(&self) -> anyhow::Result<sip_edge::Credentials> {
        let (node_id, link, delegated) = (random_node_id()?, Key::generate()?, Key::generate()?);
        let certificate = issue(&self.ca, Profile::Edge, node_id, &link, self.now_ms)?;
        let authority = issue(&self.ca, Profile::DelegatedSigner, node_id, &delegated, self.now_ms)?;
        Ok(sip_edge::Credentials {
            link: Signer::new(link, &certificate, &[])?,
            delegated: Authority::new(delegated, authority)?,
            values: Key::generate()?,
            record_keys: vec![RecordKey::new(1, [9; 32])],
        })
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn issue(
    authority: &Authority,
    profile: Profile,
    node_id: NodeId,
    key: &Key,
    now_ms: u64,
) -> anyhow::Result<Certificate> {
    let subject = Subject {
        key: &key.public(),
        node_id,
        overlay: OVERLAY,
        user: None,
    };
    Ok(authority.issue(profile, &subject, now_ms, Serial::generate()?)?)
}
