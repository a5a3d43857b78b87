//! Golden RELOAD messages, and Wireshark's judgement of messages.
//!
//! The `*.hex` files beside this crate hold one message a line, as a name and its octets in hex. They are what the
//! codec must read and write octet for octet. Lines of `messages.hex`, `framed.hex` and `by_hand.hex` stand alone; those
//! of `link.hex` and `fragments.hex` belong together in their order. [`dissect`] asks tshark whether octets are RELOAD.

mod capture;
mod dissect;
mod pdml;
mod verdict;

use bytes::Bytes;

pub use capture::{Captured, Direction};
pub use dissect::{DissectError, dissect};
pub use verdict::Verdict;

/// A message that must stay as it is.
#[derive(Clone, Debug)]
pub struct Golden {
    /// What it is.
    pub name: String,
    /// Its octets.
    pub octets: Bytes,
}

/// Messages that stand alone: made by the codec, framed, and put together by hand.
#[must_use]
pub fn alone() -> Vec<Golden> {
    [
        include_str!("../messages.hex"),
        include_str!("../framed.hex"),
        include_str!("../by_hand.hex"),
    ]
    .iter()
    .flat_map(|text| parse(text))
    .collect()
}

/// Frames of one link, first to last; a name that starts with `back` goes the other way.
#[must_use]
pub fn link() -> Vec<Golden> {
    parse(include_str!("../link.hex"))
}

/// Fragments of messages, first to last.
#[must_use]
pub fn fragments() -> Vec<Golden> {
    parse(include_str!("../fragments.hex"))
}

/// Reads lines of a name and hex, with comments behind `#`.
///
/// # Panics
/// If a line is neither, because the files are part of the source.
#[must_use]
pub fn parse(text: &str) -> Vec<Golden> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, digits) = line.split_once(' ').expect("a golden line is a name and hex");
            let octets = wire::hex::decode(digits.trim()).expect("golden octets are hex");
            Golden {
                name: name.to_owned(),
                octets: octets.into(),
            }
        })
        .collect()
}
