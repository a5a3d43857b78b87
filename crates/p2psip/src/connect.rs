//! The way to the peer that a command asks.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use rpc::{Address, Channel, ComponentIdentity, Role};
use runtime::ExitCode;
use tonic::{Response, Status, Streaming};

use crate::cli::Global;
use crate::failure::Failure;
use crate::node::Place;
use crate::settings::Settings;
use crate::{settings, socket};

/// A peer, and how its address was written.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) channel: Channel,
    pub(crate) name: String,
    /// The component of it that is asked.
    pub(crate) serves: Role,
}

impl Peer {
    /// Finds the peer that is meant, or its component that plays `serves` where each runs in a process of its own. It connects at
    /// the first call.
    pub(crate) fn of(global: &Global, serves: Role) -> Result<Self, Failure> {
        let addresses = match &global.peer {
            Some(address) => vec![address.clone()],
            None => found(serves)?,
        };
        let over_tcp = addresses.iter().find(|address| matches!(address, Address::Tcp { .. }));
        let identity = match (over_tcp, &global.identity) {
            (_, Some(folder)) => {
                let identity = ComponentIdentity::load(folder);
                Some(identity.map_err(|error| Failure::new(ExitCode::Credentials, error))?)
            }
            (Some(address), None) => Some(own_identity(address)?),
            (None, None) => None,
        };
        let channel = Channel::connect_any(&addresses, serves, identity.as_ref()).map_err(Failure::internal)?;
        let channel = channel.with_default_deadline(global.timeout);
        let name = addresses
            .iter()
            .map(Address::to_string)
            .collect::<Vec<_>>()
            .join(" or ");
        Ok(Self { channel, name, serves })
    }

    /// Turns what the seam said about a call to it into the failure of a command.
    pub(crate) fn failed(&self, status: &Status) -> Failure {
        Failure::of_call(status, &self.name, self.serves)
    }

    /// Waits for an answer no longer than asked for; streams have no deadline of their own.
    pub(crate) async fn within<T>(
        &self,
        timeout: Duration,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Failure> {
        let outcome = tokio::time::timeout(timeout, answer).await;
        let late = |_| Status::deadline_exceeded(format!("waited {}", runtime::units::format_duration(timeout)));
        outcome
            .map_err(late)
            .and_then(|answered| answered)
            .map_err(|status| self.failed(&status))
    }

    /// Gathers a whole stream, in no longer than asked for.
    pub(crate) async fn all<T>(
        &self,
        timeout: Duration,
        opening: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    ) -> Result<Vec<T>, Failure> {
        let gathering = async {
            let mut stream = opening.await?.into_inner();
            let mut items = Vec::new();
            while let Some(item) = stream.message().await? {
                items.push(item);
            }
            Ok(items)
        };
        self.within(timeout, gathering).await
    }
}

/// The address to ask when none is named: the socket of a running `dev`, or of the peer of this host, by its package or by `init` or
/// `join`; else that at which this host's or container's settings let the component listen. Where there is no bootstrap service, those of
/// the site serve: one that answers.
fn found(serves: Role) -> Result<Vec<Address>, Failure> {
    let services = [
        settings::Peer::default().socket,
        PathBuf::from(settings::DATA).join(settings::SOCKET),
    ];
    let running = socket::find(socket::DEV, &socket::folders());
    if let Some(socket) = running.or_else(|| services.into_iter().find(|place| place.exists())) {
        return Ok(vec![Address::Unix(socket)]);
    }
    let settings = Settings::load(None)?;
    match listens(&settings, serves) {
        Address::Unix(path)
            if !path.exists() && serves == Role::Bootstrap && !settings.overlay.bootstrap.is_empty() =>
        {
            Ok(settings.overlay.bootstrap)
        }
        Address::Unix(path) if !path.exists() => Err(Failure::usage(
            "which peer? none runs at the usual places: give --peer unix:PATH, as `dev`, `init` and `join` print it",
        )),
        Address::Tcp { host, port } => Ok(vec![Address::Tcp {
            host: match host.parse::<IpAddr>() {
                Ok(IpAddr::V4(all)) if all.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
                // A wildcard of IPv6 takes IPv4 too, and not every host has an IPv6 loopback.
                Ok(IpAddr::V6(all)) if all.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
                _ => host,
            },
            port,
        }]),
        socket @ Address::Unix(_) => Ok(vec![socket]),
    }
}

fn listens(settings: &Settings, serves: Role) -> Address {
    match serves {
        Role::Overlay | Role::Operator => &settings.overlay.listen,
        Role::Storage => &settings.storage.listen,
        Role::SipEdge => &settings.sip_edge.listen,
        Role::Bootstrap => &settings.bootstrap.listen,
    }
    .clone()
}

/// The operator's certificate for components of this host or container, where none is named.
fn own_identity(address: &Address) -> Result<ComponentIdentity, Failure> {
    let own = Place::of(&Settings::load(None)?.peer).operator()?;
    own.ok_or_else(|| {
        Failure::usage(format!(
            "{address}: TCP needs a certificate: name its folder with --identity, as PEER/operator"
        ))
    })
}
