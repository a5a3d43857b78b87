//! The CSeq header.

use super::method::Method;
use crate::text::{is_token, number, trim};

/// A sequence number and the method it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSeq {
    /// The sequence number.
    pub number: u32,
    /// The method.
    pub method: Method,
}

impl CSeq {
    /// Reads a CSeq value.
    pub fn parse(value: &str) -> Option<Self> {
        let (sequence, method) = value.split_once([' ', '\t'])?;
        // RFC 3261 §8.1.1.5: the number must be less than 2^31.
        let sequence = number(sequence).filter(|number| *number < 1 << 31)?;
        let method = trim(method);
        is_token(method.as_bytes()).then(|| Self {
            number: sequence,
            method: Method::parse(method),
        })
    }
}

impl std::fmt::Display for CSeq {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.number, self.method)
    }
}
