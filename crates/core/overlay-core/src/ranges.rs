//! What this peer owns, and whether it has everything that others hold of it. What others lack: [`crate::copies`].
//!
//! A range that was gained (by joining, by the crash of a predecessor, after storage came back) is *unconfirmed*: its
//! records are asked for one by one before they are served ([`crate::pull`]), until the next two successors have said
//! that they pushed everything, or so much time has passed that they would have. The question and the answer travel as
//! a private, non-critical extension of the Updates between neighbours:
//!
//! ```text
//! note(8): 0 = I lack what you hold of this range, 1 = the same, and forget that you sent it before,
//!          2 = you have all that I hold of it  |  after(128) | until(128)      ... repeated
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tracing::{debug, info};

use chord::Range;
use wire::{MessageExtension, NodeId, Now, ResourceId};

use crate::api::Output;
use crate::copies::HOLD_DOWN;
use crate::core::Core;
use crate::push::{Reason, Source};

/// The state of the own range.
#[derive(Default)]
pub(crate) struct Ranges {
    unconfirmed: Vec<Unconfirmed>,
    /// When the successors are asked again.
    ask_at: Option<Instant>,
    /// Ranges of which a linked node has all that this one holds.
    delivered: BTreeMap<NodeId, Vec<Range>>,
    /// Nodes to be told so with the next Update.
    owed: BTreeMap<NodeId, Vec<Range>>,
    /// The node that was just admitted: the part of the range that it gets was handed over.
    admitted: Option<NodeId>,
}

struct Unconfirmed {
    range: Range,
    since: Instant,
    /// What was delivered before does not count: the disk may be another.
    is_lost: bool,
    delivered_by: BTreeSet<NodeId>,
    /// Resources that were asked for one by one.
    pulled: BTreeSet<ResourceId>,
}

impl Ranges {
    /// Whether a resource may be served without asking the other holders.
    pub(crate) fn is_confirmed(&self, resource: ResourceId) -> bool {
        self.unconfirmed
            .iter()
            .all(|part| !part.range.contains(resource) || part.pulled.contains(&resource))
    }

    pub(crate) fn all_confirmed(&self) -> bool {
        self.unconfirmed.is_empty()
    }

    /// All other holders were asked for a resource.
    pub(crate) fn pulled(&mut self, resource: ResourceId) {
        for part in self.unconfirmed.iter_mut().filter(|part| part.range.contains(resource)) {
            if part.pulled.len() >= MOST_PULLED {
                part.pulled.pop_first();
            }
            part.pulled.insert(resource);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let ends = self.unconfirmed.iter().map(|part| part.since + TRUST_AFTER);
        ends.chain(self.ask_at).min()
    }

    /// This node holds something of a resource that nobody has delivered to anybody but `from`.
    pub(crate) fn outdate(&mut self, resource: ResourceId, from: Option<NodeId>) {
        for (_, delivered) in self.delivered.iter_mut().filter(|(node, _)| Some(**node) != from) {
            delivered.retain(|range| !range.contains(resource));
        }
    }

    /// The next change of the range is the admission of this node.
    pub(crate) fn admitted(&mut self, joining: NodeId) {
        self.admitted = Some(joining);
    }

    fn add(&mut self, now: Instant, range: Range, is_lost: bool) {
        self.unconfirmed.push(Unconfirmed {
            range,
            since: now,
            is_lost,
            delivered_by: BTreeSet::new(),
            pulled: BTreeSet::new(),
        });
    }

    /// Cuts what is no longer within the own range.
    fn trim(&mut self, own: Range) {
        self.unconfirmed.retain_mut(|part| {
            if !own.contains(part.range.until.into()) {
                return false;
            }
            part.range = within(part.range, own);
            true
        });
    }
}

impl Core {
    pub(crate) fn range_changed(&mut self, now: Now, old: Option<Range>, new: Option<Range>) {
        let Some(own) = new else {
            self.ranges.unconfirmed.clear();
            self.ranges.ask_at = None;
            return self.copies.forget();
        };
        debug!(range = %own, "range changed");
        self.ranges.trim(own);
        self.copies.trim(own);
        let is_admission = self.ranges.admitted.take() == Some(own.after);
        if !is_admission && old.is_some_and(|old| is_smaller(own, old)) {
            self.healing.range_lost(now.instant);
        }
        // A peer that was alone and should not have been knows nothing for certain: others kept what it was without.
        let was_cut_off = old.is_some_and(Range::is_whole) && !self.company.may_be_alone();
        if was_cut_off && !self.chord.is_alone() {
            info!(node_id = %self.own().short(), "no longer isolated");
        }
        let gained = if was_cut_off { Some(own) } else { gained(old, own) };
        if let Some(gained) = gained.filter(|_| !self.chord.is_alone()) {
            if old.is_some() {
                info!(node_id = %self.own().short(), range = %gained, "range taken over");
            }
            let is_lost = self.session.take_loss();
            self.ranges.add(now.instant, gained, is_lost);
            self.ranges.ask_at = Some(now.instant);
            self.copies.gained(now.instant, gained);
        }
        if self.chord.is_alone() {
            self.ranges.unconfirmed.clear();
        }
    }

