//! Parameters: `;name` and `;name=value`, as they follow Via, addresses and URIs.

use crate::text::{find_outside, is_token, trim};

/// The parameters behind a value, read where they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a>(pub(crate) &'a str);

impl<'a> Params<'a> {
    /// Iterates over names and values; a parameter without a value has none.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        self.pieces().map(
            |piece| match find_outside(piece, b'=').and_then(|at| piece.split_at_checked(at)) {
                Some((name, value)) => (trim(name), value.get(1..).map(trim)),
                None => (piece, None),
            },
        )
    }

    /// Returns a parameter's value: `Some(None)` when it stands without one.
    pub fn find(self, name: &str) -> Option<Option<&'a str>> {
        self.iter()
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Returns the value of a parameter that has one.
    pub fn value(self, name: &str) -> Option<&'a str> {
        self.find(name).flatten()
    }

    /// Says whether a parameter is there, with or without a value.
    pub fn has(self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Returns the parameters as they stand, with the leading semicolon.
    pub fn text(self) -> &'a str {
        self.0
    }

    /// Says whether each parameter has a name, and a value where it has `=`.
    pub(crate) fn is_well_formed(self) -> bool {
        self.iter()
            .all(|(name, value)| is_token(name.as_bytes()) && value.is_none_or(is_value))
    }

    fn pieces(self) -> impl Iterator<Item = &'a str> {
        let mut rest = self.0.strip_prefix(';');
        std::iter::from_fn(move || {
            let text = rest?;
            let (piece, tail) = match find_outside(text, b';').and_then(|at| text.split_at_checked(at)) {
                Some((piece, tail)) => (piece, tail.get(1..)),
                None => (text, None),
            };
            rest = tail;
            Some(trim(piece))
        })
    }
}

/// Accepts a token, host or quoted string, and what phones write there besides, but no blanks, brackets or open quote.
fn is_value(value: &str) -> bool {
    match value.strip_prefix('"') {
        Some(rest) => {
            // The closing quote must be the last character and must not be escaped.
            let mut is_escaped = false;
            let end = rest.bytes().position(|byte| {
                let is_end = byte == b'"' && !is_escaped;
                is_escaped = byte == b'\\' && !is_escaped;
                is_end
            });
            end.is_some_and(|end| end + 1 == rest.len())
        }
        None => {
            !value.is_empty()
                && value
                    .bytes()
                    .all(|byte| byte > b' ' && !matches!(byte, b'"' | b'<' | b'>' | 0x7f))
        }
    }
}
