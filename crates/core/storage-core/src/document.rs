//! The overlay configuration document: which Kinds there are, and whom to believe.

use bytes::Bytes;
use identity::Verifier;
use overlay_config::{AccessPolicy, Basis, Document, Error, KindDefinition, SignedDocument};
use std::time::Duration;
use wire::KindId;

use crate::{
    kind::{Access, Kind, Kinds, UserDomains},
    refusal::Refusal,
};

/// The document in force and what follows from it.
#[derive(Debug)]
pub(crate) struct InForce {
    document: Option<Document>,
    pub(crate) kinds: Kinds,
    pub(crate) verifier: Verifier,
}

impl InForce {
    /// Begins without a document: no Kind is known.
    pub(crate) fn nothing() -> Self {
        Self {
            document: None,
            kinds: Kinds::default(),
            verifier: Verifier::new(identity::Trust::default()),
        }
    }

    pub(crate) fn sequence(&self) -> Option<u16> {
        self.document.as_ref().map(|document| document.sequence)
    }

    /// Takes up the document that the disk remembers; it was verified when it came.
    pub(crate) fn load(&mut self, octets: &Bytes) -> Result<(), String> {
        let xml = std::str::from_utf8(octets).map_err(|error| error.to_string())?;
        self.set(Document::from_xml(xml).map_err(|error| error.to_string())?);
        Ok(())
    }

    /// Verifies a document and puts it in force. Gives the form for the disk, or nothing if it is the one in force.
    pub(crate) fn update(&mut self, xml: Bytes, now_ms: u64) -> Result<Option<Bytes>, Refusal> {
        let verified = match &self.document {
            Some(previous) => SignedDocument::parse_and_verify(xml, Basis::Previous(previous), now_ms),
            None => first(&xml, now_ms),
        };
        match verified {
            Ok(signed) => {
                let document = signed.document().clone();
                let octets = document.to_xml().into();
                self.set(document);
                Ok(Some(octets))
            }
            Err(Error::NotNewer { sequence, in_force }) if sequence == in_force => Ok(None),
            Err(error @ Error::NotNewer { .. }) => Err(Refusal::OldDocument(error.to_string())),
            Err(error) => Err(Refusal::Forbidden(error.to_string())),
        }
    }

    fn set(&mut self, document: Document) {
        self.verifier.set_trust(document.trust());
        self.kinds = Kinds(
            document
                .kinds
                .iter()
                .map(|kind| rules(&document.overlay, kind))
                .collect(),
        );
        self.document = Some(document);
    }
}

/// The first document is believed on the word of the overlay that holds the session; it is checked against the
/// configuration root that it names itself, and every later one against it.
fn first(xml: &Bytes, now_ms: u64) -> Result<SignedDocument, Error> {
    let unverified = Document::from_xml(&String::from_utf8_lossy(xml))?;
    let roots = unverified
        .root_certs
        .iter()
        .filter(|root| root.path_length() == Some(0));
    let tries = roots.map(|root| SignedDocument::parse_and_verify(xml.clone(), Basis::Root(root.hash()), now_ms));
    let best = tries.reduce(|best, next| if best.is_ok() { best } else { next });
    best.unwrap_or_else(|| {
        Err(Error::Missing {
            element: "root-cert of the configuration root".to_owned(),
        })
    })
}

fn rules(overlay: &str, definition: &KindDefinition) -> (KindId, Kind) {
    let kind = Kind {
        model: definition.data_model,
        access: match definition.access {
            AccessPolicy::UserMatch => Access::UserMatch,
            AccessPolicy::NodeMatch => Access::NodeMatch,
            AccessPolicy::UserNodeMatch => Access::UserNodeMatch,
            AccessPolicy::NodeMultiple => {
                let most = definition.max_node_multiple.unwrap_or(1);
                // The counter is one octet (deviation D6).
                Access::NodeMultiple {
                    most: u8::try_from(most).unwrap_or(u8::MAX),
                }
            }
        },
        max_count: usize::try_from(definition.max_count).unwrap_or(usize::MAX),
        max_size: usize::try_from(definition.max_size).unwrap_or(usize::MAX),
        longest: definition
            .longest_lifetime
            .map(|seconds| Duration::from_secs(seconds.into())),
        writers: definition.writers.clone(),
        domains: definition.domain_restriction.clone().map(|allowed| UserDomains {
            allowed,
            overlay: overlay.to_owned(),
        }),
    };
    (definition.id, kind)
}
