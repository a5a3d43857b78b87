//! What is written together.

use bytes::Bytes;

/// A named set of keys in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tree(&'static str);

impl Tree {
    /// Names a tree. The name is short text; it is part of every key on the disk.
    ///
    /// # Panics
    /// When the name is empty or contains a NUL, which separates it from the key. Trees are constants, so this shows
    /// when the program is compiled.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        let octets = name.as_bytes();
        assert!(!octets.is_empty(), "a tree has a name");
        let mut rest = octets;
        while let [first, after @ ..] = rest {
            assert!(*first != SEPARATOR, "the name of a tree contains no NUL");
            rest = after;
        }
        Self(name)
    }

    /// Gives the name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }

    pub(crate) fn prefix(self) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.0.len() + 1 + KEY_GUESS);
        key.extend_from_slice(self.0.as_bytes());
        key.push(SEPARATOR);
        key
    }

    pub(crate) fn key(self, key: &[u8]) -> Vec<u8> {
        let mut whole = self.prefix();
        whole.extend_from_slice(key);
        whole
    }
}

/// Changes that happen together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) changes: Vec<Change>,
}

impl Batch {
    /// Starts without changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, tree: Tree, key: &[u8], value: impl Into<Bytes>) {
        self.changes.push(Change {
            key: tree.key(key),
            value: Some(value.into()),
        });
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, tree: Tree, key: &[u8]) {
        self.changes.push(Change {
            key: tree.key(key),
            value: None,
        });
    }

    /// Takes all changes of another one, which come after its own.
    pub fn append(&mut self, other: &mut Batch) {
        self.changes.append(&mut other.changes);
    }

    /// The keys of a tree that it sets.
    pub fn keys_put(&self, tree: Tree) -> impl Iterator<Item = &[u8]> {
        let prefix = tree.prefix();
        let put = self.changes.iter().filter(|change| change.value.is_some());
        put.filter_map(move |change| change.key.strip_prefix(prefix.as_slice()))
    }

    /// Number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Tells whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) key: Vec<u8>,
    /// `None` removes the key.
    pub(crate) value: Option<Bytes>,
}

impl Change {
    /// Counts its octets.
    pub(crate) fn octets(&self) -> u64 {
        let octets = self.key.len() + self.value.as_ref().map_or(0, Bytes::len);
        u64::try_from(octets).unwrap_or(u64::MAX)
    }
}

const SEPARATOR: u8 = 0;

/// Saves growing for the usual keys: ids and hashes.
const KEY_GUESS: usize = 32;
