//! Requests that end here: the checks of their destination, and the way to their answers.

use bytes::Bytes;
use tracing::debug;

use identity::{Class, Error, Use, bucket, verify_message};
use wire::{
    Body, CONFIGURATION_ANY, ConfigUpdateReq, Decode, Destination, Encode, ErrorCode, ErrorResponse, ForwardingOption,
    Fragment, Message, MessageCode, MessageContents, NodeId, Now, Packet, SecurityBlock, TraceContext, TransactionId,
};

use crate::answers::{Kept, Seen};
use crate::api::{Ending, Refusal};
use crate::core::Core;
use crate::forwarding::message_code;
use crate::link::Carried;
use crate::pull::Waiting;
use crate::transaction::{Answered, Outcome, Purpose, Request};

/// A request that waits for its answer, without its body.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) transaction_id: TransactionId,
    pub(crate) code: MessageCode,
    /// The Node-ID that signed it.
    pub(crate) signer: NodeId,
    /// The certificate that signed it.
    pub(crate) leaf: Bytes,
    /// The class of that certificate; a signer of values is no node.
    pub(crate) class: Class,
    /// Whether it came straight from its signer, over a link bound to that Node-ID.
    pub(crate) is_direct: bool,
    /// The entry of the destination list that brought it here.
    pub(crate) destination: Destination,
    /// The span that it is served in, if somebody records it.
    pub(crate) trace: Option<TraceContext>,
    return_path: ReturnPath,
    max_response_length: usize,
    options: Vec<ForwardingOption>,
}

impl Asked {
    /// Whether a peer says this of itself, over its own link: what changes the ring counts only then.
    // RFC 6940 §6.4.2.3 speaks of adjacencies; docs/deviations.md D44 of peers.
    pub(crate) fn is_of_linked_peer(&self) -> bool {
        self.is_direct && self.class == Class::Peer
    }
}

/// An answer whose body is encoded.
pub(crate) struct Reply {
    pub(crate) code: MessageCode,
    pub(crate) body: Bytes,
    /// The certificates of the values in the body (RFC 6940 §6.3.4).
    pub(crate) certificates: Vec<Bytes>,
}

/// How an answer finds who asked.
#[derive(Clone, Debug)]
enum ReturnPath {
    /// It was asked by a user of this node.
    Here,
    /// Along these nodes.
    Along(Vec<Destination>),
}

impl Core {
    /// A request has come to its end.
    pub(crate) fn serve(&mut self, now: Now, message: Message, from: Option<NodeId>) {
        let verified = self.verified(now, &message, from);
        let Some(mut asked) = verified.and_then(|verified| self.asked(&message, verified, from)) else {
            return;
        };
        if asked.is_direct {
            self.note_document(asked.signer, message.header.configuration_sequence);
        }
        if let Some((code, info)) = self.unacceptable(&message) {
            self.trace_arrived(&mut asked, &message);
            return self.refuse_header(now, asked, code, info);
        }
        if is_kept(asked.code) {
            match self.answers.arrived(now.instant, (asked.signer, asked.transaction_id)) {
                Seen::First => {}
                Seen::Pending => return,
                Seen::Answered(kept) => return self.send_answer(now, &asked, kept.contents, kept.security),
            }
        }
        self.trace_arrived(&mut asked, &message);
        match message.contents.body_with(&self.parameters.models()) {
            Ok(body) => self.dispatch(now, asked, body, message),
            Err(error) => {
                self.counters.malformed += 1;
                self.refuse(now, asked, ErrorCode::InvalidMessage, error.to_string());
            }
        }
    }

    /// Finds who signed a request. One that is not signed as it must be is dropped (RFC 6940 §6.3.4).
    fn verified(&mut self, now: Now, message: &Message, from: Option<NodeId>) -> Option<Verified> {
        let error = match self.verify(now, message, from) {
            Ok(verified) => {
                self.calendar.clear(verified.signer);
                return Some(verified);
            }
            Err(error) => error,
        };
        self.counters.unverified += 1;
        debug!(transaction_id = %message.header.transaction_id, %error, "request is not signed as it must be");
        match from.filter(|from| !self.clients.is_attached(*from)) {
            // A hop that passed it on did not look at the signature, and is not to blame.
            Some(from) if error == Error::BadSignature && message.header.via_list.is_empty() => {
                self.offended(now, from);
            }
            Some(from) if matches!(error, Error::NotValidNow { .. }) && message.header.via_list.is_empty() => {
                self.doubt_calendar(now, from);
            }
            Some(_) => {}
            // Only the own client hears of it: it may have let its certificate expire.
            None => self.refuse_packet(now, &message.to_packet(), from, (ErrorCode::Forbidden, "signature")),
        }
        None
    }

