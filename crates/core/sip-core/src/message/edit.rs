//! Edits as splices: what is not named stays as it came, byte for byte.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::index::{Index, Line};
use super::{Message, Name};
use crate::text::find_outside;

/// A set of changes to one message, applied together.
#[derive(Clone, Debug)]
pub struct Edit<'a> {
    message: &'a Message,
    request_uri: Option<Cow<'a, str>>,
    operations: Vec<(Name<'a>, Operation<'a>)>,
}

#[derive(Clone, Debug)]
enum Operation<'a> {
    Prepend(Cow<'a, str>),
    Pop(usize),
    ReplaceFirst(Cow<'a, str>),
    Set(Cow<'a, str>),
    Add(Cow<'a, str>),
    Remove,
}

impl<'a> Edit<'a> {
    /// Begins an edit without changes.
    pub fn new(message: &'a Message) -> Self {
        Self {
            message,
            request_uri: None,
            operations: Vec::new(),
        }
    }

    /// Replaces the Request-URI; a response stays as it is.
    #[must_use]
    pub fn request_uri(mut self, uri: impl Into<Cow<'a, str>>) -> Self {
        self.request_uri = Some(uri.into());
        self
    }

    /// Puts a header line in front of all others of its name; of two, the later one ends up on top.
    #[must_use]
    pub fn prepend(self, name: Name<'a>, value: impl Into<Cow<'a, str>>) -> Self {
        self.with(name, Operation::Prepend(value.into()))
    }

    /// Drops the first values of a header, counted through commas and lines.
    #[must_use]
    pub fn pop(self, name: Name<'a>, count: usize) -> Self {
        self.with(name, Operation::Pop(count))
    }

    /// Replaces the first value of a header and leaves those behind it, on the same line or another.
    #[must_use]
    pub fn replace_first(self, name: Name<'a>, value: impl Into<Cow<'a, str>>) -> Self {
        self.with(name, Operation::ReplaceFirst(value.into()))
    }

    /// Makes a header have exactly this one line; it is appended when there was none.
    #[must_use]
    pub fn set(self, name: Name<'a>, value: impl Into<Cow<'a, str>>) -> Self {
        self.with(name, Operation::Set(value.into()))
    }

    /// Sets Max-Forwards.
    #[must_use]
    pub fn max_forwards(self, hops: u32) -> Self {
        self.set(Name::MaxForwards, hops.to_string())
    }

    /// Appends a header line behind all others.
    #[must_use]
    pub fn add(self, name: Name<'a>, value: impl Into<Cow<'a, str>>) -> Self {
        self.with(name, Operation::Add(value.into()))
    }

    /// Drops all lines of a header.
    #[must_use]
    pub fn remove(self, name: Name<'a>) -> Self {
        self.with(name, Operation::Remove)
    }

    /// Makes the new message.
    pub fn apply(self) -> Message {
        let bytes = self.to_bytes();
        let mut index = Index::read(&bytes).expect("a splice keeps the start line, the line ends and the empty line");
        index.defect = index.defect.or(self.message.index.defect);
        Message::new(bytes, index)
    }

    /// Writes the new message.
    pub fn to_bytes(&self) -> Bytes {
        let source: &[u8] = &self.message.bytes;
        let mut out = BytesMut::with_capacity(source.len() + ROOM);
        self.write_start_line(source, &mut out);
        self.write_missing_prepends(&mut out);
        let mut states: Vec<State> = self.operations.iter().map(|_| State::default()).collect();
        for line in &self.message.index.lines {
            self.write_line(source, line, &mut states, &mut out);
        }
        for ((name, operation), state) in self.operations.iter().zip(&states) {
            match operation {
                Operation::Add(value) => write_header(&mut out, *name, value),
                Operation::Set(value) if !state.is_done => write_header(&mut out, *name, value),
                _ => {}
            }
        }
        let head_end = self.message.index.head_end;
        // RFC 3261 §16.6 step 9: a datagram's end tells its length, a stream needs to be told. Next hops may be either.
        let is_named = |name: Name<'_>| name == Name::ContentLength;
        if !self.message.has(Name::ContentLength) && !self.operations.iter().any(|(name, _)| is_named(*name)) {
            let length = source.len().saturating_sub(head_end);
            write_header(&mut out, Name::ContentLength, &length.to_string());
        }
        out.put_slice(source.get(head_end.saturating_sub(2)..).unwrap_or_default());
        out.freeze()
    }

    fn with(mut self, name: Name<'a>, operation: Operation<'a>) -> Self {
        // A known name that came as text counts as known.
        let name = Name::known(name.text().as_bytes()).unwrap_or(name);
        self.operations.push((name, operation));
        self
    }

    fn write_start_line(&self, source: &[u8], out: &mut BytesMut) {
        let end = self
            .message
            .index
            .lines
            .first()
            .map_or(self.message.index.head_end.saturating_sub(2), |line| {
                line.name.start as usize
            });
        let line = source.get(..end).unwrap_or_default();
        match (&self.message.index.start, &self.request_uri) {
            (super::Start::Request { uri: span, .. }, Some(uri)) => {
                out.put_slice(line.get(..span.start as usize).unwrap_or_default());
                put_clean(out, uri);
                out.put_slice(line.get(span.end as usize..).unwrap_or_default());
            }
            _ => out.put_slice(line),
        }
    }

    /// Writes prepended headers of which the message has no line yet, below the start line; Via comes first.
    fn write_missing_prepends(&self, out: &mut BytesMut) {
        for is_via in [true, false] {
            for (name, operation) in self.operations.iter().rev() {
                if let Operation::Prepend(value) = operation
                    && (*name == Name::Via) == is_via
                    && !self.message.has(*name)
                {
                    write_header(out, *name, value);
                }
            }
        }
    }

    fn write_line(&self, source: &[u8], line: &Line, states: &mut [State], out: &mut BytesMut) {
        let mut skip = 0;
        let mut is_kept = true;
        let mut replacement: Option<&str> = None;
        for ((_, operation), state) in self
            .operations
            .iter()
            .zip(states.iter_mut())
            .rev()
            .filter(|((name, _), _)| {
                name.id() == line.id
                    && (line.id != super::name::OTHER
                        || line.name.of(source).eq_ignore_ascii_case(name.text().as_bytes()))
            })
        {
            let is_first = !std::mem::replace(&mut state.is_done, true);
            match operation {
                Operation::Prepend(value) if is_first => write_header(out, self.name_of(source, line), value),
                Operation::Prepend(_) | Operation::Add(_) => {}
                Operation::Remove => is_kept = false,
                Operation::Set(value) => {
                    if is_first {
                        write_header(out, self.name_of(source, line), value);
                    }
                    is_kept = false;
                }
                Operation::ReplaceFirst(value) => {
                    if is_first {
                        replacement = Some(value);
                    }
                }
                Operation::Pop(count) => {
                    let (dropped, bytes, is_empty) = self.leading_values(line, count.saturating_sub(state.popped));
                    state.popped += dropped;
                    skip = bytes;
                    is_kept &= !is_empty;
                }
            }
        }
        if is_kept {
            self.write_kept(source, line, (skip, replacement), out);
        }
    }

    fn write_kept(&self, source: &[u8], line: &Line, change: (usize, Option<&str>), out: &mut BytesMut) {
        let (skip, replacement) = change;
        let value_at = line.value.start as usize;
        out.put_slice(source.get(line.name.start as usize..value_at).unwrap_or_default());
        let mut rest_at = value_at + skip;
        if let Some(value) = replacement {
            put_clean(out, value);
            let text = self.message.text(line.value);
            rest_at = value_at + find_outside(text, b',').unwrap_or(text.len());
        }
        out.put_slice(source.get(rest_at..line.end as usize).unwrap_or_default());
    }

    /// Measures up to `count` leading values of a line: how many there are, their octets, and whether they are all.
    fn leading_values(&self, line: &Line, count: usize) -> (usize, usize, bool) {
        let text = self.message.text(line.value);
        let mut at = 0;
        for taken in 0..count {
            let rest = text.get(at..).unwrap_or_default();
            match find_outside(rest, b',') {
                Some(comma) => {
                    let tail = rest.get(comma + 1..).unwrap_or_default();
                    at += comma + 1 + (tail.len() - tail.trim_ascii_start().len());
                }
                None => return (taken + 1, text.len(), true),
            }
        }
        (count, at, false)
    }

    /// Returns the name to write beside a line of the message: the one that the sender wrote.
    fn name_of(&self, source: &'a [u8], line: &Line) -> Name<'a> {
        Name::Other(std::str::from_utf8(line.name.of(source)).unwrap_or_default())
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    is_done: bool,
    popped: usize,
}

/// Space for what an edge adds to a request.
const ROOM: usize = 700;

/// Writes one header line.
pub(crate) fn write_header(out: &mut BytesMut, name: Name<'_>, value: &str) {
    out.put_slice(name.text().as_bytes());
    out.put_slice(b": ");
    put_clean(out, value);
    out.put_slice(b"\r\n");
}

/// Writes a text without line ends, so that no value can become a header of its own.
pub(crate) fn put_clean(out: &mut BytesMut, text: &str) {
    if text.bytes().all(|byte| !matches!(byte, b'\r' | b'\n')) {
        out.put_slice(text.as_bytes());
    } else {
        out.extend(
            text.bytes()
                .map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }),
        );
    }
}
