use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::flow::{ConnectionId, Flow, FlowKind, Hop, NodeId, Transport};

const ACK: &[u8] = b"ACK";

#[test]
fn an_invite_over_udp_is_repeated_at_growing_intervals_and_times_out() {
    let mut bench = Bench::new();
    let id = bench.invite(udp());
    let sent = bench.run(40_000);
    let times: Vec<u64> = sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 500, 1500, 3500, 7500, 15_500, 31_500, 32_000], "{sent:?}");
    assert_eq!(sent.last().unwrap().1, Event::TimedOut(id));
}

#[test]
fn an_invite_over_tcp_is_sent_once() {
    let mut bench = Bench::new();
    bench.invite(tcp());
    assert_eq!(bench.run(40_000).len(), 2);
}

#[test]
fn a_provisional_stops_repeats_and_the_deadline() {
    let mut bench = Bench::new();
    let id = bench.invite(udp());
    bench.run(100);
    assert_eq!(bench.answer(id, 180), ResponseVerdict::Pass);
    assert_eq!(bench.run(300_000), []);
    assert_eq!(bench.layer.client_state(id), Some(client::State::Proceeding));
}

#[test]
fn a_refusal_is_acknowledged_each_time_it_comes() {
    let mut bench = Bench::new();
    let id = bench.invite(udp());
    bench.run(100);
    assert_eq!(bench.answer(id, 486), ResponseVerdict::Pass);
    assert_eq!(bench.answer(id, 486), ResponseVerdict::Absorb);
    let acks = bench
        .run(1000)
        .into_iter()
        .filter(|(_, event)| matches!(event, Event::Transmit(_, bytes) if bytes == ACK))
        .count();
    assert_eq!(acks, 2);
    let ended = bench.run(40_000);
    assert_eq!(ended, [(32_100, Event::ClientEnded(id))]);
}

#[test]
fn every_success_of_an_invite_passes_until_timer_m() {
    let mut bench = Bench::new();
    let id = bench.invite(udp());
    assert_eq!(bench.answer(id, 200), ResponseVerdict::Pass);
    assert_eq!(bench.answer(id, 200), ResponseVerdict::Pass);
    assert_eq!(bench.answer(id, 486), ResponseVerdict::Absorb);
    bench.run(32_000);
    assert_eq!(bench.answer(id, 200), ResponseVerdict::Absorb);
}

#[test]
fn another_request_is_repeated_up_to_t2_and_its_answer_passes_once() {
    let mut bench = Bench::new();
    let id = bench.other(udp());
    let times: Vec<u64> = bench.run(12_000).iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 500, 1500, 3500, 7500, 11_500]);
    assert_eq!(bench.answer(id, 200), ResponseVerdict::Pass);
    assert_eq!(bench.answer(id, 200), ResponseVerdict::Absorb);
    assert_eq!(bench.run(20_000), [(17_000, Event::ClientEnded(id))]);
}

#[test]
fn a_refusal_is_repeated_until_its_ack() {
    let mut bench = Bench::new();
    let id = bench.received("INVITE", Class::Invite, udp());
    bench.layer.respond(bench.now, id, 486, Bytes::from_static(b"486"));
    let sent = bench.run(4000);
    assert_eq!(sent.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 500, 1500, 3500]);
    assert_eq!(bench.layer.handle_ack(bench.now, id), AckVerdict::Absorb);
    assert_eq!(bench.layer.handle_ack(bench.now, id), AckVerdict::Absorb);
    assert_eq!(bench.run(10_000), [(9000, Event::ServerEnded(id))]);
}

#[test]
fn an_accepted_invite_absorbs_repeats_and_passes_acks_and_successes() {
    let mut bench = Bench::new();
    let id = bench.received("INVITE", Class::Invite, udp());
    bench.layer.respond(bench.now, id, 200, Bytes::from_static(b"200"));
    bench.layer.handle_repeat(id);
    assert_eq!(bench.layer.handle_ack(bench.now, id), AckVerdict::Pass);
    bench.layer.respond(bench.now, id, 200, Bytes::from_static(b"200"));
    assert_eq!(bench.run(1000).len(), 2);
}

#[test]
fn a_late_success_passes_a_completed_transaction() {
    let mut bench = Bench::new();
    let id = bench.received("INVITE", Class::Invite, tcp());
    bench.layer.respond(bench.now, id, 408, Bytes::from_static(b"408"));
    bench.layer.respond(bench.now, id, 200, Bytes::from_static(b"200"));
    bench.layer.respond(bench.now, id, 486, Bytes::from_static(b"486"));
    assert_eq!(bench.run(100).len(), 2);
}

