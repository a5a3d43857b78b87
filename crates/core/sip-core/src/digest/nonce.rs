//! Nonces: made without state, remembered once used.

use std::collections::{BTreeMap, VecDeque};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::flow::Site;

/// A nonce of ours: time (8 octets, milliseconds since the start), random (8) and a truncated HMAC over both, the realm and
/// the site that it was given to (16). So credentials prove that their sender hears what is sent to its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nonce {
    pub(crate) made_at_ms: u64,
    random: [u8; 8],
}

/// Makes and recognises nonces.
pub(crate) struct Mint {
    key: hmac::Key,
    made: u64,
}

const TAG: usize = 16;

impl Mint {
    /// The key must be random for each start: times and counts begin anew with it.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            made: 0,
        }
    }

    pub(crate) fn make(&mut self, now_ms: u64, realm: &str, site: Site) -> String {
        self.made = self.made.wrapping_add(1);
        // A keyed hash of a counter cannot be told from random octets.
        let mut context = hmac::Context::with_key(&self.key);
        context.update(b"random");
        context.update(&self.made.to_be_bytes());
        let random = context.sign().as_ref().first_chunk().copied().unwrap_or_default();
        let nonce = Nonce {
            made_at_ms: now_ms,
            random,
        };
        let tag = self.tag(&nonce, realm, site);
        let mut octets = Vec::with_capacity(16 + TAG);
        octets.extend_from_slice(&now_ms.to_be_bytes());
        octets.extend_from_slice(&random);
        octets.extend_from_slice(tag.as_ref().get(..TAG).unwrap_or_default());
        URL_SAFE_NO_PAD.encode(octets)
    }

    pub(crate) fn recognise(&self, text: &str, realm: &str, site: Site) -> Option<Nonce> {
        if text.len() > 2 * (16 + TAG) {
            return None;
        }
        let octets = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (made_at, rest) = octets.split_first_chunk::<8>()?;
        let (random, tag) = rest.split_first_chunk::<8>()?;
        let nonce = Nonce {
            made_at_ms: u64::from_be_bytes(*made_at),
            random: *random,
        };
        let expected = self.tag(&nonce, realm, site);
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref().get(..TAG)?, tag).ok()?;
        Some(nonce)
    }

    fn tag(&self, nonce: &Nonce, realm: &str, site: Site) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(b"nonce");
        context.update(&nonce.made_at_ms.to_be_bytes());
        context.update(&nonce.random);
        context.update(&site.octets());
        context.update(realm.as_bytes());
        context.sign()
    }
}

/// The counts that were used with each nonce.
pub(crate) struct Used {
    windows: BTreeMap<Nonce, Window>,
    /// Nonces in the order in which they were first used.
    order: VecDeque<Nonce>,
    capacity: usize,
    /// A nonce as old as one that was forgotten, and not in the table, may have been used before.
    forgotten_until_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Window {
    highest: u32,
    /// Bit n stands for the count `highest - n`.
    seen: u64,
}

impl Used {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            windows: BTreeMap::new(),
            order: VecDeque::new(),
            capacity: capacity.max(1),
            forgotten_until_ms: None,
        }
    }

    /// Notes the use of a count; `false` when it was used before, or may have been.
    pub(crate) fn take(&mut self, nonce: Nonce, count: u32) -> bool {
        self.window(nonce).is_some_and(|window| window.take(count))
    }

    /// Notes that a nonce was used without a count, which is right only as its first and last use.
    pub(crate) fn take_whole(&mut self, nonce: Nonce) -> bool {
        let window = self.window(nonce).filter(|window| **window == Window::default());
        let is_new = window.is_some();
        if let Some(window) = window {
            *window = Window::SPENT;
        }
        is_new
    }

    /// Finds what was used of a nonce; none when that was forgotten.
    fn window(&mut self, nonce: Nonce) -> Option<&mut Window> {
        if self.windows.contains_key(&nonce) {
            return self.windows.get_mut(&nonce);
        }
        if self.forgotten_until_ms.is_some_and(|until| nonce.made_at_ms <= until) {
            return None;
        }
        if self.windows.len() >= self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.windows.remove(&oldest);
            self.forgotten_until_ms = self.forgotten_until_ms.max(Some(oldest.made_at_ms));
        }
        self.order.push_back(nonce);
        Some(self.windows.entry(nonce).or_default())
    }

    /// Drops what has expired; expired nonces are refused by their time.
    pub(crate) fn expire(&mut self, made_before_ms: u64) {
        while let Some(oldest) = self.order.front().filter(|nonce| nonce.made_at_ms < made_before_ms) {
            self.windows.remove(oldest);
            self.order.pop_front();
        }
    }
}

