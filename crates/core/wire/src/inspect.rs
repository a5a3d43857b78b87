//! Hex in, readable structures out: what `p2psip wire decode` prints.

use bytes::Bytes;
use serde::Serialize;

use crate::{
    body::Body,
    codec::{Decode, DecodeError, Encode, Fault, Reader, forms::read_within},
    contents::{MessageContents, MessageExtension},
    framing::{self, FramedMessage},
    header::ForwardingHeader,
    hex,
    message_code::MessageCode,
    model::{Models, WellKnown},
    packet::Packet,
    security::SecurityBlock,
    trace::TraceContext,
};

/// One line, taken apart.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The word before the hex, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the octets are.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What octets are.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// A message or an acknowledgement.
    Read {
        /// What it says.
        #[serde(flatten)]
        inspected: Box<Inspected>,
        /// The octets, made again from the structures alone.
        reencoded: String,
    },
    /// Neither.
    Bad {
        /// What is wrong, and where.
        #[serde(serialize_with = "text")]
        error: DecodeError,
        /// The octet at which it shows, from 0.
        octet: usize,
    },
}

/// The structures found; those that are not there are left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Inspected {
    /// The frame, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<Frame>,
    /// The forwarding header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<ForwardingHeader>,
    /// The trace context among the options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// The message's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<MessageCode>,
    /// The typed body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// The extensions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Vec<MessageExtension>>,
    /// Certificates and signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<SecurityBlock>,
    /// The octets behind the header of a fragment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

/// A frame without its message.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// Around a message.
    Data {
        /// Its number.
        sequence: u32,
    },
    /// For a message.
    Ack {
        /// The message's number.
        sequence: u32,
        /// Which ones before it were received.
        received: u32,
    },
}

/// Takes a line apart: hex, or a name and hex, and a comment behind `#`. `None` if there is nothing on it.
#[must_use]
pub fn decode_line(line: &str) -> Option<Inspection> {
    let text = line.split('#').next().unwrap_or_default().trim();
    if text.is_empty() {
        return None;
    }
    let (name, digits) = match text.split_once(char::is_whitespace) {
        Some((name, digits)) => (Some(name.to_owned()), digits.trim_start()),
        None => (None, text),
    };
    let not_hex = || {
        DecodeError::new(
            digits.bytes().take_while(u8::is_ascii_hexdigit).count() / 2,
            Fault::NotHex,
        )
    };
    let outcome = hex::decode(digits)
        .ok_or_else(not_hex)
        .and_then(|octets| inspect(&octets.into(), &WellKnown));
    Some(Inspection {
        name,
        outcome: match outcome {
            Ok((inspected, octets)) => Outcome::Read {
                inspected: Box::new(inspected),
                reencoded: hex::encode(&octets),
            },
            Err(error) => Outcome::Bad { octet: error.at, error },
        },
    })
}

/// Takes a bare or framed message apart, and makes its octets again from the structures.
///
/// # Errors
/// [`DecodeError`], with octets counted from the first.
pub fn inspect(octets: &Bytes, models: &dyn Models) -> Result<(Inspected, Bytes), DecodeError> {
    let mut reader = Reader::with_models(octets, models);
    if !reader.peek().is_some_and(framing::is_frame) {
        let found = message(&mut reader)?;
        reader.finish()?;
        return Ok(found);
    }
    let (frame, inspected, again) = match FramedMessage::decode(&mut reader.clone())? {
        FramedMessage::Ack { sequence, received } => {
            reader.take(framing::ACK_LENGTH)?;
            (
                Frame::Ack { sequence, received },
                Inspected::default(),
                FramedMessage::Ack { sequence, received },
            )
        }
        FramedMessage::Data { sequence, .. } => {
            reader.take(framing::DATA_HEADER - framing::LENGTH_WIDTH)?;
            let (inspected, message) = read_within(&mut reader, framing::LENGTH_WIDTH, message)?;
            (
                Frame::Data { sequence },
                inspected,
                FramedMessage::Data { sequence, message },
            )
        }
    };
    reader.finish()?;
    Ok((
        Inspected {
            frame: Some(frame),
            ..inspected
        },
        again.to_bytes(),
    ))
}

fn message(reader: &mut Reader<'_>) -> Result<(Inspected, Bytes), DecodeError> {
    let packet = Packet::decode(reader)?;
    let payload_at = reader.at() - packet.payload.len();
    let header = packet.header.clone();
    let inspected = Inspected {
        trace: header.options.iter().find_map(TraceContext::from_option),
        header: Some(header.clone()),
        ..Inspected::default()
    };
    if !header.fragment.is_whole() {
        return Ok((
            Inspected {
                payload: Some(hex::encode(&packet.payload)),
                ..inspected
            },
            packet.to_bytes(),
        ));
    }
    let mut payload = Reader::with_models(&packet.payload, reader.models()).starting_at(payload_at);
    let contents = MessageContents::decode(&mut payload)?;
    let body = Body::read(
        contents.code,
        Reader::with_models(&contents.body, reader.models()).starting_at(payload_at + BODY_AT),
    )?;
    let security = SecurityBlock::decode(&mut payload)?;
    payload.finish()?;
    let again = MessageContents {
        code: body.code(),
        body: body.to_bytes(),
        extensions: contents.extensions.clone(),
    };
    let again = [again.to_bytes(), security.to_bytes()].concat();
    let again = Packet {
        header,
        payload: again.into(),
    }
    .to_bytes();
    Ok((
        Inspected {
            code: Some(contents.code),
            body: Some(body),
            extensions: Some(contents.extensions),
            security: Some(security),
            ..inspected
        },
        again,
    ))
}

/// Octets of message_code and of the body's length, before the body.
const BODY_AT: usize = 6;

fn text<S: serde::Serializer>(error: &DecodeError, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(error)
}
