//! The memory of messages that are half there: all connections together have a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Octets of half messages at most: 512 of the largest.
const ALL: usize = 32 << 20;
/// Of these, for connections that are not held: phones that are registered must get a large message through all the same.
const OF_STRANGERS: usize = ALL / 4 * 3;
/// Each connection may hold so many without a share: what it reads at once.
pub(super) const FREE: usize = 2 * 1024;

/// What all connections hold together.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory(Arc<AtomicUsize>);

/// What one connection holds; given back when dropped.
#[derive(Debug)]
pub(super) struct Half {
    all: Memory,
    is_held: Arc<AtomicBool>,
    taken: usize,
}

impl Memory {
    /// The share of a connection; `is_held` says whether it carries a registration, a transaction or a call.
    pub(super) fn share(&self, is_held: Arc<AtomicBool>) -> Half {
        Half {
            all: self.clone(),
            is_held,
            taken: 0,
        }
    }
}

impl Half {
    /// Notes that the connection holds so many octets now. False when there is no room for them.
    pub(super) fn holds(&mut self, octets: usize) -> bool {
        let wanted = octets.saturating_sub(FREE);
        let limit = if self.is_held.load(Ordering::Relaxed) {
            ALL
        } else {
            OF_STRANGERS
        };
        let Some(more) = wanted.checked_sub(self.taken) else {
            self.all.0.fetch_sub(self.taken - wanted, Ordering::Relaxed);
            self.taken = wanted;
            return true;
        };
        let fits = |used: usize| Some(used + more).filter(|used| more == 0 || *used <= limit);
        let is_taken = self
            .all
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_ok();
        if is_taken {
            self.taken = wanted;
        }
        is_taken
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(memory: &Memory, is_held: bool) -> Half {
        memory.share(Arc::new(AtomicBool::new(is_held)))
    }

    #[test]
    fn strangers_leave_a_quarter_to_those_that_are_held() {
        let memory = Memory::default();
        let mut first = share(&memory, false);
        assert!(first.holds(OF_STRANGERS + FREE));
        let mut second = share(&memory, false);
        assert!(second.holds(FREE));
        assert!(!second.holds(FREE + 1));
        let mut third = share(&memory, true);
        assert!(third.holds(ALL - OF_STRANGERS + FREE));
        assert!(!third.holds(ALL - OF_STRANGERS + FREE + 1));
        drop(first);
        assert!(second.holds(64 * 1024));
    }

    #[test]
    fn what_is_no_longer_held_is_given_back() {
        let memory = Memory::default();
        let mut half = share(&memory, false);
        assert!(half.holds(60_000));
        assert!(half.holds(0));
        assert_eq!(memory.0.load(Ordering::Relaxed), 0);
    }
}
