//! The document as it travels: XML with signatures.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use identity::{Certificate, Sign, Trust, Verifier, sign_blob, verify_blob};
use wire::{Decode, Encode, NodeId, SecurityBlock};

use crate::document::Document;
use crate::error::{Demand, Error, SignatureError};
use crate::parse::{Configuration, Found, SignedKind, find, without_mark};
use crate::value::{base64, unsupported};
use crate::{obey, tree, write};

/// A document whose signature was checked, with its bytes.
#[derive(Clone, PartialEq)]
pub struct SignedDocument {
    document: Document,
    xml: Bytes,
}

/// What a document is believed on.
#[derive(Debug, Clone, Copy)]
pub enum Basis<'a> {
    /// The SHA-256 of the configuration root: for the first document, or after a restart.
    Root([u8; 32]),
    /// The document in force: its signers sign the next one (RFC 6940 §11.1).
    Previous(&'a Document),
}

impl SignedDocument {
    /// Writes and signs a document and its Kinds.
    #[must_use]
    pub fn sign(document: Document, signer: &dyn Sign) -> SignedDocument {
        Self::sign_by(document, signer, &[])
    }

    /// The same, with further signatures over the whole: one that holds is enough. So a document is believed by nodes that know
    /// only the signer of old, and by those that come when that one has ended.
    #[must_use]
    pub fn sign_by(document: Document, signer: &dyn Sign, others: &[&dyn Sign]) -> SignedDocument {
        let block = |signer: &dyn Sign, blob: &str| STANDARD.encode(sign_blob(signer, blob.as_bytes()).to_bytes());
        let signs_kinds = document.kind_signers.contains(&signer.node_id());
        let configuration = write::configuration(&document, &|kind| signs_kinds.then(|| block(signer, kind)));
        let signers = std::iter::once(signer).chain(others.iter().copied());
        let signatures: Vec<String> = signers.map(|signer| block(signer, &configuration)).collect();
        let xml = write::file(&configuration, &signatures);
        SignedDocument {
            document,
            xml: Bytes::from(xml),
        }
    }

    /// Reads a file and verifies the configuration of the overlay in question.
    ///
    /// # Errors
    /// When the file cannot be used, no signature holds, its time is over, it is not newer than
    /// the document in force, or, with [`Error::CannotObey`], all that is well and it asks for
    /// what this implementation does not have.
    pub fn parse_and_verify(xml: Bytes, basis: Basis<'_>, now_ms: u64) -> Result<SignedDocument, Error> {
        if xml.len() > MAX_DOCUMENT {
            return Err(Error::TooLarge {
                size: xml.len(),
                limit: MAX_DOCUMENT,
            });
        }
        let text = std::str::from_utf8(&xml).map_err(|error| Error::Malformed {
            at: error.valid_up_to(),
            reason: "it is not UTF-8".to_owned(),
        })?;
        let text = without_mark(text);
        let root = tree::parse(text, &Vec::new())?;
        let found = find(&root, text)?;
        let document = match basis {
            Basis::Root(hash) => verify_first(&found, hash, now_ms)?,
            Basis::Previous(previous) => verify_next(&found, previous, now_ms)?,
        };
        Ok(SignedDocument { document, xml })
    }

    /// Returns what it says.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Tells when the signature ends by which the document is believed at a start, in Unix milliseconds: with the certificate of its
    /// signer. `None` if it carries no certificate.
    #[must_use]
    pub fn signature_ends_ms(&self) -> Option<u64> {
        let text = without_mark(std::str::from_utf8(&self.xml).ok()?);
        let root = tree::parse(text, &Vec::new()).ok()?;
        let ends_ms = |signature: &String| {
            let block = base64("signature", signature).ok()?;
            let block = SecurityBlock::from_bytes(&Bytes::from(block)).ok()?;
            let ends = block
                .certificates
                .iter()
                .filter_map(|found| Certificate::from_der(&found.certificate).ok());
            ends.map(|certificate| certificate.not_after_ms()).min()
        };
        let found = find(&root, text).ok()?.into_iter();
        let same = found.filter(|found| found.overlay() == Some(&self.document.overlay));
        let signatures = same.filter_map(|found| Some(found.read().ok()?.signatures));
        // Of several signatures one is enough.
        signatures.flatten().filter_map(|signature| ends_ms(&signature)).max()
    }

