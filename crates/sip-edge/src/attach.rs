//! AppAttach between edges (RFC 6940 §6.5.2, RFC 7904 §5): how two of them get a direct connection; and whatever else arrives for an edge.
//!
//! No ICE, but several host candidates, of both families. The asking edge is the passive side and TLS server (RFC 6940 §6.5.1.13), so the answering
//! edge dials at once and the asking one can send as soon as the handshake is done. If nothing comes, the asking edge dials the candidates of the
//! answer: one open port of two is enough (docs/deviations.md D43).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use identity::{Sign, Use, Verifier};
use link::LinkError;
use runtime::warn_seldom;
use wire::{
    AppAttachAns, AppAttachReq, Body, CandidateType, Changed, Decode as _, DecodeError, Destination, Encode as _,
    ErrorCode, ErrorResponse, IceCandidate, MessageContents, MessageExtension, NodeId, OverlayLink, PingAns,
    TransactionId,
};

use crate::home::{CallError, Home, Incoming, Reply, Request};

/// Application-ID of SIP (RFC 6940 §14.5).
const SIP: u16 = 5060;
/// Application-ID of SIP over TLS; edges use one port and mutual TLS for both.
const SIPS: u16 = 5061;
/// Candidates of one edge that are told and tried at most.
const CANDIDATES: usize = 8;
/// Changes that one Ping tells of at most; the others are left out.
const CHANGES: usize = 16;
/// Between the beginnings of two attempts to reach one edge (RFC 8305 §5), unless one fails before.
const STAGGER: Duration = Duration::from_millis(250);
/// An edge that asked and is not dialed dials after so long.
pub(crate) const DIALS_ITSELF_AFTER: Duration = Duration::from_secs(1);
/// An edge that was asked to dial must do so within the time that the asking one waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);

/// What an edge needs to ask for, and to agree to, a connection.
#[derive(Clone)]
pub(crate) struct Attacher {
    pub(crate) overlay: Arc<str>,
    pub(crate) link: Arc<dyn Sign>,
    /// Where other edges reach our edge port; none while this machine is on no network.
    pub(crate) addresses: Vec<SocketAddr>,
}

/// What to do about a request of another edge.
pub(crate) enum Verdict {
    /// Send this answer and dial the node at one of these addresses.
    Agree {
        reply: Reply,
        node: NodeId,
        candidates: Vec<SocketAddr>,
    },
    /// Send this answer, and that is all.
    Answer(Reply),
    /// Send this answer; values have changed that may be cached here.
    Told { reply: Reply, changed: Vec<Changed> },
    /// Nothing that can be answered.
    Ignore,
}

impl Attacher {
    /// Asks `node`, a client of `home`, to dial us. The connection then arrives at our edge port. Returns where the other edge listens.
    ///
    /// # Errors
    /// When the overlay brought no agreement.
    pub(crate) async fn ask(&self, overlay: &Home, home: NodeId, node: NodeId) -> Result<Vec<SocketAddr>, CallError> {
        let body = Body::AppAttachReq(AppAttachReq {
            ufrag: Bytes::new(),
            password: Bytes::new(),
            application: SIP,
            role: Bytes::from_static(b"passive"),
            candidates: self.own_candidates(),
        });
        let contents = MessageContents::of(&body).to_bytes();
        let transaction_id = TransactionId(crate::random::number());
        let security = identity::sign_message(&*self.link, &self.overlay, transaction_id, &contents);
        let destinations = vec![Destination::Node(home), Destination::Node(node)];
        let request = Request {
            destinations,
            contents,
            signed: Some((transaction_id, security)),
        };
        let answer = overlay.call(request, PATIENCE).await?;
        match answer.contents.body()? {
            Body::AppAttachAns(answer) => Ok(usable(&answer.candidates)),
            // It may come all the same; if not, it is silent.
            _ => Ok(Vec::new()),
        }
    }

