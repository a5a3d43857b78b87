//! Components started from settings, in one process or each in its own.

use rpc::{Address, Channel, ComponentIdentity, Listener, Role, Served};
use runtime::{ExitCode, Monitor};

use super::doors::Door;
use super::place::Place;
use super::{Part, enrolled};
use crate::enroll::{EdgeCredentials, LOOK_AT_RECORD_KEYS_EVERY, Renewal};
use crate::failure::Failure;
use crate::operator::{Channels, Operator};
use crate::settings::Settings;
use crate::supervisor::Supervisor;

/// Starts what a process runs. What runs is in the supervisor's hands; it ends the last started first.
pub(crate) struct Start<'a> {
    settings: &'a Settings,
    monitor: &'a Monitor,
    supervisor: &'a mut Supervisor,
    place: Place,
}

impl<'a> Start<'a> {
    pub(crate) fn new(settings: &'a Settings, monitor: &'a Monitor, supervisor: &'a mut Supervisor) -> Self {
        Self {
            settings,
            monitor,
            supervisor,
            place: Place::of(&settings.peer),
        }
    }

    /// Starts one component with its door, or all of them behind the operator's socket.
    pub(crate) async fn part(mut self, part: Part) -> Result<(), Failure> {
        let pages = self.settings.admin.address(part.admin_port());
        let pages = self.supervisor.pages(ADMIN, pages, self.monitor).await;
        pages.map_err(Failure::cannot_start)?;
        // A socket waits for the streams through it, which end with the component behind it.
        self.supervisor.reserve(DOOR);
        self.supervisor.reserve(OPERATOR);
        match part {
            Part::Peer => self.peer().await,
            Part::Storage => {
                let door = self.door(&self.settings.storage.listen, Role::Storage).await?;
                let served = self.storage().await?;
                self.open(door, served);
                Ok(())
            }
            Part::Overlay => {
                let config = &self.settings.overlay;
                let door = self.door(&config.listen, Role::Overlay).await?;
                let storage = std::slice::from_ref(&config.storage);
                let storage = self.channel(storage, Role::Storage, Role::Overlay).await?;
                let mut bootstrap = Vec::new();
                for address in &config.bootstrap {
                    let address = std::slice::from_ref(address);
                    bootstrap.push(self.channel(address, Role::Bootstrap, Role::Overlay).await?);
                }
                let served = self.overlay(overlay::Upstreams { storage, bootstrap }).await?;
                self.open(door, served);
                Ok(())
            }
            Part::SipEdge => {
                let config = &self.settings.sip_edge;
                let door = self.door(&config.listen, Role::SipEdge).await?;
                let overlay = self.channel(&config.overlay, Role::Overlay, Role::SipEdge).await?;
                let served = self.sip_edge(overlay).await?;
                self.open(door, served);
                Ok(())
            }
            Part::Bootstrap => {
                // It may have to make the folder with its own certificate first.
                let served = self.bootstrap().await?;
                let door = self.door(&self.settings.bootstrap.listen, Role::Bootstrap).await?;
                self.open(door, served);
                Ok(())
            }
        }
    }

    async fn peer(&mut self) -> Result<(), Failure> {
        let storage = self.storage().await?;
        // Only the host on which the overlay was made has a service.
        let bootstrap = match self.settings.bootstrap.folder.exists() {
            true => Some(self.bootstrap().await?),
            false => None,
        };
        let direct = |served: &Served, role| Channel::direct(served.clone(), role);
        let upstreams = overlay::Upstreams {
            storage: direct(&storage, Role::Overlay),
            bootstrap: bootstrap.iter().map(|served| direct(served, Role::Overlay)).collect(),
        };
        let overlay = self.overlay(upstreams).await?;
        let sip_edge = self.sip_edge(direct(&overlay, Role::SipEdge)).await?;
        let channels = Channels {
            overlay: direct(&overlay, Role::Operator),
            storage: direct(&storage, Role::Operator),
            sip_edge: direct(&sip_edge, Role::Operator),
            bootstrap: bootstrap.as_ref().map(|served| direct(served, Role::Operator)),
        };
        let operator = Operator::open(&self.settings.peer.socket, channels).await;
        self.supervisor.run(OPERATOR, operator.map_err(Failure::cannot_start)?);
        Ok(())
    }

