//! The index of a message: where its start line, header lines and body stand. Nothing is copied.
//!
//! Reading fails only when the bytes are not SIP or break a limit. A fault that still leaves enough to answer is noted
//! as a [`Defect`], for `validate` to turn into a 400.

use super::limits::{MAX_FOLDS, MAX_HEADER, MAX_HEADERS, MAX_MESSAGE};
use super::method::Method;
use super::name::{Name, OTHER};
use crate::text::{is_blank, is_token, number};

/// Why bytes are not a message at all; there is nobody to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Nothing but line ends: a keep-alive (RFC 5626 §3.5.1).
    #[error("datagram holds only line ends")]
    KeepAlive,
    /// The first line is neither a request line nor a status line.
    #[error("first line is not SIP")]
    NotSip,
    /// No empty line ends the header section.
    #[error("header section has no end")]
    Unterminated,
    /// The message is larger than 64 KiB.
    #[error("message is larger than {MAX_MESSAGE} octets")]
    TooLarge,
    /// The header section has too many lines.
    #[error("message has more than {MAX_HEADERS} headers")]
    TooManyHeaders,
    /// One header is too long.
    #[error("header is longer than {MAX_HEADER} octets")]
    HeaderTooLong,
    /// One header is folded too often.
    #[error("header is folded more than {MAX_FOLDS} times")]
    TooManyFolds,
}

/// A fault that was met while indexing and that a 400 can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    StartLine,
    HeaderLine,
    BodyLength,
    NoBodyLength,
    TooLarge,
}

/// A range of octets within a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// Messages are at most a little over 64 KiB, so offsets fit; a larger one reads as an empty span at the end.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self {
            start: u32::try_from(start).unwrap_or(u32::MAX),
            end: u32::try_from(end).unwrap_or(u32::MAX),
        }
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// The first line.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    Request {
        method: Method,
        uri: Span,
        is_version_2: bool,
    },
    Response {
        code: u16,
        reason: Span,
        is_version_2: bool,
    },
}

/// One header line, with its continuation lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) id: u8,
    pub(crate) name: Span,
    /// Without the blanks around it.
    pub(crate) value: Span,
    /// Behind the line's CRLF.
    pub(crate) end: u32,
}

/// Everything known about where the parts of a message stand.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    pub(crate) start: Start,
    pub(crate) lines: Vec<Line>,
    /// Where the body begins.
    pub(crate) head_end: usize,
    pub(crate) is_folded: bool,
    pub(crate) defect: Option<Defect>,
}

impl Index {
    /// Indexes the header section at the beginning of `bytes`.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, ParseError> {
        let first = line_end(bytes, 0).ok_or(ParseError::Unterminated)?;
        // RFC 3261 §7.3.1 folds headers only; a start line that goes on, or breaks off, could be read in two ways.
        if first.is_defect || bytes.get(first.next).is_some_and(|byte| is_blank(*byte)) {
            return Err(ParseError::NotSip);
        }
        let (start, defect) = start_line(bytes, first.text_end)?;
        let mut index = Self {
            start,
            lines: Vec::with_capacity(USUAL_HEADERS),
            head_end: 0,
            is_folded: false,
            defect,
        };
        let mut at = first.next;
        loop {
            let mut line = line_end(bytes, at).ok_or(ParseError::Unterminated)?;
            if line.text_end == at {
                index.head_end = line.next;
                return Ok(index);
            }
            let mut folds = 0;
            // RFC 3261 §7.3.1: a line that begins with a blank continues the header before it.
            while bytes.get(line.next).is_some_and(|byte| is_blank(*byte)) {
                folds += 1;
                if folds > MAX_FOLDS {
                    return Err(ParseError::TooManyFolds);
                }
                let is_defect = line.is_defect;
                line = line_end(bytes, line.next).ok_or(ParseError::Unterminated)?;
                line.is_defect |= is_defect;
            }
            index.is_folded |= folds > 0;
            if line.text_end - at > MAX_HEADER {
                return Err(ParseError::HeaderTooLong);
            }
            if index.lines.len() == MAX_HEADERS {
                return Err(ParseError::TooManyHeaders);
            }
            index.push(bytes, at, &line);
            at = line.next;
        }
    }

    fn push(&mut self, bytes: &[u8], at: usize, line: &LineEnd) {
        let text = bytes.get(at..line.text_end).unwrap_or_default();
        let colon = text.iter().position(|byte| *byte == b':');
        let name = text.get(..colon.unwrap_or(0)).unwrap_or_default().trim_ascii_end();
        if colon.is_none() || !is_token(name) || line.is_defect {
            self.defect.get_or_insert(Defect::HeaderLine);
        }
        let value_at = colon.map_or(0, |colon| colon + 1);
        let value = text.get(value_at..).unwrap_or_default();
        let leading = value.len() - value.trim_ascii_start().len();
        let trimmed = value.trim_ascii().len();
        let value_start = at + value_at + leading;
        self.lines.push(Line {
            id: Name::known(name).map_or(OTHER, Name::id),
            name: Span::new(at, at + name.len()),
            value: Span::new(value_start, value_start + trimmed),
            end: u32::try_from(line.next).unwrap_or(u32::MAX),
        });
    }

    /// Iterates over the lines of one header.
    pub(crate) fn lines_of<'i>(&'i self, bytes: &'i [u8], name: Name<'i>) -> impl Iterator<Item = &'i Line> + 'i {
        let id = match name {
            Name::Other(text) => Name::known(text.as_bytes()).map_or(OTHER, Name::id),
            known => known.id(),
        };
        self.lines.iter().filter(move |line| {
            line.id == id && (id != OTHER || line.name.of(bytes).eq_ignore_ascii_case(name.text().as_bytes()))
        })
    }

    /// Reads Content-Length: `Ok(None)` when there is none, an error when it is no number or lines disagree.
    pub(crate) fn content_length(&self, bytes: &[u8]) -> Result<Option<usize>, Defect> {
        let mut length = None;
        for line in self.lines_of(bytes, Name::ContentLength) {
            let value = std::str::from_utf8(line.value.of(bytes))
                .ok()
                .and_then(number)
                .ok_or(Defect::BodyLength)?;
            if length.is_some_and(|length| length != value) {
                return Err(Defect::BodyLength);
            }
            length = Some(value);
        }
        Ok(length)
    }
}

