//! The node itself: what it is made of, its inputs, and the one way out.
//!
//! Each idea has a file that adds its methods to [`Core`]; this one only joins them. Every input ends in
//! [`Core::settle`], which does what the ring wants done and writes what the links can take.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use chord::Chord;
use identity::Identity;
use overlay_config::{Demand, SignedDocument};
use wire::{NodeId, Now};

use crate::admit::Admission;
use crate::answers::Answers;
use crate::api::{CallId, ConnectFailure, LinkId, Output};
use crate::attach::Attaches;
use crate::calendar::Calendar;
use crate::client::Clients;
use crate::company::Company;
use crate::config::Validity;
use crate::copies::Copies;
use crate::dials::Dials;
use crate::election::Election;
use crate::fragments::Reassembly;
use crate::heal::Healing;
use crate::join::Joining;
use crate::keep::Keeping;
use crate::link::End;
use crate::links::Links;
use crate::marks::Marks;
use crate::membership::Memory;
use crate::offences::Offences;
use crate::parameters::Parameters;
use crate::pull::Pulls;
use crate::push::Pushes;
use crate::random::Random;
use crate::ranges::Ranges;
use crate::seam::{Answer, CommandId, SessionEvent};
use crate::session::Session;
use crate::settings::Settings;
use crate::stand_in::StandIns;
use crate::status::Counters;
use crate::store::Stores;
use crate::transaction::Transactions;

/// One RELOAD node.
pub struct Core {
    pub(crate) settings: Settings,
    pub(crate) parameters: Parameters,
    pub(crate) validity: Validity,
    /// What the newest document needs, if it cannot be obeyed.
    pub(crate) demand: Option<Demand>,
    pub(crate) random: Random,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) counters: Counters,
    pub(crate) born: Instant,
    pub(crate) chord: Chord,
    /// When the topology wants to be called again.
    pub(crate) chord_due: Instant,
    pub(crate) dials: Dials,
    pub(crate) links: Links,
    pub(crate) offences: Offences,
    pub(crate) transactions: Transactions,
    pub(crate) answers: Answers,
    pub(crate) reassembly: Reassembly,
    pub(crate) attaches: Attaches,
    pub(crate) joining: Joining,
    pub(crate) admission: Option<Admission>,
    pub(crate) session: Session,
    pub(crate) calendar: Calendar,
    pub(crate) ranges: Ranges,
    pub(crate) copies: Copies,
    pub(crate) keeping: Keeping,
    pub(crate) pushes: Pushes,
    pub(crate) pulls: Pulls,
    pub(crate) stores: Stores,
    pub(crate) marks: Marks,
    pub(crate) clients: Clients,
    /// Whether the topology wanted something since the ring was counted.
    pub(crate) has_ring_news: bool,
    pub(crate) company: Company,
    pub(crate) memory: Memory,
    pub(crate) election: Election,
    pub(crate) healing: Healing,
    pub(crate) stand_ins: StandIns,
    pub(crate) next_call: u64,
    /// The time of the latest input: no timeout is named before it.
    latest: Instant,
}

impl Core {
    /// Makes a node that is not yet connected to anything. It begins to join, or forms the ring, once its
    /// storage session is open.
    #[must_use]
    pub fn new(now: Now, settings: Settings) -> Self {
        let parameters = Parameters::of(Arc::clone(&settings.document));
        let mut random = Random::new(settings.seed);
        let chord = Chord::new(
            now,
            settings.node_id,
            parameters.chord(settings.neighbors),
            random.next_u64(),
        );
        Self {
            chord,
            chord_due: now.instant,
            dials: Dials::default(),
            links: Links::default(),
            offences: Offences::default(),
            transactions: Transactions::default(),
            answers: Answers::default(),
            reassembly: Reassembly::new(parameters.longest_message),
            attaches: Attaches::default(),
            joining: Joining::new(now.instant),
            admission: None,
            session: Session::new(now.instant),
            calendar: Calendar::default(),
            ranges: Ranges::default(),
            copies: Copies::default(),
            validity: Validity::begin(now),
            demand: None,
            keeping: Keeping::default(),
            pushes: Pushes::default(),
            pulls: Pulls::default(),
            stores: Stores::default(),
            marks: Marks::default(),
            clients: Clients::default(),
            has_ring_news: false,
            company: Company::new(settings.membership.as_ref().map_or(0, |ring| ring.ring_size)),
            memory: Memory::new(settings.membership.clone()),
            election: Election::default(),
            healing: Healing::default(),
            stand_ins: StandIns::default(),
            next_call: 0,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            born: now.instant,
            latest: now.instant,
            settings,
            parameters,
            random,
        }
    }

