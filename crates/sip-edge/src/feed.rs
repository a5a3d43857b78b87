//! What those who follow a list are told: the list as it is, then each change of it.
//!
//! A slow reader holds nobody back. What he has not been told yet is no queue but a set of keys: when he reads on he learns how each of
//! them is by then, and nothing of one that is as he knows it.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Followers at most: an operator's screens, not a crowd. Further ones are refused.
const FOLLOWERS: usize = 16;
/// Changes on their way to one follower.
const CHANGES: usize = 64;
/// Keys that a follower may lag behind by, about as many as an edge has AORs; one who exceeds it is cut off and follows anew.
const LAG: usize = 200_000;

/// The followers of one list.
#[derive(Debug)]
pub(crate) struct Feed<K, T>(Vec<Follower<K, T>>);

/// What can be followed.
pub(crate) trait Followed: Clone {
    /// Says whether a follower who was told `self` wants to hear of `newer`.
    fn is_news(&self, newer: &Self) -> bool;
}

/// A change of one item.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change<T> {
    /// What the follower was told last, if it was there.
    pub(crate) before: Option<T>,
    /// How it is now, if it is there.
    pub(crate) after: Option<T>,
}

#[derive(Debug)]
struct Follower<K, T> {
    changes: mpsc::Sender<Change<T>>,
    told: BTreeMap<K, T>,
    stale: BTreeSet<K>,
}

/// A list, and how it goes on if it is followed.
#[derive(Debug)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    pub(crate) changes: Option<mpsc::Receiver<Change<T>>>,
}

/// There are as many followers as there may be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl<K, T> Default for Feed<K, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord + Clone, T: Followed> Feed<K, T> {
    /// Answers with the list as it is, to somebody who will follow it or not.
    ///
    /// # Errors
    /// When too many follow.
    pub(crate) fn list(&mut self, list: BTreeMap<K, T>, follow: bool) -> Result<Listed<T>, TooMany> {
        if !follow {
            return Ok(Listed {
                items: list.into_values().collect(),
                changes: None,
            });
        }
        let items = list.values().cloned().collect();
        let changes = Some(self.follow(list)?);
        Ok(Listed { items, changes })
    }

    /// Adds a follower who knows `list`. His changes end when he lags too far behind.
    ///
    /// # Errors
    /// When there are too many.
    fn follow(&mut self, list: BTreeMap<K, T>) -> Result<mpsc::Receiver<Change<T>>, TooMany> {
        self.0.retain(|follower| !follower.changes.is_closed());
        if self.0.len() >= FOLLOWERS {
            return Err(TooMany);
        }
        let (changes, followed) = mpsc::channel(CHANGES);
        self.0.push(Follower {
            changes,
            told: list,
            stale: BTreeSet::new(),
        });
        Ok(followed)
    }

    /// Notes that an item may have changed, come or gone.
    pub(crate) fn touch(&mut self, key: &K) {
        for follower in &mut self.0 {
            follower.stale.insert(key.clone());
        }
        self.0.retain(|follower| follower.stale.len() <= LAG);
    }

    /// Tells each follower what is new, as far as he reads; `now` says how an item is.
    pub(crate) fn tell(&mut self, now: impl Fn(&K) -> Option<T>) {
        self.0.retain_mut(|follower| follower.tell(&now));
    }
}

impl<K: Ord + Clone, T: Followed> Follower<K, T> {
    /// Returns whether he still reads.
    fn tell(&mut self, now: impl Fn(&K) -> Option<T>) -> bool {
        while let Some(key) = self.stale.first() {
            let place = match self.changes.try_reserve() {
                Ok(place) => place,
                Err(TrySendError::Full(())) => return true,
                Err(TrySendError::Closed(())) => return false,
            };
            let (before, after) = (self.told.get(key), now(key));
            let is_news = match (before, &after) {
                (Some(before), Some(after)) => before.is_news(after),
                (None, None) => false,
                (None, Some(_)) | (Some(_), None) => true,
            };
            if let Some(key) = self.stale.pop_first()
                && is_news
            {
                let before = match &after {
                    Some(after) => self.told.insert(key, after.clone()),
                    None => self.told.remove(&key),
                };
                place.send(Change { before, after });
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Followed for u32 {
        /// The lower half is not worth a word.
        fn is_news(&self, newer: &Self) -> bool {
            self >> 16 != newer >> 16
        }
    }

    type Items = BTreeMap<u32, u32>;

    fn change(before: Option<u32>, after: Option<u32>) -> Change<u32> {
        Change { before, after }
    }

    #[test]
    fn what_comes_changes_and_goes_is_told() {
        let mut feed = Feed::default();
        let mut items = Items::from([(1, 0x1_0000)]);
        let mut changes = feed.follow(items.clone()).unwrap();
        for (key, value) in [(2, Some(0x1_0000)), (2, Some(0x2_0000)), (2, Some(0x2_0001)), (1, None)] {
            match value {
                Some(value) => drop(items.insert(key, value)),
                None => drop(items.remove(&key)),
            }
            feed.touch(&key);
            feed.tell(|key| items.get(key).copied());
        }
        let told: Vec<_> = std::iter::from_fn(|| changes.try_recv().ok()).collect();
        let expected = [
            change(None, Some(0x1_0000)),
            change(Some(0x1_0000), Some(0x2_0000)),
            change(Some(0x1_0000), None),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_slow_reader_is_told_how_things_are_when_he_reads() {
        let (mut feed, mut items) = (Feed::default(), Items::new());
        let mut changes = feed.follow(items.clone()).unwrap();
        let keys = 0..2 * u32::try_from(CHANGES).unwrap();
        for round in 1..=3 {
            for key in keys.clone() {
                items.insert(key, round << 16);
                feed.touch(&key);
                feed.tell(|key| items.get(key).copied());
            }
        }
        items.remove(&keys.clone().last().unwrap());
        let mut last = Items::new();
        while let Ok(Change { after, .. }) = changes.try_recv() {
            *last.entry(after.unwrap()).or_default() += 1;
            feed.tell(|key| items.get(key).copied());
        }
        // The first ones went before he paused; of the rest only how they are in the end.
        let (early, late) = (u32::try_from(CHANGES).unwrap(), keys.len() as u32 - 1);
        assert_eq!(last, Items::from([(1 << 16, early), (3 << 16, late)]));
    }

    #[test]
    fn who_lags_too_far_behind_is_cut_off() {
        let mut feed = Feed::<u32, u32>::default();
        let mut changes = feed.follow(Items::new()).unwrap();
        for key in 0..=u32::try_from(LAG).unwrap() {
            feed.touch(&key);
        }
        assert_eq!(changes.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    }

    #[test]
    fn a_follower_who_left_makes_room() {
        let mut feed = Feed::<u32, u32>::default();
        let mut followers: Vec<_> = (0..FOLLOWERS).map(|_| feed.follow(Items::new()).unwrap()).collect();
        assert_eq!(feed.follow(Items::new()).err(), Some(TooMany));
        followers.pop();
        assert!(feed.follow(Items::new()).is_ok());
    }
}