/// Space for the headers of an ordinary request without growing.
const USUAL_HEADERS: usize = 24;

struct LineEnd {
    /// Where the text ends, before CRLF.
    text_end: usize,
    /// Where the next line begins.
    next: usize,
    /// A CR or LF stood alone; such a line could be read in two ways.
    is_defect: bool,
}

/// Finds the CRLF that ends the line at `at`.
fn line_end(bytes: &[u8], at: usize) -> Option<LineEnd> {
    let mut is_defect = false;
    let mut from = at;
    loop {
        let rest = bytes.get(from..)?;
        let place = from + rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
        if bytes.get(place..place + 2) == Some(b"\r\n") {
            return Some(LineEnd {
                text_end: place,
                next: place + 2,
                is_defect,
            });
        }
        is_defect = true;
        from = place + 1;
    }
}

fn start_line(bytes: &[u8], end: usize) -> Result<(Start, Option<Defect>), ParseError> {
    let line = bytes.get(..end).unwrap_or_default();
    if line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
        return status_line(line).map(|start| (start, None)).ok_or(ParseError::NotSip);
    }
    let text = std::str::from_utf8(line).map_err(|_| ParseError::NotSip)?;
    let (method, rest) = text.split_once(' ').ok_or(ParseError::NotSip)?;
    let trimmed = rest.trim_ascii_end();
    let (uri, version) = trimmed.rsplit_once(' ').ok_or(ParseError::NotSip)?;
    if !version.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("SIP/")) || !is_token(method.as_bytes()) {
        return Err(ParseError::NotSip);
    }
    // RFC 3261 §7.1: exactly one space between the parts and nothing behind them.
    let is_exact = trimmed.len() == rest.len() && !uri.is_empty() && !uri.bytes().any(|byte| byte <= b' ');
    let uri_at = method.len() + 1;
    let start = Start::Request {
        method: Method::parse(method),
        uri: Span::new(uri_at, uri_at + uri.len()),
        is_version_2: version.eq_ignore_ascii_case("SIP/2.0"),
    };
    Ok((start, (!is_exact).then_some(Defect::StartLine)))
}

/// Reads `SIP/2.0 200 OK`; the reason phrase may be empty or missing.
fn status_line(line: &[u8]) -> Option<Start> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let (version, rest) = line.split_at_checked(space)?;
    let rest = rest.get(1..)?;
    let digits = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
    let code = std::str::from_utf8(rest.get(..digits)?).ok()?;
    let code: u16 = number(code).filter(|code_value| code.len() == 3 && (100..700).contains(code_value))?;
    let reason_at = (space + 1 + digits + 1).min(line.len());
    let is_version_2 = version.eq_ignore_ascii_case(b"SIP/2.0");
    Some(Start::Response {
        code,
        reason: Span::new(reason_at, line.len()),
        is_version_2,
    })
}