    /// Another session with storage is open, or this process has missed some time: nothing of the own range is certain.
    pub(crate) fn distrust_range(&mut self, now: Now) {
        if let Some(own) = self.chord.own_range().filter(|_| !self.chord.is_alone()) {
            self.ranges.unconfirmed.clear();
            self.ranges.add(now.instant, own, false);
            self.ranges.ask_at = Some(now.instant);
        }
    }

    pub(crate) fn replicas_changed(&mut self, now: Now) {
        self.copy_to_new_replicas(now);
        self.confirm(now);
        if !self.ranges.unconfirmed.is_empty() {
            self.ranges.ask_at = Some(now.instant);
        }
        self.stores_replicas_changed(now);
        self.pulls_replicas_changed(now);
    }

    pub(crate) fn ranges_due(&mut self, now: Now) {
        let before = self.ranges.unconfirmed.len();
        self.ranges
            .unconfirmed
            .retain(|part| part.since + TRUST_AFTER > now.instant);
        if self.ranges.unconfirmed.len() < before {
            info!("range is taken as confirmed after waiting");
            self.outputs.push_back(Output::Changed);
            self.pulls_confirmed(now);
        }
        if self.ranges.ask_at.is_some_and(|at| at <= now.instant) {
            self.ask_holders(now);
        }
    }

    /// Asks the next two successors, by an Update, for what they hold of the unconfirmed range.
    fn ask_holders(&mut self, now: Now) {
        let lacking = |node: &NodeId| {
            self.ranges
                .unconfirmed
                .iter()
                .any(|part| !part.delivered_by.contains(node))
        };
        let holders: Vec<NodeId> = self.chord.replicas().iter().copied().filter(lacking).collect();
        self.ranges.ask_at = (!self.ranges.unconfirmed.is_empty()).then(|| now.instant + ASK_AGAIN);
        for node in holders {
            self.chord.send_full_update(now, node);
        }
    }

    /// What goes with an Update to a node.
    pub(crate) fn range_notes(&mut self, to: NodeId) -> Vec<MessageExtension> {
        let mut notes = BytesMut::new();
        if self.chord.replicas().contains(&to) {
            for part in self
                .ranges
                .unconfirmed
                .iter()
                .filter(|part| !part.delivered_by.contains(&to))
            {
                put_note(&mut notes, if part.is_lost { LACKS_ALL } else { LACKS }, part.range);
            }
        }
        for range in self.ranges.owed.remove(&to).unwrap_or_default() {
            put_note(&mut notes, COMPLETE, range);
        }
        if notes.is_empty() {
            return Vec::new();
        }
        vec![MessageExtension {
            kind: MessageExtension::RANGE_COMPLETE,
            critical: false,
            contents: notes.freeze(),
        }]
    }

