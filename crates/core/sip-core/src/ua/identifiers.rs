//! Call-IDs, tags and branches, all derived from one seed.

use sha2::{Digest, Sha256};

use crate::text::to_hex;

/// Yields texts that nobody without the seed can guess and that never repeat.
pub(super) struct Identifiers {
    seed: [u8; 32],
    made: u64,
}

impl std::fmt::Debug for Identifiers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Identifiers")
            .field("made", &self.made)
            .finish_non_exhaustive()
    }
}

impl Identifiers {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed, made: 0 }
    }

    pub(super) fn next(&mut self) -> String {
        self.made += 1;
        let hash = Sha256::new()
            .chain_update(self.seed)
            .chain_update(self.made.to_be_bytes())
            .finalize();
        to_hex(hash.get(..10).unwrap_or_default())
    }
}