    /// Judges a request that arrived for this edge. `may_dial` picks the addresses of a node that may be dialed, or says why none is.
    pub(crate) fn judge(
        &self,
        verifier: &Verifier,
        now_ms: u64,
        incoming: Incoming,
        may_dial: impl FnOnce(NodeId, Vec<SocketAddr>) -> Result<Vec<SocketAddr>, &'static str>,
    ) -> Verdict {
        let signer = identity::verify_message(
            verifier,
            &self.overlay,
            incoming.transaction_id,
            &incoming.contents,
            &incoming.security,
            now_ms,
            Use::Node,
        );
        let signer = match signer {
            Ok(signer) => signer,
            Err(error) => {
                warn_seldom!(%error, "request with a bad signature");
                return Verdict::Ignore;
            }
        };
        let contents = MessageContents::from_bytes(&incoming.contents);
        let body = contents.as_ref().map_err(Clone::clone).and_then(MessageContents::body);
        let (id, transaction_id) = (incoming.id, incoming.transaction_id);
        let answer = |body| Verdict::Answer(self.sign(id, transaction_id, &body));
        let refuse = |code, info| {
            answer(Body::Error(ErrorResponse {
                code,
                info: Bytes::from_static(info),
            }))
        };
        match body {
            Ok(Body::PingReq(_)) => match changes(contents.iter().flat_map(|contents| &contents.extensions)) {
                Ok(changed) => {
                    // RFC 6940 §6.5.3.2: a random number, and the time in milliseconds.
                    let pong = Body::PingAns(PingAns {
                        response_id: crate::random::number(),
                        time: now_ms,
                    });
                    let reply = self.sign(id, transaction_id, &pong);
                    Verdict::Told { reply, changed }
                }
                Err(_) => refuse(ErrorCode::InvalidMessage, b"a malformed word of a change"),
            },
            Ok(Body::AppAttachReq(request)) if !matches!(request.application, SIP | SIPS) => {
                refuse(ErrorCode::NotFound, b"no such application here")
            }
            Ok(Body::AppAttachReq(request)) => {
                let candidates = match may_dial(signer.node_id(), usable(&request.candidates)) {
                    Ok(candidates) => candidates,
                    Err(why) => return refuse(ErrorCode::InProgress, why.as_bytes()),
                };
                let answer = Body::AppAttachAns(AppAttachAns {
                    ufrag: Bytes::new(),
                    password: Bytes::new(),
                    application: request.application,
                    role: Bytes::from_static(b"active"),
                    candidates: self.own_candidates(),
                });
                Verdict::Agree {
                    reply: self.sign(id, transaction_id, &answer),
                    node: signer.node_id(),
                    candidates,
                }
            }
            Ok(_) | Err(_) => refuse(ErrorCode::InvalidMessage, b"an edge answers AppAttach and Ping only"),
        }
    }

    fn sign(&self, id: u64, transaction_id: TransactionId, body: &Body) -> Reply {
        let contents = MessageContents::of(body).to_bytes();
        let security = identity::sign_message(&*self.link, &self.overlay, transaction_id, &contents);
        Reply { id, contents, security }
    }

    fn own_candidates(&self) -> Vec<IceCandidate> {
        let preferences = (0..u32::from(u16::MAX)).rev();
        let candidate = |(address, preference): (SocketAddr, u32)| IceCandidate {
            address: address.into(),
            // No framing header follows the handshake: SIP does.
            overlay_link: OverlayLink::TLS_TCP_FH_NO_ICE,
            foundation: Bytes::new(),
            // RFC 5245 §4.1.2.1: type preference 126 of a host candidate, then the local one, component 1.
            priority: (126 << 24) | (preference << 8) | 255,
            candidate_type: CandidateType::Host,
            extensions: Vec::new(),
        };
        let told = alternating(&self.addresses).into_iter().take(CANDIDATES);
        told.zip(preferences).map(candidate).collect()
    }
}

/// The changes that a Ping tells of.
fn changes<'a>(extensions: impl Iterator<Item = &'a MessageExtension>) -> Result<Vec<Changed>, DecodeError> {
    extensions.filter_map(Changed::from_extension).take(CHANGES).collect()
}

/// Both families in turn (RFC 8305 §4), so that the limit cuts off neither.
fn alternating(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let (mut v4, mut v6): (VecDeque<_>, VecDeque<_>) = addresses.iter().copied().partition(SocketAddr::is_ipv4);
    let mut all = Vec::with_capacity(addresses.len());
    while !v4.is_empty() || !v6.is_empty() {
        all.extend(v4.pop_front());
        all.extend(v6.pop_front());
    }
    all
}

/// The addresses that can be dialed, in the order in which they were told.
fn usable(candidates: &[IceCandidate]) -> Vec<SocketAddr> {
    let usable = candidates
        .iter()
        .filter(|candidate| candidate.overlay_link == OverlayLink::TLS_TCP_FH_NO_ICE);
    let addresses = usable.filter_map(|candidate| candidate.address.socket());
    addresses.take(CANDIDATES).collect()
}

/// Dials `node` at all candidates, one begun shortly after the other; the first that proves to be it is taken.
///
/// # Errors
/// With what became of each.
pub(crate) async fn dial(
    endpoint: &link::Endpoint,
    node: NodeId,
    candidates: &[SocketAddr],
) -> Result<link::Connection, Vec<LinkError>> {
    let mut waiting = candidates.iter();
    let (mut open, mut errors) = (FuturesUnordered::new(), Vec::new());
    loop {
        match waiting.next() {
            Some(address) => open.push(endpoint.connect(*address, Some(node))),
            None if open.is_empty() => return Err(errors),
            None => {}
        }
        tokio::select! {
            Some(result) = open.next() => match result {
                Ok(connection) => return Ok(connection),
                Err(error) => errors.push(error),
            },
            () = tokio::time::sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_of_both_families_alternate() {
        let addresses = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "[2001:db8::1]:1"];
        let addresses = addresses.map(|text| text.parse().unwrap());
        let told: Vec<_> = alternating(&addresses).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["10.0.0.1:1", "[2001:db8::1]:1", "10.0.0.2:1", "10.0.0.3:1"]);
    }
}