    /// Returns the file.
    #[must_use]
    pub fn xml(&self) -> &Bytes {
        &self.xml
    }
}

impl fmt::Debug for SignedDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedDocument")
            .field("overlay", &self.document.overlay)
            .field("sequence", &self.document.sequence)
            .finish_non_exhaustive()
    }
}

/// Tells whether a sequence number follows another: they wrap from 65534 to 0.
#[must_use]
pub fn is_newer(sequence: u16, than: u16) -> bool {
    // RFC 6940 §6.3.2.1: comparisons are made modulo 65535.
    let ahead = (u32::from(sequence) + MODULUS - u32::from(than)) % MODULUS;
    (1..=MODULUS / 2).contains(&ahead)
}

/// The configuration that lists the pinned root, signed under it by a signer that it names itself.
fn verify_first(found: &[Found<'_>], root: [u8; 32], now_ms: u64) -> Result<Document, Error> {
    let mut refused = None;
    for configuration in found {
        let configuration = configuration.read()?;
        let overlay = configuration.overlay()?;
        let mut root_certs = configuration.root_certs()?.into_iter();
        let Some(anchor) = root_certs.find(|certificate| certificate.hash() == root) else {
            let source = SignatureError::NotPinned;
            refused = refused.or(Some(Error::Signature { overlay, source }));
            continue;
        };
        // The document's other CAs are believed only once the pinned root's signer vouched for them.
        let verifier = Verifier::new(Trust {
            overlay,
            anchors: vec![anchor],
            bad_nodes: configuration.bad_nodes()?,
            private_namespace: configuration.is_ours(),
            ..Trust::default()
        });
        verify(
            &configuration,
            &verifier,
            &configuration.configuration_signers()?,
            now_ms,
        )?;
        return believed(&configuration, &verifier, now_ms);
    }
    Err(refused.unwrap_or_else(|| Error::Missing {
        element: "configuration".to_owned(),
    }))
}

/// The configuration of the same overlay, signed by a signer of the one before (RFC 6940 §11.1).
fn verify_next(found: &[Found<'_>], previous: &Document, now_ms: u64) -> Result<Document, Error> {
    let verifier = Verifier::new(previous.trust());
    let is_same = |configuration: &&Found<'_>| configuration.overlay() == Some(&previous.overlay);
    let Some(same) = found.iter().find(is_same) else {
        let mut renamed = found
            .iter()
            .filter_map(|found| renamed(found, previous, &verifier, now_ms));
        return Err(renamed.next().map_or_else(
            || Error::NoConfiguration {
                overlay: previous.overlay.clone(),
            },
            Error::CannotObey,
        ));
    };
    let configuration = same.read()?;
    let (sequence, in_force) = (configuration.sequence()?, previous.sequence);
    if !is_newer(sequence, in_force) {
        return Err(Error::NotNewer { sequence, in_force });
    }
    verify(&configuration, &verifier, &previous.configuration_signers, now_ms)?;
    believed(&configuration, &verifier, now_ms)
}

/// The next document under another name. Certificates name the overlay, so nobody who is a member can follow; but the certificate
/// of a signer does too, and one of this overlay signs for no other: it is not merely another overlay's configuration.
fn renamed(found: &Found<'_>, previous: &Document, verifier: &Verifier, now_ms: u64) -> Option<Demand> {
    let configuration = found.read().ok()?;
    let sequence = configuration.sequence().ok()?;
    let is_next = is_newer(sequence, previous.sequence)
        && verify(&configuration, verifier, &previous.configuration_signers, now_ms).is_ok();
    (is_next && unexpired(&configuration, now_ms).is_ok()).then_some(Demand {
        sequence,
        needs: format!("instance-name {}", configuration.overlay().ok()?),
    })
}

/// What a configuration says whose signature holds.
fn believed(configuration: &Configuration, verifier: &Verifier, now_ms: u64) -> Result<Document, Error> {
    unexpired(configuration, now_ms)?;
    let sequence = configuration.sequence()?;
    let read = || {
        let (document, kinds) = configuration.content()?;
        if let Some(unknown) = configuration.unknown() {
            return Err(unsupported(&unknown, "", "what RFC 6940 and this version have"));
        }
        obey::check(&document)?;
        verify_kinds(verifier, &document, &kinds, now_ms)?;
        Ok(document)
    };
    read().map_err(|error: Error| error.of_believed(sequence))
}

// RFC 6940 §11.1: after its expiration a document is no longer valid.
fn unexpired(configuration: &Configuration, now_ms: u64) -> Result<(), Error> {
    match configuration.expiration_ms()? {
        Some(expiration_ms) if expiration_ms <= now_ms => Err(Error::Expired { expiration_ms }),
        _ => Ok(()),
    }
}

/// A signature holds that one of these signers made.
///
/// The attribute `algorithm` of an element is not looked at (RFC 6940 §11.1.1): the SecurityBlock says its algorithms itself,
/// and nothing signs the attribute, so that anybody on the way could write there what nobody supports.
fn verify(
    configuration: &Configuration,
    verifier: &Verifier,
    signers: &BTreeSet<NodeId>,
    now_ms: u64,
) -> Result<(), Error> {
    let raw = configuration.raw.as_bytes();
    let outcomes = configuration
        .signatures
        .iter()
        .map(|text| verify_one(verifier, raw, text, signers, now_ms));
    let best = outcomes.reduce(|first, second| if first.is_ok() { first } else { second });
    let outcome = best.unwrap_or(Err(SignatureError::Missing));
    outcome.or_else(|source| {
        let overlay = configuration.overlay()?;
        Err(Error::Signature { overlay, source })
    })
}

/// RFC 6940 §11.1: a Kind is signed by one of the kind signers. A Kind without a signature of its
/// own is covered by the configuration's, which the grammar of §11.1.1 allows.
fn verify_kinds(verifier: &Verifier, document: &Document, kinds: &[SignedKind], now_ms: u64) -> Result<(), Error> {
    for SignedKind { id, raw, signature } in kinds {
        let Some(text) = signature else { continue };
        match verify_one(verifier, raw.as_bytes(), text, &document.kind_signers, now_ms) {
            Ok(()) => {}
            // The signer of the whole document knows this algorithm, and so may the others.
            Err(SignatureError::Identity(
                error @ (identity::Error::Algorithm { .. } | identity::Error::SignerIdentity { .. }),
            )) => {
                return Err(unsupported(
                    "kind-signature",
                    &error.to_string(),
                    "Ed25519, ECDSA and RSA with SHA-256",
                ));
            }
            Err(error) => {
                return Err(Error::Signature {
                    overlay: document.overlay.clone(),
                    source: SignatureError::Kind {
                        kind: *id,
                        reason: error.to_string(),
                    },
                });
            }
        }
    }
    Ok(())
}

fn verify_one(
    verifier: &Verifier,
    raw: &[u8],
    text: &str,
    signers: &BTreeSet<NodeId>,
    now_ms: u64,
) -> Result<(), SignatureError> {
    let malformed = |reason: String| SignatureError::Malformed { reason };
    let bytes = base64("signature", text).map_err(|error| malformed(error.to_string()))?;
    let block = SecurityBlock::from_bytes(&Bytes::from(bytes)).map_err(|error| malformed(error.to_string()))?;
    let identity = verify_blob(verifier, raw, &block, now_ms)?;
    if identity.node_ids.iter().any(|node_id| signers.contains(node_id)) {
        return Ok(());
    }
    Err(SignatureError::UnknownSigner {
        node_id: identity.node_id(),
    })
}

/// The greatest file that is read: a document with some hundred bad-nodes has 20 KiB.
pub const MAX_DOCUMENT: usize = 256 * 1024;
/// Sequence numbers are 0 to 65534.
const MODULUS: u32 = 65535;
