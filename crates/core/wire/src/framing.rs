//! Frames: what one link adds to each message (RFC 6940 §6.6.2).
//!
//! ```text
//! data: 128(8) | sequence(32) | length(24) | message
//! ack:  129(8) | sequence(32) | received(32)
//! ```

use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;

use crate::{
    codec::{
        Decode, DecodeError, Encode, Fault, Reader, Writer,
        forms::{read_opaque, write_opaque},
    },
    hex,
};

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FramedMessage {
    /// A message.
    Data {
        /// Counts the data frames of this link and direction, from 0.
        sequence: u32,
        /// The message.
        #[serde(serialize_with = "hex::bytes")]
        message: Bytes,
    },
    /// The receipt for a message.
    Ack {
        /// Sequence of the frame received.
        sequence: u32,
        /// Which of the 32 frames before it were received too: bit n-1 for the n-th before.
        received: u32,
    },
}

/// FramedMessageType values.
const DATA: u8 = 128;
const ACK: u8 = 129;

/// Octets of a data frame before the message.
pub const DATA_HEADER: usize = 8;

/// Octets of an acknowledgement.
pub const ACK_LENGTH: usize = 9;

/// Octets of the length of a message.
pub(crate) const LENGTH_WIDTH: usize = 3;

/// Tells whether the first octet is a frame's, and not a bare message's.
#[must_use]
pub const fn is_frame(first: u8) -> bool {
    matches!(first, DATA | ACK)
}

impl Encode for FramedMessage {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Data { sequence, message } => {
                DATA.encode(out);
                sequence.encode(out);
                write_opaque(out, LENGTH_WIDTH, message);
            }
            Self::Ack { sequence, received } => {
                ACK.encode(out);
                sequence.encode(out);
                received.encode(out);
            }
        }
    }
}

impl Decode for FramedMessage {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.at();
        match u8::decode(reader)? {
            DATA => Ok(Self::Data {
                sequence: u32::decode(reader)?,
                message: read_opaque(reader, LENGTH_WIDTH)?,
            }),
            ACK => Ok(Self::Ack {
                sequence: u32::decode(reader)?,
                received: u32::decode(reader)?,
            }),
            other => Err(DecodeError::new(at, Fault::Value(u64::from(other)))),
        }
        .map_err(|error| error.within("FramedMessage"))
    }
}

/// Why a stream cannot be read further; the link is to be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// An octet that starts no frame.
    #[error("octet {0:#04x} starts no frame")]
    Type(u8),
    /// A message above the limit; nothing of it was kept but its frame's head.
    #[error("message of {length} octets in frame {sequence}, at most {limit} allowed")]
    TooLarge {
        /// Sequence of the frame.
        sequence: u32,
        /// Octets announced.
        length: usize,
        /// Octets allowed.
        limit: usize,
    },
}

/// Cuts a stream of octets into frames.
///
/// Give it what was read, then take frames until there is none. It then holds less than one frame, and a frame never
/// exceeds the limit, so that memory is bounded by the limit and the size of one read.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    buffer: BytesMut,
}

impl Decoder {
    /// Makes one for messages of at most `limit` octets.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: BytesMut::new(),
        }
    }

    /// Sets another limit, for the messages that begin from now on or are not whole yet.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Adds what was read.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Takes the next whole frame, if it is there.
    ///
    /// # Errors
    /// [`FramingError`]; every later call returns it again.
    pub fn next_frame(&mut self) -> Result<Option<FramedMessage>, FramingError> {
        let Some((&kind, rest)) = self.buffer.split_first() else {
            return Ok(None);
        };
        let mut head = rest;
        match kind {
            ACK if self.buffer.len() < ACK_LENGTH => Ok(None),
            ACK => {
                let (sequence, received) = (head.get_u32(), head.get_u32());
                self.buffer.advance(ACK_LENGTH);
                Ok(Some(FramedMessage::Ack { sequence, received }))
            }
            DATA if self.buffer.len() < DATA_HEADER => Ok(None),
            DATA => {
                let sequence = head.get_u32();
                let length = head.get_uint(LENGTH_WIDTH);
                self.take_message(sequence, usize::try_from(length).unwrap_or(usize::MAX))
            }
            other => Err(FramingError::Type(other)),
        }
    }

    /// Shows what was received and not yet taken; after [`FramingError::TooLarge`] it begins with that frame.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    fn take_message(&mut self, sequence: u32, length: usize) -> Result<Option<FramedMessage>, FramingError> {
        if length > self.limit {
            return Err(FramingError::TooLarge {
                sequence,
                length,
                limit: self.limit,
            });
        }
        if self.buffer.len() < DATA_HEADER + length {
            return Ok(None);
        }
        self.buffer.advance(DATA_HEADER);
        let message = self.buffer.split_to(length).freeze();
        Ok(Some(FramedMessage::Data { sequence, message }))
    }
}
