//! Changes for the disk, collected until they are written together.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::api::{Put, Tree};

/// The last word on each key.
#[derive(Debug, Default)]
pub(crate) struct Puts(BTreeMap<(Tree, Bytes), Option<Bytes>>);

impl Puts {
    pub(crate) fn put(&mut self, tree: Tree, key: &[u8], value: Bytes) {
        self.0.insert((tree, Bytes::copy_from_slice(key)), Some(value));
    }

    pub(crate) fn delete(&mut self, tree: Tree, key: &[u8]) {
        self.0.insert((tree, Bytes::copy_from_slice(key)), None);
    }

    /// Takes all of them out.
    pub(crate) fn take(&mut self) -> Vec<Put> {
        std::mem::take(&mut self.0)
            .into_iter()
            .map(|((tree, key), value)| (tree, key, value))
            .collect()
    }
}
