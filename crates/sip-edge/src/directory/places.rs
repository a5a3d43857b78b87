//! How many AORs may have a Fetch under way or waiting, so that a flood of names stays at this edge and leaves room for calls.

use super::Need;

/// AORs with a Fetch under way or waiting at most; further questions are refused.
const FETCHES: usize = 256;
/// So many of them serve calls only.
const FOR_CALLS: usize = 64;

/// What a Fetch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    /// A call, which must find all that was stored before it began.
    Call,
    /// A record newer than the known one.
    Newer,
    /// Anything else; a Fetch that is under way will do.
    Other,
}

/// The right to have Fetches of one AOR.
#[derive(Debug)]
pub(super) struct Place(Demand);

/// The places that are taken.
#[derive(Debug, Default)]
pub(super) struct Places {
    calls: usize,
    others: usize,
}

impl Demand {
    pub(super) fn of(need: Need) -> Self {
        match need {
            Need::Routes { .. } => Self::Call,
            Need::Record | Need::Entry => Self::Other,
        }
    }
}

impl Places {
    /// Takes a place, if there is one.
    pub(super) fn take(&mut self, demand: Demand) -> Option<Place> {
        let is_free = match demand {
            Demand::Call => true,
            Demand::Newer | Demand::Other => self.others < FETCHES - FOR_CALLS,
        };
        if !is_free || self.calls + self.others >= FETCHES {
            return None;
        }
        *self.count(demand) += 1;
        Some(Place(demand))
    }

    pub(super) fn give_back(&mut self, place: Option<Place>) {
        if let Some(Place(demand)) = place {
            let count = self.count(demand);
            *count = count.saturating_sub(1);
        }
    }

    fn count(&mut self, demand: Demand) -> &mut usize {
        match demand {
            Demand::Call => &mut self.calls,
            Demand::Newer | Demand::Other => &mut self.others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_places_of_their_own() {
        let mut places = Places::default();
        let taken: Vec<_> = std::iter::from_fn(|| places.take(Demand::Other)).collect();
        assert_eq!(taken.len(), FETCHES - FOR_CALLS);
        let calls = std::iter::from_fn(|| places.take(Demand::Call)).count();
        assert_eq!(calls, FOR_CALLS);
        places.give_back(taken.into_iter().next());
        assert!(places.take(Demand::Call).is_some());
        assert!(places.take(Demand::Other).is_none());
    }
}
