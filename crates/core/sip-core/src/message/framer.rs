//! Cuts a byte stream into messages (RFC 3261 §18.3) and keep-alives (RFC 5626 §3.5.1).

use bytes::{Buf, BytesMut};

use super::index::{Defect, Index, ParseError};
use super::limits::MAX_MESSAGE;
use super::{MAX_HEADER, Message};

/// What came out of a stream.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A whole message. When it is the last before a [`FrameError`], [`Message::validate`] says what to answer.
    Message(Message),
    /// A double line end, to be answered with a single one.
    Ping,
    /// A single line end, the answer to a ping.
    Pong,
}

/// Why nothing more can be read from a stream; it must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The header section cannot be read.
    #[error("stream carries no SIP message: {0}")]
    Head(#[from] ParseError),
    /// The end of the last message is unknown, since its Content-Length is missing, wrong or too large.
    #[error("message before this point had no usable Content-Length")]
    Lost,
}

/// Collects octets until messages are whole.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    /// How far the end of the header section has been searched for.
    searched: usize,
    /// The message whose body is still incomplete, and its whole length.
    head: Option<(Index, usize)>,
    is_lost: bool,
}

impl Framer {
    /// Makes a framer for a new stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes octets as they come; [`next`](Self::next) must be called until it yields nothing before more are pushed,
    /// which bounds the buffer to one message and one push.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Returns how many octets wait for the rest of their message.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Returns the next message or keep-alive, if it is whole.
    ///
    /// # Errors
    ///
    /// Fails when the stream carries something else, or a limit is broken; it stays failed.
    #[allow(
        clippy::should_implement_trait,
        reason = "a framer goes on after it has yielded nothing"
    )]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.is_lost {
            return Err(FrameError::Lost);
        }
        if self.head.is_none() {
            if let Some(keep_alive) = self.take_keep_alive() {
                return Ok(Some(keep_alive));
            }
            let result = self.read_head();
            self.is_lost = self.is_lost || result.is_err();
            if let Some(frame) = result? {
                return Ok(Some(frame));
            }
        }
        match self.head.take() {
            Some((index, length)) if self.buffer.len() >= length => Ok(Some(self.cut(index, length))),
            waiting => {
                self.head = waiting;
                Ok(None)
            }
        }
    }

    fn take_keep_alive(&mut self) -> Option<Frame> {
        if self.buffer.starts_with(b"\r\n\r\n") {
            self.buffer.advance(4);
            return Some(Frame::Ping);
        }
        // Half a ping is taken for a pong when it comes alone: senders write the four octets at once.
        if self.buffer.starts_with(b"\r\n") && self.buffer.get(2) != Some(&b'\r') {
            self.buffer.advance(2);
            return Some(Frame::Pong);
        }
        None
    }

    /// Looks for the end of the header section; yields a message at once when its length is unusable.
    fn read_head(&mut self) -> Result<Option<Frame>, FrameError> {
        // The end may straddle two pushes, so the search steps back by the length of what it looks for, less one.
        let from = self.searched.saturating_sub(3);
        let found = self
            .buffer
            .get(from..)
            .unwrap_or_default()
            .windows(4)
            .position(|four| four == b"\r\n\r\n");
        let Some(place) = found else {
            self.searched = self.buffer.len();
            return if self.buffer.len() > MAX_MESSAGE {
                Err(ParseError::TooLarge.into())
            } else if self.buffer.len() > MAX_HEADER && !self.buffer.contains(&b'\n') {
                Err(ParseError::HeaderTooLong.into())
            } else {
                Ok(None)
            };
        };
        self.searched = 0;
        let mut index = Index::read(self.buffer.get(..from + place + 4).unwrap_or_default())?;
        // RFC 3261 §18.3: on a stream Content-Length is mandatory.
        let defect = match index.content_length(&self.buffer) {
            Ok(Some(length)) if length <= MAX_MESSAGE - index.head_end.min(MAX_MESSAGE) => {
                let length = index.head_end + length;
                self.head = Some((index, length));
                return Ok(None);
            }
            Ok(Some(_)) => Defect::TooLarge,
            Ok(None) => Defect::NoBodyLength,
            Err(defect) => defect,
        };
        index.defect.get_or_insert(defect);
        self.is_lost = true;
        let head_end = index.head_end;
        Ok(Some(self.cut(index, head_end)))
    }

    fn cut(&mut self, index: Index, length: usize) -> Frame {
        Frame::Message(Message::new(self.buffer.split_to(length).freeze(), index))
    }
}
