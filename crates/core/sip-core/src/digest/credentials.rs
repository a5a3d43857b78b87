//! The values of Authorization and WWW-Authenticate headers and their proxy twins.

use std::borrow::Cow;

use super::Algorithm;
use crate::text::{Commas, trim, unquote};

/// What the response covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qop {
    /// Method and URI.
    Auth,
    /// The body too.
    AuthInt,
}

impl Qop {
    /// Returns the token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
        }
    }

    pub(crate) fn parse(token: &str) -> Option<Self> {
        [Self::Auth, Self::AuthInt]
            .into_iter()
            .find(|qop| qop.name().eq_ignore_ascii_case(token))
    }
}

/// What goes with a `qop`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection<'a> {
    /// What is protected.
    pub qop: Qop,
    /// The nonce count as text, which is what gets hashed.
    pub nc: Cow<'a, str>,
    /// The nonce count as a number.
    pub count: u32,
}

impl<'a> Protection<'a> {
    fn parse(qop: &str, nc: Cow<'a, str>) -> Option<Self> {
        // RFC 7616 §3.4: eight hexadecimal digits; fewer are taken too.
        let is_hex = nc.len() <= 8 && nc.bytes().all(|digit| digit.is_ascii_hexdigit());
        let count = u32::from_str_radix(&nc, 16).ok().filter(|count| is_hex && *count > 0)?;
        Some(Self {
            qop: Qop::parse(qop)?,
            nc,
            count,
        })
    }
}

/// The credentials of one Authorization or Proxy-Authorization line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// The user name.
    pub username: Cow<'a, str>,
    /// The realm.
    pub realm: Cow<'a, str>,
    /// The nonce.
    pub nonce: Cow<'a, str>,
    /// The URI that was hashed.
    pub uri: Cow<'a, str>,
    /// The response.
    pub response: Cow<'a, str>,
    /// The hash.
    pub algorithm: Algorithm,
    /// Whether HA1 is bound to nonce and cnonce.
    pub is_session: bool,
    /// The client's nonce; empty where there is none.
    pub cnonce: Cow<'a, str>,
    /// What is protected, and the count; none in the credentials of phones older than RFC 2617.
    pub protection: Option<Protection<'a>>,
}

impl<'a> Credentials<'a> {
    /// Reads one header line; `None` when the scheme is not Digest, or a needed part is missing or unknown.
    pub fn parse(line: &'a str) -> Option<Self> {
        let fields = Fields::parse(line)?;
        let (algorithm, is_session) = Algorithm::parse(&fields.value("algorithm").unwrap_or("MD5".into()))?;
        // RFC 8760 §2.6 item 8: qop is optional to receive, though each challenge has one.
        let protection = match fields.value("qop") {
            Some(qop) => Some(Protection::parse(&qop, fields.value("nc")?)?),
            None => None,
        };
        let cnonce = fields.value("cnonce");
        // RFC 7616 §3.4: a cnonce goes with a qop; HA1 of a session holds it.
        if cnonce.is_none() && (is_session || protection.is_some()) {
            return None;
        }
        Some(Self {
            username: fields.value("username")?,
            realm: fields.value("realm")?,
            nonce: fields.value("nonce")?,
            uri: fields.value("uri")?,
            response: fields.value("response")?,
            algorithm,
            is_session,
            cnonce: cnonce.unwrap_or_default(),
            protection,
        })
    }

    /// Writes the header line.
    pub fn write(&self) -> String {
        let session = if self.is_session { "-sess" } else { "" };
        let mut line = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{}\", algorithm={}{session}",
            quote(&self.username),
            quote(&self.realm),
            quote(&self.nonce),
            quote(&self.uri),
            self.response,
            self.algorithm.name(),
        );
        if !self.cnonce.is_empty() {
            line.push_str(&format!(", cnonce={}", quote(&self.cnonce)));
        }
        if let Some(Protection { qop, nc, .. }) = &self.protection {
            line.push_str(&format!(", qop={}, nc={nc}", qop.name()));
        }
        line
    }
}

/// The comma-separated fields behind the word Digest.
pub(crate) struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    pub(crate) fn parse(line: &'a str) -> Option<Self> {
        let (scheme, fields) = line.split_once([' ', '\t'])?;
        scheme.eq_ignore_ascii_case("Digest").then_some(Self(fields))
    }

    pub(crate) fn value(&self, name: &str) -> Option<Cow<'a, str>> {
        Commas::new(self.0)
            .filter_map(|field| field.split_once('='))
            .find(|(candidate, _)| trim(candidate).eq_ignore_ascii_case(name))
            .map(|(_, value)| unquote(trim(value)))
    }
}

/// Puts a text in quotes.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}
