use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::aor::{Aor, Domains};
use crate::digest::{Authenticator, Received, Secrets, Side, Verdict};
use crate::location::Table;
use crate::message::Reply;

const UNIX_MS: u64 = 1_000_000;

#[allow(
    clippy::disallowed_methods,
    reason = "an instant cannot be made otherwise; the tests only add to it"
)]
fn start() -> Instant {
    Instant::now()
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], 5060))
}

fn agent(user: &str, host: u8, edge: u8) -> Agent {
    Agent::new(Settings {
        aor: Aor::new(user, "example.org").unwrap(),
        password: Password("p2psip".to_owned()),
        local: address(host),
        edge: address(edge),
        media: SocketAddr::from(([192, 0, 2, host], 40000)),
        ring: Duration::from_millis(300),
        seed: [host; 32],
    })
}

/// A network without edge: datagrams go from agent to agent; some may be lost.
struct Network {
    now: Instant,
    agents: Vec<Agent>,
    events: Vec<(usize, Event)>,
    /// Start lines of what was sent.
    ladder: Vec<String>,
    is_lost: fn(&str, usize) -> bool,
}

impl Network {
    fn new(agents: Vec<Agent>) -> Self {
        Self {
            now: start(),
            agents,
            events: Vec::new(),
            ladder: Vec::new(),
            is_lost: |_, _| false,
        }
    }

    /// Runs until `time` has passed.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let mut next = end;
            let mut is_quiet = true;
            for place in 0..self.agents.len() {
                loop {
                    match self.agents[place].poll_output() {
                        Output::Send { to, bytes } => {
                            is_quiet = false;
                            self.deliver(place, to, bytes);
                        }
                        Output::Event(event) => self.events.push((place, event)),
                        Output::Timeout(at) => {
                            next = next.min(at.unwrap_or(end));
                            break;
                        }
                    }
                }
            }
            if is_quiet && next >= end {
                self.now = end;
                return;
            }
            if is_quiet {
                self.now = self.now.max(next);
                let now = self.now;
                self.agents.iter_mut().for_each(|agent| agent.handle_timeout(now));
            }
        }
    }

    fn deliver(&mut self, from: usize, to: SocketAddr, bytes: Bytes) {
        let line = String::from_utf8_lossy(&bytes)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        let count = self.ladder.iter().filter(|sent| **sent == line).count();
        let is_lost = (self.is_lost)(&line, count);
        self.ladder.push(line);
        let source = self.agents[from].settings.local;
        if let Some(agent) = self
            .agents
            .iter_mut()
            .find(|agent| agent.settings.local == to && !is_lost)
        {
            agent.handle_datagram(self.now, source, bytes);
        }
    }

    fn events_of(&self, place: usize) -> Vec<Event> {
        self.events
            .iter()
            .filter(|(at, _)| *at == place)
            .map(|(_, event)| event.clone())
            .collect()
    }
}

fn pair() -> Network {
    Network::new(vec![agent("alice", 1, 2), agent("bob", 2, 1)])
}

#[test]
fn a_call_comes_up_and_is_hung_up() {
    let mut network = pair();
    network.agents[0].call(network.now, "sip:bob@192.0.2.2").unwrap();
    network.run(Duration::from_secs(1));
    network.agents[0].hang_up(network.now).unwrap();
    network.run(Duration::from_secs(1));
    assert_eq!(
        network.events_of(0),
        [Event::Progress { code: 180 }, Event::Established, Event::Ended]
    );
    let from = "sip:alice@example.org".to_owned();
    assert_eq!(
        network.events_of(1),
        [Event::Incoming { from }, Event::Established, Event::Ended]
    );
    let short: Vec<&str> = network
        .ladder
        .iter()
        .map(|line| line.split(" sip:").next().unwrap())
        .collect();
    let goal = [
        "INVITE",
        "SIP/2.0 180 Ringing",
        "SIP/2.0 200 OK",
        "ACK",
        "BYE",
        "SIP/2.0 200 OK",
    ];
    assert_eq!(short, goal);
}

#[test]
fn the_called_side_can_hang_up() {
    let mut network = pair();
    network.agents[0].call(network.now, "sip:bob@192.0.2.2").unwrap();
    network.run(Duration::from_secs(1));
    network.agents[1].hang_up(network.now).unwrap();
    network.run(Duration::from_secs(1));
    assert_eq!(network.events_of(0).last(), Some(&Event::Ended));
    assert_eq!(network.events_of(1).last(), Some(&Event::Ended));
}

#[test]
fn each_message_may_be_lost_once() {
    let mut network = pair();
    network.is_lost = |_, count| count == 0;
    network.agents[0].call(network.now, "sip:bob@192.0.2.2").unwrap();
    network.run(Duration::from_secs(10));
    network.agents[0].hang_up(network.now).unwrap();
    network.run(Duration::from_secs(10));
    assert!(network.events_of(0).ends_with(&[Event::Established, Event::Ended]));
    assert!(network.events_of(1).ends_with(&[Event::Established, Event::Ended]));
}

