//! The calls that stand, as far as this edge has seen: answered through it, and no BYE yet.
//!
//! A proxy keeps no state of a dialog, and a phone that dies sends no BYE; so this is what an operator sees, and an entry ends after a
//! time.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use sip_core::flow::ConnectionId;

use crate::listed::Call;

/// A call without a BYE is counted for so long.
const LIFE: Duration = Duration::from_secs(12 * 3600);
/// Calls counted at most; further ones stand all the same, unseen.
const MOST: usize = 65_536;

/// The calls, by a hash of their Call-IDs: the caller chooses those, and their length. `Id` names the INVITE that one began with.
#[derive(Debug)]
pub(crate) struct Dialogs<Id> {
    hasher: RandomState,
    standing: HashMap<u64, Dialog<Id>>,
    ids: BTreeMap<Id, u64>,
}

#[derive(Debug)]
struct Dialog<Id> {
    since: Instant,
    id: Id,
    /// How the operator sees it.
    call: Call,
    /// The connections of its phones, where they have some.
    connections: Vec<ConnectionId>,
}

impl<Id> Default for Dialogs<Id> {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            standing: HashMap::new(),
            ids: BTreeMap::new(),
        }
    }
}

impl<Id: Copy + Ord> Dialogs<Id> {
    /// Notes that a call was answered.
    pub(crate) fn answered(&mut self, now: Instant, id: Id, call: Call, connections: Vec<ConnectionId>) {
        let key = self.hasher.hash_one(&*call.call_id);
        // A request that came back here under the same Call-ID is the same call.
        self.remove(key);
        if self.standing.len() < MOST {
            self.ids.insert(id, key);
            let dialog = Dialog {
                since: now,
                id,
                call,
                connections,
            };
            self.standing.insert(key, dialog);
        }
    }

    /// Notes that a call was ended; returns the INVITE that it began with.
    pub(crate) fn ended(&mut self, call_id: &str) -> Option<Id> {
        self.remove(self.hasher.hash_one(call_id))
    }

    /// Drops the calls whose time is over; returns the INVITEs that they began with.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Id> {
        let is_over = |dialog: &Dialog<Id>| now.saturating_duration_since(dialog.since) >= LIFE;
        let over = self.standing.iter().filter(|(_, dialog)| is_over(dialog));
        let over: Vec<u64> = over.map(|(key, _)| *key).collect();
        over.into_iter().filter_map(|key| self.remove(key)).collect()
    }

    /// Counts those that stand.
    pub(crate) fn count(&self) -> usize {
        self.standing.len()
    }

    /// The call that began with this INVITE.
    pub(crate) fn call(&self, id: Id) -> Option<&Call> {
        Some(&self.standing.get(self.ids.get(&id)?)?.call)
    }

    /// All calls that stand.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (Id, &Call)> {
        self.standing.values().map(|dialog| (dialog.id, &dialog.call))
    }

    /// The connections that calls depend on: a request within one finds a phone that is not registered by no other way.
    pub(crate) fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        let dialogs = self.standing.values();
        dialogs.flat_map(|dialog| dialog.connections.iter().copied())
    }

    fn remove(&mut self, key: u64) -> Option<Id> {
        let dialog = self.standing.remove(&key)?;
        self.ids.remove(&dialog.id);
        Some(dialog.id)
    }
}

#[cfg(test)]
mod tests {
    use crate::listed::Stage;

    use super::*;

    fn call(call_id: &str) -> Call {
        Call {
            id: 1,
            call_id: call_id.into(),
            from: "alice@example.org".into(),
            to: "bob@example.org".into(),
            stage: Stage::Standing,
            since_ms: 1,
            answered_ms: 2,
            source: "udp:192.0.2.1:5060".into(),
            targets: Vec::new(),
        }
    }

    #[test]
    fn a_call_counts_until_its_bye_or_for_half_a_day() {
        let (mut dialogs, now) = (Dialogs::default(), Instant::now());
        dialogs.answered(now, 1, call("one"), vec![ConnectionId(1)]);
        // It came back here on its way: the same call.
        dialogs.answered(now, 2, call("one"), vec![ConnectionId(1)]);
        dialogs.answered(now + LIFE / 2, 3, call("two"), vec![ConnectionId(2)]);
        dialogs.answered(now + LIFE / 2, 4, call("three"), Vec::new());
        assert!(dialogs.expire(now + LIFE / 2).is_empty());
        assert_eq!(dialogs.count(), 3);
        assert_eq!((dialogs.call(1), dialogs.call(2).is_some()), (None, true));
        assert_eq!(dialogs.ended("two"), Some(3));
        assert_eq!(dialogs.ended("unknown"), None);
        assert_eq!(dialogs.connections().collect::<Vec<_>>(), [ConnectionId(1)]);
        assert_eq!(dialogs.expire(now + LIFE), [2]);
        let left: Vec<_> = dialogs.calls().map(|(id, call)| (id, &*call.call_id)).collect();
        assert_eq!(left, [(4, "three")]);
    }
}
