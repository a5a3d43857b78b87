//! What holds for every input: nothing panics, and what is read is written back octet for octet.

mod generate;

use bytes::Bytes;
use proptest::prelude::*;

use p2psip_wire::{
    Body, Decode, Encode, FramedMessage, Message, MessageCode, Packet, WellKnown, framing::Decoder, inspect::inspect,
};

/// Reads octets in every way there is; what can be read must be written back the same.
fn read_all_ways(octets: &Bytes) {
    if let Ok((_, again)) = inspect(octets, &WellKnown) {
        assert_eq!(again, octets);
    }
    if let Ok(packet) = Packet::from_bytes(octets) {
        assert_eq!(packet.to_bytes(), octets);
        if let Ok(message) = packet.open() {
            assert_eq!(message.to_bytes(), octets);
        }
    }
    for code in MessageCode::ALL {
        if let Ok(body) = Body::decode(*code, octets) {
            assert_eq!(body.to_bytes(), octets, "{code}");
        }
    }
}

proptest! {
    #[test]
    fn any_octets_are_read_or_refused(octets in generate::octets(300)) {
        read_all_ways(&octets);
    }

    #[test]
    fn any_stream_is_cut_or_refused(octets in generate::octets(300), limit in 0_usize..200) {
        let mut decoder = Decoder::new(limit);
        decoder.push(&octets);
        while let Ok(Some(frame)) = decoder.next_frame() {
            if let FramedMessage::Data { message, .. } = frame {
                prop_assert!(message.len() <= limit);
            }
        }
    }

    #[test]
    fn bodies_round_trip(body in generate::body()) {
        prop_assert_eq!(Body::decode(body.code(), &body.checked_bytes().unwrap()).unwrap(), body);
    }

    #[test]
    fn messages_round_trip(message in generate::message()) {
        let octets = message.checked_bytes().unwrap();
        let packet = Packet::from_bytes(&octets).unwrap();
        prop_assert_eq!(&packet.header, &message.header);
        prop_assert_eq!(packet.to_bytes(), &octets);
        if message.header.fragment.is_whole() {
            prop_assert_eq!(packet.open().unwrap(), message);
        }
        prop_assert_eq!(inspect(&octets, &WellKnown).unwrap().1, octets);
    }

    #[test]
    fn a_changed_message_is_read_or_refused(message in generate::message(), place: prop::sample::Index, octet: u8) {
        let mut octets = message.to_bytes().to_vec();
        octets[place.index(message.to_bytes().len())] = octet;
        read_all_ways(&octets.into());
    }

    #[test]
    fn a_message_cut_short_or_prolonged_is_refused(message in generate::message(), place: prop::sample::Index) {
        let octets = message.to_bytes();
        let cut = octets.slice(..place.index(octets.len()));
        prop_assert!(Packet::from_bytes(&cut).is_err());
        let longer = [&octets[..], &[0]].concat();
        prop_assert!(Packet::from_bytes(&longer.into()).is_err());
    }

    #[test]
    fn a_body_cut_short_or_prolonged_is_refused(body in generate::body(), place: prop::sample::Index) {
        if matches!(body, Body::Other { .. }) {
            return Ok(());
        }
        let octets = body.to_bytes();
        if !octets.is_empty() {
            let cut = octets.slice(..place.index(octets.len()));
            prop_assert!(Body::decode(body.code(), &cut).is_err());
        }
        let longer = [&octets[..], &[0]].concat();
        prop_assert!(Body::decode(body.code(), &longer.into()).is_err());
    }

    #[test]
    fn frames_come_out_whole_however_the_stream_is_cut(
        messages in prop::collection::vec(generate::octets(40), 1..5),
        step in 1_usize..60,
    ) {
        let frames: Vec<_> = (0_u32..).zip(messages).flat_map(|(sequence, message)| {
            [FramedMessage::Data { sequence, message }, FramedMessage::Ack { sequence, received: !sequence }]
        }).collect();
        let stream: Vec<u8> = frames.iter().flat_map(|frame| frame.to_bytes().to_vec()).collect();
        let mut decoder = Decoder::new(40);
        let mut out = Vec::new();
        for piece in stream.chunks(step) {
            decoder.push(piece);
            while let Some(frame) = decoder.next_frame().unwrap() {
                out.push(frame);
            }
        }
        prop_assert_eq!(out, frames);
    }

    #[test]
    fn signed_octets_are_those_received(message in generate::message()) {
        if !message.header.fragment.is_whole() {
            return Ok(());
        }
        let opened = Message::from_bytes(&message.to_bytes()).unwrap();
        prop_assert_eq!(opened.signed_contents, message.contents.to_bytes());
    }
}
