//! The side that challenges.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::nonce::{Mint, Nonce, Used};
use super::phones::{Offer, Phones};
use super::{Algorithm, Credentials, Qop, Secrets, response_of};
use crate::aor::{Aor, Domains};
use crate::flow::Site;
use crate::message::{Message, Name};
use crate::uri::{Host, Uri};

/// Who challenges: a registrar answers 401, a proxy 407.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// 401 with WWW-Authenticate; credentials come in Authorization.
    Registrar,
    /// 407 with Proxy-Authenticate; credentials come in Proxy-Authorization.
    Proxy,
}

impl Side {
    /// Returns the status code of a challenge.
    pub const fn status(self) -> u16 {
        match self {
            Self::Registrar => 401,
            Self::Proxy => 407,
        }
    }

    /// Returns the header that carries a challenge.
    pub const fn challenge_header(self) -> Name<'static> {
        match self {
            Self::Registrar => Name::WwwAuthenticate,
            Self::Proxy => Name::ProxyAuthenticate,
        }
    }

    /// Returns the header that carries credentials.
    pub const fn credentials_header(self) -> Name<'static> {
        match self {
            Self::Registrar => Name::Authorization,
            Self::Proxy => Name::ProxyAuthorization,
        }
    }
}

/// A request, and the address that it came from.
#[derive(Clone, Copy, Debug)]
pub struct Received<'r> {
    /// The request.
    pub request: &'r Message,
    /// Where it came from.
    pub source: SocketAddr,
}

/// How challenges are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The algorithms offered, in this order. RFC 8760 §2.3: old phones read only the first challenge, so whoever has
    /// them puts MD5 first or alone.
    pub algorithms: Vec<Algorithm>,
    /// Whether `auth-int` is offered beside `auth`; it is accepted in any case.
    pub offers_integrity: bool,
    /// Whether credentials without `qop` are accepted, each under a nonce of its own.
    pub accepts_without_qop: bool,
    /// How long a nonce lives.
    pub lifetime: Duration,
    /// How many used nonces are remembered; when it is full the oldest is forgotten, and nonces as old as it are stale.
    pub capacity: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            offers_integrity: false,
            accepts_without_qop: true,
            lifetime: Duration::from_secs(3600),
            // One for each phone that registered within the hour, in about 10 MiB.
            capacity: 100_000,
        }
    }
}

/// Credentials that are worth the look-up of a user record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    algorithm: Algorithm,
    is_full_name: bool,
    nonce: Nonce,
    /// None where the credentials have no `qop`.
    count: Option<u32>,
    /// The line of credentials among those of its header.
    line: usize,
}

/// Why credentials are not even looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There are none for this realm: a challenge is due, and nobody has failed.
    #[error("no credentials for this realm")]
    Missing,
    /// They are malformed, or for an algorithm that was not offered.
    #[error("malformed credentials")]
    Malformed,
    /// The user name is not the AOR's (RFC 3261 §10.3 step 4).
    #[error("credentials name another user")]
    OtherUser,
    /// They were made for a request to a domain that is not served.
    #[error("credentials were made for another domain")]
    OtherDomain,
    /// Their nonce is too old, or was not given to this address: challenge again with `stale`, whatever the password.
    #[error("nonce was not given to this address, or is too old")]
    Stale,
}

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request is from the user.
    Right,
    /// The password is right, but the nonce was used: challenge again with `stale`.
    Stale,
    /// The response is wrong.
    Wrong,
}

/// Makes challenges and judges their answers.
pub struct Authenticator {
    pub(super) settings: Settings,
    domains: Arc<Domains>,
    mint: Mint,
    used: Used,
    phones: Phones,
    started: Instant,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Authenticator")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Makes one for the users of `domains`, with a key that is random for each start.
    pub fn new(now: Instant, settings: Settings, domains: Arc<Domains>, key: &[u8; 32]) -> Self {
        let used = Used::new(settings.capacity);
        Self {
            mint: Mint::new(key),
            used,
            phones: Phones::new(),
            settings,
            domains,
            started: now,
        }
    }

    /// Takes other names and addresses of this edge.
    pub fn set_domains(&mut self, domains: Arc<Domains>) {
        self.domains = domains;
    }

    /// Makes the header values of a challenge to this request, one for each algorithm, all with the same nonce.
    pub fn challenge(&mut self, now: Instant, received: Received<'_>, realm: &str, is_stale: bool) -> Vec<String> {
        let now_ms = self.since_start(now);
        self.used.expire(now_ms.saturating_sub(self.lifetime_ms()));
        let nonce = self.mint.make(now_ms, realm, Site::of(received.source.ip()));
        let stale = if is_stale { ", stale=true" } else { "" };
        let qop = if self.settings.offers_integrity {
            "auth,auth-int"
        } else {
            "auth"
        };
        let realm = super::credentials::quote(realm);
        let write = |algorithm: Algorithm| {
            format!(
                "Digest realm={realm}, nonce=\"{nonce}\", algorithm={}, qop=\"{qop}\"{stale}",
                algorithm.name()
            )
        };
        self.offered(received).into_iter().map(write).collect()
    }

