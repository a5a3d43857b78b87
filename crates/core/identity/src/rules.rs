//! What a chain that verifies entitles to.
//!
//! Everything here is cheap and runs again whenever a cached chain is used, because the time, the
//! document and the use differ from check to check.

use wire::NodeId;

use crate::certificate::{Certificate, Purposes};
use crate::chain::Chain;
use crate::error::Error;
use crate::name::user_and_domain;
use crate::trust::Trust;
use crate::verifier::Use;

/// Judges a chain whose signatures verify.
pub(crate) fn judge(chain: &Chain, trust: &Trust, now_ms: u64, use_: Use) -> Result<(), Error> {
    profile(&chain.leaf, trust)?;
    validity(chain, now_ms)?;
    if trust.private_namespace {
        shape(chain, use_)?;
        if let Some(signer) = chain.issuers.first() {
            delegation(signer, &chain.leaf, trust)?;
        }
    } else {
        foreign_shape(chain, use_)?;
    }
    revocation(chain, trust)
}

/// What a leaf must look like (RFC 6940 §11.3): it names nodes of this overlay and at most one
/// user, and nothing else.
pub(crate) fn profile(leaf: &Certificate, trust: &Trust) -> Result<(), Error> {
    let what = if leaf.is_ca() {
        "it is a CA's"
    } else if leaf.has_other_names() {
        "it has names other than reload URIs and a user name"
    } else if leaf.users().len() > 1 {
        "it has several user names"
    } else if leaf.uris().is_empty() {
        "it has no Node-ID"
    } else if leaf.uris().len() > MAX_NODE_IDS {
        "it has too many Node-IDs"
    } else if leaf.uris().iter().any(|uri| uri.overlay != trust.overlay) {
        "it names another overlay"
    } else if leaf.node_ids().iter().any(|node_id| !node_id.is_name()) {
        "it has a reserved Node-ID"
    } else if leaf.key_usage().is_some_and(|usage| !usage.digital_signature) {
        "its key usage is not digitalSignature"
    } else {
        return Ok(());
    };
    Err(Error::Profile { what })
}

/// The whole chain is valid at this moment, without tolerance: issuers backdate instead.
fn validity(chain: &Chain, now_ms: u64) -> Result<(), Error> {
    let (from_ms, until_ms) = chain.validity_ms();
    if (from_ms..=until_ms).contains(&now_ms) {
        return Ok(());
    }
    Err(Error::NotValidNow {
        from_ms,
        until_ms,
        now_ms,
    })
}

/// The three shapes of our overlays; the path length of the `root-cert` tells its sort.
fn shape(chain: &Chain, use_: Use) -> Result<(), Error> {
    let refuse = |what| Err(Error::Shape { use_, what });
    if !is_bare_root(&chain.anchor) {
        return refuse("its root certificate is of no known sort");
    }
    let path_length = chain.anchor.path_length().and_then(|length| u8::try_from(length).ok());
    match (path_length, chain.issuers.as_slice()) {
        (Some(CONFIGURATION_ROOT), []) if use_ == Use::Config => {}
        (Some(CONFIGURATION_ROOT), _) => return refuse("a configuration root issues signers of the document only"),
        (Some(ENROLLMENT_CA), []) if use_ != Use::Config => {}
        (Some(ENROLLMENT_CA), [_]) if use_ == Use::UserNodeStore => {}
        (Some(ENROLLMENT_CA), []) => return refuse("an enrollment CA issues no signers of the document"),
        (Some(ENROLLMENT_CA), [_]) => return refuse("a delegated signer signs for USER-NODE-MATCH only"),
        (Some(ENROLLMENT_CA), _) => return refuse("the chain is too long"),
        _ => return refuse("its root certificate is of no known sort"),
    }
    purpose(&chain.leaf, use_)
}

/// Without our namespace: any chain of bounded depth, but nothing that could be a delegated signer.
fn foreign_shape(chain: &Chain, use_: Use) -> Result<(), Error> {
    let refuse = |what| Err(Error::Shape { use_, what });
    if chain.issuers.len() > FOREIGN_LEVELS {
        return refuse("the chain is too long");
    }
    if chain
        .issuers
        .iter()
        .any(|issuer| issuer.purposes().is_some_and(|purposes| purposes.document_signing))
    {
        return refuse("the document does not permit delegated signers");
    }
    if !chain.issuers.iter().all(is_authority) {
        return refuse("an issuer may not issue certificates");
    }
    purpose(&chain.leaf, use_)
}

