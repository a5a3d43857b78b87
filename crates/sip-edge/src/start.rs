//! What a driver is made of: the disk, the keys, the settings of the cores.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use identity::{Sign as _, Verifier};
use overlay_config::SignedDocument;
use runtime::{Component, telemetry};
use sip_core::digest::{Authenticator, Settings as DigestSettings};
use sip_core::location::{Limits, Table};
use sip_core::proxy::{self, BranchTimers};
use sip_core::token::TokenKey;
use tokio::task::JoinSet;
use usage::sip::Registrant;
use wire::NodeId;

use crate::attach::Attacher;
use crate::config::{Config, Credentials};
use crate::dials::Dials;
use crate::directory::Directory;
use crate::driver::{Driver, HomeLink, now};
use crate::edges::Edges;
use crate::entries::Entries;
use crate::feed::Feed;
use crate::guess::Guesses;
use crate::hosts::Hosts;
use crate::metrics::Metrics;
use crate::minter::Minter;
use crate::own::{Names, Own};
use crate::reach::Reach;
use crate::requests::Requests;
use crate::server::BindError;
use crate::throttle::Throttle;
use crate::transport::{Arrivals, Bound, Hub};
use crate::unstored::Unstored;
use crate::uptime::Uptime;
use crate::users::Users;
use crate::{disk, random};

/// RFC 5393 §5.3.3.
const MAX_BREADTH: u32 = 60;

/// All that a driver is made of.
pub(crate) struct Start {
    pub(crate) config: Config,
    pub(crate) credentials: Credentials,
    pub(crate) document: SignedDocument,
    pub(crate) name: String,
    pub(crate) node: NodeId,
    /// What the machine is called and reached at.
    pub(crate) own: Own,
    pub(crate) store: kv::Store,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) endpoint: Arc<link::Endpoint>,
    pub(crate) bound: Bound,
    pub(crate) component: Component,
}

impl Start {
    /// Loads what the last run left and makes the driver, with its sockets.
    ///
    /// # Errors
    /// When the disk cannot be read or written.
    pub(crate) async fn driver(self, home: HomeLink) -> Result<(Driver, Arrivals), BindError> {
        let Self {
            config,
            credentials,
            document,
            name,
            node,
            own,
            store,
            verifier,
            endpoint,
            bound,
            component,
        } = self;
        let now = now();
        let unusable = |error: disk::DiskError| BindError::Disk(error.to_string());
        let home_peer = disk::home(&store)
            .map_err(|error| unusable(error.into()))?
            .unwrap_or(NodeId::ZERO);
        let token_key = disk::token_key(&store).await.map_err(unusable)?;
        let (mut locations, mut entries, mut directory) =
            (Table::new(Limits::default()), Entries::default(), Directory::new());
        let saved = disk::clock(&store).map_err(|error| unusable(error.into()))?;
        let clock = Uptime::start(now, saved);
        disk::load(&store, (now, &clock), &mut locations, &mut entries, &mut directory)
            .map_err(|error| unusable(error.into()))?;

        let (addresses, advertise) = (own.edges.clone(), own.advertise.clone());
        let names = Names {
            overlay: name.clone(),
            names: config.names.clone(),
            bound: bound.udp.iter().map(|socket| socket.local().ip()).collect(),
            own,
            learned: BTreeSet::new(),
        };
        let domains = Arc::new(names.domains());
        let settings = proxy::Settings {
            node: sip_core::flow::NodeId(*node.as_bytes()),
            home: sip_core::flow::NodeId(*home_peer.as_bytes()),
            overlay: name.clone(),
            domains: Arc::clone(&domains),
            advertise,
            token_key: Arc::new(TokenKey::new(&token_key)),
            seed: random::octets(),
            transactions: sip_core::transaction::Settings::default(),
            branches: BranchTimers::default(),
            max_breadth: MAX_BREADTH,
            traces: telemetry::sampler(),
        };
        let algorithms = config.algorithms.iter().map(|algorithm| (*algorithm).into()).collect();
        let digest = DigestSettings {
            algorithms,
            accepts_without_qop: config.digest_without_qop,
            ..DigestSettings::default()
        };
        let authenticator = Authenticator::new(now.instant, digest, Arc::clone(&domains), &random::octets());
        let users = Users::new(authenticator, name.clone(), node, credentials.record_keys);
        directory.doubt_records(|record| users.can_open(record));
        let link: Arc<dyn identity::Sign> = Arc::new(credentials.link);
        let (hub, arrivals) = Hub::start(bound, &endpoint);
        let driver = Driver {
            node,
            proxy: proxy::Core::new(settings),
            names,
            domains,
            hosts: Hosts::default(),
            users,
            locations,
            entries,
            directory,
            edges: Edges::new(sip_core::flow::NodeId(*node.as_bytes())),
            reach: Reach::default(),
            dials: Dials::default(),
            hub,
            endpoint,
            attacher: Attacher {
                overlay: Arc::from(name.as_str()),
                link,
                addresses,
            },
            home,
            minter: Minter::new(credentials.delegated, credentials.values, node, name.clone()),
            registrant: Registrant {
                overlay: name,
                home: home_peer,
            },
            verifier,
            document,
            store,
            clock,
            clock_kept_ms: 0,
            unstored: Unstored::default(),
            unflushed: BTreeMap::new(),
            jobs: JoinSet::new(),
            requests: Requests::new(Metrics::new(&component)),
            component,
            throttle: Throttle::default(),
            guesses: Guesses::new(),
            followers: Feed::default(),
            idle: None,
        };
        Ok((driver, arrivals))
    }
}

/// The TLS of the edge's port for other edges.
///
/// # Errors
/// When key and certificate do not serve for TLS.
pub(crate) fn endpoint(
    config: &Config,
    credentials: &Credentials,
    verifier: &Arc<Verifier>,
) -> Result<link::Endpoint, link::SetupError> {
    let endpoint = link::Endpoint::new(
        Arc::clone(verifier),
        credentials.link.certificates(),
        credentials.link.key(),
    )?;
    if config.key_log {
        endpoint.with_key_log()
    } else {
        Ok(endpoint)
    }
}