    /// A connection is up; `peer` is whom the certificate of the far end stands for.
    #[allow(
        clippy::too_many_arguments,
        reason = "the facts about a connection, each of another type"
    )]
    pub fn handle_connected(
        &mut self,
        now: Now,
        link: LinkId,
        peer: &Identity,
        remote: SocketAddr,
        is_initiator: bool,
    ) {
        self.link_connected(
            now,
            link,
            End {
                peer: peer.node_id(),
                class: peer.class,
                remote,
                is_initiator,
            },
        );
        self.settle(now);
    }

    /// A connection that the core asked for did not come about.
    pub fn handle_connect_failed(&mut self, now: Now, link: LinkId, reason: ConnectFailure) {
        self.dial_failed(now, link, reason);
        self.settle(now);
    }

    /// Bytes arrived on a connection.
    pub fn handle_received(&mut self, now: Now, link: LinkId, bytes: &[u8]) {
        self.link_received(now, link, bytes);
        self.settle(now);
    }

    /// A connection is gone.
    pub fn handle_disconnected(&mut self, now: Now, link: LinkId) {
        self.link_lost(now, link);
        self.settle(now);
    }

    /// The storage session was opened or lost.
    pub fn handle_storage_session(&mut self, now: Now, event: SessionEvent) {
        self.session_changed(now, event);
        self.settle(now);
    }

    /// Storage answered a command.
    pub fn handle_storage(&mut self, now: Now, command: CommandId, answer: Answer) {
        self.command_answered(now, command, answer);
        self.settle(now);
    }

    /// The time named by the last [`Output::Timeout`] has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.dials_due(now);
        self.links_due(now);
        self.transactions_due(now);
        self.attaches_due(now);
        self.session_due(now);
        self.election_due(now);
        self.join_due(now);
        self.pushes_due(now);
        self.pulls_due(now);
        self.stores_due(now);
        self.ranges_due(now);
        self.copies_due(now);
        self.keeping_due(now);
        self.clients_due(now);
        self.clock_due(now);
        self.validity_due(now);
        self.healing_due(now);
        if self.chord_due <= now.instant {
            self.chord.handle_timeout(now);
        }
        self.settle(now);
    }

    /// A configuration document arrived from the enrollment side; one that is not newer is ignored. One that asks for what this
    /// implementation does not have never becomes a `SignedDocument`: [`handle_demand`](Self::handle_demand) is for it.
    pub fn handle_document(&mut self, now: Now, document: Arc<SignedDocument>) {
        self.take_document(now, document);
        self.settle(now);
    }

    /// The next thing to do; [`Output::Timeout`] ends the round.
    #[must_use]
    pub fn poll_output(&mut self) -> Output {
        self.outputs
            .pop_front()
            .unwrap_or_else(|| Output::Timeout(self.deadline()))
    }

    fn deadline(&self) -> Instant {
        let tables = [
            self.dials.deadline(),
            self.links.deadline(),
            self.transactions.deadline(),
            self.attaches.deadline(),
            self.joining.deadline(),
            self.pushes.deadline(),
            self.pulls.deadline(),
            self.stores.deadline(),
            self.ranges.deadline(),
            self.copies.deadline(),
            self.keeping.deadline(),
            self.clients.deadline(),
            self.session.deadline(),
            self.validity.deadline(),
            self.election.deadline(),
            self.healing.deadline(),
        ];
        tables
            .into_iter()
            .flatten()
            .fold(self.chord_due, Instant::min)
            .max(self.latest)
    }

    /// Does what follows from an input, until nothing more follows.
    pub(crate) fn settle(&mut self, now: Now) {
        self.latest = self.latest.max(now.instant);
        self.obey_chord(now);
        self.tell_ranges(now);
        if self.count_company(now) || std::mem::take(&mut self.has_ring_news) {
            self.count_neighbors(now);
            self.remember_ring(now);
        }
        self.write_links(now);
    }

    pub(crate) fn new_call_id(&mut self) -> CallId {
        self.next_call += 1;
        CallId(self.next_call)
    }

    pub(crate) fn own(&self) -> NodeId {
        self.settings.node_id
    }
}