    /// Checks who signed a message (RFC 6940 §6.3.4). A Store may be signed by who may only store.
    fn verify(&self, now: Now, message: &Message, from: Option<NodeId>) -> Result<Verified, Error> {
        let own = self.settings.signer.as_ref();
        if from.is_none() && message.security.signature.identity == *own.identity() {
            let leaf = own.certificates().first().cloned().unwrap_or_default();
            return Ok(Verified {
                signer: self.own(),
                leaf,
                class: Class::Peer,
            });
        }
        let verify = |use_| {
            let (id, contents) = (message.header.transaction_id, &message.signed_contents);
            let overlay = &self.parameters.overlay;
            verify_message(
                &self.settings.verifier,
                overlay,
                id,
                contents,
                &message.security,
                now.unix_ms,
                use_,
            )
        };
        let identity = match verify(Use::Node) {
            Err(_) if message.contents.code == MessageCode::STORE_REQ => verify(Use::UserNodeStore),
            result => result,
        }?;
        Ok(Verified {
            signer: identity.node_id(),
            leaf: identity.certificate.der().clone(),
            class: identity.class,
        })
    }

    fn asked(&self, message: &Message, verified: Verified, from: Option<NodeId>) -> Option<Asked> {
        let header = &message.header;
        let is_ours = self
            .transactions
            .get(header.transaction_id)
            .is_some_and(|open| open.client == from);
        let return_path = match from {
            None => ReturnPath::Here,
            Some(client) if self.clients.is_attached(client) && is_ours => ReturnPath::Here,
            Some(from) => ReturnPath::Along(way_back(message, from)),
        };
        Some(Asked {
            transaction_id: header.transaction_id,
            code: message.contents.code,
            signer: verified.signer,
            leaf: verified.leaf,
            class: verified.class,
            is_direct: header.via_list.is_empty() && from == Some(verified.signer),
            destination: header.destination_list.last()?.clone(),
            trace: None,
            return_path,
            max_response_length: usize::try_from(header.max_response_length).unwrap_or(usize::MAX),
            // RFC 6940 §6.3.2.3: options marked so go into the answer.
            options: header
                .options
                .iter()
                .filter_map(ForwardingOption::response_copy)
                .collect(),
        })
    }

    /// A request for a client. It is verified here too, before it takes a place that another one could have.
    pub(crate) fn asked_of_client(&mut self, now: Now, message: &Message, from: Option<NodeId>) -> Option<Asked> {
        let verified = self.verified(now, message, from)?;
        let asked = self.asked(message, verified, from)?;
        // The answer is verified on its way back, even if that way is short.
        let return_path = ReturnPath::Along(way_back(message, from.unwrap_or(self.own())));
        Some(Asked { return_path, ..asked })
    }

    /// What the destination has to check before it looks at the body.
    pub(crate) fn unacceptable(&self, message: &Message) -> Option<(ErrorCode, &'static str)> {
        let header = &message.header;
        let theirs = header.configuration_sequence;
        // RFC 6940 §6.3.2.1: 65535 is accepted in a ConfigUpdate, which may be what brings the sequences together.
        let is_exempt = theirs == CONFIGURATION_ANY && message.contents.code == MessageCode::CONFIG_UPDATE_REQ;
        if theirs != self.parameters.sequence && !is_exempt {
            return Some(if self.parameters.is_older(theirs) {
                (ErrorCode::ConfigTooOld, "configuration document is too old")
            } else {
                (ErrorCode::ConfigTooNew, "configuration document is too new")
            });
        }
        // RFC 6940 §6.3.2.3: whoever answers has to understand such an option.
        let is_critical = |option: &ForwardingOption| {
            option.kind != TraceContext::OPTION && option.has(ForwardingOption::DESTINATION_CRITICAL)
        };
        if header.options.iter().any(is_critical) {
            return Some((
                ErrorCode::UnsupportedForwardingOption,
                "forwarding option is not supported",
            ));
        }
        // RFC 6940 §6.3.3: the same for extensions; all that we know are not critical.
        if message.contents.extensions.iter().any(|extension| extension.critical) {
            return Some((ErrorCode::UnknownExtension, "message extension is not known"));
        }
        None
    }

