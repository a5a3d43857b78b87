//! The storage session: commands in order, each with a note of what its answer is for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::{debug, info};

use wire::{NodeId, Now, ProbeReq, ResourceId};

use crate::api::Output;
use crate::core::Core;
use crate::keep::Walk;
use crate::push::PushId;
use crate::seam::{Answer, Command, CommandId, SessionEvent};
use crate::serve::Asked;
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

/// The session and its open commands.
pub(crate) struct Session {
    is_up: bool,
    session: u64,
    store_id: Option<[u8; 16]>,
    next_id: u64,
    open: BTreeMap<CommandId, (Command, Errand)>,
    /// How far the clocks of linked nodes are ahead of the own one, in milliseconds.
    clocks: BTreeMap<NodeId, i64>,
    clock_at: Instant,
}

impl Session {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            is_up: false,
            session: 0,
            store_id: None,
            next_id: 0,
            open: BTreeMap::new(),
            clocks: BTreeMap::new(),
            clock_at: now + FIRST_CLOCK,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.is_up
    }

    pub(crate) fn is_full(&self) -> bool {
        self.open.len() >= MOST_COMMANDS
    }

    /// Takes back what has no answer yet.
    pub(crate) fn withdraw(&mut self, is_void: impl Fn(&Errand) -> bool) {
        self.open.retain(|_, (_, errand)| !is_void(errand));
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.is_up.then_some(self.clock_at)
    }

    /// A node told the time over its link.
    pub(crate) fn heard_clock(&mut self, node: NodeId, now: Now, time: u64) {
        if self.clocks.len() < MOST_CLOCKS || self.clocks.contains_key(&node) {
            let ahead = i128::from(time) - i128::from(now.unix_ms);
            self.clocks.insert(node, i64::try_from(ahead).unwrap_or(0));
        }
    }

    /// The overlay's time: the own clock, moved by the median of what others said.
    fn overlay_time(&self, now: Now) -> Option<u64> {
        let mut ahead: Vec<i64> = self.clocks.values().copied().collect();
        ahead.sort_unstable();
        let median = ahead.get(ahead.len() / 2)?;
        now.unix_ms.checked_add_signed(*median)
    }
}

impl Core {
    /// Sends a command, now or when the session is open.
    pub(crate) fn command(&mut self, now: Now, command: Command, errand: Errand) -> CommandId {
        let _ = now;
        self.session.next_id += 1;
        let id = CommandId(self.session.next_id);
        if self.session.is_up {
            self.outputs.push_back(Output::Storage(id, command.clone()));
        }
        self.session.open.insert(id, (command, errand));
        id
    }

    pub(crate) fn session_changed(&mut self, now: Now, event: SessionEvent) {
        match event {
            SessionEvent::Down => {
                info!("storage session is down");
                self.session.is_up = false;
            }
            SessionEvent::Up { session, store_id } => {
                info!(session, "storage session is open");
                let is_first = self.session.store_id.is_none();
                let is_other = self.session.store_id.is_some_and(|before| before != store_id);
                self.session.is_up = true;
                self.session.session = session;
                self.session.store_id = Some(store_id);
                if !is_first {
                    self.distrust_range(now, is_other);
                }
                self.forget_keeping();
                // Every command may be carried out twice: what has an unknown outcome is sent again, in order.
                for (id, (command, _)) in &self.session.open {
                    self.outputs.push_back(Output::Storage(*id, command.clone()));
                }
                self.join_storage_up(now);
            }
        }
        self.outputs.push_back(Output::Changed);
    }

    pub(crate) fn command_answered(&mut self, now: Now, id: CommandId, answer: Answer) {
        let Some((_, errand)) = self.session.open.remove(&id) else {
            return;
        };
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

    /// Tells storage the time of the overlay, once some of it was heard and now and then.
    pub(crate) fn clock_due(&mut self, now: Now) {
        if !self.session.is_up || self.session.clock_at > now.instant {
            return;
        }
        match self.session.overlay_time(now) {
            Some(unix_ms) => {
                self.session.clock_at = now.instant + CLOCK;
                debug!(unix_ms, "overlay time");
                self.command(now, Command::Clock { unix_ms }, Errand::Nothing);
            }
            None => self.session.clock_at = now.instant + FIRST_CLOCK,
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

/// Commands without an answer; beyond this requests of others are left unanswered, and come again.
const MOST_COMMANDS: usize = 4096;

/// Clocks that are listened to.
const MOST_CLOCKS: usize = 256;

/// After this the neighbours have been heard.
const FIRST_CLOCK: Duration = Duration::from_secs(5);

/// How often the time is told.
const CLOCK: Duration = Duration::from_secs(600);