    async fn storage(&mut self) -> Result<Served, Failure> {
        let component = self.monitor.component("storage", "");
        let server = storage::Server::bind(self.settings.storage.clone(), None, component).await?;
        let served = server.served();
        self.supervisor.run(STORAGE, server);
        Ok(served)
    }

    async fn bootstrap(&mut self) -> Result<Served, Failure> {
        let config = &self.settings.bootstrap;
        if let Some(create) = &self.settings.create {
            create.overlay(&config.folder).await?;
        }
        let server =
            bootstrap::Server::bind(config, Default::default(), self.monitor.component("bootstrap", "")).await?;
        let served = server.served();
        if let Some(create) = &self.settings.create {
            create.places(Channel::direct(served.clone(), Role::Operator)).await?;
        }
        self.supervisor.run(BOOTSTRAP, server);
        Ok(served)
    }

    async fn overlay(&mut self, upstreams: overlay::Upstreams) -> Result<Served, Failure> {
        let config = self.settings.overlay.clone();
        let component = self.monitor.component("overlay", "");
        let credentials = enrolled::peer(&self.place, &config, &component).await?;
        let component = self.monitor.component("overlay", &credentials.node_id().short());
        let member = credentials.member(has_key_log());
        let server = overlay::Server::bind(config, member, upstreams, component).await?;
        let served = server.served();
        let folder = enrolled::folder(&self.settings.overlay.data);
        let renewal = Renewal::of_peer(folder, server.renewer(), server.documents());
        self.supervisor.run(OVERLAY, server);
        self.supervisor.run(RENEWAL, renewal);
        Ok(served)
    }

    async fn sip_edge(&mut self, overlay: Channel) -> Result<Served, Failure> {
        let mut config = self.settings.sip_edge.clone();
        let component = self.monitor.component("sip-edge", "");
        let credentials = enrolled::edge(&self.place, &config.data, &component).await?;
        let component = self.monitor.component("sip-edge", &credentials.node_id().short());
        let EdgeCredentials { document, edge, .. } = credentials;
        config.key_log = has_key_log();
        let server = sip_edge::Server::bind(config, edge, (*document).clone(), overlay, component).await?;
        let served = server.served();
        let renewal = Renewal::of_edge(
            enrolled::folder(&self.settings.sip_edge.data),
            server.renewer(),
            LOOK_AT_RECORD_KEYS_EVERY,
        );
        self.supervisor.run(SIP_EDGE, server);
        self.supervisor.run(RENEWAL, renewal);
        Ok(served)
    }

    /// Binds a component's socket before the component begins.
    async fn door(&self, address: &Address, role: Role) -> Result<Door, Failure> {
        let identity = self.identity_for(address, role).await?;
        let bound = Listener::bind(address, identity.as_ref()).await;
        bound.map(Door).map_err(Failure::cannot_start)
    }

    /// A way to another component, or to one of several that are alike.
    async fn channel(&self, addresses: &[Address], to: Role, own: Role) -> Result<Channel, Failure> {
        let over_tcp = addresses.iter().find(|address| matches!(address, Address::Tcp { .. }));
        let identity = match over_tcp {
            Some(address) => self.identity_for(address, own).await?,
            None => None,
        };
        Channel::connect_any(addresses, to, identity.as_ref()).map_err(|error| Failure::new(ExitCode::Usage, error))
    }

    /// TCP goes with certificates only; a Unix socket knows its callers.
    async fn identity_for(&self, address: &Address, role: Role) -> Result<Option<ComponentIdentity>, Failure> {
        match address {
            Address::Unix(_) => Ok(None),
            Address::Tcp { .. } => {
                // Told of only while it waits: it may be ready by then.
                let component = || self.monitor.component(role.name(), "");
                self.place.identity(role, component).await.map(Some)
            }
        }
    }

    fn open(&mut self, door: Door, served: Served) {
        self.supervisor.run(DOOR, door.open(served));
    }
}

/// Whether the secrets of links are to be written down, for Wireshark.
fn has_key_log() -> bool {
    std::env::var_os("SSLKEYLOGFILE").is_some_and(|path| !path.is_empty())
}

/// Groups of the supervisor; they end in the opposite order.
const ADMIN: &str = "admin pages";
const DOOR: &str = "socket";
const OPERATOR: &str = "operator's socket";
const STORAGE: &str = "storage";
const BOOTSTRAP: &str = "bootstrap";
const OVERLAY: &str = "overlay";
const SIP_EDGE: &str = "sip-edge";
const RENEWAL: &str = "renewal";
