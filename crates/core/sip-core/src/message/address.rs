//! The values of From, To, Contact, Route and their like: a URI with display name and parameters.

use super::params::Params;
use crate::text::{find_outside, trim};
use crate::uri::Uri;

/// An address, read where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// The display name as it stands, quotes and all; empty when there is none.
    pub display: &'a str,
    /// The URI, as it stands.
    pub uri: &'a str,
    /// The parameters behind the address, not those of the URI.
    pub params: Params<'a>,
}

impl<'a> Address<'a> {
    /// Reads one value; `None` when brackets or quotes do not close, or nothing like a URI is inside.
    pub fn parse(value: &'a str) -> Option<Self> {
        let open = find_outside(value, b'<');
        let (display, uri, params) = match open {
            Some(open) => {
                let (display, rest) = value.split_at_checked(open)?;
                let (uri, params) = rest.get(1..)?.split_once('>')?;
                (trim(display), uri, trim(params))
            }
            // RFC 3261 §20.10: without brackets, what follows a semicolon belongs to the header, and the URI may
            // hold neither comma nor question mark.
            None => {
                let (uri, params) = value.split_at(value.find(';').unwrap_or(value.len()));
                ("", trim(uri), params)
            }
        };
        let is_separated = params.is_empty() || params.starts_with(';');
        let is_uri = Uri::parse(uri).is_some() && (open.is_some() || !uri.contains(['?', ',']));
        let params = Params(params);
        (is_separated && is_uri && is_display(display) && params.is_well_formed()).then_some(Self {
            display,
            uri,
            params,
        })
    }

    /// Returns the tag.
    pub fn tag(self) -> Option<&'a str> {
        self.params.value("tag").filter(|tag| !tag.is_empty())
    }

    /// Reads the URI.
    pub fn parsed_uri(self) -> Option<Uri<'a>> {
        Uri::parse(self.uri)
    }
}

/// Accepts one quoted string, or words; unquoted UTF-8 and punctuation are common, separators of lists are refused.
fn is_display(display: &str) -> bool {
    match display.strip_prefix('"') {
        Some(rest) => {
            let mut is_escaped = false;
            let end = rest.bytes().position(|byte| {
                let is_end = byte == b'"' && !is_escaped;
                is_escaped = byte == b'\\' && !is_escaped;
                is_end
            });
            end.is_some_and(|end| end + 1 == rest.len())
        }
        None => !display.contains(['"', ',', ';', '>']),
    }
}