impl Window {
    /// No count is left.
    const SPENT: Self = Self {
        highest: u32::MAX,
        seen: u64::MAX,
    };

    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let shift = count - self.highest;
            self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let age = self.highest - count;
        let Some(bit) = 1u64.checked_shl(age) else { return false };
        let is_new = self.seen & bit == 0;
        self.seen |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_recognised_by_its_maker_for_its_realm_and_site_only() {
        let site = |address: &str| Site::of(address.parse().unwrap());
        let (here, mut mint) = (site("192.0.2.4"), Mint::new(&[1; 32]));
        let one = mint.make(5, "example.org", here);
        let two = mint.make(5, "example.org", here);
        assert_ne!(one, two);
        assert_eq!(mint.recognise(&one, "example.org", here).unwrap().made_at_ms, 5);
        assert_eq!(mint.recognise(&one, "example.net", here), None);
        assert_eq!(mint.recognise(&one, "example.org", site("192.0.2.5")), None);
        assert_eq!(Mint::new(&[2; 32]).recognise(&one, "example.org", here), None);
        assert_eq!(mint.recognise("", "example.org", here), None);
        assert_eq!(mint.recognise("a nonce of nobody", "example.org", here), None);
    }

    #[test]
    fn a_count_is_taken_once_within_the_window() {
        let nonce = Nonce {
            made_at_ms: 0,
            random: [0; 8],
        };
        let mut used = Used::new(4);
        assert!(used.take(nonce, 1));
        assert!(!used.take(nonce, 1));
        assert!(used.take(nonce, 66));
        assert!(!used.take(nonce, 2), "64 behind the highest is out of the window");
        assert!(used.take(nonce, 3));
        assert!(!used.take(nonce, 3));
        assert!(used.take(nonce, u32::MAX));
        assert!(!used.take(nonce, 66));
    }

    #[test]
    fn a_nonce_without_count_serves_once_and_alone() {
        let nonce = |made_at_ms| Nonce {
            made_at_ms,
            random: [0; 8],
        };
        let mut used = Used::new(2);
        assert!(used.take_whole(nonce(1)));
        assert!(!used.take_whole(nonce(1)));
        assert!(!used.take(nonce(1), 1) && !used.take(nonce(1), u32::MAX));
        assert!(used.take(nonce(2), 1));
        assert!(!used.take_whole(nonce(2)));
        assert!(used.take_whole(nonce(3)), "the oldest makes room");
        assert!(!used.take_whole(nonce(1)), "it is forgotten, so it may have been used");
    }

    #[test]
    fn a_forgotten_nonce_is_not_taken_again() {
        let nonce = |made_at_ms| Nonce {
            made_at_ms,
            random: [0; 8],
        };
        let mut used = Used::new(2);
        assert!(used.take(nonce(1), 1) && used.take(nonce(2), 1) && used.take(nonce(3), 1));
        assert!(!used.take(nonce(1), 1));
        assert!(used.take(nonce(2), 2));
        used.expire(3);
        assert!(used.windows.len() == 1 && used.order.len() == 1);
    }
}
