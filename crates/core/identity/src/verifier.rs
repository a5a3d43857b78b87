//! The one judge of certificates: TLS links, message signatures, stored values and documents all
//! ask it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use wire::{NodeId, SignerIdentity};

use crate::cache::Cache;
use crate::certificate::Certificate;
use crate::chain::{self, Anchors, Chain};
use crate::class::Class;
use crate::error::Error;
use crate::rules;
use crate::trust::Trust;

/// What a certificate is to be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// TLS links, message signatures, NODE-MATCH, NODE-MULTIPLE and USER-MATCH.
    Node,
    /// Values under USER-NODE-MATCH, and the StoreReq that carries only such values: its signer
    /// must satisfy the policy too (RFC 6940 §7.3).
    UserNodeStore,
    /// Signatures of configuration documents and of Kinds.
    Config,
}

/// Who a verified certificate speaks for.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its Node-IDs; if a signature named one of several (RFC 6940 §6.3.4), that one only.
    pub node_ids: Vec<NodeId>,
    /// Its user name.
    pub user: Option<String>,
    /// The node whose delegated signer issued it.
    pub delegated_by: Option<NodeId>,
    /// What it may be to the overlay.
    pub class: Class,
    /// The earliest end of validity in the chain: links close and values die by then.
    pub until_ms: u64,
    /// The leaf.
    pub certificate: Certificate,
    /// What has to travel with a signature: the leaf and the CAs below the `root-cert`.
    pub chain: Vec<Bytes>,
}

impl Identity {
    /// Returns its Node-ID: the first, or the one that signed.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node_ids.first().copied().unwrap_or(NodeId::ZERO)
    }

    /// Tells whether it may speak as this node.
    #[must_use]
    pub fn is_node(&self, node_id: &NodeId) -> bool {
        self.node_ids.contains(node_id)
    }
}

/// Verifies certificates against the trust of one overlay and remembers those that were good.
///
/// A remembered chain costs no signature check, but every rule that depends on the time, the use
/// or the document is applied again.
pub struct Verifier {
    state: Mutex<State>,
}

struct State {
    roots: Arc<Roots>,
    /// By SHA-256 of the leaf.
    leaves: Cache<[u8; 32], Arc<Known>>,
    /// `root-cert` of each CA that stood between a good leaf and it, by SHA-256 of that CA.
    issuers: Cache<[u8; 32], Certificate>,
    /// Leaf and Node-ID by the hash over both, for certificates with several Node-IDs.
    aliases: Cache<[u8; 32], ([u8; 32], NodeId)>,
}

struct Roots {
    trust: Arc<Trust>,
    anchors: Anchors,
}

/// What a check depends on beside the leaf and the document.
#[derive(Clone, Copy)]
struct Check<'a> {
    bucket: &'a [Bytes],
    now_ms: u64,
    use_: Use,
}

struct Known {
    chain: Chain,
    identity: Arc<Identity>,
}

impl Verifier {
    /// Makes a verifier for the trust of a document.
    #[must_use]
    pub fn new(trust: Trust) -> Verifier {
        Verifier {
            state: Mutex::new(State {
                roots: Arc::new(Roots::new(trust)),
                leaves: Cache::new(MAX_LEAVES),
                issuers: Cache::new(MAX_ISSUERS),
                aliases: Cache::new(MAX_ALIASES),
            }),
        }
    }

    /// Obeys another document from now on.
    pub fn set_trust(&self, trust: Trust) {
        let mut state = self.state.lock();
        let old = &state.roots.trust;
        if old.overlay != trust.overlay || old.private_namespace != trust.private_namespace {
            // Which shapes of chain exist at all depends on these two.
            state.leaves.clear();
            state.issuers.clear();
            state.aliases.clear();
        }
        state.roots = Arc::new(Roots::new(trust));
    }

