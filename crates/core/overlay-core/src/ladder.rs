//! One trace event for each message that arrives, from which `p2psip dev` draws its picture.

use bytes::Bytes;

use wire::{Destination, ErrorCode, MessageCode, NodeId, Packet, TransactionId};

use crate::forwarding::message_code;

/// Tells who listens that a message has arrived. Costs nothing if nobody does.
pub(crate) fn step(node: NodeId, peer: NodeId, packet: &Packet) {
    if !tracing::enabled!(target: "p2psip::ladder", tracing::Level::TRACE) {
        return;
    }
    let Some(code) = message_code(packet) else { return };
    let resource_id = match packet.header.destination_list.last() {
        Some(Destination::Resource(resource)) => Some(resource.to_string()),
        _ => None,
    };
    tracing::trace!(
        target: "p2psip::ladder",
        protocol = "RELOAD",
        %node,
        %peer,
        direction = "in",
        text = text(code, &packet.payload),
        id = %packet.header.transaction_id,
        resource_id = resource_id.as_deref(),
        ttl = packet.header.ttl,
    );
}

/// Tells who listens that a client has answered.
pub(crate) fn reply(node: NodeId, client: NodeId, (id, contents): (TransactionId, &Bytes)) {
    if !tracing::enabled!(target: "p2psip::ladder", tracing::Level::TRACE) {
        return;
    }
    let Some(code) = contents
        .first_chunk()
        .map(|octets| MessageCode(u16::from_be_bytes(*octets)))
    else {
        return;
    };
    tracing::trace!(
        target: "p2psip::ladder",
        protocol = "RELOAD",
        %node,
        peer = %client,
        direction = "in",
        text = text(code, contents),
        %id,
    );
}

/// The name of the message's structure in RFC 6940, or of the error.
fn text(code: MessageCode, contents: &Bytes) -> String {
    if code == MessageCode::ERROR {
        // The code stands after the message code and the length of the body (RFC 6940 §6.3.3).
        let error = contents.get(6..8).and_then(|octets| <[u8; 2]>::try_from(octets).ok());
        return error.map_or_else(
            || "Error".to_owned(),
            |error| ErrorCode::from(u16::from_be_bytes(error)).to_string(),
        );
    }
    let name = code.to_string();
    let capitalized = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
            .unwrap_or_default()
    };
    name.split('_').map(capitalized).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_names_of_their_structures() {
        let contents = Bytes::from_static(&[0xff, 0xff, 0, 0, 0, 4, 0, 3, 0, 0]);
        assert_eq!(text(MessageCode::APP_ATTACH_REQ, &contents), "AppAttachReq");
        assert_eq!(text(MessageCode::ERROR, &contents), "Error_Not_Found");
    }
}
