//! The side that answers challenges: the scripted agents of `dev`, and tests.

use std::collections::BTreeMap;

use super::credentials::Fields;
use super::{Algorithm, Credentials, Ha1, Protection, Qop, Side, response_of};
use crate::message::{Message, Name};

/// Answers challenges for one user, counting the uses of each nonce.
#[derive(Clone)]
pub struct Answerer {
    username: String,
    password: String,
    cnonce: String,
    counts: BTreeMap<String, u32>,
}

impl std::fmt::Debug for Answerer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Answerer")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl Answerer {
    /// Makes one; the cnonce is any text that others cannot guess.
    pub fn new(username: &str, password: &str, cnonce: &str) -> Self {
        Self {
            username: username.to_owned(),
            password: password.to_owned(),
            cnonce: cnonce.to_owned(),
            counts: BTreeMap::new(),
        }
    }

    /// Answers the first challenge of a 401 or 407 that can be answered, for the request to be sent again.
    pub fn answer(&mut self, challenge: &Message, request: &Message) -> Option<(Name<'static>, String)> {
        let side = if challenge.status()? == Side::Registrar.status() {
            Side::Registrar
        } else {
            Side::Proxy
        };
        // RFC 8760 §2.4: the topmost challenge with a known algorithm is the one to answer.
        challenge.lines(side.challenge_header()).find_map(|line| {
            let nonce = Fields::parse(line)?.value("nonce")?.into_owned();
            // Old nonces never come back, so there is nothing to keep of them.
            self.counts.retain(|known, _| *known == nonce);
            let count = self.counts.entry(nonce).or_insert(0);
            *count += 1;
            let value = answer(line, request, (&self.username, &self.password), (&self.cnonce, *count))?;
            Some((side.credentials_header(), value))
        })
    }
}

/// Writes the credentials that answer one challenge line; `None` when it asks for something unknown.
pub fn answer(challenge: &str, request: &Message, user: (&str, &str), nonce: (&str, u32)) -> Option<String> {
    let ((username, password), (cnonce, count)) = (user, nonce);
    let fields = Fields::parse(challenge)?;
    let (algorithm, is_session) = Algorithm::parse(&fields.value("algorithm").unwrap_or("MD5".into()))?;
    let offered = fields.value("qop")?;
    let qop = offered.split(',').find_map(|token| Qop::parse(token.trim()))?;
    let realm = fields.value("realm")?;
    let mut credentials = Credentials {
        username: username.into(),
        nonce: fields.value("nonce")?,
        uri: request.request_uri()?.into(),
        response: "".into(),
        algorithm,
        is_session,
        cnonce: cnonce.into(),
        protection: Some(Protection {
            qop,
            nc: format!("{count:08x}").into(),
            count,
        }),
        realm,
    };
    let ha1 = Ha1::of(algorithm, username, &credentials.realm, password);
    credentials.response = response_of(&credentials, &ha1, request.method().as_str(), &request.body()).into();
    Some(credentials.write())
}
