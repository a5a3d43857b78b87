//! One peer: two cores that crash alone, a session between them, and a disk.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use overlay_core::{LinkId, Membership, SessionEvent};
use storage_core::{Command, CommandId};
use wire::NodeId;

use super::{Event, World, credentials::Peer, disk::Disk, seam};

/// One peer.
pub(super) struct Host {
    pub(super) peer: Peer,
    /// Its number among all peers that could be.
    pub(super) index: usize,
    pub(super) overlay: Option<overlay_core::Core>,
    pub(super) storage: Option<storage_core::Core>,
    pub(super) disk: Disk,
    /// What its overlay keeps for its next start.
    pub(super) membership: Option<Membership>,
    /// Until then its storage reads and writes nothing, as a stopped process.
    pub(super) hangs_until: Duration,
    /// Counts the overlay processes, to tell what was meant for an earlier one.
    pub(super) overlay_life: u32,
    pub(super) storage_life: u32,
    /// The open session.
    pub(super) session: Option<u64>,
    sessions: u64,
    pub(super) dials: BTreeSet<LinkId>,
    pub(super) next_incoming: u64,
    overlay_timer: Option<Duration>,
    storage_timer: Option<Duration>,
    /// When the last thing said on the session arrives, at storage and at the overlay.
    session_busy: (Duration, Duration),
}

impl Host {
    pub(super) fn new(peer: Peer, index: usize) -> Self {
        Self {
            peer,
            index,
            overlay: None,
            storage: None,
            disk: Disk::default(),
            membership: None,
            hangs_until: Duration::ZERO,
            overlay_life: 0,
            storage_life: 0,
            session: None,
            sessions: 0,
            dials: BTreeSet::new(),
            next_incoming: 1,
            overlay_timer: None,
            storage_timer: None,
            session_busy: (Duration::ZERO, Duration::ZERO),
        }
    }
}

