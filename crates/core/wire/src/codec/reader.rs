//! Taking structures from the front of bytes.

use bytes::Bytes;

use super::{DecodeError, Fault};
use crate::model::{Models, WellKnown};

/// A place in bytes being decoded. Octets taken from it share the memory they came from.
#[derive(Clone)]
pub struct Reader<'a> {
    rest: Bytes,
    at: usize,
    models: &'a dyn Models,
}

impl Reader<'static> {
    /// Starts at the front; stored data is read with the well-known Kinds.
    #[must_use]
    pub fn new(bytes: &Bytes) -> Self {
        Self::with_models(bytes, &WellKnown)
    }
}

impl<'a> Reader<'a> {
    /// Starts at the front; `models` tells the data model of each Kind of stored data.
    #[must_use]
    pub fn with_models(bytes: &Bytes, models: &'a dyn Models) -> Self {
        Self {
            rest: bytes.clone(),
            at: 0,
            models,
        }
    }

    /// Counts octets from `at`, for bytes that were cut out of something larger.
    #[must_use]
    pub fn starting_at(mut self, at: usize) -> Self {
        self.at = at;
        self
    }

    /// Number of octets before this place.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// Number of octets from here to the end.
    #[must_use]
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// Tells who knows the data models.
    #[must_use]
    pub fn models(&self) -> &'a dyn Models {
        self.models
    }

    /// Shows the next octet without taking it.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes so many octets.
    ///
    /// # Errors
    /// [`Fault::Short`] if there are fewer.
    pub fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if length > self.rest.len() {
            return Err(DecodeError::new(
                self.at,
                Fault::Short {
                    needed: length,
                    left: self.rest.len(),
                },
            ));
        }
        self.at += length;
        Ok(self.rest.split_to(length))
    }

    /// Takes all that is left.
    pub fn take_rest(&mut self) -> Bytes {
        self.at += self.rest.len();
        std::mem::take(&mut self.rest)
    }

    /// Takes a fixed number of octets.
    ///
    /// # Errors
    /// [`Fault::Short`] if there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let octets = self.rest.first_chunk::<N>().copied();
        let short = DecodeError::new(
            self.at,
            Fault::Short {
                needed: N,
                left: self.rest.len(),
            },
        );
        self.take(N)?;
        octets.ok_or(short)
    }

    /// Takes so many octets as a reader of their own, which must be brought to its end.
    ///
    /// # Errors
    /// [`Fault::Short`] if there are fewer.
    pub fn part(&mut self, length: usize) -> Result<Reader<'a>, DecodeError> {
        let at = self.at;
        Ok(Reader {
            rest: self.take(length)?,
            at,
            models: self.models,
        })
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Fault::Trailing`] if octets are left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::new(self.at, Fault::Trailing(left))),
        }
    }
}
