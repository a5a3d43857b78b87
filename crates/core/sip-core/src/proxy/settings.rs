//! What a proxy core is told at its start.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::aor::Domains;
use crate::flow::NodeId;
use crate::token::TokenKey;
use crate::transaction;

/// Names, keys and durations of one edge.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The edge's Node-ID.
    pub node: NodeId,
    /// The peer that the edge is attached to.
    pub home: NodeId,
    /// The name of the overlay; `<Node-ID>.<overlay>` is the edge's host name toward other edges.
    pub overlay: String,
    /// The served domains and own names.
    pub domains: Arc<Domains>,
    /// Where phones reach this edge, if not at the socket's own address; of each family the first counts.
    pub advertise: Vec<Advertise>,
    /// Seals Record-Route tokens; outlives restarts.
    pub token_key: Arc<TokenKey>,
    /// Whether a trace that begins here is recorded, by its id; unset where nothing is.
    pub traces: Option<fn([u8; 16]) -> bool>,
    /// Random, new at each start: makes branches that nobody can guess.
    pub seed: [u8; 32],
    /// The transaction timers.
    pub transactions: transaction::Settings,
    /// The timers of branches.
    pub branches: BranchTimers,
    /// RFC 5393 §5.3.3: how many branches a request without Max-Breadth may make in all; 60 is recommended.
    pub max_breadth: u32,
}

/// Where phones reach an edge behind a published port or an address translator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advertise {
    /// The address that phones use.
    pub ip: IpAddr,
    /// The port that phones use, where it is not the socket's.
    pub port: Option<u16>,
}

/// How long a branch may take. All may be set lower in tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BranchTimers {
    /// How long a phone may leave an INVITE without any response; instead of Timer B's 32 s, so that one ghost binding
    /// does not delay everyone's busy signal (docs/deviations.md).
    pub silent_phone: Duration,
    /// How long an edge may: RFC 3261 §17.2.1 wants its 100 within 200 ms.
    pub silent_edge: Duration,
    /// RFC 3261 §16.6 step 11: Timer C toward phones, more than 3 minutes.
    pub ringing_phone: Duration,
    /// Timer C toward edges: longer, so that the edge with the phone ends first.
    pub ringing_edge: Duration,
    /// How long the final answer waits for the end of a look-up. The shell has a shorter limit of its own; this one holds
    /// whatever becomes of the shell's work.
    pub look_up: Duration,
    /// How long phones that their user prefers ring before the next ones have their turn (RFC 3261 §16.6).
    pub turn_to_ring: Duration,
    /// How long they may leave another request than INVITE unanswered: several turns fit into Timer F.
    pub turn_to_answer: Duration,
}

impl Default for BranchTimers {
    fn default() -> Self {
        Self {
            silent_phone: Duration::from_secs(6),
            silent_edge: Duration::from_secs(3),
            ringing_phone: Duration::from_secs(200),
            ringing_edge: Duration::from_secs(210),
            look_up: Duration::from_secs(10),
            turn_to_ring: Duration::from_secs(20),
            turn_to_answer: Duration::from_secs(4),
        }
    }
}

impl Settings {
    /// Returns the edge's host name toward other edges.
    pub fn host(&self) -> String {
        format!("{}.{}", self.node, self.overlay)
    }

    /// Returns the address that a phone is to use for one of this edge's sockets.
    pub(super) fn public(&self, local: SocketAddr) -> SocketAddr {
        public(&self.advertise, local)
    }
}

fn public(advertised: &[Advertise], local: SocketAddr) -> SocketAddr {
    // A phone that uses IPv6 cannot be sent to an address of IPv4, and the other way round.
    let is_family = |advertise: &&Advertise| advertise.ip.is_ipv4() == local.ip().to_canonical().is_ipv4();
    match advertised.iter().find(is_family) {
        Some(Advertise { ip, port }) => SocketAddr::new(*ip, port.unwrap_or(local.port())),
        None => local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_told_an_address_of_its_family() {
        let (v4, v6) = ("203.0.113.5".parse().unwrap(), "2001:db8::5".parse().unwrap());
        let advertise = [(v4, Some(5070)), (v6, None)].map(|(ip, port)| Advertise { ip, port });
        for (local, advertised, expected) in [
            ("192.0.2.1:5060", &advertise[..], "203.0.113.5:5070"),
            ("[2001:db8::1]:5060", &advertise, "[2001:db8::5]:5060"),
            ("[2001:db8::1]:5060", &advertise[..1], "[2001:db8::1]:5060"),
            ("192.0.2.1:5060", &[], "192.0.2.1:5060"),
        ] {
            let public = public(advertised, local.parse().unwrap());
            assert_eq!(public.to_string(), expected);
        }
    }
}
