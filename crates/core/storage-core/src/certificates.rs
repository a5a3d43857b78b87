//! The certificates that vouch for what is held, each once, counted by the values that need it.

use std::collections::BTreeMap;

use bytes::Bytes;
use identity::Certificate;
use wire::{KindId, NodeId};

use crate::{
    api::Tree,
    puts::Puts,
    quota::{Tally, Usage},
    record::{Hash, Slot},
    state::count,
};

/// Certificates by hash.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    entries: BTreeMap<Hash, Entry>,
    /// What those in use take.
    tally: Tally,
}

#[derive(Debug)]
struct Entry {
    der: Bytes,
    /// Values whose chain it is in.
    uses: u32,
    /// The node that it names, and the Kind that it came for, once it is in use.
    charged: Option<(NodeId, KindId)>,
}

/// Certificates that came with a request and are not yet held.
pub(crate) type Fresh = BTreeMap<Hash, Bytes>;

impl Certificates {
    pub(crate) fn der(&self, hash: &Hash) -> Option<&Bytes> {
        self.entries.get(hash).map(|entry| &entry.der)
    }

    /// Tells which node pays for what is signed with a certificate that is held and in use.
    pub(crate) fn payer(&self, hash: &Hash) -> Option<NodeId> {
        self.entries.get(hash)?.charged.map(|(node, _)| node)
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Tells whether the whole chain of a value is here.
    pub(crate) fn cover(&self, slot: &Slot) -> bool {
        slot.chain.iter().all(|hash| self.entries.contains_key(hash))
    }

    /// Takes one from the disk, not used by anything yet.
    pub(crate) fn load(&mut self, hash: Hash, der: Bytes) {
        self.entries.insert(hash, Entry::new(der));
    }

    /// Counts a value in.
    pub(crate) fn acquire(&mut self, kind: KindId, slot: &Slot, fresh: &Fresh, puts: &mut Puts) {
        for hash in &slot.chain {
            if !self.entries.contains_key(hash)
                && let Some(der) = fresh.get(hash)
            {
                // A copy: what came in is a part of a whole message, which it would keep in memory.
                let der = Bytes::copy_from_slice(der);
                puts.put(Tree::Certificates, hash, crate::disk::versioned(&der));
                self.entries.insert(*hash, Entry::new(der));
            }
            let Some(entry) = self.entries.get_mut(hash) else {
                continue;
            };
            entry.uses += 1;
            if entry.charged.is_none() {
                let node = named_node(&entry.der);
                entry.charged = Some((node, kind));
                self.tally.add(node, kind, entry.usage());
            }
        }
    }

    /// Counts a value out.
    pub(crate) fn release(&mut self, slot: &Slot, puts: &mut Puts) {
        for hash in &slot.chain {
            let Some(entry) = self.entries.get_mut(hash) else {
                continue;
            };
            entry.uses = entry.uses.saturating_sub(1);
            if entry.uses > 0 {
                continue;
            }
            if let Some((node, kind)) = entry.charged {
                let mut gone = Tally::default();
                gone.add(node, kind, entry.usage());
                self.tally.subtract(&gone);
            }
            self.entries.remove(hash);
            puts.delete(Tree::Certificates, hash);
        }
    }

    /// Drops what nothing needs.
    pub(crate) fn sweep(&mut self, puts: &mut Puts) {
        self.entries.retain(|hash, entry| {
            if entry.uses == 0 {
                puts.delete(Tree::Certificates, hash);
            }
            entry.uses > 0
        });
    }
}

impl Entry {
    fn new(der: Bytes) -> Self {
        Self {
            der,
            uses: 0,
            charged: None,
        }
    }

    fn usage(&self) -> Usage {
        Usage {
            slots: 0,
            octets: count(self.der.len()),
        }
    }
}

/// The node that pays for what a certificate signs: a delegated signer's certificates name the node that it belongs to.
pub(crate) fn named_node(der: &[u8]) -> NodeId {
    let certificate = Certificate::from_der(der).ok();
    let node = certificate.and_then(|certificate| certificate.node_ids().first().copied());
    node.unwrap_or(NodeId::ZERO)
}
