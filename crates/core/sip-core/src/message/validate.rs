//! What a malformed or unacceptable message is answered with.
//!
//! Reading and judging are apart: a message that nobody acts on passes as it came. Here only those headers are judged
//! that a proxy or a registrar itself uses.

use std::borrow::Cow;
use std::net::IpAddr;

use super::index::{Defect, Start};
use super::{Address, Message, Method, Name, Via};
use crate::uri::Uri;

/// The part that the judge plays for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acting<'a> {
    /// Forwards it, and supports these extensions (Proxy-Require).
    Proxy(&'a [&'a str]),
    /// Answers it, and supports these extensions (Require).
    Server(&'a [&'a str]),
}

/// What is wrong with a message, and what follows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The request is answered with this.
    #[error("{0}")]
    Refuse(Refusal),
    /// The message is dropped without an answer.
    #[error("dropped: {0}")]
    Silence(&'static str),
}

/// A status code, its reason phrase, and a header that goes with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} {reason}")]
pub struct Refusal {
    /// The status code.
    pub code: u16,
    /// The reason phrase, which names the header at fault.
    pub reason: Cow<'static, str>,
    /// `Unsupported`, for a 420.
    pub header: Option<(Name<'static>, String)>,
}

impl Refusal {
    /// Makes a refusal without header.
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            reason: reason.into(),
            header: None,
        }
    }

    /// Makes the response.
    pub fn to_response(&self, request: &Message) -> Message {
        let extras: Vec<(Name<'_>, &str)> = self
            .header
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        super::respond(request, self.code, &self.reason, &extras)
    }
}

impl Message {
    /// Judges the message for one who forwards or answers it.
    ///
    /// # Errors
    ///
    /// Fails with what to answer. Responses, ACKs and requests without a usable Via are never answered (RFC 3261
    /// §17.1.1.3, §18.1.2).
    pub fn validate(&self, acting: Acting<'_>) -> Result<(), Fault> {
        let judged = self.judge(acting);
        let Err(refusal) = judged else { return Ok(()) };
        match &self.index.start {
            Start::Response { .. } => Err(Fault::Silence("malformed response")),
            Start::Request {
                method: Method::Ack, ..
            } => Err(Fault::Silence("malformed ACK")),
            Start::Request { .. } if self.top_via().is_none() => Err(Fault::Silence("request without usable Via")),
            Start::Request { .. } => Err(Fault::Refuse(refusal)),
        }
    }

    fn judge(&self, acting: Acting<'_>) -> Result<(), Refusal> {
        self.judge_start()?;
        self.judge_identity()?;
        let Start::Request { method, uri, .. } = &self.index.start else {
            return self.judge_next_hop();
        };
        self.judge_request_uri(self.text(*uri))?;
        self.judge_routing(method, acting)?;
        self.judge_extensions(method, acting)
    }

    fn judge_start(&self) -> Result<(), Refusal> {
        let (Start::Request { is_version_2, .. } | Start::Response { is_version_2, .. }) = &self.index.start;
        if !is_version_2 {
            return Err(Refusal::new(505, "Version Not Supported"));
        }
        match self.index.defect {
            None => Ok(()),
            Some(Defect::TooLarge) => Err(Refusal::new(513, "Message Too Large")),
            Some(Defect::StartLine) => Err(Refusal::new(400, "Malformed Request-Line")),
            Some(Defect::HeaderLine) => Err(Refusal::new(400, "Malformed header line")),
            Some(Defect::BodyLength) => Err(Refusal::new(400, "Wrong Content-Length")),
            Some(Defect::NoBodyLength) => Err(Refusal::new(400, "Missing Content-Length")),
        }
    }

