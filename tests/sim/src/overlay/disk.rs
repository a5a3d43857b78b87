//! A disk that forgets what was not flushed.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use storage_core::{BatchId, Put, Tree};

use crate::random::Random;

/// What one peer's storage has written.
#[derive(Debug, Default)]
pub(super) struct Disk {
    entries: BTreeMap<(Tree, Bytes), Bytes>,
    unflushed: VecDeque<(BatchId, Vec<Put>)>,
    /// When the batch written last will be on the disk.
    pub(super) busy: std::time::Duration,
}

impl Disk {
    /// Takes a batch that is not safe yet.
    pub(super) fn write(&mut self, batch: BatchId, puts: Vec<Put>) {
        self.unflushed.push_back((batch, puts));
    }

    /// Makes the oldest batch safe.
    pub(super) fn flush(&mut self) -> Option<BatchId> {
        let (batch, puts) = self.unflushed.pop_front()?;
        for (tree, key, value) in puts {
            match value {
                Some(value) => self.entries.insert((tree, key), value),
                None => self.entries.remove(&(tree, key)),
            };
        }
        Some(batch)
    }

    /// The power fails: some of the batches under way happen to be safe, the rest is gone.
    pub(super) fn lose_power(&mut self, random: &mut Random) {
        for _ in 0..random.below(self.unflushed.len() + 1) {
            self.flush();
        }
        self.unflushed.clear();
        self.busy = std::time::Duration::ZERO;
    }

    /// The disk is replaced by an empty one.
    pub(super) fn lose_everything(&mut self) {
        *self = Self::default();
    }

    /// Lists what is safe, tree by tree in the order of loading.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Tree, &Bytes, &Bytes)> {
        Tree::ALL.into_iter().flat_map(|tree| {
            let of_tree = self.entries.iter().filter(move |((of, _), _)| *of == tree);
            of_tree.map(|((tree, key), value)| (*tree, key, value))
        })
    }
}
