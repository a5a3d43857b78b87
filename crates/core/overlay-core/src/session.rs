//! The storage session: commands in order, each with a note of what its answer is for; and whether storage is there.
//!
//! ```text
//!   usable --[no session, or no answer to a command, for a second]--> gone: the ring is left, open commands are dropped
//!      ^                                                                |
//!      +---------------[a new session, or an answer]--------------------+
//! ```
//!
//! While the session is down for less than that, commands wait; then all with an unknown outcome are sent again, in order.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use wire::{NodeId, Now, ProbeReq, ResourceId};

use crate::api::Output;
use crate::clocks::{Clocks, ENOUGH_VOICES, OverlayTime, Verdict};
use crate::core::Core;
use crate::keep::Walk;
use crate::push::PushId;
use crate::seam::{Answer, Command, CommandId, SessionEvent};
use crate::serve::Asked;
use crate::share::may_take;
use crate::store::StoreId;

/// What a command was sent for.
#[derive(Clone, Debug)]
pub(crate) enum Errand {
    /// An original Store: its replicas come next.
    Store(Box<Asked>, ResourceId),
    /// A Store of another holder's values.
    Merge(Box<Asked>, ResourceId),
    /// A Fetch, Stat or Find.
    Read(Box<Asked>),
    /// A batch of records to push.
    Push(PushId),
    /// What the receiver of a push had newer.
    PushMerged(PushId, ResourceId),
    /// What a replica had newer than a Store in progress.
    StoreMerged(StoreId, NodeId),
    /// What another holder has of an unconfirmed resource.
    Pulled(ResourceId, NodeId),
    /// A batch of records that are not kept.
    Surplus(Walk),
    /// A record that its owner has answered for.
    Forget(Walk, ResourceId, NodeId),
    /// The number of resources, for a Probe.
    Count(Box<Asked>, ProbeReq),
    /// Nothing waits for it.
    Nothing,
}

impl Errand {
    /// The request that it is for.
    fn asked(&self) -> Option<&Asked> {
        match self {
            Self::Store(asked, _) | Self::Merge(asked, _) | Self::Read(asked) | Self::Count(asked, _) => Some(asked),
            Self::Push(_)
            | Self::PushMerged(..)
            | Self::StoreMerged(..)
            | Self::Pulled(..)
            | Self::Surplus(_)
            | Self::Forget(..)
            | Self::Nothing => None,
        }
    }
}

/// The session and its open commands.
pub(crate) struct Session {
    is_up: bool,
    /// Since when storage is silent: there is no session, or a command waits and none was answered.
    silent_since: Option<Instant>,
    /// It was silent for so long that this peer does not count on it.
    is_gone: bool,
    /// The data of before is not on the disk behind the session.
    has_lost_data: bool,
    session: u64,
    store_id: Option<[u8; 16]>,
    next_id: u64,
    open: BTreeMap<CommandId, (Command, Errand)>,
    pub(crate) clocks: Clocks,
    /// When the clocks are looked at again.
    clock_at: Instant,
    /// When the time was told on this session, and by how many clocks.
    clock_told: Option<(Instant, u32)>,
    /// The clocks of this peer and the others contradict each other.
    do_clocks_differ: bool,
}

impl Session {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            is_up: false,
            silent_since: Some(now),
            is_gone: false,
            has_lost_data: false,
            session: 0,
            store_id: None,
            next_id: 0,
            open: BTreeMap::new(),
            clocks: Clocks::default(),
            clock_at: now + CLOCK_LOOK,
            clock_told: None,
            do_clocks_differ: false,
        }
    }

    /// Whether there is a session, and storage answers on it.
    pub(crate) fn is_usable(&self) -> bool {
        self.is_up && !self.is_gone
    }

    /// Whether storage was silent for too long.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Tells, once, that what others delivered before is lost.
    pub(crate) fn take_loss(&mut self) -> bool {
        std::mem::take(&mut self.has_lost_data)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.open.len() >= MOST_COMMANDS
    }

    /// Whether a signer may have one more request carried out.
    pub(crate) fn has_room(&self, signer: NodeId) -> bool {
        // While half of the places are free nobody can have too many.
        self.open.len() < MOST_COMMANDS / 2 || may_take(self.count_of(signer), self.open.len(), MOST_COMMANDS)
    }

    fn count_of(&self, signer: NodeId) -> usize {
        let requests = self.open.values().filter_map(|(_, errand)| errand.asked());
        requests.filter(|asked| asked.signer == signer).count()
    }

    /// Whether the clocks of this peer and the others contradict each other.
    pub(crate) fn do_clocks_differ(&self) -> bool {
        self.do_clocks_differ
    }

    /// The clocks have to be heard again before the time is told.
    pub(crate) fn forget_clocks(&mut self, now: Now) {
        self.clocks = Clocks::default();
        self.clock_told = None;
        self.clock_at = now.instant + CLOCK_LOOK;
    }

    /// Takes back what has no answer yet.
    pub(crate) fn withdraw(&mut self, is_void: impl Fn(&Errand) -> bool) {
        self.open.retain(|_, (_, errand)| !is_void(errand));
    }

    /// The request that a command is carried out for.
    pub(crate) fn asked(&self, id: CommandId) -> Option<&Asked> {
        self.open.get(&id)?.1.asked()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let clock = self.is_usable().then_some(self.clock_at);
        let patience = self
            .silent_since
            .filter(|_| !self.is_gone)
            .map(|since| since + PATIENCE);
        clock.into_iter().chain(patience).min()
    }
}