    pub(crate) fn range_notes_received(&mut self, now: Now, from: NodeId, extensions: &[MessageExtension]) {
        let ours = extensions
            .iter()
            .filter(|extension| extension.kind == MessageExtension::RANGE_COMPLETE);
        let notes: Vec<(u8, Range)> = ours
            .flat_map(|extension| read_notes(extension.contents.clone()))
            .collect();
        for (note, range) in notes {
            match note {
                LACKS | LACKS_ALL => self.asked_for_range(now, from, range, note == LACKS_ALL),
                COMPLETE => self.range_completed(now, from, range),
                // Whoever writes other notes knows more than this node.
                _ => {}
            }
        }
    }

    /// An owner lacks what this node holds of its range. Of what is not its own it gets nothing: it says what that is in the
    /// same Update.
    fn asked_for_range(&mut self, now: Now, owner: NodeId, range: Range, forget: bool) {
        let own = self
            .chord
            .range_of(owner)
            .filter(|own| own.contains(range.until.into()));
        let Some(range) = own.map(|own| within(range, own)) else {
            return;
        };
        let delivered = self.ranges.delivered.entry(owner).or_default();
        if forget {
            delivered.clear();
        }
        if delivered.iter().any(|earlier| covers(*earlier, range)) {
            return self.note_complete(now, owner, range);
        }
        let reason = Reason::Wanted(range);
        let is_on_its_way = self.pushes.is_under_way(owner, reason) || self.is_late_push(owner, range);
        if !is_on_its_way && self.pushes.has_room(owner, reason) {
            let push = self.push(now, owner, Source::range(range), reason);
            self.push_on(now, push);
        }
    }

    fn is_late_push(&self, owner: NodeId, range: Range) -> bool {
        self.pushes.is_under_way(owner, Reason::Late(range))
    }

    /// A node has all that this one holds of a range, as it asked.
    pub(crate) fn range_delivered(&mut self, now: Now, to: NodeId, range: Range) {
        self.range_offered(to, range);
        self.note_complete(now, to, range);
    }

    /// A node has all that this one holds of a range.
    pub(crate) fn range_offered(&mut self, to: NodeId, range: Range) {
        let delivered = self.ranges.delivered.entry(to).or_default();
        let mut whole = range;
        delivered.retain(|earlier| match joined(whole, *earlier) {
            Some(joined) => {
                whole = joined;
                false
            }
            None => true,
        });
        if delivered.len() < MOST_DELIVERED {
            delivered.push(whole);
        }
    }

    /// A predecessor, whose replicas this peer holds, says what it owns. What this peer holds of that may have been
    /// acknowledged in another ring, or by an owner that died since, so the predecessor has to be offered all of it
    /// once. RFC 6940 §6.4.2.3: a peer that learns of another owner sends it the values.
    pub(crate) fn owner_heard(&mut self, now: Now, owner: NodeId) {
        let is_its_replica = self
            .chord
            .predecessors()
            .iter()
            .take(REPLICAS)
            .any(|node| *node == owner);
        let Some(range) = self.chord.range_of(owner).filter(|_| is_its_replica) else {
            return;
        };
        let is_delivered = |ranges: &Vec<Range>| ranges.iter().any(|earlier| covers(*earlier, range));
        let is_known_to_have_all = self.ranges.delivered.get(&owner).is_some_and(is_delivered);
        let has_room = self.pushes.has_room(owner, Reason::Held(range));
        let is_possible = self.session.is_usable() && has_room && !range.contains(self.own().into());
        if is_known_to_have_all || !is_possible || self.pushes.is_any_under_way(owner) {
            return;
        }
        let push = self.push(now, owner, Source::range(range), Reason::Held(range));
        self.push_on(now, push);
    }

