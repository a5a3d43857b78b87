//! Putting structures one after another.

use bytes::Bytes;

use super::TooLong;

/// Octets being written.
///
/// A vector that grows beyond its ceiling is written empty, so that what follows stays readable, and the writer
/// remembers it: [`Writer::checked`] then refuses.
#[derive(Debug, Default)]
pub struct Writer {
    octets: Vec<u8>,
    too_long: Option<TooLong>,
}

impl Writer {
    /// Starts with nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of octets so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Tells whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Appends octets as they are.
    pub fn octets(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// Appends what `fill` writes, behind its length in `width` octets (1 to 4).
    pub fn vector(&mut self, width: usize, fill: impl FnOnce(&mut Self)) {
        let start = self.octets.len();
        self.octets.resize(start + width, 0);
        fill(self);
        let mut length = self.octets.len() - start - width;
        let ceiling = (1_usize << (8 * width)) - 1;
        if length > ceiling {
            self.too_long = Some(TooLong { ceiling });
            self.octets.truncate(start + width);
            length = 0;
        }
        let big_endian = length.to_be_bytes();
        let digits = big_endian.iter().rev().take(width).rev();
        for (place, digit) in self.octets.iter_mut().skip(start).zip(digits) {
            *place = *digit;
        }
    }

    /// Gives what was written.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.octets.into()
    }

    /// Gives what was written, if all of it could be.
    ///
    /// # Errors
    /// [`TooLong`] if a vector exceeded its ceiling.
    pub fn checked(self) -> Result<Bytes, TooLong> {
        match self.too_long {
            None => Ok(self.octets.into()),
            Some(too_long) => Err(too_long),
        }
    }
}