/// No purpose, or one of TLS, serves everything; documentSigning serves stored values only.
fn purpose(leaf: &Certificate, use_: Use) -> Result<(), Error> {
    match leaf.purposes() {
        None => Ok(()),
        Some(purposes) if purposes.tls => Ok(()),
        Some(purposes) if purposes.document_signing && use_ == Use::UserNodeStore => Ok(()),
        Some(_) => Err(Error::Shape {
            use_,
            what: "its extended key usage is another",
        }),
    }
}

/// What binds a delegated signer: its own Node-ID, documents only, users of the overlay's domains.
fn delegation(signer: &Certificate, leaf: &Certificate, trust: &Trust) -> Result<(), Error> {
    let what = if !trust.delegated_signers {
        "the document does not permit delegated signers"
    } else if !is_authority(signer) || signer.path_length() != Some(0) {
        "it is not a CA of path length 0"
    } else if signer.purposes() != Some(Purposes::DOCUMENT_SIGNING_ONLY) {
        "its purpose is not documentSigning alone"
    } else if signer.has_other_names() || !signer.users().is_empty() || signer.uris().len() != 1 {
        "it does not name exactly one node"
    } else if signer.uris().iter().any(|uri| uri.overlay != trust.overlay) {
        "it is of another overlay"
    } else if leaf.node_ids() != signer.node_ids() {
        "it issued a certificate for another node"
    } else if leaf.purposes() != Some(Purposes::DOCUMENT_SIGNING_ONLY) {
        "the certificate's purpose is not documentSigning alone"
    } else {
        return user(leaf, trust);
    };
    Err(Error::Delegation { what })
}

fn user(leaf: &Certificate, trust: &Trust) -> Result<(), Error> {
    let Some((_, domain)) = leaf.user().and_then(user_and_domain) else {
        return Err(Error::Delegation {
            what: "the certificate has no user name of the form user@domain",
        });
    };
    if trust.domains.allow(domain, &trust.overlay) {
        return Ok(());
    }
    Err(Error::Delegation {
        what: "the document does not allow the user's domain",
    })
}

/// RFC 6940 §11.1: a bad-node's certificate is not valid; here neither is anything it signed. A CA
/// counts only while the document lists it.
fn revocation(chain: &Chain, trust: &Trust) -> Result<(), Error> {
    if !trust.anchors.contains(&chain.anchor) {
        return Err(Error::WithdrawnCa);
    }
    match chain
        .all()
        .flat_map(Certificate::node_ids)
        .find(|node_id| trust.bad_nodes.contains(*node_id))
    {
        Some(node_id) => Err(Error::BadNode { node_id: *node_id }),
        None => Ok(()),
    }
}

/// webpki ignores the KeyUsage extension, so it is checked here.
fn is_authority(certificate: &Certificate) -> bool {
    certificate.is_ca() && certificate.key_usage().is_none_or(|usage| usage.key_cert_sign)
}

/// A CA that names itself as issuer, and nobody else, for no particular purpose.
fn is_bare_root(anchor: &Certificate) -> bool {
    let names_nobody = anchor.uris().is_empty() && anchor.users().is_empty() && !anchor.has_other_names();
    is_authority(anchor) && anchor.is_self_issued() && anchor.purposes().is_none() && names_nobody
}

/// The node that a delegated signer speaks for.
pub(crate) fn delegating_node(chain: &Chain, trust: &Trust) -> Option<NodeId> {
    let signer = chain.issuers.first().filter(|_| trust.private_namespace)?;
    signer.node_ids().first().copied()
}

/// How many CAs may stand between leaf and `root-cert`.
pub(crate) fn levels(trust: &Trust) -> usize {
    if trust.private_namespace { 1 } else { FOREIGN_LEVELS }
}

/// Path length that marks a configuration root.
pub(crate) const CONFIGURATION_ROOT: u8 = 0;
/// Path length that marks an enrollment CA.
pub(crate) const ENROLLMENT_CA: u8 = 1;
/// In an overlay of another implementation a chain has at most three certificates below its root.
const FOREIGN_LEVELS: usize = 2;
/// Bounds the hashes that finding a signer by Node-ID takes (RFC 6940 §6.3.4).
pub(crate) const MAX_NODE_IDS: usize = 8;
