//! What can be wrong with bytes.

use std::fmt;

/// Bytes that are not the structure they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct DecodeError {
    /// Octet at which it shows, counted from the start of what was to be decoded.
    pub at: usize,
    /// What is wrong there.
    pub what: Fault,
    /// Structure and field, as far as known.
    pub field: &'static str,
}

impl DecodeError {
    pub(crate) const fn new(at: usize, what: Fault) -> Self {
        Self { at, what, field: "" }
    }

    /// Names the field, unless an inner one has been named already.
    pub(crate) fn within(mut self, field: &'static str) -> Self {
        if self.field.is_empty() {
            self.field = field;
        }
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "octet {}: {}", self.at, self.what)?;
        if self.field.is_empty() {
            Ok(())
        } else {
            write!(f, " in {}", self.field)
        }
    }
}

/// Kinds of wrong bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A field or vector reaches beyond the end.
    #[error("{needed} octets needed, {left} left")]
    Short {
        /// Octets that the field has.
        needed: usize,
        /// Octets that are there.
        left: usize,
    },
    /// Octets remain after the structure.
    #[error("{0} octets too many")]
    Trailing(usize),
    /// A value that the field may not have.
    #[error("value {0} not allowed")]
    Value(u64),
    /// Not a RELOAD message at all.
    #[error("no RELOAD token")]
    NoToken,
    /// A fragment where a whole message is needed.
    #[error("message is a fragment")]
    Fragment,
    /// Text that is not hex.
    #[error("not hexadecimal")]
    NotHex,
}

/// A vector with more octets than its length field can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a vector has more than {ceiling} octets")]
pub struct TooLong {
    /// Most octets that the vector may have.
    pub ceiling: usize,
}
