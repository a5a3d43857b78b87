//! Messages: a lossless index over the received octets.
//!
//! A message keeps the octets as they came and an index of its header lines; accessors read values where they stand, and
//! an [`Edit`] splices a new message together. What nobody edits is forwarded byte for byte. A malformed value does not
//! fail the message: typed accessors return `None` for it, and [`Message::validate`] says what to answer.

mod address;
mod build;
mod cseq;
mod edit;
mod framer;
mod index;
mod limits;
mod method;
mod name;
mod params;
pub mod typed;
mod validate;
mod via;

use bytes::{Bytes, BytesMut};

pub use self::address::Address;
pub(crate) use self::build::stateless_tag;
pub use self::build::{Reply, Request, ack_for, cancel_for, reason_phrase, respond};
pub use self::cseq::CSeq;
pub use self::edit::Edit;
pub use self::framer::{Frame, FrameError, Framer};
pub use self::index::ParseError;
pub use self::limits::{MAX_FOLDS, MAX_HEADER, MAX_HEADERS, MAX_MESSAGE};
pub use self::method::Method;
pub use self::name::Name;
pub use self::params::Params;
pub use self::validate::{Acting, Fault, Refusal};
pub use self::via::{MAGIC_COOKIE, ReplyTarget, Via, sent_by_of};

use self::index::{Defect, Index, Line, Span, Start};
use crate::text::Commas;

/// A request or response; cloning it copies the index but not the octets.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
    /// The same octets with each fold turned into blanks, where there are folds; offsets agree (RFC 3261 §7.3.1).
    unfolded: Option<Bytes>,
    index: Index,
    body: Span,
}

impl Message {
    /// Reads the message in a datagram; octets behind Content-Length are dropped.
    ///
    /// # Errors
    ///
    /// Fails when the bytes are not SIP or break a limit; nothing can be answered then.
    pub fn parse_datagram(datagram: Bytes) -> Result<Self, ParseError> {
        if datagram.len() > MAX_MESSAGE {
            return Err(ParseError::TooLarge);
        }
        // RFC 3261 §7.5: line ends before the start line are ignored.
        let leading = datagram.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if leading == datagram.len() {
            return Err(ParseError::KeepAlive);
        }
        let bytes = datagram.slice(leading..);
        let mut index = Index::read(&bytes)?;
        let rest = bytes.len() - index.head_end;
        // RFC 3261 §18.3: a datagram that ends before its Content-Length is a 400; without one the rest is the body.
        let length = match index.content_length(&bytes) {
            Ok(length) if length.is_none_or(|length| length <= rest) => length.unwrap_or(rest),
            Ok(_) | Err(_) => {
                index.defect.get_or_insert(Defect::BodyLength);
                rest
            }
        };
        let end = index.head_end + length;
        Ok(Self::new(bytes.slice(..end), index))
    }

    /// Puts octets and their index together; the body is all that follows the header section.
    fn new(bytes: Bytes, index: Index) -> Self {
        let unfolded = index.is_folded.then(|| unfold(&bytes, index.head_end));
        let body = Span::new(index.head_end, bytes.len());
        Self {
            bytes,
            unfolded,
            index,
            body,
        }
    }

