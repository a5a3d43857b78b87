//! A table with a fixed number of rows: a new one takes the place of the row that was used longest ago.

use std::collections::BTreeMap;

/// The table.
#[derive(Debug)]
pub struct Recent<K, V> {
    rows: BTreeMap<K, (u64, V)>,
    /// When each row was used last, counted in uses of the table.
    order: BTreeMap<u64, K>,
    uses: u64,
    capacity: usize,
}

impl<K: Ord + Clone, V> Recent<K, V> {
    /// Makes an empty table of at least one row.
    pub fn new(capacity: usize) -> Self {
        Self {
            rows: BTreeMap::new(),
            order: BTreeMap::new(),
            uses: 0,
            capacity: capacity.max(1),
        }
    }

    /// Returns a row without counting this as a use.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(|(_, value)| value)
    }

    /// Uses a row.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        self.touch(key);
        self.rows.get_mut(key).map(|(_, value)| value)
    }

    /// Sets a row. Returns the one that had to go for it, if the table was full.
    pub fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        self.remove(&key);
        let gone = (self.rows.len() >= self.capacity)
            .then(|| self.oldest().cloned())
            .flatten();
        let gone = gone.and_then(|oldest| self.remove(&oldest).map(|value| (oldest, value)));
        self.uses += 1;
        self.order.insert(self.uses, key.clone());
        self.rows.insert(key, (self.uses, value));
        gone
    }

    /// Removes a row.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (used, value) = self.rows.remove(key)?;
        self.order.remove(&used);
        Some(value)
    }

    /// Returns the row that was used longest ago.
    pub fn oldest(&self) -> Option<&K> {
        self.order.values().next()
    }

    /// Returns how many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn touch(&mut self, key: &K) {
        if let Some((used, _)) = self.rows.get_mut(key) {
            self.order.remove(used);
            self.uses += 1;
            *used = self.uses;
            self.order.insert(self.uses, key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_used_longest_ago_goes() {
        let mut table = Recent::new(2);
        assert_eq!(table.insert("a", 1), None);
        assert_eq!(table.insert("b", 2), None);
        assert_eq!(table.get(&"a"), Some(&mut 1));
        assert_eq!(table.insert("c", 3), Some(("b", 2)));
        assert_eq!(table.peek(&"a"), Some(&1));
        assert_eq!(table.insert("c", 4), None, "a row that is there is replaced");
        assert_eq!((table.len(), table.order.len()), (2, 2));
        assert_eq!(table.oldest(), Some(&"a"));
        assert_eq!(table.remove(&"a"), Some(1));
        assert_eq!((table.len(), table.order.len()), (1, 1));
    }
}
