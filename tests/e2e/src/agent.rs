//! The scripted user agent of `sip-core` with a socket and a thread: a phone that says what became of each thing it was told.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_core::aor::Aor;
use sip_core::ua::{self, Event, Output, Password, Settings};

use crate::PASSWORD;

/// A phone that runs until it is dropped, and its call has ended: one that rings and vanishes would keep its caller waiting for minutes.
#[derive(Debug)]
pub struct Agent {
    commands: Sender<Command>,
    events: Receiver<Event>,
}

#[derive(Debug)]
enum Command {
    Register,
    Unregister,
    Call(String),
    HangUp,
}

impl Agent {
    /// Makes a phone of `user` at an address of this host; its registrar and outbound proxy is `edge`. It answers calls as soon as
    /// they ring.
    ///
    /// # Panics
    /// When there is no socket to be had.
    pub fn start(aor: &str, local: IpAddr, edge: SocketAddr) -> Self {
        let socket = UdpSocket::bind((local, 0)).expect("a socket for the phone");
        let local = socket.local_addr().expect("it is bound");
        let (commands, inbox) = channel();
        let (outbox, events) = channel();
        let agent = ua::Agent::new(Settings {
            aor: Aor::parse(aor).expect("an AOR"),
            password: Password(PASSWORD.to_owned()),
            local,
            edge,
            media: SocketAddr::new(local.ip(), local.port()),
            ring: Duration::ZERO,
            seed: seed(local),
        });
        std::thread::spawn(move || Driver { agent, socket, outbox }.run(&inbox));
        Self { commands, events }
    }

    /// Registers.
    ///
    /// # Errors
    /// The status code; 408 for silence.
    pub fn register(&self) -> Result<(), u16> {
        self.tell(Command::Register);
        self.until(|event| match event {
            Event::Registered { .. } => Some(Ok(())),
            Event::RegisterFailed { code } => Some(Err(*code)),
            _ => None,
        })
    }

    /// Registers and takes the registration back, as one more phone of its user.
    ///
    /// # Errors
    /// The status code of the registration; 408 for silence.
    pub fn register_briefly(&self) -> Result<(), u16> {
        self.register()?;
        self.tell(Command::Unregister);
        // Whether that was heard shows in the edge's own expiry.
        let _ = self.until(|event| match event {
            Event::Unregistered => Some(Ok(())),
            Event::RegisterFailed { code } => Some(Err(*code)),
            _ => None,
        });
        Ok(())
    }

    /// Calls and hangs up as soon as the call is up.
    ///
    /// # Errors
    /// The status code; 408 for silence.
    pub fn call(&self, aor: &str) -> Result<(), u16> {
        self.tell(Command::Call(format!("sip:{aor}")));
        self.until(|event| match event {
            Event::Established => Some(Ok(())),
            Event::CallFailed { code, .. } => Some(Err(*code)),
            _ => None,
        })?;
        self.tell(Command::HangUp);
        self.until(|event| (*event == Event::Ended).then_some(Ok(())))
    }

    fn tell(&self, command: Command) {
        self.commands.send(command).expect("the phone runs");
    }

    fn until(&self, outcome: impl Fn(&Event) -> Option<Result<(), u16>>) -> Result<(), u16> {
        let end = Instant::now() + PATIENCE;
        while let Ok(event) = self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if let Some(outcome) = outcome(&event) {
                return outcome;
            }
        }
        Err(408)
    }
}

struct Driver {
    agent: ua::Agent,
    socket: UdpSocket,
    outbox: Sender<Event>,
}

impl Driver {
    /// Runs until the phone is dropped and no call is left.
    fn run(mut self, inbox: &Receiver<Command>) {
        let mut datagram = vec![0; 65_535];
        let mut dropped = None;
        loop {
            match inbox.try_recv() {
                Ok(command) => self.follow(&command),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    let since = *dropped.get_or_insert_with(Instant::now);
                    if !self.agent.is_in_call() || since.elapsed() > PATIENCE {
                        return;
                    }
                }
            }
            let wait = self.drain();
            let _ = self.socket.set_read_timeout(Some(wait));
            match self.socket.recv_from(&mut datagram) {
                Ok((length, source)) => {
                    let bytes = Bytes::copy_from_slice(&datagram[..length]);
                    self.agent.handle_datagram(Instant::now(), source, bytes);
                }
                // Nothing came, or an edge that is not there was told of: the agent repeats by its own timers.
                Err(_) => self.agent.handle_timeout(Instant::now()),
            }
        }
    }

    fn follow(&mut self, command: &Command) {
        let now = Instant::now();
        let followed = match command {
            Command::Register => self.agent.register(now),
            Command::Unregister => self.agent.unregister(now),
            Command::Call(uri) => self.agent.call(now, uri),
            Command::HangUp => self.agent.hang_up(now),
        };
        if followed.is_err() {
            // A call of before that did not end: the phone cannot say more.
            let reason = "the phone is busy".to_owned();
            let _ = self.outbox.send(Event::CallFailed { code: 486, reason });
        }
    }

    /// Does what the agent wants; tells how long to wait.
    fn drain(&mut self) -> Duration {
        loop {
            match self.agent.poll_output() {
                // A datagram that is lost here is as good as lost on the way.
                Output::Send { to, bytes } => drop(self.socket.send_to(&bytes, to)),
                // Whoever dropped the phone does not want to know.
                Output::Event(event) => drop(self.outbox.send(event)),
                Output::Timeout(deadline) => {
                    let wait = deadline.map_or(POLL, |at| at.saturating_duration_since(Instant::now()));
                    return wait.clamp(Duration::from_millis(1), POLL);
                }
            }
        }
    }
}

/// Differs for each phone and start, as identifiers must.
fn seed(local: SocketAddr) -> [u8; 32] {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(&since.as_nanos().to_be_bytes());
    seed[16..18].copy_from_slice(&local.port().to_be_bytes());
    seed
}

/// How often a phone looks whether it was told something.
const POLL: Duration = Duration::from_millis(10);

/// Longer than any transaction of RFC 3261 (64 T1).
const PATIENCE: Duration = Duration::from_secs(40);
