//! The service's keys and what is made with them.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use identity::issue::{Authority, Profile, Serial, Subject};
use identity::{Certificate, Key, PublicKey, Signer, Verifier};
use kv::{Batch, Store};
use overlay_config::{Basis, Error, SignedDocument};
use usage::sip::Judge;
use usage::user::Record;
use wire::{Encode, NodeId, TransactionId};

use super::keys::RecordKeys;
use super::outbox::Waiting;
use super::replica::joined;
use crate::backup::BackupPublicKey;
use crate::error::{Refused, StartError};
use crate::genesis::random_octets;
use crate::state::{self, Founder, Octets, SERVICE, SERVICE_KEY, ServiceRecord, SharedRecord};

pub(super) struct Service {
    pub(super) document: SignedDocument,
    authority: Authority,
    user_key: Key,
    user_signer: NodeId,
    record_keys: RecordKeys,
    token_key: hmac::Key,
    /// SHA-256 of the configuration root.
    root: [u8; 32],
    verifier: Arc<Verifier>,
    /// As it is on the disk.
    record: ServiceRecord,
}

impl Service {
    pub(super) fn load(store: &Store, now_ms: u64) -> Result<Service, StartError> {
        let record = ServiceRecord::of(store)?;
        let root: [u8; 32] = record.root.0.as_slice().try_into().map_err(StartError::service)?;
        let document = record.document(now_ms)?;
        let certificate = Certificate::from_der(&record.authority_certificate.0).map_err(StartError::service)?;
        let authority_key = Key::from_pkcs8(&record.authority_key.0).map_err(StartError::service)?;
        Ok(Service {
            root,
            verifier: Arc::new(Verifier::new(document.document().trust())),
            document,
            authority: Authority::new(authority_key, certificate).map_err(StartError::service)?,
            user_key: Key::from_pkcs8(&record.user_key.0).map_err(StartError::service)?,
            user_signer: NodeId::try_from(record.user_signer.0.as_slice()).map_err(StartError::service)?,
            record_keys: RecordKeys::read(&record.record_keys, record.resealing)?,
            token_key: hmac::Key::new(hmac::HMAC_SHA256, &record.token_key.0),
            record,
        })
    }

    pub(super) fn overlay(&self) -> &str {
        &self.document.document().overlay
    }

    /// Takes the next document, if it is one: the document in force says who signs it.
    pub(super) fn take_document(&mut self, xml: Bytes, now_ms: u64, batch: &mut Batch) -> Result<(), Error> {
        let next = SignedDocument::parse_and_verify(xml, Basis::Previous(self.document.document()), now_ms)?;
        self.verifier.set_trust(next.document().trust());
        self.record.document = Octets::of(next.xml());
        self.document = next;
        state::put(batch, SERVICE, SERVICE_KEY, &self.record);
        Ok(())
    }

    /// What whoever has no document yet believes the first one on.
    pub(super) fn root(&self) -> &[u8; 32] {
        &self.root
    }