    /// Refuses a request for what its header says.
    pub(crate) fn refuse_header(&mut self, now: Now, asked: Asked, code: ErrorCode, info: &'static str) {
        self.refuse(now, asked.clone(), code, info);
        if let (ErrorCode::ConfigTooOld, ReturnPath::Along(path)) = (code, asked.return_path) {
            // RFC 6940 §6.3.2.1: besides the error, the requester gets the newer document.
            self.send_document(now, path);
        }
    }

    /// Sends the document in force to a node that has an older one.
    pub(crate) fn send_document(&mut self, now: Now, path: Vec<Destination>) {
        let body = ConfigUpdateReq::Config(self.parameters.xml()).into();
        self.request(now, Request::routed(path, &body, Purpose::Notice).any_sequence().once());
    }

    fn dispatch(&mut self, now: Now, asked: Asked, body: Body, message: Message) {
        let certificates = bucket(&message.security);
        match body {
            Body::PingReq(_) => self.ping_asked(now, asked, &message.contents.extensions),
            Body::ProbeReq(probe) => self.probe_asked(now, asked, probe),
            Body::AttachReq(attach) => self.attach_asked(now, asked, &attach),
            Body::JoinReq(join) => self.join_asked(now, asked, &join),
            Body::LeaveReq(leave) => self.leave_asked(now, asked, &leave),
            Body::UpdateReq(update) => self.update_asked(now, asked, &update, &message.contents.extensions),
            Body::RouteQueryReq(query) => self.route_query_asked(now, asked, &query),
            Body::ConfigUpdateReq(update) => self.config_update_asked(now, asked, update),
            Body::StoreReq(store) => {
                let body = message.contents.body;
                self.store_asked(
                    now,
                    &store,
                    Waiting {
                        asked,
                        body,
                        certificates,
                    },
                );
            }
            Body::FetchReq(fetch) => self.read_asked(now, asked, fetch.resource, message.contents.body),
            Body::StatReq(stat) => self.read_asked(now, asked, stat.resource, message.contents.body),
            Body::FindReq(find) => self.find_asked(now, asked, find.resource, message.contents.body),
            Body::AppAttachReq(_) => self.refuse(now, asked, ErrorCode::NotFound, "no application at a peer"),
            _ => self.refuse(now, asked, ErrorCode::InvalidMessage, "unknown request"),
        }
    }

    /// Answers a request.
    pub(crate) fn answer(&mut self, now: Now, asked: Asked, body: &Body) {
        let reply = Reply {
            code: body.code(),
            body: body.to_bytes(),
            certificates: Vec::new(),
        };
        self.answer_encoded(now, asked, reply);
    }

    /// Answers a request with a body that is already encoded.
    pub(crate) fn answer_encoded(&mut self, now: Now, asked: Asked, reply: Reply) {
        let Reply {
            code,
            body,
            certificates,
        } = reply;
        let contents = MessageContents {
            code,
            body,
            extensions: Vec::new(),
        };
        if matches!(asked.return_path, ReturnPath::Here) {
            return self.answer_here(now, &asked, contents, certificates);
        }
        let encoded = contents.to_bytes();
        let security = self.sign(asked.transaction_id, &encoded, certificates);
        let limit = match asked.max_response_length {
            0 => self.parameters.longest_message,
            limit => limit.min(self.parameters.longest_message),
        };
        let length = security
            .checked_bytes()
            .map_or(usize::MAX, |block| block.len().saturating_add(encoded.len()));
        // RFC 6940 §6.3.2, and docs/deviations.md D3 about which error it is.
        if length.saturating_add(HEADER_ROOM) > limit && code != MessageCode::ERROR {
            return self.refuse(now, asked, ErrorCode::ResponseTooLarge, "response is too large");
        }
        if is_kept(asked.code) {
            let kept = Kept {
                contents: encoded.clone(),
                security: security.clone(),
            };
            self.answers.answered((asked.signer, asked.transaction_id), kept);
        }
        self.send_answer(now, &asked, encoded, security);
    }

    /// Refuses a request.
    pub(crate) fn refuse(&mut self, now: Now, asked: Asked, code: ErrorCode, info: impl Into<String>) {
        self.refuse_with(now, asked, code, Bytes::from(info.into()));
    }

    /// Refuses a request, with error information that is no text.
    pub(crate) fn refuse_with(&mut self, now: Now, asked: Asked, code: ErrorCode, info: Bytes) {
        debug!(transaction_id = %asked.transaction_id, reload.method = %asked.code, %code, "request refused");
        self.answer(now, asked, &ErrorResponse { code, info }.into());
    }