#[test]
fn trying_is_due_early_for_invite_and_late_for_others() {
    let mut bench = Bench::new();
    let invite = bench.received("INVITE", Class::Invite, udp());
    let other = bench.received("MESSAGE", Class::Other, udp());
    let expected = [
        (150, Event::TryingDue(invite)),
        (3500, Event::TryingDue(other)),
        (32_000, Event::ServerEnded(other)),
    ];
    assert_eq!(bench.run(40_000), expected);
}

#[test]
fn a_lost_edge_is_tried_once_more_and_then_fails() {
    let mut bench = Bench::new();
    let silent = bench.invite(edge());
    bench.run(10);
    bench.layer.handle_edge_lost(NodeId([1; 16]));
    assert!(matches!(bench.run(10)[..], [(_, Event::Transmit(..))]));
    bench.layer.handle_edge_lost(NodeId([1; 16]));
    assert_eq!(bench.run(10), [(20, Event::Failed(silent))]);
}

#[test]
fn a_branch_that_rings_survives_the_loss_of_its_connection() {
    let mut bench = Bench::new();
    let id = bench.invite(edge());
    bench.run(10);
    bench.answer(id, 180);
    bench.layer.handle_edge_lost(NodeId([1; 16]));
    bench.layer.handle_unreachable(&edge());
    assert_eq!(bench.run(10), []);
}

#[test]
fn a_full_table_refuses() {
    let mut bench = Bench::new();
    bench.layer = Layer::new(Settings {
        capacity: 1,
        ..Settings::default()
    });
    bench.received("INVITE", Class::Invite, udp());
    let key = ServerKey::new("other", "host", "INVITE");
    let refused = bench.layer.open_server(bench.now, key, Class::Invite, udp());
    assert_eq!(refused, Err(Full { capacity: 1 }));
}

struct Bench {
    layer: Layer,
    start: Instant,
    now: Instant,
    branch: u32,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "any instant will do as zero")]
    fn new() -> Self {
        let start = Instant::now();
        Self {
            layer: Layer::new(Settings::default()),
            start,
            now: start,
            branch: 0,
        }
    }

    fn invite(&mut self, hop: Hop) -> ClientId {
        self.open("INVITE", Class::Invite, hop)
    }

    fn other(&mut self, hop: Hop) -> ClientId {
        self.open("MESSAGE", Class::Other, hop)
    }

    fn open(&mut self, method: &str, class: Class, hop: Hop) -> ClientId {
        self.branch += 1;
        let key = ClientKey::new(&self.branch.to_string(), method);
        self.layer
            .open_client(self.now, key, class, (hop, Bytes::from_static(b"request")))
            .unwrap()
    }

    fn received(&mut self, method: &str, class: Class, hop: Hop) -> ServerId {
        self.branch += 1;
        let key = ServerKey::new(&self.branch.to_string(), "Host", method);
        let id = self.layer.open_server(self.now, key.clone(), class, hop).unwrap();
        assert_eq!(self.layer.find_server(&key), Some(id));
        id
    }

    fn answer(&mut self, id: ClientId, status: u16) -> ResponseVerdict {
        self.layer
            .handle_response(self.now, id, status, |_| Some(Bytes::from_static(ACK)))
    }

    /// Lets `millis` pass and returns what happened, with its time since the start.
    fn run(&mut self, millis: u64) -> Vec<(u64, Event)> {
        let end = self.now + Duration::from_millis(millis);
        let mut seen = Vec::new();
        loop {
            while let Some(event) = self.layer.poll_event() {
                let at = u64::try_from((self.now - self.start).as_millis()).unwrap();
                seen.push((at, event));
            }
            match self.layer.next_timeout().filter(|at| *at <= end) {
                Some(at) => {
                    self.now = self.now.max(at);
                    self.layer.handle_timeout(self.now);
                }
                None => break,
            }
        }
        self.now = end;
        seen
    }
}

fn udp() -> Hop {
    flow(Transport::Udp, None)
}

fn tcp() -> Hop {
    flow(Transport::Tcp, Some(ConnectionId(1)))
}

fn flow(transport: Transport, connection: Option<ConnectionId>) -> Hop {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    Hop::Flow(Flow {
        transport,
        local: address(5060),
        remote: address(40_000),
        connection,
        kind: FlowKind::Phone,
    })
}

fn edge() -> Hop {
    Hop::Edge {
        node: NodeId([1; 16]),
        home: None,
    }
}