    /// Returns the message as it is sent.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Says whether this is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.index.start, Start::Request { .. })
    }

    /// Returns the method: of the request line, or of CSeq in a response.
    pub fn method(&self) -> Method {
        match &self.index.start {
            Start::Request { method, .. } => method.clone(),
            Start::Response { .. } => self.cseq().map_or_else(|| Method::parse(""), |cseq| cseq.method),
        }
    }

    /// Returns the Request-URI, as it stands; `None` in a response.
    pub fn request_uri(&self) -> Option<&str> {
        match &self.index.start {
            Start::Request { uri, .. } => Some(self.text(*uri)),
            Start::Response { .. } => None,
        }
    }

    /// Returns the status code; `None` in a request.
    pub fn status(&self) -> Option<u16> {
        match &self.index.start {
            Start::Request { .. } => None,
            Start::Response { code, .. } => Some(*code),
        }
    }

    /// Returns the reason phrase, as it stands; `None` in a request.
    pub fn reason(&self) -> Option<&str> {
        match &self.index.start {
            Start::Request { .. } => None,
            Start::Response { reason, .. } => Some(self.text(*reason)),
        }
    }

    /// Iterates over all header lines: name as it stands and value without folds.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.index
            .lines
            .iter()
            .map(|line| (self.text(line.name), self.text(line.value)))
    }

    /// Returns the value of the first line of a header, commas and all.
    pub fn header(&self, name: Name<'_>) -> Option<&str> {
        self.index
            .lines_of(&self.bytes, name)
            .next()
            .map(|line| self.text(line.value))
    }

    /// Iterates over the values of a header that may be a list, through its lines and the commas within them.
    ///
    /// A line that is not UTF-8 is yielded as one empty value, which every typed reader refuses.
    pub fn values<'m>(&'m self, name: Name<'m>) -> impl Iterator<Item = &'m str> {
        self.lines(name).flat_map(Commas::new)
    }

    /// Iterates over the lines of a header whose values hold commas of their own, as credentials do.
    pub fn lines<'m>(&'m self, name: Name<'m>) -> impl Iterator<Item = &'m str> {
        self.index.lines_of(&self.bytes, name).map(|line| self.text(line.value))
    }

    /// Says whether a header is there.
    pub fn has(&self, name: Name<'_>) -> bool {
        self.index.lines_of(&self.bytes, name).next().is_some()
    }

    /// Reads the first Via value; `None` when there is none or it is malformed.
    pub fn top_via(&self) -> Option<Via<'_>> {
        self.values(Name::Via).next().and_then(Via::parse)
    }

    /// Returns the branch of the first Via value.
    pub fn branch(&self) -> Option<&str> {
        self.top_via().and_then(Via::branch)
    }

    /// Returns the Call-ID.
    pub fn call_id(&self) -> Option<&str> {
        self.header(Name::CallId).filter(|id| !id.is_empty())
    }

    /// Reads CSeq.
    pub fn cseq(&self) -> Option<CSeq> {
        self.header(Name::CSeq).and_then(CSeq::parse)
    }

    /// Reads From.
    pub fn from(&self) -> Option<Address<'_>> {
        self.header(Name::From).and_then(Address::parse)
    }

    /// Reads To.
    pub fn to(&self) -> Option<Address<'_>> {
        self.header(Name::To).and_then(Address::parse)
    }

    /// Returns the tag of From.
    pub fn from_tag(&self) -> Option<&str> {
        self.from().and_then(Address::tag)
    }

    /// Returns the tag of To.
    pub fn to_tag(&self) -> Option<&str> {
        self.to().and_then(Address::tag)
    }

    /// Reads Max-Forwards; `None` when it is missing or no number.
    pub fn max_forwards(&self) -> Option<u32> {
        self.header(Name::MaxForwards).and_then(crate::text::number)
    }

    /// Returns the body, empty when there is none.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(self.body.start as usize..)
    }

    /// Returns the text of a range, without folds; empty when it is not UTF-8.
    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(span.of(self.unfolded.as_ref().unwrap_or(&self.bytes))).unwrap_or_default()
    }

    fn lines_of<'m>(&'m self, name: Name<'m>) -> impl Iterator<Item = &'m Line> + 'm {
        self.index.lines_of(&self.bytes, name)
    }
}

/// Turns the CRLF of each continuation line into two blanks; the header section keeps its length.
fn unfold(bytes: &[u8], head_end: usize) -> Bytes {
    let mut head = BytesMut::from(bytes.get(..head_end).unwrap_or_default());
    let mut before = (0, 0);
    let folds: Vec<usize> = head
        .iter()
        .enumerate()
        .filter_map(|(at, byte)| {
            let is_fold = before == (b'\r', b'\n') && crate::text::is_blank(*byte);
            before = (before.1, *byte);
            is_fold.then_some(at)
        })
        .collect();
    for at in folds {
        if let Some(line_end) = head.get_mut(at - 2..at) {
            line_end.fill(b' ');
        }
    }
    head.freeze()
}

#[cfg(test)]
mod tests;