    /// Returns the trust that it obeys.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.state.lock().roots.trust)
    }

    /// Verifies a leaf in DER with the certificates that came with it.
    ///
    /// # Errors
    /// When the leaf does not entitle to this use at this time; the error says why.
    pub fn verify(&self, leaf: &[u8], bucket: &[Bytes], now_ms: u64, use_: Use) -> Result<Arc<Identity>, Error> {
        check_bucket(bucket)?;
        self.verify_hashed(Sha256::digest(leaf).into(), Some(leaf), Check { bucket, now_ms, use_ })
    }

    /// Verifies the certificate that a signature names (RFC 6940 §6.3.4).
    ///
    /// # Errors
    /// When the certificate is neither known nor in the bucket, when the form of the name does not
    /// fit the certificate, or when it does not entitle to this use at this time.
    pub fn verify_signer(
        &self,
        signer: &SignerIdentity,
        bucket: &[Bytes],
        now_ms: u64,
        use_: Use,
    ) -> Result<Arc<Identity>, Error> {
        check_bucket(bucket)?;
        let check = Check { bucket, now_ms, use_ };
        match signer {
            SignerIdentity::None => Err(Error::NotSigned),
            SignerIdentity::Other { .. } => Err(Error::SignerIdentity {
                what: "its type is unknown",
            }),
            SignerIdentity::CertHash { hash_alg, hash } => {
                let hash = sha256_value(*hash_alg, hash)?;
                let identity = self.verify_hashed(hash, None, check)?;
                // RFC 6940 §6.3.4: this form is for certificates with one Node-ID.
                match identity.node_ids.len() {
                    1 => Ok(identity),
                    _ => Err(Error::SignerIdentity {
                        what: "it does not say which of several Node-IDs signed",
                    }),
                }
            }
            SignerIdentity::CertHashNodeId { hash_alg, hash } => {
                let (leaf, node_id) = self.find_alias(sha256_value(*hash_alg, hash)?, bucket)?;
                let identity = self.verify_hashed(leaf, None, check)?;
                if identity.node_ids.len() < 2 {
                    return Err(Error::SignerIdentity {
                        what: "it names one of several Node-IDs, but there is one",
                    });
                }
                Ok(Arc::new(Identity {
                    node_ids: vec![node_id],
                    ..Identity::clone(&identity)
                }))
            }
        }
    }

    fn verify_hashed(&self, hash: [u8; 32], leaf: Option<&[u8]>, check: Check<'_>) -> Result<Arc<Identity>, Error> {
        let (roots, known) = {
            let mut state = self.state.lock();
            (Arc::clone(&state.roots), state.leaves.get(&hash))
        };
        if let Some(known) = known {
            return match rules::judge(&known.chain, &roots.trust, check.now_ms, check.use_) {
                Ok(()) => Ok(Arc::clone(&known.identity)),
                Err(error @ (Error::WithdrawnCa | Error::NotValidNow { .. })) => {
                    self.renewed(&roots, &known.chain, check).ok_or(error)
                }
                Err(error) => Err(error),
            };
        }
        let leaf = match leaf {
            Some(der) => Certificate::from_der(der)?,
            None => {
                let found = check
                    .bucket
                    .iter()
                    .find(|der| <[u8; 32]>::from(Sha256::digest(der)) == hash);
                Certificate::from_bytes(found.ok_or(Error::SignerNotFound)?.clone())?
            }
        };
        let chain = self.examine(&roots, &leaf, check)?;
        Ok(self.remember(&roots, chain))
    }

    /// Looks for another way up: a CA or signer may have a newer certificate for the same key.
    fn renewed(&self, roots: &Roots, chain: &Chain, check: Check<'_>) -> Option<Arc<Identity>> {
        let issuers = chain.issuers.iter().map(Certificate::der);
        let bucket: Vec<Bytes> = issuers.chain(check.bucket).cloned().collect();
        let chain = self
            .examine(
                roots,
                &chain.leaf,
                Check {
                    bucket: &bucket,
                    ..check
                },
            )
            .ok()?;
        Some(self.remember(roots, chain))
    }

    fn remember(&self, roots: &Roots, chain: Chain) -> Arc<Identity> {
        let identity = Arc::new(identify(&chain, &roots.trust));
        let mut state = self.state.lock();
        if let [issuer, ..] = chain.issuers.as_slice() {
            state.issuers.insert(issuer.hash(), chain.anchor.clone());
        }
        let known = Known {
            identity: Arc::clone(&identity),
            chain,
        };
        state.leaves.insert(known.chain.leaf.hash(), Arc::new(known));
        identity
    }

    /// Checks signatures and rules of a leaf that is not remembered.
    fn examine(&self, roots: &Roots, leaf: &Certificate, check: Check<'_>) -> Result<Chain, Error> {
        let Check { bucket, now_ms, use_ } = check;
        let trust = &roots.trust;
        rules::profile(leaf, trust)?;
        if !(leaf.not_before_ms()..=leaf.not_after_ms()).contains(&now_ms) {
            let (from_ms, until_ms) = (leaf.not_before_ms(), leaf.not_after_ms());
            return Err(Error::NotValidNow {
                from_ms,
                until_ms,
                now_ms,
            });
        }
        let anchor_of = |issuer: &Certificate| self.state.lock().issuers.get(&issuer.hash());
        let is_known = |issuer: &Certificate| anchor_of(issuer).is_some();
        let candidates = chain::candidates(leaf, bucket, &roots.anchors, rules::levels(trust), &is_known);
        let accept = |chain: &Chain| rules::judge(chain, trust, now_ms, use_);
        if trust.private_namespace {
            for issuer in &candidates {
                // An issuer that was good before is used as an anchor itself: one signature check
                // instead of two. It is then in no path of webpki, so the rules see it by hand.
                let Some(anchor) = anchor_of(issuer) else { continue };
                let chain = Chain {
                    leaf: leaf.clone(),
                    issuers: vec![issuer.clone()],
                    anchor,
                };
                if chain::is_signed_by(leaf, issuer, now_ms) && accept(&chain).is_ok() {
                    return Ok(chain);
                }
            }
        }
        chain::build(leaf, &candidates, &roots.anchors, now_ms, &accept)
    }

    /// Finds the leaf and the Node-ID behind a hash over both (RFC 6940 §6.3.4).
    fn find_alias(&self, alias: [u8; 32], bucket: &[Bytes]) -> Result<([u8; 32], NodeId), Error> {
        if let Some(found) = self.state.lock().aliases.get(&alias) {
            return Ok(found);
        }
        for der in bucket {
            let Ok(certificate) = Certificate::from_bytes(der.clone()) else {
                continue;
            };
            let named = certificate.node_ids().iter().take(rules::MAX_NODE_IDS);
            for node_id in named {
                if node_id_hash(node_id, &certificate) == alias {
                    let found = (certificate.hash(), *node_id);
                    self.state.lock().aliases.insert(alias, found);
                    return Ok(found);
                }
            }
        }
        Err(Error::SignerNotFound)
    }
}

