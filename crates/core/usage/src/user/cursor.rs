//! Reading the fields of a record from octets that may be anything.

/// What is left to read.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    /// Takes so many octets, if they are there.
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Takes a fixed number of octets, if they are there.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// Takes a text behind one octet of length.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let [length] = self.array()?;
        std::str::from_utf8(self.take(usize::from(length))?).ok()
    }
}
