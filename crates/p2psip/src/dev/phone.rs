//! A built-in phone: the scripted user agent of `sip-core` with a socket of its own and a task that moves octets.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_core::ua::{Agent, CommandError, Event, Output, Settings};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// A phone that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Phone {
    address: SocketAddr,
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
    _task: AbortOnDropHandle<()>,
}

/// What a phone can be told to do.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Register,
    Unregister,
    Call(String),
    HangUp,
}

/// Why a phone did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PhoneError {
    #[error("phone {address}: nothing happened for {waited:?}; it waited for {awaited}")]
    Silence {
        address: SocketAddr,
        awaited: &'static str,
        waited: Duration,
    },
    #[error("phone {address}: {event:?}; it waited for {awaited}")]
    Unexpected {
        address: SocketAddr,
        awaited: &'static str,
        event: Event,
    },
    #[error("phone {address} ended")]
    Ended { address: SocketAddr },
}

impl Phone {
    /// Binds a socket beside the edge, and starts. `settings` is asked for what the phone is, given its address.
    pub(crate) async fn start(
        local: std::net::IpAddr,
        settings: impl FnOnce(SocketAddr) -> Settings,
    ) -> io::Result<Self> {
        let socket = UdpSocket::bind((local, 0)).await?;
        let address = socket.local_addr()?;
        let (commands, inbox) = mpsc::channel(QUEUE);
        let (outbox, events) = mpsc::channel(QUEUE);
        let driver = Driver {
            agent: Agent::new(settings(address)),
            socket,
            events: outbox,
        };
        let task = AbortOnDropHandle::new(tokio::spawn(driver.run(inbox)));
        Ok(Self {
            address,
            commands,
            events,
            _task: task,
        })
    }

    /// How edges name this phone in what they tell.
    pub(crate) fn name(&self) -> String {
        format!("udp {}", self.address)
    }

    /// Gives a command; what comes of it shows as events.
    pub(crate) async fn tell(&self, command: Command) -> Result<(), PhoneError> {
        let ended = |_| PhoneError::Ended { address: self.address };
        self.commands.send(command).await.map_err(ended)
    }

    /// Waits for an event; progress of a call is passed over, anything else is an error.
    pub(crate) async fn wait(
        &mut self,
        awaited: &'static str,
        is_it: impl Fn(&Event) -> bool,
    ) -> Result<(), PhoneError> {
        let address = self.address;
        let silence = PhoneError::Silence {
            address,
            awaited,
            waited: PATIENCE,
        };
        tokio::time::timeout(PATIENCE, async {
            loop {
                match self.events.recv().await {
                    Some(event) if is_it(&event) => return Ok(()),
                    Some(Event::Progress { .. }) => {}
                    Some(event) => {
                        return Err(PhoneError::Unexpected {
                            address,
                            awaited,
                            event,
                        });
                    }
                    None => return Err(PhoneError::Ended { address }),
                }
            }
        })
        .await
        .unwrap_or(Err(silence))
    }
}

/// The task behind a phone.
struct Driver {
    agent: Agent,
    socket: UdpSocket,
    events: mpsc::Sender<Event>,
}

impl Driver {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut datagram = vec![0; MAX_DATAGRAM];
        loop {
            let deadline = self.drain().await;
            tokio::select! {
                command = inbox.recv() => {
                    let Some(command) = command else { return };
                    if let Err(error) = self.follow(&command) {
                        tracing::warn!(?command, %error, "built-in phone cannot follow");
                    }
                }
                received = self.socket.recv_from(&mut datagram) => match received {
                    Ok((length, source)) => {
                        let bytes = Bytes::copy_from_slice(datagram.get(..length).unwrap_or_default());
                        self.agent.handle_datagram(Instant::now(), source, bytes);
                    }
                    // An edge that is not there is told over ICMP; the agent repeats and gives up by its own timers.
                    Err(error) => tracing::debug!(%error, "built-in phone cannot receive"),
                },
                () = at(deadline) => self.agent.handle_timeout(Instant::now()),
            }
        }
    }

    fn follow(&mut self, command: &Command) -> Result<(), CommandError> {
        let now = Instant::now();
        match command {
            Command::Register => self.agent.register(now),
            Command::Unregister => self.agent.unregister(now),
            Command::Call(uri) => self.agent.call(now, uri),
            Command::HangUp => self.agent.hang_up(now),
        }
    }

    /// Does what the agent wants, until it wants to wait.
    async fn drain(&mut self) -> Option<Instant> {
        let mut events = VecDeque::new();
        let deadline = loop {
            match self.agent.poll_output() {
                Output::Send { to, bytes } => {
                    // A datagram that is lost here is as good as lost on the way.
                    if let Err(error) = self.socket.send_to(&bytes, to).await {
                        tracing::debug!(%error, "built-in phone cannot send");
                    }
                }
                Output::Event(event) => events.push_back(event),
                Output::Timeout(deadline) => break deadline,
            }
        };
        for event in events {
            // Nobody listens any more: the phone is about to be dropped.
            let _ = self.events.send(event).await;
        }
        deadline
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// A phone in a script is asked for one thing at a time.
const QUEUE: usize = 16;
/// The largest UDP payload.
const MAX_DATAGRAM: usize = 65_535;
/// Longer than any transaction of RFC 3261 lasts (64 T1), so that the phone's own verdict comes first.
const PATIENCE: Duration = Duration::from_secs(40);
