//! The certificates that vouch for what is held, each once, counted by the values that need it.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    api::Tree,
    puts::Puts,
    record::{Hash, Slot},
};

/// Certificates by hash.
#[derive(Debug, Default)]
pub(crate) struct Certificates(BTreeMap<Hash, Entry>);

#[derive(Debug)]
struct Entry {
    der: Bytes,
    /// Values whose chain it is in.
    uses: u32,
}

/// Certificates that came with a request and are not yet held.
pub(crate) type Fresh = BTreeMap<Hash, Bytes>;

impl Certificates {
    pub(crate) fn der(&self, hash: &Hash) -> Option<&Bytes> {
        self.0.get(hash).map(|entry| &entry.der)
    }

    /// Tells whether the whole chain of a value is here.
    pub(crate) fn cover(&self, slot: &Slot) -> bool {
        slot.chain.iter().all(|hash| self.0.contains_key(hash))
    }

    /// Takes one from the disk, not used by anything yet.
    pub(crate) fn load(&mut self, hash: Hash, der: Bytes) {
        self.0.insert(hash, Entry { der, uses: 0 });
    }

    /// Counts a value in.
    pub(crate) fn acquire(&mut self, slot: &Slot, fresh: &Fresh, puts: &mut Puts) {
        for hash in &slot.chain {
            if let Some(entry) = self.0.get_mut(hash) {
                entry.uses += 1;
            } else if let Some(der) = fresh.get(hash) {
                // A copy: what came in is a part of a whole message, which it would keep in memory.
                let der = Bytes::copy_from_slice(der);
                puts.put(Tree::Certificates, hash, crate::disk::versioned(&der));
                self.0.insert(*hash, Entry { der, uses: 1 });
            }
        }
    }

    /// Counts a value out.
    pub(crate) fn release(&mut self, slot: &Slot, puts: &mut Puts) {
        for hash in &slot.chain {
            if let Some(entry) = self.0.get_mut(hash) {
                entry.uses = entry.uses.saturating_sub(1);
                if entry.uses == 0 {
                    self.0.remove(hash);
                    puts.delete(Tree::Certificates, hash);
                }
            }
        }
    }

    /// Drops what nothing needs.
    pub(crate) fn sweep(&mut self, puts: &mut Puts) {
        self.0.retain(|hash, entry| {
            if entry.uses == 0 {
                puts.delete(Tree::Certificates, hash);
            }
            entry.uses > 0
        });
    }
}
