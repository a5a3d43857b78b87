//! The demonstration call: alice at one peer calls bob at another, they hold the line for a moment, and hang up.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sip_core::aor::Aor;
use sip_core::ua::{Event, Password, Settings};
use wire::ResourceId;

use super::ladder::{self, Cast, Ladder, Scope};
use super::phone::{Command, Phone, PhoneError};
use super::record::Recorder;
use super::users::{DOMAIN, PASSWORD};

/// The built-in phones of both sides.
#[derive(Debug)]
pub(crate) struct Call {
    alice: Phone,
    bob: Phone,
}

/// Why there was no call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("a built-in phone cannot open its socket: {0}")]
    Socket(#[from] std::io::Error),
    #[error(transparent)]
    Phone(#[from] PhoneError),
    #[error("the name of a built-in user is no AOR: {0}")]
    Name(#[from] sip_core::aor::AorError),
    #[error("no random seed for a built-in phone: {0}")]
    Random(#[from] identity::KeyError),
}

/// Where the two sides of a call register.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edges {
    pub(crate) of_alice: SocketAddr,
    pub(crate) of_bob: SocketAddr,
}

impl Call {
    /// Opens both phones beside their edges.
    pub(crate) async fn prepare(edges: Edges) -> Result<Self, CallError> {
        Ok(Self {
            alice: phone("alice", edges.of_alice).await?,
            bob: phone("bob", edges.of_bob).await?,
        })
    }

    /// Registers both phones.
    pub(crate) async fn register(&mut self) -> Result<(), CallError> {
        for phone in [&mut self.bob, &mut self.alice] {
            phone.tell(Command::Register).await?;
            phone
                .wait("the registration", |event| matches!(event, Event::Registered { .. }))
                .await?;
        }
        Ok(())
    }

    /// Makes the call; `while_up` runs while both hold the line.
    pub(crate) async fn make(&mut self) -> Result<(), CallError> {
        self.alice.tell(Command::Call(uri("bob"))).await?;
        self.bob
            .wait("a call", |event| matches!(event, Event::Incoming { .. }))
            .await?;
        self.alice.wait("the answer", is_established).await?;
        self.bob.wait("the acknowledgement", is_established).await?;
        tokio::time::sleep(HOLD).await;
        self.alice.tell(Command::HangUp).await?;
        self.alice.wait("the end of the call", is_ended).await?;
        self.bob.wait("the end of the call", is_ended).await?;
        Ok(())
    }

    /// Takes both registrations back.
    pub(crate) async fn unregister(&mut self) -> Result<(), CallError> {
        for phone in [&mut self.alice, &mut self.bob] {
            phone.tell(Command::Unregister).await?;
            phone
                .wait("the end of the registration", |event| *event == Event::Unregistered)
                .await?;
        }
        Ok(())
    }

    /// Draws what was recorded of the call.
    pub(crate) fn ladder(&self, recorder: &Recorder, mut cast: Cast) -> Option<Ladder> {
        let steps = recorder.take();
        cast.phones.insert(self.alice.name(), "alice".to_owned());
        cast.phones.insert(self.bob.name(), "bob".to_owned());
        let resources = ["alice", "bob"].map(|user| ResourceId::of(format!("{user}@{DOMAIN}").as_bytes()).to_string());
        let scope = Scope {
            caller: &self.alice.name(),
            callee_uri: &uri("bob"),
            resources: &resources,
        };
        ladder::choose(&steps, &scope, &cast)
    }
}

async fn phone(user: &str, edge: SocketAddr) -> Result<Phone, CallError> {
    let aor = Aor::new(user, DOMAIN)?;
    let mut seed = [0; 32];
    for half in seed.chunks_exact_mut(16) {
        half.copy_from_slice(identity::issue::random_node_id()?.as_bytes());
    }
    let settings = |local: SocketAddr| Settings {
        aor,
        password: Password(PASSWORD.to_owned()),
        local,
        edge,
        media: SocketAddr::new(local.ip(), MEDIA_PORT),
        ring: RING,
        seed,
    };
    let beside: IpAddr = edge.ip();
    Ok(Phone::start(beside, settings).await?)
}

fn uri(user: &str) -> String {
    format!("sip:{user}@{DOMAIN}")
}

fn is_established(event: &Event) -> bool {
    *event == Event::Established
}

fn is_ended(event: &Event) -> bool {
    *event == Event::Ended
}

/// Long enough to see the ringing in the ladder.
const RING: Duration = Duration::from_millis(50);
const HOLD: Duration = Duration::from_millis(200);
/// RFC 863: the discard port. The built-in phones say what they would send, and send nothing.
const MEDIA_PORT: u16 = 9;