    /// Judges certificates by the document.
    pub(super) fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// Judges what the overlay stores of users.
    pub(super) fn judge(&self, now_ms: u64) -> Judge<'_> {
        Judge {
            verifier: &self.verifier,
            writers: self.document.document().user_signers(),
            // The service is no edge.
            own: NodeId::ZERO,
            now_ms,
        }
    }

    /// Makes a key and a certificate for HTTPS, which no other host has.
    pub(super) fn server(&self, hosts: &[&str], now_ms: u64) -> Result<(Key, Certificate), Refused> {
        let key = Key::generate()?;
        let certificate = self
            .authority
            .issue_server(&key.public(), hosts, now_ms, Serial::generate()?)?;
        Ok((key, certificate))
    }

    /// Tells whether the document allows users of this domain.
    pub(super) fn allows_domain(&self, domain: &str) -> bool {
        self.document.document().trust().domains.allow(domain, self.overlay())
    }

    /// Issues a certificate for nothing but a key.
    pub(super) fn issue(
        &self,
        profile: Profile,
        (key, node_id): (&PublicKey, NodeId),
        user: Option<&str>,
        now_ms: u64,
    ) -> Result<Certificate, Refused> {
        let subject = Subject {
            key,
            node_id,
            overlay: self.overlay(),
            user,
        };
        Ok(self.authority.issue(profile, &subject, now_ms, Serial::generate()?)?)
    }

    /// Lets certificates of nodes live for so long.
    pub(super) fn let_certificates_live(&mut self, life: Duration) {
        self.authority.set_node_life(life);
    }

    /// Hashes a token's secret under a key of this service.
    pub(super) fn token_hash(&self, secret: &str) -> Vec<u8> {
        hmac::sign(&self.token_key, secret.as_bytes()).as_ref().to_vec()
    }

    pub(super) fn record_keys(&self) -> &RecordKeys {
        &self.record_keys
    }

    /// Replaces the record keys: those that are gone are gone from the disk too.
    pub(super) fn put_record_keys(&mut self, keys: RecordKeys, batch: &mut Batch) {
        keys.write(&mut self.record);
        self.record_keys = keys;
        state::put(batch, SERVICE, SERVICE_KEY, &self.record);
    }

    /// By which the document tells it from other services.
    pub(super) fn authority_hash(&self) -> [u8; 32] {
        self.authority.certificate().hash()
    }

    /// The Node-ID of its user signer, by which its records are told from those of other services.
    pub(super) fn writer(&self) -> Octets {
        self.record.user_signer.clone()
    }

    /// The part that all services of the overlay share.
    pub(super) fn shared(&self) -> SharedRecord {
        SharedRecord {
            record_keys: self.record.record_keys.clone(),
            resealing: self.record.resealing,
            token_key: self.record.token_key.clone(),
            backup_key: self.record.backup_key.clone(),
        }
    }

    /// Takes what another service has of that.
    pub(super) fn take_shared(&mut self, come: SharedRecord, batch: &mut Batch) -> Result<(), Refused> {
        let Some(shared) = joined(Some(&self.shared()), come) else {
            return Ok(());
        };
        let unreadable = |error: StartError| Refused::Invalid(error.to_string());
        let record_keys = RecordKeys::read(&shared.record_keys, shared.resealing).map_err(unreadable)?;
        self.token_key = hmac::Key::new(hmac::HMAC_SHA256, &shared.token_key.0);
        self.record.token_key = shared.token_key;
        self.record.backup_key = shared.backup_key;
        self.put_record_keys(record_keys, batch);
        Ok(())
    }

    /// Makes a peer the founder, if nobody is it yet.
    pub(super) fn found(&mut self, peer: NodeId, batch: &mut Batch) {
        if self.record.founder == Founder::Awaited {
            self.record.founder = Founder::Node(Octets::of(peer.as_bytes()));
            state::put(batch, SERVICE, SERVICE_KEY, &self.record);
        }
    }

    /// Takes another key for backups.
    pub(super) fn put_backup_key(&mut self, key: &BackupPublicKey, batch: &mut Batch) {
        let key = Some(Octets::of(key.octets()));
        if self.record.backup_key != key {
            self.record.backup_key = key;
            state::put(batch, SERVICE, SERVICE_KEY, &self.record);
        }
    }

    /// Whether a peer forms the ring.
    pub(super) fn is_founder(&self, peer: NodeId) -> bool {
        self.record.founder == Founder::Node(Octets::of(peer.as_bytes()))
    }

    /// Signs the Store of a user's record under a new certificate of (AOR, user signer).
    pub(super) fn sign(&self, now_ms: u64, aor: &str, record: &Record, storage_time: u64) -> Result<Waiting, Refused> {
        let public = self.user_key.public();
        let leaf = self.issue(Profile::UserRecord, (&public, self.user_signer), Some(aor), now_ms)?;
        let signer = Signer::new(self.user_key.clone(), &leaf, &[])?;
        let transaction_id = TransactionId(u64::from_be_bytes(random_octets()?));
        let signed = usage::user::store(&signer, self.overlay(), aor, record, (storage_time, transaction_id));
        Ok(Waiting {
            aor: aor.to_owned(),
            version: record.public().version,
            transaction_id,
            contents: signed.contents,
            security_block: signed.security.to_bytes(),
        })
    }
}