impl World<'_> {
    pub(super) fn is_overlay_alive(&self, host: NodeId, life: u32) -> bool {
        self.hosts
            .get(&host)
            .is_some_and(|state| state.overlay_life == life && state.overlay.is_some())
    }

    pub(super) fn peer_of(&self, host: NodeId) -> Option<Peer> {
        self.hosts.get(&host).map(|state| state.peer.clone())
    }

    pub(super) fn start_overlay(&mut self, host: NodeId) {
        let now = self.queue.now();
        let seed = self.random.next();
        let addresses: Vec<SocketAddr> = self.hosts.values().map(|state| state.peer.address).collect();
        let is_first = self.hosts.values().all(|state| state.overlay_life == 0);
        let Some(state) = self.hosts.get_mut(&host).filter(|state| state.overlay.is_none()) else {
            return;
        };
        let own = state.peer.address;
        let settings = overlay_core::Settings {
            node_id: host,
            signer: Arc::clone(&state.peer.signer) as Arc<dyn identity::Sign>,
            verifier: Arc::clone(&self.credentials.verifier),
            document: Arc::clone(&self.credentials.document),
            seed,
            traces: true,
            founder: is_first,
            membership: state.membership.clone(),
            rules: self.rules,
            local_addresses: vec![own],
            bootstrap: addresses.into_iter().filter(|address| *address != own).collect(),
            neighbors: LIST_LENGTH,
        };
        let mut core = overlay_core::Core::new(now, settings);
        core.attach_client(now, state.peer.edge);
        state.overlay_life += 1;
        (state.overlay, state.overlay_timer) = (Some(core), None);
        state.dials.clear();
        self.drain_overlay(host);
        self.open_session(host);
    }

    pub(super) fn start_storage(&mut self, host: NodeId) {
        let now = self.queue.now();
        let id = u128::from(self.random.next()) << 64 | u128::from(self.random.next());
        let Some(state) = self.hosts.get_mut(&host).filter(|state| state.storage.is_none()) else {
            return;
        };
        let settings = storage_core::Settings {
            store_id: id.to_be_bytes(),
            ..storage_core::Settings::default()
        };
        let mut core = storage_core::Core::new(now, settings);
        for (tree, key, value) in state.disk.entries() {
            if let Err(error) = core.load(tree, key.clone(), value.clone()) {
                self.log.push(format!("{}: {error}", host.short()));
            }
        }
        core.start(now);
        state.storage_life += 1;
        (state.storage, state.storage_timer) = (Some(core), None);
        self.drain_storage(host);
        self.open_session(host);
    }

    /// Opens a session a little later, if both sides live then.
    pub(super) fn open_session(&mut self, host: NodeId) {
        let Some(state) = self.hosts.get(&host) else { return };
        let lives = (state.overlay_life, state.storage_life);
        let wait = self.random.millis(1, 300);
        self.queue.after(wait, Event::Session { host, lives });
    }

    pub(super) fn session_opened(&mut self, host: NodeId, lives: (u32, u32)) {
        let now = self.queue.now();
        let Some(state) = self.hosts.get_mut(&host) else { return };
        let is_present = (state.overlay_life, state.storage_life) == lives && state.session.is_none();
        let Some(store_id) = state
            .storage
            .as_ref()
            .map(storage_core::Core::store_id)
            .filter(|_| is_present)
        else {
            return;
        };
        if state.overlay.is_some() {
            state.sessions += 1;
            state.session = Some(state.sessions);
            let session = state.sessions;
            // The session is opened with the document in force.
            let xml = self.credentials.document.xml().clone();
            self.with_storage(host, |core| {
                core.handle_command(now, OPENING, Command::Document { xml })
            });
            let event = SessionEvent::Up { session, store_id };
            self.with_overlay(host, |core| core.handle_storage_session(now, event));
        }
    }

    /// Ends the session; what was said on it and has not arrived is lost.
    pub(super) fn drop_session(&mut self, host: NodeId) {
        let now = self.queue.now();
        if self
            .hosts
            .get_mut(&host)
            .and_then(|state| state.session.take())
            .is_some()
        {
            self.with_overlay(host, |core| core.handle_storage_session(now, SessionEvent::Down));
        }
    }

    pub(super) fn crash_overlay(&mut self, host: NodeId, is_silent: bool) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        state.overlay = None;
        state.session = None;
        let life = state.overlay_life;
        self.hang_up(host, life, is_silent);
        self.forget_calls(host);
        self.refresh_view(host);
    }

    pub(super) fn crash_storage(&mut self, host: NodeId, loses_disk: bool) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        state.storage = None;
        state.disk.lose_power(&mut self.random);
        if loses_disk {
            state.disk.lose_everything();
        }
        state.hangs_until = Duration::ZERO;
        self.drop_session(host);
    }

    pub(super) fn with_overlay(&mut self, host: NodeId, act: impl FnOnce(&mut overlay_core::Core)) {
        let _speaks = tracing::info_span!("overlay", of = %host.short()).entered();
        if let Some(core) = self.hosts.get_mut(&host).and_then(|state| state.overlay.as_mut()) {
            act(core);
            self.drain_overlay(host);
        }
    }

    pub(super) fn with_storage(&mut self, host: NodeId, act: impl FnOnce(&mut storage_core::Core)) {
        let _speaks = tracing::info_span!("storage", of = %host.short()).entered();
        if let Some(core) = self.hosts.get_mut(&host).and_then(|state| state.storage.as_mut()) {
            act(core);
            self.drain_storage(host);
        }
    }

    pub(super) fn drain_overlay(&mut self, host: NodeId) {
        use overlay_core::Output;
        loop {
            let Some(core) = self.hosts.get_mut(&host).and_then(|state| state.overlay.as_mut()) else {
                return;
            };
            match core.poll_output() {
                Output::Connect {
                    link,
                    address,
                    expected,
                } => self.dial(host, link, address, expected),
                Output::Send { link, bytes } => self.send(host, link, bytes),
                Output::Close { link } => self.close(host, link),
                Output::Storage(id, command) => self.say_to_storage(host, id, command),
                Output::CallDone(id, result) => self.call_done(host, id, result),
                Output::Remember(membership) => {
                    if let Some(state) = self.hosts.get_mut(&host) {
                        state.membership = Some(membership);
                    }
                }
                Output::Incoming(_) | Output::Changed | Output::Traced(_) | Output::Document(_) => {}
                Output::Timeout(at) => {
                    let at = self.queue.time_of(at);
                    self.set_overlay_timer(host, at);
                    return self.refresh_view(host);
                }
            }
        }
    }

    pub(super) fn drain_storage(&mut self, host: NodeId) {
        use storage_core::Output;
        loop {
            let Some(state) = self.hosts.get_mut(&host) else { return };
            let Some(core) = state.storage.as_mut() else { return };
            match core.poll_output() {
                Output::Write { batch, puts } => {
                    state.disk.write(batch, puts);
                    let wait = self.random.millis(1, 15);
                    state.disk.busy = state.disk.busy.max(self.queue.elapsed() + wait);
                    let life = state.storage_life;
                    self.queue.at(state.disk.busy, Event::Flush { host, life });
                }
                Output::Answer(id, answer) => self.say_to_overlay(host, id, answer),
                Output::Timeout(at) => {
                    let at = self.queue.time_of(at);
                    return self.set_storage_timer(host, at);
                }
            }
        }
    }

    fn say_to_storage(&mut self, host: NodeId, id: overlay_core::CommandId, command: overlay_core::Command) {
        let wait = self.random.millis(0, 3);
        let Some(state) = self.hosts.get_mut(&host) else { return };
        let Some(session) = state.session else { return };
        state.session_busy.0 = state.session_busy.0.max(self.queue.elapsed() + wait);
        let (id, command) = seam::command(id, command);
        self.queue.at(
            state.session_busy.0,
            Event::Command {
                host,
                session,
                id,
                command,
            },
        );
    }

    fn say_to_overlay(&mut self, host: NodeId, id: storage_core::CommandId, answer: storage_core::Answer) {
        if self.take_own_answer(host, id, &answer) {
            return;
        }
        let wait = self.random.millis(0, 3);
        let Some(state) = self.hosts.get_mut(&host) else { return };
        let Some(session) = state.session else { return };
        state.session_busy.1 = state.session_busy.1.max(self.queue.elapsed() + wait);
        let (id, answer) = seam::answer(id, answer);
        self.queue.at(
            state.session_busy.1,
            Event::Answer {
                host,
                session,
                id,
                answer,
            },
        );
    }

    pub(super) fn has_session(&self, host: NodeId, session: u64) -> bool {
        self.hosts
            .get(&host)
            .is_some_and(|state| state.session == Some(session))
    }

    /// Tells until when a storage does nothing, if it hangs.
    pub(super) fn hangs_until(&self, host: NodeId) -> Option<Duration> {
        let until = self.hosts.get(&host)?.hangs_until;
        (until > self.queue.elapsed()).then_some(until)
    }

    pub(super) fn flush(&mut self, host: NodeId, life: u32) {
        let now = self.queue.now();
        let Some(state) = self
            .hosts
            .get_mut(&host)
            .filter(|state| state.storage_life == life && state.storage.is_some())
        else {
            return;
        };
        if let Some(batch) = state.disk.flush() {
            self.with_storage(host, |core| core.handle_flushed(now, batch));
        }
    }

    fn set_overlay_timer(&mut self, host: NodeId, at: Duration) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        if state.overlay_timer.is_none_or(|timer| at < timer) {
            state.overlay_timer = Some(at);
            let life = state.overlay_life;
            self.queue.at(at, Event::OverlayTimer { host, life, at });
        }
    }

    pub(super) fn overlay_timer(&mut self, host: NodeId, life: u32, at: Duration) {
        let now = self.queue.now();
        let Some(state) = self.hosts.get_mut(&host) else { return };
        // An earlier timer has replaced this one, or another process.
        if state.overlay_life == life && state.overlay_timer == Some(at) {
            state.overlay_timer = None;
            self.with_overlay(host, |core| core.handle_timeout(now));
        }
    }

    fn set_storage_timer(&mut self, host: NodeId, at: Duration) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        if state.storage_timer.is_none_or(|timer| at < timer) {
            state.storage_timer = Some(at);
            let life = state.storage_life;
            self.queue.at(at, Event::StorageTimer { host, life, at });
        }
    }

    pub(super) fn storage_timer(&mut self, host: NodeId, life: u32, at: Duration) {
        let now = self.queue.now();
        let Some(state) = self.hosts.get_mut(&host) else { return };
        if state.storage_life == life && state.storage_timer == Some(at) {
            state.storage_timer = None;
            self.with_storage(host, |core| core.handle_timeout(now));
        }
    }
}

/// The document at the beginning of a session; the overlay hears of no answer to it.
const OPENING: CommandId = CommandId(u64::MAX);

/// Entries in a list of neighbours: 8 peers are too few for our default of 8.
pub(super) const LIST_LENGTH: usize = 3;
