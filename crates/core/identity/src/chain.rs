//! Finding the chain from a leaf to a `root-cert` in what a peer sent along.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::aws_lc_rs::{ECDSA_P256_SHA256, ED25519, RSA_PKCS1_2048_8192_SHA256};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, VerifiedPath};

use crate::certificate::Certificate;
use crate::error::Error;

/// A leaf, the CAs between it and the anchor (nearest first), and the anchor.
#[derive(Clone)]
pub(crate) struct Chain {
    pub(crate) leaf: Certificate,
    pub(crate) issuers: Vec<Certificate>,
    pub(crate) anchor: Certificate,
}

impl Chain {
    /// Every certificate of the chain.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.leaf)
            .chain(&self.issuers)
            .chain(std::iter::once(&self.anchor))
    }

    /// The time from which, and the time until which, the whole chain is valid.
    pub(crate) fn validity_ms(&self) -> (u64, u64) {
        let from = self.all().map(Certificate::not_before_ms).max().unwrap_or(0);
        let until = self.all().map(Certificate::not_after_ms).min().unwrap_or(0);
        (from, until)
    }
}

/// The `root-cert`s, as certificates and as what webpki takes.
pub(crate) struct Anchors(Vec<(Certificate, TrustAnchor<'static>)>);

impl Anchors {
    /// Takes those certificates that can be an anchor at all.
    pub(crate) fn new(certificates: &[Certificate]) -> Anchors {
        Anchors(
            certificates
                .iter()
                .filter_map(|anchor| Some((anchor.clone(), as_anchor(anchor)?)))
                .collect(),
        )
    }

    fn contain(&self, certificate: &Certificate) -> bool {
        self.0.iter().any(|(anchor, _)| anchor == certificate)
    }
}

/// Picks from a bucket the CAs that may have issued the leaf, and up to `levels` above it.
///
/// A bucket is never handed to webpki as it came: decoys cost it milliseconds, and a hundred of
/// them use up its budget of signature checks, so that a good chain fails. At most two CAs a level
/// are kept, those that `is_known` from earlier checks first.
pub(crate) fn candidates(
    leaf: &Certificate,
    bucket: &[Bytes],
    anchors: &Anchors,
    levels: usize,
    is_known: &dyn Fn(&Certificate) -> bool,
) -> Vec<Certificate> {
    let authorities: Vec<Certificate> = bucket
        .iter()
        .filter_map(|der| Certificate::from_bytes(der.clone()).ok())
        .filter(|certificate| certificate.is_ca() && !certificate.is_self_issued() && !anchors.contain(certificate))
        .collect();
    let mut picked: Vec<Certificate> = Vec::new();
    let mut below = vec![leaf.clone()];
    for _ in 0..levels {
        let mut level: Vec<Certificate> = Vec::new();
        for authority in &authorities {
            let is_issuer = below.iter().any(|lower| authority.is_named_issuer_of(lower));
            if is_issuer && !picked.contains(authority) && !level.contains(authority) {
                level.push(authority.clone());
            }
        }
        level.sort_by_key(|authority| !is_known(authority));
        level.truncate(MAX_CANDIDATES_A_LEVEL);
        picked.extend(level.iter().cloned());
        below = level;
    }
    picked
}

/// Builds a path with webpki and asks `accept` about each that it finds.
pub(crate) fn build(
    leaf: &Certificate,
    candidates: &[Certificate],
    anchors: &Anchors,
    now_ms: u64,
    accept: &dyn Fn(&Chain) -> Result<(), Error>,
) -> Result<Chain, Error> {
    let leaf_der = CertificateDer::from(leaf.der().as_ref());
    let end_entity = EndEntityCert::try_from(&leaf_der).map_err(no_path)?;
    let issuers: Vec<CertificateDer<'_>> = candidates
        .iter()
        .map(|ca| CertificateDer::from(ca.der().as_ref()))
        .collect();
    let trust: Vec<TrustAnchor<'_>> = anchors.0.iter().map(|(_, anchor)| anchor.clone()).collect();
    let found: RefCell<Option<Result<Chain, Error>>> = RefCell::new(None);
    let verify_path = |path: &VerifiedPath<'_>| {
        let outcome = chains(leaf, candidates, anchors, path).map(|chain| accept(&chain).map(|()| chain));
        let best = outcome.reduce(|first, second| if first.is_ok() { first } else { second });
        let is_good = matches!(best, Some(Ok(_)));
        *found.borrow_mut() = best;
        if is_good {
            Ok(())
        } else {
            Err(webpki::Error::UnknownIssuer)
        }
    };
    let time = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
    let verified =
        end_entity.verify_for_usage(ALGORITHMS, &trust, &issuers, time, AnyPurpose, None, Some(&verify_path));
    match (verified, found.take()) {
        (Ok(_), Some(chain)) => chain,
        (Err(_), Some(Err(refused))) => Err(refused),
        (Err(error), _) => Err(no_path(error)),
        (Ok(_), None) => Err(no_path(webpki::Error::UnknownIssuer)),
    }
}

/// Checks that `issuer`, itself verified earlier, signed the leaf.
pub(crate) fn is_signed_by(leaf: &Certificate, issuer: &Certificate, now_ms: u64) -> bool {
    let Some(anchor) = as_anchor(issuer) else { return false };
    let anchors = Anchors(vec![(issuer.clone(), anchor)]);
    build(leaf, &[], &anchors, now_ms, &|_| Ok(())).is_ok()
}

/// The chains that a path of webpki stands for: one for each `root-cert` of that name and key.
fn chains<'a>(
    leaf: &'a Certificate,
    candidates: &[Certificate],
    anchors: &'a Anchors,
    path: &VerifiedPath<'_>,
) -> impl Iterator<Item = Chain> + use<'a> {
    let issuers: Option<Vec<Certificate>> = path
        .intermediate_certificates()
        .map(|issuer| {
            candidates
                .iter()
                .find(|known| known.der().as_ref() == issuer.der().as_ref())
                .cloned()
        })
        .collect();
    let (subject, key) = (
        path.anchor().subject.to_vec(),
        path.anchor().subject_public_key_info.to_vec(),
    );
    anchors.0.iter().filter_map(move |(certificate, anchor)| {
        let is_it = anchor.subject.as_ref() == subject && anchor.subject_public_key_info.as_ref() == key;
        is_it.then(|| issuers.clone()).flatten().map(|issuers| Chain {
            leaf: leaf.clone(),
            issuers,
            anchor: certificate.clone(),
        })
    })
}

/// Leaves purposes to the rules, which judge the whole chain and run again at every cache hit;
/// here every identifier must only be readable.
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        purposes.into_iter().try_for_each(|purpose| purpose.map(|_| ()))
    }
}

fn as_anchor(certificate: &Certificate) -> Option<TrustAnchor<'static>> {
    let der = CertificateDer::from(certificate.der().as_ref());
    webpki::anchor_from_trusted_cert(&der)
        .ok()
        .map(|anchor| anchor.to_owned())
}

fn no_path(error: webpki::Error) -> Error {
    Error::NoPath {
        reason: error.to_string(),
    }
}

/// What certificates may be signed with: what RFC 6940 §6.3.4 demands (RSA), our default, and the
/// deterministic algorithm of simulations.
pub(crate) const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] =
    &[ECDSA_P256_SHA256, ED25519, RSA_PKCS1_2048_8192_SHA256];
/// An honest bucket has one CA of a name and key id, two while a signer is renewed.
const MAX_CANDIDATES_A_LEVEL: usize = 2;
