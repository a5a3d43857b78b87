//! The keys of changed records, in the order of the last changes: another service asks for those after the last that it has.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use kv::{Batch, Store, Tree};

use crate::error::StartError;
use crate::state::{EDGE_KEYS, NODES, SERVICE, TOKENS, USERS};

/// A record: its tree, and its key there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) tree: Tree,
    pub(super) key: Vec<u8>,
}

/// In memory alone: it begins anew at each start with all that there is, and under another name, by which who asks sees that.
pub(in crate::core) struct Log {
    name: [u8; 16],
    last: u64,
    by_number: BTreeMap<u64, Key>,
    number_of: HashMap<Key, u64>,
}

impl Log {
    /// Begins with everything that is stored.
    pub(in crate::core) fn load(store: &Store, name: [u8; 16]) -> Result<Log, StartError> {
        let mut log = Log::new(name);
        for tree in TREES {
            for entry in store.iter(tree) {
                let (key, _) = entry?;
                log.touch(Key {
                    tree,
                    key: key.to_vec(),
                });
            }
        }
        Ok(log)
    }

    fn new(name: [u8; 16]) -> Log {
        Log {
            name,
            last: 0,
            by_number: BTreeMap::new(),
            number_of: HashMap::new(),
        }
    }

    pub(super) fn name(&self) -> &[u8; 16] {
        &self.name
    }

    /// Notes what a batch changes.
    pub(in crate::core) fn note(&mut self, batch: &Batch) {
        for tree in TREES {
            for key in batch.keys_put(tree) {
                self.touch(Key {
                    tree,
                    key: key.to_vec(),
                });
            }
        }
    }

    /// The changes after this number, with the number of each; all of them if the number is another log's.
    pub(super) fn after(&self, name: &[u8], number: u64) -> impl Iterator<Item = (u64, &Key)> {
        let number = if name == self.name { number } else { 0 };
        let after = self.by_number.range((Bound::Excluded(number), Bound::Unbounded));
        after.map(|(number, key)| (*number, key))
    }

    /// Each record stands in the log once, with its last change.
    fn touch(&mut self, key: Key) {
        self.last += 1;
        if let Some(before) = self.number_of.insert(key.clone(), self.last) {
            self.by_number.remove(&before);
        }
        self.by_number.insert(self.last, key);
    }
}

/// The records that all services have. Messages that wait to be stored are each one's own.
const TREES: [Tree; 5] = [SERVICE, TOKENS, USERS, NODES, EDGE_KEYS];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_stands_there_once_with_its_last_change() {
        let mut log = Log::new([1; 16]);
        let mut batch = Batch::new();
        batch.put(USERS, b"a", "1");
        batch.put(USERS, b"b", "1");
        batch.delete(USERS, b"c");
        log.note(&batch);
        let mut again = Batch::new();
        again.put(USERS, b"a", "2");
        log.note(&again);
        let listed = |name: [u8; 16], number| -> Vec<(u64, Vec<u8>)> {
            log.after(&name, number)
                .map(|(number, key)| (number, key.key.clone()))
                .collect()
        };
        let all = vec![(2, b"b".to_vec()), (3, b"a".to_vec())];
        assert_eq!(listed([1; 16], 0), all);
        assert_eq!(listed([1; 16], 2), all[1..]);
        assert_eq!(listed([1; 16], 3), []);
        // A service that had it from before a restart gets everything.
        assert_eq!(listed([2; 16], 3), all);
    }
}