    /// Checks the six headers of RFC 3261 §8.1.1, Max-Forwards apart: each once and well-formed.
    fn judge_identity(&self) -> Result<(), Refusal> {
        for name in [Name::From, Name::To, Name::CallId, Name::CSeq, Name::MaxForwards] {
            if self.lines_of(name).nth(1).is_some() {
                return Err(Refusal::new(400, format!("Repeated {name}")));
            }
        }
        for name in [Name::From, Name::To, Name::CallId, Name::CSeq, Name::Via] {
            if !self.has(name) {
                return Err(Refusal::new(400, format!("Missing {name}")));
            }
        }
        let is_malformed = |name: Name<'static>| Refusal::new(400, format!("Malformed {name}"));
        if self.call_id().is_none_or(|id| id.bytes().any(|byte| byte <= b' ')) {
            return Err(is_malformed(Name::CallId));
        }
        self.from().ok_or_else(|| is_malformed(Name::From))?;
        self.to().ok_or_else(|| is_malformed(Name::To))?;
        let cseq = self.cseq().ok_or_else(|| is_malformed(Name::CSeq))?;
        let via = self
            .top_via()
            .filter(|via| via.is_sip_2)
            .ok_or_else(|| is_malformed(Name::Via))?;
        if via
            .branch()
            .is_some_and(|branch| branch.eq_ignore_ascii_case(super::via::MAGIC_COOKIE))
        {
            return Err(Refusal::new(400, "Empty branch in Via"));
        }
        match &self.index.start {
            Start::Request { method, .. } if *method != cseq.method => {
                Err(Refusal::new(400, "CSeq method does not match Request-Line"))
            }
            _ => Ok(()),
        }
    }

    /// RFC 4475 §3.3.10: a response that would be sent on to a broadcast or multicast address is an attack.
    fn judge_next_hop(&self) -> Result<(), Refusal> {
        let next = self
            .values(Name::Via)
            .nth(1)
            .and_then(Via::parse)
            .and_then(|via| via.host.address());
        match next {
            Some(IpAddr::V4(address)) if address.is_broadcast() => Err(Refusal::new(400, "Broadcast address in Via")),
            Some(address) if address.is_multicast() => Err(Refusal::new(400, "Multicast address in Via")),
            _ => Ok(()),
        }
    }

    fn judge_request_uri(&self, uri: &str) -> Result<(), Refusal> {
        match Uri::parse(uri) {
            // RFC 3261 §19.1.1: a Request-URI has no headers part.
            Some(Uri::Sip(sip)) if sip.headers.is_some() => Err(Refusal::new(400, "Headers in Request-URI")),
            Some(Uri::Sip(_)) => Ok(()),
            // RFC 3261 §8.2.2.1, §16.3 step 2: there is no table of telephone numbers here.
            Some(Uri::Tel(_) | Uri::Other(_)) => Err(Refusal::new(416, "Unsupported URI Scheme")),
            None => Err(Refusal::new(400, "Malformed Request-URI")),
        }
    }

    fn judge_routing(&self, method: &Method, acting: Acting<'_>) -> Result<(), Refusal> {
        // RFC 3261 §16.3 step 3: only a present Max-Forwards is judged; forwarding adds a missing one.
        if let Some(value) = self.header(Name::MaxForwards) {
            let hops: u32 = crate::text::number(value)
                .filter(|hops| *hops <= 255)
                .ok_or_else(|| Refusal::new(400, "Malformed Max-Forwards"))?;
            if hops == 0 && matches!(acting, Acting::Proxy(_)) {
                return Err(Refusal::new(483, "Too Many Hops"));
            }
        }
        for name in [Name::Route, Name::RecordRoute] {
            if self.values(name).any(|value| Address::parse(value).is_none()) {
                return Err(Refusal::new(400, format!("Malformed {name}")));
            }
        }
        if self.values(Name::Via).skip(1).any(|value| Via::parse(value).is_none()) {
            return Err(Refusal::new(400, "Malformed Via"));
        }
        let needs_contact = matches!(
            method,
            Method::Invite | Method::Register | Method::Subscribe | Method::Refer
        );
        let is_contact = |value: &str| Address::parse(value).is_some() || value == "*" && *method == Method::Register;
        if needs_contact && self.values(Name::Contact).any(|value| !is_contact(value)) {
            return Err(Refusal::new(400, "Malformed Contact"));
        }
        Ok(())
    }

    fn judge_extensions(&self, method: &Method, acting: Acting<'_>) -> Result<(), Refusal> {
        let (name, supported) = match acting {
            Acting::Proxy(supported) => (Name::ProxyRequire, supported),
            Acting::Server(supported) => (Name::Require, supported),
        };
        // RFC 3261 §8.2.2.3: both headers are ignored in CANCEL and ACK.
        if matches!(method, Method::Ack | Method::Cancel) {
            return Ok(());
        }
        let unknown: Vec<&str> = self
            .values(name)
            .filter(|tag| !tag.is_empty() && !supported.iter().any(|known| known.eq_ignore_ascii_case(tag)))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let header = Some((Name::Unsupported, unknown.join(", ")));
        Err(Refusal {
            code: 420,
            reason: "Bad Extension".into(),
            header,
        })
    }
}