impl Core {
    /// Sends a command, now or when the session is open.
    pub(crate) fn command(&mut self, now: Now, command: Command, errand: Errand) -> CommandId {
        self.session.next_id += 1;
        let id = CommandId(self.session.next_id);
        if self.session.is_up {
            self.outputs.push_back(Output::Storage(id, command.clone()));
        }
        self.session.silent_since.get_or_insert(now.instant);
        self.session.open.insert(id, (command, errand));
        id
    }

    pub(crate) fn session_changed(&mut self, now: Now, event: SessionEvent) {
        match event {
            SessionEvent::Down => {
                debug!("storage session is down");
                self.session.is_up = false;
                self.session.silent_since.get_or_insert(now.instant);
                self.abandon_leaving(now);
            }
            SessionEvent::Up { session, store_id } => self.session_opened(now, session, store_id),
            SessionEvent::Refused => {
                self.session.is_up = false;
                self.storage_gone(now);
                self.fence(now);
            }
        }
        self.outputs.push_back(Output::Changed);
    }

    fn session_opened(&mut self, now: Now, session: u64, store_id: [u8; 16]) {
        debug!(session, "storage session is open");
        self.storage_heard(now);
        let before = self.session.store_id.replace(store_id);
        self.session.is_up = true;
        self.session.session = session;
        // A storage that has started needs the time, to know how long it was down.
        self.session.clock_told = None;
        self.session.clock_at = now.instant;
        self.forget_keeping();
        // Every command may be carried out twice: what has an unknown outcome is sent again, in order.
        for (id, (command, _)) in &self.session.open {
            self.outputs.push_back(Output::Storage(*id, command.clone()));
        }
        match before {
            // Another disk: this peer has nothing of what the others take it to hold. It comes as a new one.
            Some(before) if before != store_id => {
                info!(node_id = %self.own().short(), "storage is another one");
                self.session.has_lost_data = true;
                self.stand_aside(now);
            }
            Some(_) => self.distrust_range(now),
            None => {}
        }
        self.join_storage_up(now);
    }

    /// Storage gave a sign of life.
    fn storage_heard(&mut self, now: Now) {
        self.session.silent_since = (!self.session.open.is_empty()).then_some(now.instant);
        if std::mem::take(&mut self.session.is_gone) && self.session.store_id.is_some() {
            info!(node_id = %self.own().short(), "storage is back");
            self.outputs.push_back(Output::Changed);
        }
    }

    /// Storage has been silent for too long: another peer has to own this range.
    pub(crate) fn session_due(&mut self, now: Now) {
        let is_due = |since: Instant| since + PATIENCE <= now.instant;
        if !self.session.is_gone && self.session.silent_since.is_some_and(is_due) {
            self.storage_gone(now);
        }
    }

    fn storage_gone(&mut self, now: Now) {
        self.session.is_gone = true;
        if self.session.store_id.is_some() {
            info!(node_id = %self.own().short(), has_session = self.session.is_up, "storage is gone");
        }
        self.drop_commands(now);
        self.stand_aside(now);
        self.outputs.push_back(Output::Changed);
    }

    /// Gives up what storage was to do: whoever asked asks again, and finds the new owner.
    fn drop_commands(&mut self, now: Now) {
        for (id, (command, errand)) in std::mem::take(&mut self.session.open) {
            match errand {
                Errand::Store(asked, _) | Errand::Merge(asked, _) | Errand::Read(asked) | Errand::Count(asked, _) => {
                    self.leave_unanswered(&asked);
                }
                Errand::Push(push) | Errand::PushMerged(push, _) => self.push_failed(now, push),
                // A Store and a pull end at their own deadline; what is not kept is walked again in another ring.
                Errand::StoreMerged(..) | Errand::Pulled(..) | Errand::Surplus(_) | Errand::Forget(..) => {}
                Errand::Nothing if matches!(command, Command::Document { .. }) => {
                    self.session.open.insert(id, (command, errand));
                }
                Errand::Nothing => {}
            }
        }
    }