    /// The algorithms for this phone, in the order in which it is to read them.
    fn offered(&mut self, received: Received<'_>) -> Vec<Algorithm> {
        let configured = &self.settings.algorithms;
        if !configured.contains(&Algorithm::Md5) {
            return configured.clone();
        }
        let first = match configured.first() {
            Some(Algorithm::Md5) => Offer::Md5First,
            _ => Offer::All,
        };
        let others = configured.iter().copied().filter(|it| *it != Algorithm::Md5);
        match self.phones.offer(received, first) {
            Offer::All => configured.clone(),
            Offer::Md5First => [Algorithm::Md5].into_iter().chain(others).collect(),
            Offer::Md5Alone => vec![Algorithm::Md5],
        }
    }

    /// Makes the whole 401 or 407.
    pub fn challenge_response(
        &mut self,
        now: Instant,
        received: Received<'_>,
        realm: (&str, Side),
        is_stale: bool,
    ) -> Message {
        let (realm, side) = realm;
        let values = self.challenge(now, received, realm, is_stale);
        let extras: Vec<(Name<'_>, &str)> = values
            .iter()
            .map(|value| (side.challenge_header(), value.as_str()))
            .collect();
        crate::message::respond(received.request, side.status(), "", &extras)
    }

    /// Reads a request's credentials as far as this goes without the user's record. Only those pass whose sender was
    /// given its nonce at this very address, so that whoever writes another's address into a datagram makes no look-up.
    ///
    /// # Errors
    ///
    /// Fails when there are none that could be right; each failure is answered with the same challenge, but for
    /// [`Failure::Stale`], which adds `stale`.
    pub fn claim(&mut self, now: Instant, received: Received<'_>, side: Side, aor: &Aor) -> Result<Claim, Failure> {
        let request = received.request;
        let mut failure = Failure::Missing;
        for (line, text) in request.lines(side.credentials_header()).enumerate() {
            let Some(credentials) = Credentials::parse(text) else {
                failure = Failure::Malformed;
                continue;
            };
            if credentials.realm != aor.domain() {
                continue;
            }
            self.phones.answered(received);
            let is_offered = self.settings.algorithms.contains(&credentials.algorithm);
            if !is_offered || credentials.protection.is_none() && !self.settings.accepts_without_qop {
                failure = Failure::Malformed;
                continue;
            }
            let is_full_name = credentials.username == aor.as_str();
            if !is_full_name && credentials.username != aor.user() {
                failure = Failure::OtherUser;
                continue;
            }
            if !self.is_for_served(&credentials.uri, request) {
                failure = Failure::OtherDomain;
                continue;
            }
            let site = Site::of(received.source.ip());
            let nonce = self.mint.recognise(&credentials.nonce, aor.domain(), site);
            let oldest_ms = self.since_start(now).saturating_sub(self.lifetime_ms());
            let Some(nonce) = nonce.filter(|nonce| nonce.made_at_ms >= oldest_ms) else {
                failure = Failure::Stale;
                continue;
            };
            return Ok(Claim {
                algorithm: credentials.algorithm,
                is_full_name,
                nonce,
                count: credentials.protection.as_ref().map(|protection| protection.count),
                line,
            });
        }
        Err(failure)
    }

    /// Judges a claim of the same request by the user's record.
    pub fn judge(&mut self, request: &Message, claim: (&Claim, Side), secrets: &Secrets) -> Verdict {
        let (claim, side) = claim;
        let line = request.lines(side.credentials_header()).nth(claim.line);
        let (Some(credentials), Some(pair)) = (line.and_then(Credentials::parse), secrets.pair(claim.algorithm)) else {
            return Verdict::Wrong;
        };
        let ha1 = if claim.is_full_name {
            &pair.user_at_domain
        } else {
            &pair.user
        };
        let is_integrity = credentials.protection.as_ref().is_some_and(|it| it.qop == Qop::AuthInt);
        let body = if is_integrity {
            request.body()
        } else {
            bytes::Bytes::new()
        };
        let expected = response_of(&credentials, ha1, request.method().as_str(), &body);
        let given = credentials.response.to_ascii_lowercase();
        if aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_bytes(), given.as_bytes()).is_err() {
            return Verdict::Wrong;
        }
        let is_new = match claim.count {
            Some(count) => self.used.take(claim.nonce, count),
            // Without a count nothing stops a replay but that the nonce serves this one request.
            None => self.used.take_whole(claim.nonce),
        };
        if is_new { Verdict::Right } else { Verdict::Stale }
    }

    /// RFC 8760 §2.6: the `uri` need not be the Request-URI, but whom it stands for must be served here. Phones write
    /// their registrar or their own address of record as well. An address may be that of a translator in front of this
    /// edge, so that only a name tells of another server.
    fn is_for_served(&self, uri: &str, request: &Message) -> bool {
        let host = Uri::parse(uri).and_then(Uri::sip).map(|uri| uri.host);
        let is_elsewhere = matches!(host, Some(host @ Host::Name(_)) if !self.domains.is_own(host));
        !is_elsewhere || request.request_uri() == Some(uri)
    }

    /// Makes a bare nonce, for tests that write their own challenges.
    #[cfg(test)]
    pub(crate) fn mint_for_test(&mut self, now: Instant, realm: &str, source: SocketAddr) -> String {
        let now_ms = self.since_start(now);
        self.mint.make(now_ms, realm, Site::of(source.ip()))
    }

    fn since_start(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    fn lifetime_ms(&self) -> u64 {
        u64::try_from(self.settings.lifetime.as_millis()).unwrap_or(u64::MAX)
    }
}
