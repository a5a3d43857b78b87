//! Random numbers for what must not be guessed or must not coincide.

use aws_lc_rs::rand;

/// Octets from the system's generator.
pub(crate) fn octets<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    // The library fails only where the system has no generator at all; keys could then not have been made either.
    rand::fill(&mut octets).expect("the system has a random generator");
    octets
}

/// A number, for a transaction id.
pub(crate) fn number() -> u64 {
    u64::from_be_bytes(octets())
}

/// A number in `from..to`; `from` when the range is empty.
pub(crate) fn between(from: u64, to: u64) -> u64 {
    from + number().checked_rem(to.saturating_sub(from)).unwrap_or(0)
}
