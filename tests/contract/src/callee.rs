//! The other end of a wiring, with everything that can happen to it.

use std::path::PathBuf;

use rpc::{Address, Channel, ComponentAuthority, Role};
use tempfile::TempDir;

use crate::Service;
use crate::in_process::InProcess;
use crate::process::Process;

/// How a caller and a callee are wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// In one process.
    Direct,
    /// Over a Unix socket.
    Unix,
    /// Over TCP with mutual TLS.
    Tcp,
}

/// A component that serves a contract.
pub struct Callee {
    /// What it serves.
    pub service: Service,
    /// How it is reached.
    pub wiring: Wiring,
    folder: TempDir,
    authority: ComponentAuthority,
    /// None on the direct wiring.
    address: Option<Address>,
    life: Life,
}

enum Life {
    Process(Process),
    Here(InProcess),
    Gone,
}

impl Callee {
    /// Starts one.
    pub async fn start(service: Service, wiring: Wiring) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = match wiring {
            Wiring::Direct => None,
            Wiring::Unix => Some(Address::Unix(folder.path().join("callee.sock"))),
            Wiring::Tcp => Some("tcp:127.0.0.1:0".parse().unwrap()),
        };
        let authority = ComponentAuthority::generate().unwrap();
        let identity = authority.issue(service.role()).unwrap();
        identity.store(&folder.path().join("identity")).unwrap();
        let mut callee = Self {
            service,
            wiring,
            folder,
            authority,
            address,
            life: Life::Gone,
        };
        callee.restart().await;
        callee
    }

    /// Starts it again, at the same address.
    pub async fn restart(&mut self) {
        let folder = self.folder.path();
        self.life = match &self.address {
            None => Life::Here(InProcess::start(self.service, folder.into()).await),
            Some(address) => {
                let identity: Option<PathBuf> = (self.wiring == Wiring::Tcp).then(|| folder.join("identity"));
                let process = Process::start(self.service, address, folder, identity.as_deref()).await;
                self.address = Some(process.address.clone());
                Life::Process(process)
            }
        };
    }

    /// A channel to it, for a caller in `role`. On the Unix socket everybody has every role.
    pub fn channel(&self, role: Role) -> Channel {
        self.channel_to(self.service.role(), role, &self.authority)
    }

    /// A channel for whoever takes it for the server of another role.
    pub fn mistaken(&self) -> Channel {
        self.channel_to(Role::Operator, self.service.caller(), &self.authority)
    }

    /// A channel for a caller of another peer.
    pub fn foreign(&self) -> Channel {
        let other = ComponentAuthority::generate().unwrap();
        self.channel_to(self.service.role(), self.service.caller(), &other)
    }

    /// A channel after a restart: a socket connects again by itself, direct wiring ends with what it led to.
    pub fn again(&self, channel: Channel, role: Role) -> Channel {
        match self.wiring {
            Wiring::Direct => self.channel(role),
            Wiring::Unix | Wiring::Tcp => channel,
        }
    }

    /// Kills it, as `kill -9` does.
    pub async fn kill(&mut self) {
        match std::mem::replace(&mut self.life, Life::Gone) {
            Life::Process(process) => process.kill().await,
            Life::Here(here) => here.kill().await,
            Life::Gone => panic!("it is gone already"),
        }
    }

    /// Ends it in good order, as SIGTERM does.
    pub async fn end(&mut self) {
        match std::mem::replace(&mut self.life, Life::Gone) {
            Life::Process(process) => process.end().await,
            Life::Here(here) => here.end().await,
            Life::Gone => panic!("it is gone already"),
        }
    }

    /// Stops it, as SIGSTOP does.
    pub async fn stop(&self) {
        match &self.life {
            Life::Process(process) => process.stop().await,
            Life::Here(here) => here.stop().await,
            Life::Gone => panic!("it is gone already"),
        }
    }

    /// Lets it go on, as SIGCONT does.
    pub async fn resume(&self) {
        match &self.life {
            Life::Process(process) => process.resume(),
            Life::Here(here) => here.resume().await,
            Life::Gone => panic!("it is gone already"),
        }
    }

    fn channel_to(&self, server: Role, role: Role, authority: &ComponentAuthority) -> Channel {
        match (&self.address, &self.life) {
            (Some(address), _) => {
                let identity = authority.issue(role).unwrap();
                Channel::connect(address, server, Some(&identity)).unwrap()
            }
            (None, Life::Here(here)) => Channel::direct(here.served.clone(), role),
            (None, _) => panic!("it is gone already"),
        }
    }
}