    fn note_complete(&mut self, now: Now, to: NodeId, range: Range) {
        let owed = self.ranges.owed.entry(to).or_default();
        let is_first = owed.is_empty();
        if owed.len() < MOST_DELIVERED && !owed.contains(&range) {
            owed.push(range);
        }
        // One Update takes all that is owed when it is written.
        if is_first {
            self.chord.send_full_update(now, to);
        }
    }

    /// The link to a node is gone, and with it what is known of its disk.
    pub(crate) fn ranges_link_down(&mut self, peer: NodeId) {
        self.ranges.delivered.remove(&peer);
        self.ranges.owed.remove(&peer);
    }

    fn range_completed(&mut self, now: Now, from: NodeId, range: Range) {
        for part in self
            .ranges
            .unconfirmed
            .iter_mut()
            .filter(|part| covers(range, part.range))
        {
            part.delivered_by.insert(from);
        }
        self.confirm(now);
    }

    /// Takes as confirmed what all holders have delivered.
    fn confirm(&mut self, now: Now) {
        let holders = self.chord.replicas().to_vec();
        if holders.is_empty() {
            return;
        }
        let before = self.ranges.unconfirmed.len();
        let is_confirmed = |part: &Unconfirmed| holders.iter().all(|node| part.delivered_by.contains(node));
        let confirmed: Vec<Range> = self
            .ranges
            .unconfirmed
            .iter()
            .filter(|part| is_confirmed(part))
            .map(|part| part.range)
            .collect();
        self.ranges.unconfirmed.retain(|part| !is_confirmed(part));
        // What one holder delivered the other may lack.
        for range in confirmed {
            debug!(range = %range, "range is confirmed");
            for to in &holders {
                self.copies.later(*to, range, now.instant + HOLD_DOWN);
            }
        }
        if self.ranges.unconfirmed.is_empty() {
            self.ranges.ask_at = None;
        }
        if self.ranges.unconfirmed.len() < before {
            self.outputs.push_back(Output::Changed);
            self.pulls_confirmed(now);
        }
    }
}

/// Whether the own range begins later than it did.
fn is_smaller(own: Range, old: Range) -> bool {
    own.after != old.after && own.until == old.until && covers(old, own)
}

/// The part of the own range that was not there before.
fn gained(old: Option<Range>, own: Range) -> Option<Range> {
    let Some(old) = old else { return Some(own) };
    let was_all = old.after == old.until;
    let grew = own.after != old.after && own.contains(old.after.into()) && !was_all;
    grew.then_some(Range {
        after: own.after,
        until: old.after,
    })
}

/// A range that ends within the own one, without what lies before it.
pub(crate) fn within(range: Range, own: Range) -> Range {
    let is_own_place = range.after == own.until && own.after != own.until;
    let begins_inside = own.contains(range.after.into()) && !is_own_place || range.after == own.after;
    if begins_inside {
        range
    } else {
        Range {
            after: own.after,
            until: range.until,
        }
    }
}

/// Two ranges as one, if one follows the other or covers it.
fn joined(one: Range, other: Range) -> Option<Range> {
    if covers(one, other) {
        Some(one)
    } else if covers(other, one) {
        Some(other)
    } else if one.until == other.after && !other.contains(one.after.into()) {
        Some(Range {
            after: one.after,
            until: other.until,
        })
    } else if other.until == one.after && !one.contains(other.after.into()) {
        Some(Range {
            after: other.after,
            until: one.until,
        })
    } else {
        None
    }
}

/// Whether one range lies within another.
fn covers(outer: Range, inner: Range) -> bool {
    let span = |range: Range| {
        range
            .until
            .to_u128()
            .wrapping_sub(range.after.to_u128())
            .wrapping_sub(1)
    };
    let lead = inner.after.to_u128().wrapping_sub(outer.after.to_u128());
    span(inner).checked_add(lead).is_some_and(|end| end <= span(outer))
}

fn put_note(notes: &mut BytesMut, note: u8, range: Range) {
    notes.put_u8(note);
    notes.put_slice(range.after.as_bytes());
    notes.put_slice(range.until.as_bytes());
}

fn read_notes(mut contents: Bytes) -> Vec<(u8, Range)> {
    let mut notes = Vec::new();
    while contents.len() >= NOTE && notes.len() < MOST_NOTES {
        let note = contents.get_u8();
        let (after, until) = (contents.get_u128(), contents.get_u128());
        notes.push((
            note,
            Range {
                after: NodeId::from_u128(after),
                until: NodeId::from_u128(until),
            },
        ));
    }
    notes
}

/// The predecessors whose replicas a peer holds (RFC 6940 §10.4).
const REPLICAS: usize = 2;

/// I lack what you hold of this range.
const LACKS: u8 = 0;
/// The same, and what you sent before is lost.
const LACKS_ALL: u8 = 1;
/// You have all that I hold of this range.
const COMPLETE: u8 = 2;
/// Octets of a note.
const NOTE: usize = 33;

/// Notes read from one Update: a range falls into few parts.
const MOST_NOTES: usize = 16;

/// Ranges remembered for one link; what is forgotten is pushed once more.
const MOST_DELIVERED: usize = 16;

/// Resources remembered as asked for; what is forgotten is asked for once more.
const MOST_PULLED: usize = 4096;

/// Without a word from the holders a range is taken as confirmed after this time.
const TRUST_AFTER: Duration = Duration::from_secs(120);

/// The holders are asked again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn range(after: u128, until: u128) -> Range {
        Range {
            after: NodeId::from_u128(after),
            until: NodeId::from_u128(until),
        }
    }

    #[test]
    fn ranges_that_meet_become_one() {
        let cases = [
            ((10, 20), (20, 30), Some((10, 30))),
            ((20, 30), (10, 20), Some((10, 30))),
            ((10, 30), (15, 20), Some((10, 30))),
            ((10, 20), (21, 30), None),
            // They meet at both ends: as one they would be the whole ring, which is written otherwise.
            ((10, 20), (20, 12), None),
        ];
        for ((a, b), (c, d), expected) in cases {
            let expected = expected.map(|(after, until)| range(after, until));
            assert_eq!(joined(range(a, b), range(c, d)), expected, "({a}, {b}] and ({c}, {d}]");
        }
    }

    #[test]
    fn ranges_cover_each_other_around_the_ring() {
        assert!(covers(range(10, 20), range(12, 20)));
        assert!(!covers(range(10, 20), range(9, 20)));
        assert!(!covers(range(10, 20), range(12, 21)));
        assert!(covers(range(u128::MAX - 5, 5), range(u128::MAX, 3)));
        assert!(covers(range(7, 7), range(8, 3)) && covers(range(7, 7), range(7, 7)));
        assert!(!covers(range(8, 3), range(7, 7)));
    }

    #[test]
    fn a_range_grows_backwards_only() {
        assert_eq!(gained(Some(range(10, 20)), range(5, 20)), Some(range(5, 10)));
        assert_eq!(gained(Some(range(10, 20)), range(15, 20)), None);
        assert_eq!(gained(Some(range(20, 20)), range(15, 20)), None);
        assert_eq!(gained(None, range(15, 20)), Some(range(15, 20)));
    }

    #[test]
    fn notes_are_read_as_they_were_written() {
        let mut notes = BytesMut::new();
        put_note(&mut notes, LACKS, range(1, 2));
        put_note(&mut notes, COMPLETE, range(3, 4));
        notes.put_u8(9);
        assert_eq!(
            read_notes(notes.freeze()),
            [(LACKS, range(1, 2)), (COMPLETE, range(3, 4))]
        );
    }
}