impl Roots {
    fn new(trust: Trust) -> Roots {
        Roots {
            anchors: Anchors::new(&trust.anchors),
            trust: Arc::new(trust),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("overlay", &self.trust().overlay)
            .finish_non_exhaustive()
    }
}

/// RFC 6940 §6.3.4: H(NodeId || certificate), without any framing.
pub(crate) fn node_id_hash(node_id: &NodeId, certificate: &Certificate) -> [u8; 32] {
    Sha256::new()
        .chain_update(node_id.as_bytes())
        .chain_update(certificate.der())
        .finalize()
        .into()
}

fn identify(chain: &Chain, trust: &Trust) -> Identity {
    let (_, until_ms) = chain.validity_ms();
    let travelling = std::iter::once(&chain.leaf).chain(&chain.issuers);
    Identity {
        node_ids: chain.leaf.node_ids().to_vec(),
        user: chain.leaf.user().map(str::to_owned),
        delegated_by: rules::delegating_node(chain, trust),
        class: Class::of(chain, trust),
        until_ms,
        certificate: chain.leaf.clone(),
        chain: travelling.map(|certificate| certificate.der().clone()).collect(),
    }
}

fn check_bucket(bucket: &[Bytes]) -> Result<(), Error> {
    if bucket.len() > MAX_BUCKET {
        return Err(Error::BucketTooLarge {
            count: bucket.len(),
            limit: MAX_BUCKET,
        });
    }
    Ok(())
}

fn sha256_value(algorithm: u8, hash: &[u8]) -> Result<[u8; 32], Error> {
    if algorithm != SignerIdentity::SHA256 {
        return Err(Error::SignerIdentity {
            what: "its hash is not SHA-256",
        });
    }
    hash.try_into().map_err(|_| Error::SignerIdentity {
        what: "its hash does not have 32 bytes",
    })
}

/// Certificates of one message: more than a Fetch of sixteen edges' registrations carries (two
/// each), few enough that reading decoys stays below half a millisecond.
pub(crate) const MAX_BUCKET: usize = 64;
/// Remembered leaves, about 2 KiB each; the least used are forgotten and verified anew.
const MAX_LEAVES: usize = 4096;
/// Remembered delegated signers; the least used are forgotten and verified anew.
const MAX_ISSUERS: usize = 512;
/// Remembered hashes of certificates with several Node-IDs, which only foreign nodes have.
const MAX_ALIASES: usize = 512;
