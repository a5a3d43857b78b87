//! Values of elements: each check names the element it stands in.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use identity::Certificate;
use wire::NodeId;

use crate::error::Error;
use crate::tree::Element;

/// The children of one element, by name.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) element: &'a Element,
    pub(crate) namespace: &'a str,
}

impl<'a> Fields<'a> {
    /// The only child of this name, if there is one.
    pub(crate) fn one(self, name: &'a str) -> Result<Option<&'a Element>, Error> {
        let mut found = self.element.all(self.namespace, name);
        let first = found.next();
        match found.next() {
            Some(_) => Err(Error::Repeated {
                element: name.to_owned(),
            }),
            None => Ok(first),
        }
    }

    /// Every child of this name, at most `limit`.
    pub(crate) fn list(self, name: &'a str, limit: usize) -> Result<Vec<&'a Element>, Error> {
        let found: Vec<&Element> = self.element.all(self.namespace, name).collect();
        if found.len() > limit {
            return Err(Error::TooMany {
                element: name.to_owned(),
                limit,
            });
        }
        Ok(found)
    }

    /// The trimmed text of the only child of this name.
    pub(crate) fn text(self, name: &'a str) -> Result<Option<&'a str>, Error> {
        Ok(self.one(name)?.map(|element| element.text.trim()))
    }

    pub(crate) fn integer(self, name: &'a str, range: RangeInclusive<u64>) -> Result<Option<u64>, Error> {
        self.text(name)?.map(|text| integer(name, text, range)).transpose()
    }

    /// An integer of which the standard allows more than this implementation can do.
    pub(crate) fn supported(
        self,
        name: &'a str,
        allowed: RangeInclusive<u64>,
        supported: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Error> {
        let number = self.integer(name, allowed)?;
        match number.filter(|number| !supported.contains(number)) {
            Some(number) => Err(unsupported(name, &number.to_string(), range(&supported))),
            None => Ok(number),
        }
    }

    pub(crate) fn boolean(self, name: &'a str) -> Result<Option<bool>, Error> {
        self.text(name)?.map(|text| boolean(name, text)).transpose()
    }
}

/// xsd:int and its kin, within a range.
pub(crate) fn integer(name: &str, text: &str, range: RangeInclusive<u64>) -> Result<u64, Error> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(number) if is_number && range.contains(&number) => Ok(number),
        _ => Err(value(name, text, self::range(&range))),
    }
}

/// RFC 6940 §11.1: "1" or "true", "0" or "false".
pub(crate) fn boolean(name: &str, text: &str) -> Result<bool, Error> {
    match text {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(value(name, text, "true or false".to_owned())),
    }
}

pub(crate) fn node_id(name: &str, text: &str) -> Result<NodeId, Error> {
    let parsed: Option<NodeId> = text.parse().ok();
    parsed
        .filter(NodeId::is_name)
        .ok_or_else(|| value(name, text, "a Node-ID of 32 hex digits".to_owned()))
}

/// xsd:base64Binary: white space may stand anywhere.
pub(crate) fn base64(name: &str, text: &str) -> Result<Vec<u8>, Error> {
    let compact: String = text
        .chars()
        .filter(|character| !character.is_ascii_whitespace())
        .collect();
    STANDARD
        .decode(&compact)
        .map_err(|_| value(name, text.trim(), "base64".to_owned()))
}

pub(crate) fn certificate(name: &str, text: &str) -> Result<Certificate, Error> {
    let der = base64(name, text)?;
    Certificate::from_der(&der).map_err(|error| value(name, text.trim(), format!("a certificate ({error})")))
}

pub(crate) fn missing(name: &str) -> Error {
    Error::Missing {
        element: name.to_owned(),
    }
}

/// A wrong value; a hostile one is cut so that a log line stays a line.
pub(crate) fn value(name: &str, text: &str, expected: String) -> Error {
    let shown: String = text.chars().take(SHOWN).collect();
    Error::Value {
        element: name.to_owned(),
        value: shown,
        expected,
    }
}

/// A value that the standard allows, and that this implementation does not have.
pub(crate) fn unsupported(name: &str, text: &str, supported: impl Into<String>) -> Error {
    Error::Unsupported {
        element: name.to_owned(),
        value: text.chars().take(SHOWN_NAME).collect(),
        supported: supported.into(),
    }
}

fn range(range: &RangeInclusive<u64>) -> String {
    format!("an integer from {} to {}", range.start(), range.end())
}

/// Of a name that somebody has to look for: the namespaces of extensions are long.
const SHOWN_NAME: usize = 128;
const SHOWN: usize = 48;