    pub(crate) fn command_answered(&mut self, now: Now, id: CommandId, answer: Answer) {
        let known = self.session.open.remove(&id);
        let was_gone = self.session.is_gone;
        self.storage_heard(now);
        if was_gone {
            // What it did meanwhile nobody waited for.
            self.forget_keeping();
            self.join_storage_up(now);
        }
        let Some((_, errand)) = known else { return };
        match (errand, answer) {
            (Errand::Push(push), Answer::Scanned { stores, next }) => self.push_read(now, push, stores, next),
            (Errand::Push(push), _) => self.push_read(now, push, Vec::new(), None),
            (Errand::PushMerged(push, resource), _) => self.push_merged(now, push, resource, true),
            (Errand::Store(asked, resource), answer) => self.stored(now, *asked, resource, answer),
            (Errand::Merge(asked, resource), answer) => self.merged(now, *asked, resource, answer),
            (Errand::Read(asked), answer) => self.read(now, *asked, answer),
            (Errand::StoreMerged(store, node), answer) => self.store_merged(now, store, node, answer),
            (Errand::Pulled(resource, node), _) => self.pull_merged(now, resource, node),
            (Errand::Surplus(walk), Answer::Scanned { stores, next }) => self.surplus_read(now, walk, stores, next),
            (Errand::Surplus(walk), _) => self.surplus_read(now, walk, Vec::new(), None),
            (Errand::Forget(walk, resource, owner), answer) => self.forgot(now, (walk, resource, owner), &answer),
            (Errand::Count(asked, probe), answer) => self.counted(now, *asked, &probe, &answer),
            (Errand::Nothing, _) => {}
        }
    }

    /// Looks at the clocks, and tells storage the time of the overlay: now and then, and when more of them agree on it.
    pub(crate) fn clock_due(&mut self, now: Now) {
        if !self.session.is_usable() || self.session.clock_at > now.instant {
            return;
        }
        self.session.clock_at = now.instant + CLOCK_LOOK;
        let peers: Vec<NodeId> = self.links.peers().filter(|node| self.chord.is_peer(*node)).collect();
        let verdict = self.session.clocks.verdict(now, peers.iter().copied());
        self.clocks_judged(verdict == Verdict::Undecided);
        let mut is_told = false;
        if let Verdict::Time(OverlayTime { unix_ms, voices }) = verdict {
            let is_news = |(at, by): (Instant, u32)| by < voices.min(ENOUGH_VOICES) || at + CLOCK <= now.instant;
            is_told = self.session.clock_told.is_none_or(is_news);
            if is_told {
                self.session.clock_told = Some((now.instant, voices));
                debug!(unix_ms, voices, "overlay time");
                self.command(now, Command::Clock { unix_ms, voices }, Errand::Nothing);
            }
        }
        // A link that is never idle is not asked by its keep-alive.
        for peer in peers {
            if is_told || !self.session.clocks.has(peer) {
                self.ping_link(now, peer);
            }
        }
    }

    fn clocks_judged(&mut self, do_differ: bool) {
        if self.session.do_clocks_differ == do_differ {
            return;
        }
        self.session.do_clocks_differ = do_differ;
        self.outputs.push_back(Output::Changed);
        if do_differ {
            warn!(node_id = %self.own().short(), "clocks of this peer and its neighbors differ by days");
        }
    }

    /// The session, as its watchers see it.
    #[must_use]
    pub fn storage_session(&self) -> Option<(u64, [u8; 16])> {
        self.session
            .store_id
            .filter(|_| self.session.is_up)
            .map(|store_id| (self.session.session, store_id))
    }
}

/// After so long without a sign of life storage is gone: two of the five transmissions of a request (RFC 6940 §6.2.1) are
/// left to find the new owner.
const PATIENCE: Duration = Duration::from_secs(1);

/// Commands without an answer; beyond this requests of others are left unanswered, and come again.
const MOST_COMMANDS: usize = 4096;

/// How often the clocks are looked at. A link that is idle is pinged more often than that.
const CLOCK_LOOK: Duration = Duration::from_secs(5);

/// How often the time is told.
const CLOCK: Duration = Duration::from_secs(600);
