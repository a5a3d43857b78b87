//! Reading the own range while storage is down: from the next two successors, who hold the same.
//!
//! RFC 6940 §6.3.4: whoever asked expects an answer of the owner, so this peer signs what a holder of the replicas
//! answered; the values in it carry their own signatures. Stores are not answered meanwhile, and after a second the
//! ring is left ([`crate::session`]): then the holder is the owner.

use std::collections::BTreeMap;

use wire::Now;

use crate::core::Core;
use crate::pull::Waiting;
use crate::serve::{Asked, Reply};
use crate::transaction::{Outcome, Purpose, Request};

/// Names one read that a holder carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StandInId(u64);

/// The reads that wait for a holder.
#[derive(Default)]
pub(crate) struct StandIns {
    open: BTreeMap<StandInId, Asked>,
    next_id: u64,
}

impl Core {
    /// Has a holder read what the own storage cannot.
    pub(crate) fn read_at_holder(&mut self, now: Now, waiting: Waiting) {
        let Waiting { asked, body, .. } = waiting;
        // One that may lack something could give an older value, which is worse than none.
        let mut holders = self.chord.replicas().iter().copied();
        let holder = holders.find(|holder| self.copies.is_complete_at(*holder));
        let may_be_read = self.ranges.all_confirmed() && self.stand_ins.open.len() < MOST_OPEN;
        let Some(holder) = holder.filter(|_| may_be_read) else {
            return self.leave_unanswered(&asked);
        };
        self.stand_ins.next_id += 1;
        let id = StandInId(self.stand_ins.next_id);
        let request = Request::encoded(vec![holder.into()], asked.code, body, Purpose::StandIn(id));
        self.stand_ins.open.insert(id, asked);
        self.request(now, request.over(holder));
    }

    pub(crate) fn stand_in_answered(&mut self, now: Now, id: StandInId, outcome: Outcome) {
        let Some(asked) = self.stand_ins.open.remove(&id) else {
            return;
        };
        match outcome {
            Outcome::Answered(answered) => {
                let reply = Reply {
                    code: answered.contents.code,
                    body: answered.contents.body,
                    certificates: answered.certificates,
                };
                self.answer_encoded(now, asked, reply);
            }
            Outcome::Refused(refusal) => self.refuse_with(now, asked, refusal.code, refusal.info),
            Outcome::Silent => self.leave_unanswered(&asked),
        }
    }
}

/// Reads at a time; further ones are left unanswered, and come again.
const MOST_OPEN: usize = 1024;
