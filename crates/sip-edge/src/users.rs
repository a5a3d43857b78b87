//! Who sent a request: digest credentials, judged by the user's sealed record.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use sip_core::aor::{Aor, Domains};
use sip_core::digest::{
    Algorithm, Authenticator, Claim, Credentials, Failure, Ha1, Ha1Pair, Received, Secrets, Side, Verdict,
};
use sip_core::message::Message;
use sip_core::proxy::Answer;
use usage::user::{Hashes, NameForm, Record, RecordKey, State};
use wire::{NodeId, ResourceId};

/// Judges credentials for one edge.
#[derive(Debug)]
pub(crate) struct Users {
    pub(crate) authenticator: Authenticator,
    overlay: String,
    edge: NodeId,
    keys: BTreeMap<u32, RecordKey>,
}

/// A request whose credentials are worth the user's record.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) aor: Aor,
    pub(crate) request: Message,
    pub(crate) source: SocketAddr,
    side: Side,
    claim: Claim,
}

impl Asked {
    fn realm(&self) -> (&str, Side) {
        (self.aor.domain(), self.side)
    }

    fn received(&self) -> Received<'_> {
        Received {
            request: &self.request,
            source: self.source,
        }
    }
}

/// Why the credentials of a user are refused who does not exist.
pub(crate) const UNKNOWN_USER: &str = "unknown_user";

/// What came of it.
#[derive(Debug)]
pub(crate) enum Judged {
    /// The request is from the user; with the name to show.
    Right(String),
    /// The nonce is too old: it is challenged anew.
    Stale(Answer),
    /// The password does not fit the record: it is challenged again.
    Wrong(Answer),
    /// The record is sealed under a record key of this version, which this edge does not hold: it can say neither yes nor no.
    Locked(u32),
    /// It is answered so; with the reason, from a short list.
    Refused(Answer, &'static str),
}

impl Users {
    /// Takes the record keys that this edge holds.
    pub(crate) fn new(
        authenticator: Authenticator,
        overlay: String,
        edge: NodeId,
        keys: impl IntoIterator<Item = RecordKey>,
    ) -> Self {
        let mut users = Self {
            authenticator,
            overlay,
            edge,
            keys: BTreeMap::new(),
        };
        users.set_keys(keys);
        users
    }

    /// Takes other names and addresses of this edge.
    pub(crate) fn set_domains(&mut self, domains: Arc<Domains>) {
        self.authenticator.set_domains(domains);
    }

    /// Opens records under these keys from now on, and under no other.
    pub(crate) fn set_keys(&mut self, keys: impl IntoIterator<Item = RecordKey>) {
        self.keys = keys.into_iter().map(|key| (key.version(), key)).collect();
    }

    /// Whether this edge holds the key that a record is sealed under.
    pub(crate) fn can_open(&self, record: &Record) -> bool {
        self.keys.contains_key(&record.public().record_key_version)
    }

    /// Reads the credentials of a request from `source` that claims to come from `aor`, as far as this goes without the record.
    ///
    /// # Errors
    /// With the challenge, when there are none that could be right.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        (side, aor): (Side, &Aor),
        request: Message,
        source: SocketAddr,
    ) -> Result<Asked, Answer> {
        let received = Received {
            request: &request,
            source,
        };
        match self.authenticator.claim(now, received, side, aor) {
            Ok(claim) => Ok(Asked {
                aor: aor.clone(),
                request,
                source,
                side,
                claim,
            }),
            Err(failure) => Err(self.challenge(now, received, (aor.domain(), side), failure == Failure::Stale)),
        }
    }

    /// Judges by the user's record. A user who does not exist is challenged like one whose password is wrong, so that names cannot be probed.
    pub(crate) fn judge(&mut self, now: Instant, asked: &Asked, record: Option<&Record>) -> Judged {
        let Some(record) = record.filter(|record| record.public().state != State::Removed) else {
            return Judged::Refused(self.wrong(now, asked), UNKNOWN_USER);
        };
        let version = record.public().record_key_version;
        let Some(key) = self.keys.get(&version) else {
            return Judged::Locked(version);
        };
        let Some(secret) = self.open(key, &asked.aor, record) else {
            return Judged::Refused(Answer::new(500).reason("User Record Unreadable"), "unreadable_record");
        };
        let claim = (&asked.claim, asked.side);
        let verdict = self
            .authenticator
            .judge(&asked.request, claim, &secrets(&secret.hashes));
        match verdict {
            Verdict::Right if record.public().state == State::Suspended => {
                Judged::Refused(Answer::new(403).reason("User Suspended"), "suspended")
            }
            Verdict::Right if !record.public().allows(self.edge) => {
                Judged::Refused(Answer::new(403).reason("Edge Not Allowed"), "edge_not_allowed")
            }
            Verdict::Right => Judged::Right(secret.display_name),
            Verdict::Stale => Judged::Stale(self.challenge(now, asked.received(), asked.realm(), true)),
            Verdict::Wrong => Judged::Wrong(self.wrong(now, asked)),
        }
    }

    /// What credentials are answered whose response is wrong, or is not looked at.
    pub(crate) fn wrong(&mut self, now: Instant, asked: &Asked) -> Answer {
        self.challenge(now, asked.received(), asked.realm(), false)
    }

    /// Makes a challenge to a request.
    pub(crate) fn challenge(
        &mut self,
        now: Instant,
        received: Received<'_>,
        (realm, side): (&str, Side),
        is_stale: bool,
    ) -> Answer {
        let values = self.authenticator.challenge(now, received, realm, is_stale);
        let answer = Answer::new(side.status());
        values
            .into_iter()
            .fold(answer, |answer, value| answer.header(side.challenge_header(), value))
    }

    fn open(&self, key: &RecordKey, aor: &Aor, record: &Record) -> Option<usage::user::Secret> {
        let resource = ResourceId::of(aor.as_str().as_bytes());
        key.open(&self.overlay, resource, record)
            .inspect_err(|error| tracing::error!(%error, resource_id = %resource, "user record cannot be opened"))
            .ok()
    }
}

/// The user whom a request's credentials name, if their realm is one that this edge serves. From may be another's, or anonymous.
pub(crate) fn claimant(domains: &Domains, side: Side, request: &Message) -> Option<Aor> {
    let credentials = request.lines(side.credentials_header()).filter_map(Credentials::parse);
    credentials
        .filter(|credentials| domains.serves(&credentials.realm))
        .find_map(|credentials| match credentials.username.contains('@') {
            true => Aor::parse(&credentials.username).ok(),
            false => Aor::new(&credentials.username, &credentials.realm).ok(),
        })
}

fn secrets(hashes: &Hashes) -> Secrets {
    let pair = |algorithm| Ha1Pair {
        user: ha1(hashes, NameForm::User, algorithm),
        user_at_domain: ha1(hashes, NameForm::UserAtDomain, algorithm),
    };
    Secrets {
        md5: Some(pair(Algorithm::Md5)),
        sha256: Some(pair(Algorithm::Sha256)),
    }
}

fn ha1(hashes: &Hashes, form: NameForm, algorithm: Algorithm) -> Ha1 {
    let ha1 = hashes.form(form);
    Ha1::new(&match algorithm {
        Algorithm::Md5 => hex(ha1.md5()),
        Algorithm::Sha256 => hex(ha1.sha256()),
    })
}

fn hex(octets: &[u8]) -> String {
    use std::fmt::Write;

    octets
        .iter()
        .fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
            let _ = write!(text, "{octet:02x}");
            text
        })
}
