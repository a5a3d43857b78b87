//! Messages, as a hop and as their destination see them (RFC 6940 §6.3).

use bytes::Bytes;
use serde::Serialize;

use crate::{
    codec::{Decode, DecodeError, Encode, Fault, Reader, Writer},
    contents::MessageContents,
    header::ForwardingHeader,
    hex,
    security::SecurityBlock,
};

/// A message as a hop handles it: the payload is contents and security block, or a part of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Packet {
    /// What the hop reads.
    pub header: ForwardingHeader,
    /// What the hop passes on.
    #[serde(serialize_with = "hex::bytes")]
    pub payload: Bytes,
}

impl Packet {
    /// Opens a message that is in one piece.
    ///
    /// # Errors
    /// [`DecodeError`] if it is a fragment, or if its payload is not contents and a security block.
    pub fn open(&self) -> Result<Message, DecodeError> {
        if !self.header.fragment.is_whole() {
            return Err(DecodeError::new(0, Fault::Fragment));
        }
        let mut reader = Reader::new(&self.payload);
        let contents = MessageContents::decode(&mut reader)?;
        let signed_contents = self.payload.slice(..reader.at());
        let security = SecurityBlock::decode(&mut reader)?;
        reader.finish()?;
        Ok(Message {
            header: self.header.clone(),
            contents,
            signed_contents,
            security,
        })
    }
}

impl Encode for Packet {
    fn encode(&self, out: &mut Writer) {
        self.header.write(self.payload.len(), out);
        out.octets(&self.payload);
    }
}

impl Decode for Packet {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.at();
        let (header, length) = ForwardingHeader::read(reader).map_err(|error| error.within("ForwardingHeader"))?;
        let read = reader.at() - start;
        let wrong =
            DecodeError::new(start + LENGTH_AT, Fault::Value(u64::from(length))).within("ForwardingHeader.length");
        let payload = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_sub(read))
            .ok_or(wrong)?;
        Ok(Self {
            header,
            payload: reader
                .take(payload)
                .map_err(|error| error.within("ForwardingHeader.length"))?,
        })
    }
}

/// Where the length stands in the header.
const LENGTH_AT: usize = 16;

/// A whole message as its source and destination handle it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The forwarding header.
    pub header: ForwardingHeader,
    /// The contents.
    pub contents: MessageContents,
    /// The contents' octets as they were received, for the signature.
    #[serde(skip)]
    pub signed_contents: Bytes,
    /// Certificates and signature.
    pub security: SecurityBlock,
}

impl Message {
    /// Puts a message together.
    #[must_use]
    pub fn new(header: ForwardingHeader, contents: MessageContents, security: SecurityBlock) -> Self {
        let signed_contents = contents.to_bytes();
        Self {
            header,
            contents,
            signed_contents,
            security,
        }
    }

    /// Closes the message into what a hop handles.
    #[must_use]
    pub fn to_packet(&self) -> Packet {
        let mut payload = Writer::new();
        payload.octets(&self.signed_contents);
        self.security.encode(&mut payload);
        Packet {
            header: self.header.clone(),
            payload: payload.into_bytes(),
        }
    }
}

impl Encode for Message {
    fn encode(&self, out: &mut Writer) {
        self.to_packet().encode(out);
    }
}

impl Decode for Message {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Packet::decode(reader)?.open()
    }
}