    /// Leaves a request without an answer: when it comes again, it is looked at again.
    pub(crate) fn leave_unanswered(&mut self, asked: &Asked) {
        self.answers.abandoned((asked.signer, asked.transaction_id));
        self.trace_ended(asked, Ending::Unanswered);
    }

    fn answer_here(&mut self, now: Now, asked: &Asked, contents: MessageContents, certificates: Vec<Bytes>) {
        self.answers.abandoned((asked.signer, asked.transaction_id));
        self.trace_answered(asked, &contents);
        let Some(transaction) = self.transactions.take(asked.transaction_id) else {
            return;
        };
        let outcome = match contents.body() {
            Ok(Body::Error(ErrorResponse { code, info })) => Outcome::Refused(Refusal { code, info }),
            _ => {
                let encoded = contents.to_bytes();
                Outcome::Answered(Answered {
                    contents,
                    encoded,
                    certificates,
                    signer: self.own(),
                    hops: 0,
                })
            }
        };
        self.finished(now, transaction.purpose, outcome);
    }

    /// Sends signed contents back to who asked.
    pub(crate) fn send_answer(&mut self, now: Now, asked: &Asked, contents: Bytes, security: SecurityBlock) {
        if let (Some(_), Ok(answer)) = (asked.trace, MessageContents::from_bytes(&contents)) {
            self.trace_answered(asked, &answer);
        }
        let ReturnPath::Along(path) = &asked.return_path else {
            return;
        };
        let Ok(mut packet) = self.packet(asked.transaction_id, path.clone(), &contents, &security) else {
            return;
        };
        // RFC 6940 §6.3.2: zero in answers.
        packet.header.max_response_length = 0;
        packet.header.options.clone_from(&asked.options);
        self.route(now, Carried::ours(packet));
    }

    /// Refuses a message that was not opened, or whose signer is not known. Only requests are refused, and only with
    /// the piece that says what they are.
    pub(crate) fn refuse_packet(
        &mut self,
        now: Now,
        packet: &Packet,
        from: Option<NodeId>,
        (code, info): (ErrorCode, &'static str),
    ) {
        let Some(request) = message_code(packet).filter(|code| code.is_request()) else {
            return;
        };
        let header = &packet.header;
        let id = header.transaction_id;
        let is_ours = self.transactions.get(id).is_some_and(|open| open.client == from);
        if is_ours {
            if let Some(transaction) = self.transactions.take(id) {
                let refusal = Refusal {
                    code,
                    info: Bytes::from_static(info.as_bytes()),
                };
                self.finished(now, transaction.purpose, Outcome::Refused(refusal));
            }
            return;
        }
        let Some(from) = from else { return };
        debug!(transaction_id = %id, reload.method = %request, %code, "message refused");
        let back = header.via_list.iter().rev().cloned();
        let path: Vec<Destination> = std::iter::once(Destination::Node(from)).chain(back).collect();
        let body: Body = ErrorResponse {
            code,
            info: Bytes::from_static(info.as_bytes()),
        }
        .into();
        let contents = MessageContents::of(&body).to_bytes();
        let security = self.sign(id, &contents, Vec::new());
        let Ok(mut answer) = self.packet(id, path, &contents, &security) else {
            return;
        };
        answer.header.max_response_length = 0;
        answer.header.fragment = Fragment::WHOLE;
        self.route(now, Carried::ours(answer));
    }
}

// RFC 6940 §6.2.2: the via list, reversed, after whoever sent the message here.
fn way_back(message: &Message, from: NodeId) -> Vec<Destination> {
    let back = message.header.via_list.iter().rev().cloned();
    std::iter::once(Destination::Node(from)).chain(back).collect()
}

struct Verified {
    signer: NodeId,
    leaf: Bytes,
    class: Class,
}

/// Requests that change something: a repetition gets the first answer again (RFC 6940 §6.2.1).
fn is_kept(code: MessageCode) -> bool {
    matches!(
        code,
        MessageCode::STORE_REQ
            | MessageCode::JOIN_REQ
            | MessageCode::LEAVE_REQ
            | MessageCode::UPDATE_REQ
            | MessageCode::ATTACH_REQ
            | MessageCode::CONFIG_UPDATE_REQ
    )
}

/// What an answer's header may take on its way.
const HEADER_ROOM: usize = 256;
