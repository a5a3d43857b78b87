//! New messages: requests, responses, and the ACK and CANCEL that belong to an INVITE.

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::edit::{put_clean, write_header};
use super::index::Index;
use super::{Message, Method, Name};
use crate::text::to_hex;

/// A request in the making; headers are written in the order of the calls.
#[derive(Clone, Debug)]
pub struct Request {
    head: BytesMut,
    body: Bytes,
}

impl Request {
    /// Begins a request.
    pub fn new(method: &Method, uri: &str) -> Self {
        let mut head = BytesMut::with_capacity(512);
        head.put_slice(method.as_str().as_bytes());
        head.put_u8(b' ');
        put_clean(&mut head, uri);
        head.put_slice(b" SIP/2.0\r\n");
        Self {
            head,
            body: Bytes::new(),
        }
    }

    /// Appends a header.
    #[must_use]
    pub fn header(mut self, name: Name<'_>, value: &str) -> Self {
        write_header(&mut self.head, name, value);
        self
    }

    /// Copies all lines of a header of another message, as they stand.
    #[must_use]
    pub fn copy(mut self, other: &Message, name: Name<'_>) -> Self {
        copy_lines(&mut self.head, other, name);
        self
    }

    /// Sets the body and its Content-Type.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        write_header(&mut self.head, Name::ContentType, content_type);
        self.body = body.into();
        self
    }

    /// Makes the request.
    pub fn build(self) -> Message {
        finish(self.head, &self.body)
    }
}

/// A response in the making.
#[derive(Clone, Debug)]
pub struct Reply<'r> {
    request: &'r Message,
    code: u16,
    reason: String,
    tag: Option<String>,
    extras: BytesMut,
    body: Bytes,
}

impl<'r> Reply<'r> {
    /// Begins a response with the usual reason phrase.
    pub fn new(request: &'r Message, code: u16) -> Self {
        let reason = reason_phrase(code).to_owned();
        Self {
            request,
            code,
            reason,
            tag: None,
            extras: BytesMut::new(),
            body: Bytes::new(),
        }
    }

    /// Sets another reason phrase.
    #[must_use]
    pub fn reason(mut self, reason: &str) -> Self {
        reason.clone_into(&mut self.reason);
        self
    }

    /// Sets the To tag; without one, it is a hash of the request, so that retransmissions get the same.
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        self.tag = Some(tag.to_owned());
        self
    }

    /// Appends a header.
    #[must_use]
    pub fn header(mut self, name: Name<'_>, value: &str) -> Self {
        write_header(&mut self.extras, name, value);
        self
    }

    /// Copies all lines of a header of the request, as they stand.
    #[must_use]
    pub fn copy(mut self, name: Name<'_>) -> Self {
        copy_lines(&mut self.extras, self.request, name);
        self
    }

    /// Sets the body and its Content-Type.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        write_header(&mut self.extras, Name::ContentType, content_type);
        self.body = body.into();
        self
    }

    /// Makes the response.
    pub fn build(self) -> Message {
        let mut head = BytesMut::with_capacity(512 + self.extras.len());
        head.put_slice(format!("SIP/2.0 {:03} ", self.code.clamp(100, 699)).as_bytes());
        put_clean(&mut head, &self.reason);
        head.put_slice(b"\r\n");
        // RFC 3261 §8.2.6.2: these are copied; To gets a tag unless it has one or the code is 100.
        copy_lines(&mut head, self.request, Name::Via);
        copy_lines(&mut head, self.request, Name::From);
        match self.request.to() {
            Some(to) if to.tag().is_none() && self.code > 100 => {
                let tag = self.tag.unwrap_or_else(|| stateless_tag(self.request));
                let value = self.request.header(Name::To).unwrap_or_default();
                write_header(&mut head, Name::To, &format!("{value};tag={tag}"));
            }
            _ => copy_lines(&mut head, self.request, Name::To),
        }
        copy_lines(&mut head, self.request, Name::CallId);
        copy_lines(&mut head, self.request, Name::CSeq);
        if self.code == 100 {
            copy_lines(&mut head, self.request, Name::Timestamp);
        }
        head.put_slice(&self.extras);
        finish(head, &self.body)
    }
}

/// Makes a response without body; an empty reason stands for the usual phrase.
pub fn respond(request: &Message, code: u16, reason: &str, extras: &[(Name<'_>, &str)]) -> Message {
    let reply = Reply::new(request, code);
    let reply = if reason.is_empty() { reply } else { reply.reason(reason) };
    extras
        .iter()
        .fold(reply, |reply, (name, value)| reply.header(*name, value))
        .build()
}

/// Makes the ACK to a final response other than 2xx (RFC 3261 §17.1.1.3).
pub fn ack_for(invite: &Message, response: &Message) -> Message {
    of_transaction(invite, &Method::Ack, response)
}

/// Makes the CANCEL for a pending request (RFC 3261 §9.1).
pub fn cancel_for(invite: &Message) -> Message {
    of_transaction(invite, &Method::Cancel, invite)
}

/// Makes a request with the identifiers of another one: its first Via, Request-URI, From, Call-ID, number and Routes.
fn of_transaction(request: &Message, method: &Method, to_source: &Message) -> Message {
    let via = request.values(Name::Via).next().unwrap_or_default().to_owned();
    let number = request.cseq().map_or(0, |cseq| cseq.number);
    Request::new(method, request.request_uri().unwrap_or_default())
        .header(Name::Via, &via)
        .copy(request, Name::Route)
        .header(Name::MaxForwards, "70")
        .copy(request, Name::From)
        .copy(to_source, Name::To)
        .copy(request, Name::CallId)
        .header(Name::CSeq, &format!("{number} {method}"))
        .build()
}

fn copy_lines(out: &mut BytesMut, message: &Message, name: Name<'_>) {
    for line in message.lines_of(name) {
        write_name(out, name);
        out.put_slice(line.value.of(&message.bytes));
        out.put_slice(b"\r\n");
    }
}

fn write_name(out: &mut BytesMut, name: Name<'_>) {
    out.put_slice(name.text().as_bytes());
    out.put_slice(b": ");
}

fn finish(mut head: BytesMut, body: &Bytes) -> Message {
    head.put_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    head.put_slice(body);
    let bytes = head.freeze();
    let index = Index::read(&bytes).expect("what is built here has a start line and an empty line");
    Message::new(bytes, index)
}

/// RFC 3261 §8.2.7: the To tag of an answer that is given without state, the same for each repetition of the request. Its
/// ACK, which has the same identifiers, is known by it.
pub(crate) fn stateless_tag(request: &Message) -> String {
    let number = request.cseq().map(|cseq| cseq.number.to_string());
    let mut hash = Sha256::new();
    for part in [
        request.call_id(),
        request.from_tag(),
        request.branch(),
        number.as_deref(),
    ] {
        hash.update(part.unwrap_or_default());
        hash.update([0]);
    }
    to_hex(hash.finalize().get(..8).unwrap_or_default())
}

/// Returns the usual reason phrase of a status code.
pub const fn reason_phrase(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        199 => "Early Dialog Terminated",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        430 => "Flow Failed",
        439 => "First Hop Lacks Outbound Support",
        440 => "Max-Breadth Exceeded",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => match code / 100 {
            1 => "Progress",
            2 => "Success",
            3 => "Redirection",
            4 => "Client Error",
            5 => "Server Error",
            _ => "Global Failure",
        },
    }
}