#[test]
fn an_unacknowledged_call_is_hung_up() {
    let mut network = pair();
    network.is_lost = |line, _| line.starts_with("ACK");
    network.agents[0].call(network.now, "sip:bob@192.0.2.2").unwrap();
    network.run(Duration::from_secs(60));
    assert_eq!(network.events_of(1).last(), Some(&Event::Ended));
    assert_eq!(network.events_of(0).last(), Some(&Event::Ended));
}

#[test]
fn a_ringing_call_is_cancelled() {
    let mut network = pair();
    network.agents[0].call(network.now, "sip:bob@192.0.2.2").unwrap();
    network.run(Duration::from_millis(100));
    network.agents[0].hang_up(network.now).unwrap();
    network.run(Duration::from_secs(60));
    let failed = Event::CallFailed {
        code: 487,
        reason: "Request Terminated".to_owned(),
    };
    assert_eq!(network.events_of(0).last(), Some(&failed));
    assert_eq!(network.events_of(1).last(), Some(&failed));
}

#[test]
fn a_call_to_a_busy_agent_gets_486() {
    let mut network = Network::new(vec![agent("alice", 1, 2), agent("bob", 2, 1), agent("carol", 3, 2)]);
    network.agents[0].call(network.now, "sip:bob@192.0.2.2").unwrap();
    network.run(Duration::from_secs(1));
    network.agents[2].call(network.now, "sip:bob@192.0.2.2").unwrap();
    network.run(Duration::from_secs(1));
    assert_eq!(
        network.events_of(2),
        [Event::CallFailed {
            code: 486,
            reason: "Busy Here".to_owned()
        }]
    );
    assert_eq!(network.events_of(0).last(), Some(&Event::Established));
}

#[test]
fn silence_is_a_408() {
    let mut network = Network::new(vec![agent("alice", 1, 9)]);
    network.agents[0].register(network.now).unwrap();
    network.agents[0].call(network.now, "sip:bob@example.org").unwrap();
    network.run(Duration::from_secs(40));
    let failed = Event::CallFailed {
        code: 408,
        reason: "Request Timeout".to_owned(),
    };
    assert_eq!(network.events_of(0), [Event::RegisterFailed { code: 408 }, failed]);
}

/// Answers one REGISTER as an edge does.
fn registrar(now: Instant, edge: (&mut Authenticator, &mut Table), request: &Message, password: &str) -> Message {
    let (authenticator, table) = edge;
    let aor = Aor::new("alice", "example.org").unwrap();
    let source = address(1);
    let received = Received { request, source };
    let Ok(claim) = authenticator.claim(now, received, Side::Registrar, &aor) else {
        return authenticator.challenge_response(now, received, ("example.org", Side::Registrar), false);
    };
    let secrets = Secrets::of(&aor, password);
    if authenticator.judge(request, (&claim, Side::Registrar), &secrets) != Verdict::Right {
        return Reply::new(request, 403).build();
    }
    let flow = Flow {
        transport: Transport::Udp,
        local: address(9),
        remote: address(1),
        connection: None,
        kind: FlowKind::Phone,
    };
    table.register(UNIX_MS, &aor, request, &flow).unwrap();
    table
        .listing(UNIX_MS, UNIX_MS, &aor)
        .iter()
        .fold(Reply::new(request, 200), |reply, (name, value)| {
            reply.header(*name, value)
        })
        .build()
}

/// Runs an agent against the registrar until nothing more is sent.
fn exchange(agent: &mut Agent, edge: (&mut Authenticator, &mut Table), password: &str, now: Instant) -> Vec<Event> {
    let (authenticator, table) = edge;
    let mut events = Vec::new();
    loop {
        match agent.poll_output() {
            Output::Send { bytes, .. } => {
                let request = Message::parse_datagram(bytes).unwrap();
                let response = registrar(now, (&mut *authenticator, &mut *table), &request, password);
                agent.handle_datagram(now, address(9), response.bytes().clone());
            }
            Output::Event(event) => events.push(event),
            Output::Timeout(_) => return events,
        }
    }
}

#[test]
fn registering_answers_the_challenge() {
    let now = start();
    let domains = Arc::new(Domains::new(["example.org".to_owned()]));
    let mut authenticator = Authenticator::new(now, crate::digest::Settings::default(), domains, &[5; 32]);
    let mut table = Table::default();
    let mut alice = agent("alice", 1, 9);
    alice.register(now).unwrap();
    let events = exchange(&mut alice, (&mut authenticator, &mut table), "p2psip", now);
    assert_eq!(events, [Event::Registered { expires: 3600 }]);
    alice.unregister(now).unwrap();
    let events = exchange(&mut alice, (&mut authenticator, &mut table), "p2psip", now);
    assert_eq!(events, [Event::Unregistered]);
    assert!(table.is_empty());
    alice.register(now).unwrap();
    let events = exchange(&mut alice, (&mut authenticator, &mut table), "changed", now);
    assert_eq!(events, [Event::RegisterFailed { code: 403 }]);
}
