//! AppAttach between edges (RFC 6940 §6.5.2, RFC 7904 §5): how two of them get a direct connection; and whatever else arrives for an edge.
//!
//! No ICE, one host candidate. The asking edge is the passive side and TLS server (RFC 6940 §6.5.1.13), so the answering edge dials at once and the
//! asking one can send as soon as the handshake is done.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use identity::{Sign, Use, Verifier};
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
/// Candidates of one edge that are tried at most.
const CANDIDATES: usize = 8;
/// Changes that one Ping tells of at most; the others are left out.
const CHANGES: usize = 16;
/// An edge that was asked to dial must do so within the time that the asking one waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);

/// What an edge needs to ask for, and to agree to, a connection.
#[derive(Clone)]
pub(crate) struct Attacher {
    pub(crate) overlay: Arc<str>,
    pub(crate) link: Arc<dyn Sign>,
    /// Where other edges reach our edge port, if the configuration says so.
    pub(crate) advertised: Option<SocketAddr>,
    /// What that port is bound to.
    pub(crate) bound: SocketAddr,
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
    /// Asks `node`, a client of `home`, to dial us. The connection then arrives at our edge port.
    ///
    /// # Errors
    /// When the overlay brought no agreement.
    pub(crate) async fn ask(&self, overlay: &Home, home: NodeId, node: NodeId) -> Result<(), CallError> {
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
        overlay
            .call(
                Request {
                    destinations,
                    contents,
                    signed: Some((transaction_id, security)),
                },
                PATIENCE,
            )
            .await
            .map(|_| ())
    }

    /// Judges a request that arrived for this edge. `is_ours_first` tells, for a node, whether our own request to it goes before its.
    pub(crate) fn judge(
        &self,
        verifier: &Verifier,
        now_ms: u64,
        incoming: Incoming,
        is_ours_first: impl Fn(NodeId) -> bool,
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
                tracing::warn!(%error, "request with a bad signature");
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
            // RFC 6940 §6.5.1.2: of two requests at once, that of the larger Node-ID is carried out.
            Ok(Body::AppAttachReq(_)) if is_ours_first(signer.node_id()) => {
                refuse(ErrorCode::InProgress, b"our own request is under way")
            }
            Ok(Body::AppAttachReq(request)) => {
                let usable = request
                    .candidates
                    .iter()
                    .filter(|candidate| candidate.overlay_link == OverlayLink::TLS_TCP_FH_NO_ICE);
                let candidates = usable
                    .filter_map(|candidate| candidate.address.socket())
                    .take(CANDIDATES)
                    .collect();
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

    /// One, or none while this machine is on no network. It is looked up each time: a machine may get another address.
    fn own_candidates(&self) -> Vec<IceCandidate> {
        let own = || runtime::addresses::reachable(self.bound).ok()?.first().copied();
        let candidate = |address: SocketAddr| IceCandidate {
            address: address.into(),
            // No framing header follows the handshake: SIP does.
            overlay_link: OverlayLink::TLS_TCP_FH_NO_ICE,
            foundation: Bytes::new(),
            priority: 1,
            candidate_type: CandidateType::Host,
            extensions: Vec::new(),
        };
        self.advertised.or_else(own).map(candidate).into_iter().collect()
    }
}

/// The changes that a Ping tells of.
fn changes<'a>(extensions: impl Iterator<Item = &'a MessageExtension>) -> Result<Vec<Changed>, DecodeError> {
    extensions.filter_map(Changed::from_extension).take(CHANGES).collect()
}

/// Dials `node` at the first address that answers as it.
pub(crate) async fn dial(
    endpoint: &link::Endpoint,
    node: NodeId,
    candidates: &[SocketAddr],
) -> Option<link::Connection> {
    for address in candidates {
        match endpoint.connect(*address, Some(node)).await {
            Ok(connection) => return Some(connection),
            Err(error) => tracing::debug!(%address, node_id = %node.short(), %error, "edge not reached"),
        }
    }
    None
}
