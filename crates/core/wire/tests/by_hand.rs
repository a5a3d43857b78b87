//! Octets put together by hand from RFC 6940's text.

use bytes::Bytes;

use p2psip_wire::{
    AddressPort, Body, Changed, ChordLeave, Decode, DecodeError, Destination, Encode, ErrorCode, Fault,
    ForwardingHeader, ForwardingOption, Fragment, FramedMessage, KindId, MessageCode, MessageContents,
    MessageExtension, NodeId, Packet, ResourceId, SignerIdentity, StoredData, StoredDataValue, TraceContext,
    TransactionId, Writer,
    framing::{Decoder, FramingError},
    hex,
    inspect::{self, Outcome},
};

fn octets(text: &str) -> Bytes {
    hex::decode(&text.split_whitespace().collect::<String>())
        .expect("hex in a test")
        .into()
}

#[test]
fn address_is_the_example_of_the_rfc() {
    let address = AddressPort::from("192.0.2.1:6084".parse::<std::net::SocketAddr>().unwrap());
    assert_eq!(address.to_bytes(), octets("01 06 c0000201 17c4"));
}

#[test]
fn destinations_count_their_inner_length() {
    let id = [0xab; 16];
    let cases = [
        (
            Destination::Node(NodeId::from(id)),
            "01 10 abababababababababababababababab",
        ),
        (
            Destination::Resource(ResourceId::from(id)),
            "02 11 10 abababababababababababababababab",
        ),
        (Destination::Opaque(octets("010203")), "03 04 03 010203"),
        (Destination::Compact(0x8123), "8123"),
        (
            Destination::Other {
                kind: 9,
                data: octets("ff"),
            },
            "09 01 ff",
        ),
    ];
    for (destination, expected) in cases {
        assert_eq!(destination.to_bytes(), octets(expected));
        assert_eq!(Destination::from_bytes(&octets(expected)), Ok(destination));
    }
    assert!(
        Destination::from_bytes(&octets("00 00")).is_err(),
        "invalidDestinationType"
    );
    assert!(
        Destination::from_bytes(&octets("03 05 03 010203 00")).is_err(),
        "octets after the identifier"
    );
}

#[test]
fn header_has_its_three_lengths_before_its_three_lists() {
    let header = ForwardingHeader {
        overlay: p2psip_wire::overlay_hash("overlay.example.org"),
        configuration_sequence: 7,
        version: p2psip_wire::VERSION,
        ttl: 100,
        fragment: Fragment::WHOLE,
        transaction_id: TransactionId(0x0102_0304_0506_0708),
        max_response_length: 0x1000,
        via_list: vec![Destination::Compact(0x8001)],
        destination_list: vec![Destination::Node(NodeId::WILDCARD)],
        options: vec![ForwardingOption {
            kind: 1,
            flags: 2,
            value: octets("aa"),
        }],
    };
    let expected = octets(
        "d2454c4f 9aa32b8d 0007 0a 64 c0000000 00000041 0102030405060708 00001000
         0002 0012 0005 8001 0110ffffffffffffffffffffffffffffffff 01020001aa beef",
    );
    let packet = Packet {
        header,
        payload: octets("beef"),
    };
    assert_eq!(packet.to_bytes(), expected);
    assert_eq!(Packet::from_bytes(&expected), Ok(packet));
}

#[test]
fn a_change_is_told_by_resource_kind_and_generation() {
    let changed = Changed {
        resource: ResourceId::from([0xab; 16]),
        kind: KindId::P2PSIP_USER,
        generation_counter: 0x0102_0304_0506_0708,
    };
    let extension = MessageExtension {
        kind: 0x8003,
        critical: false,
        contents: octets("10 abababababababababababababababab f0000001 0102030405060708"),
    };
    assert_eq!(changed.to_extension(), extension);
    assert_eq!(Changed::from_extension(&extension), Some(Ok(changed)));
    let other = MessageExtension {
        kind: MessageExtension::WAITING_FOR_RING,
        ..extension.clone()
    };
    assert_eq!(Changed::from_extension(&other), None);
    let long = MessageExtension {
        contents: [&extension.contents[..], &[0]].concat().into(),
        ..extension
    };
    assert!(matches!(Changed::from_extension(&long), Some(Err(_))));
}

#[test]
fn fragment_needs_its_high_bit() {
    assert_eq!(Fragment::WHOLE.to_bytes(), octets("c0000000"));
    assert_eq!(Fragment::new(0x123, false).to_bytes(), octets("80000123"));
    assert_eq!(Fragment::from_bytes(&octets("40000000")).unwrap_err().at, 0);
}

#[test]
fn stored_data_is_as_long_as_it_says() {
    let good = octets(
        "00000027 0000000000000001 00000e10 0002 6b6b 01 00000003 616263 04 03 01 0005 04 03 010203 0004 05060708",
    );
    // 8 + 4 + 2 + 2 + 1 + 4 + 3 + 2 + 3 + 5 + 2 + 4 = 40 = 0x28, so the length above is one short.
    assert!(
        StoredData::read(
            &mut p2psip_wire::Reader::new(&good),
            Some(p2psip_wire::DataModel::Dictionary)
        )
        .is_err()
    );
    let mut right = good.to_vec();
    right[3] = 0x28;
    let read = StoredData::read(
        &mut p2psip_wire::Reader::new(&right.clone().into()),
        Some(p2psip_wire::DataModel::Dictionary),
    );
    let read = read.unwrap();
    assert!(matches!(&read.value, StoredDataValue::Dictionary { key, .. } if key == "kk"));
    assert_eq!(read.signature.algorithm, p2psip_wire::SignatureAndHash::ECDSA_SHA256);
    assert_eq!(
        read.signature.identity,
        SignerIdentity::CertHash {
            hash_alg: 4,
            hash: octets("010203")
        }
    );
    assert_eq!(read.to_bytes(), right);
}

#[test]
fn unknown_kinds_stay_octets() {
    let body = octets(
        "10 abababababababababababababababab 00 00000026
         f0001234 0000000000000000 00000016 00000012 0000000000000001 00000e10 dead beef 0102",
    );
    let Ok(Body::StoreReq(request)) = Body::decode(MessageCode::STORE_REQ, &body) else {
        panic!("not read")
    };
    let data = &request.kind_data[0];
    assert_eq!(data.kind, KindId(0xf000_1234));
    assert_eq!(data.values[0].value, StoredDataValue::Opaque(octets("deadbeef0102")));
    assert_eq!(Body::from(request).to_bytes(), body);
}

#[test]
fn leave_tells_who_is_next() {
    let body = octets("01010101010101010101010101010101 0013 01 0010 02020202020202020202020202020202");
    let Ok(Body::LeaveReq(leave)) = Body::decode(MessageCode::LEAVE_REQ, &body) else {
        panic!("not read")
    };
    let successors = vec![NodeId::from([2; 16])];
    assert_eq!(leave.overlay_specific_data, ChordLeave::FromSuccessor { successors });
}

#[test]
fn error_names_the_octet() {
    let short = Body::decode(MessageCode::PING_REQ, &octets("0003 0102")).unwrap_err();
    assert_eq!((short.at, short.what), (2, Fault::Short { needed: 3, left: 2 }));
    assert_eq!(short.to_string(), "octet 2: 3 octets needed, 2 left in PingReq.padding");
    let long = Body::decode(MessageCode::PING_REQ, &octets("0001 0102")).unwrap_err();
    assert_eq!((long.at, long.what), (3, Fault::Trailing(1)));
    let boolean = MessageContents::from_bytes(&octets("0017 00000000 00000007 8001 02 00000000")).unwrap_err();
    assert_eq!((boolean.at, boolean.what), (12, Fault::Value(2)));
}

#[test]
fn message_codes_have_their_ranges() {
    assert_eq!(MessageCode::STORE_REQ.answer(), Some(MessageCode::STORE_ANS));
    assert_eq!(MessageCode::STORE_ANS.answer(), None);
    assert!(MessageCode::ERROR.is_response());
    for bad in ["0000", "8000", "fffe"] {
        assert!(MessageCode::from_bytes(&octets(bad)).is_err(), "{bad}");
    }
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::from(code.number()), *code);
    }
}

#[test]
fn trace_travels_as_an_option() {
    let trace = TraceContext {
        trace_id: [0x11; 16],
        span_id: [0x22; 8],
        flags: 1,
    };
    let option = trace.to_option();
    assert_eq!(
        option.to_bytes(),
        octets("e0 04 001a 00 11111111111111111111111111111111 2222222222222222 01")
    );
    assert_eq!(TraceContext::from_option(&option), Some(trace));
    assert_eq!(TraceContext::from_option(&option.response_copy().unwrap()), Some(trace));
    assert_eq!(option.response_copy().unwrap().flags, 0);
    assert_eq!(
        TraceContext::from_option(&ForwardingOption { kind: 225, ..option }),
        None
    );
}

#[test]
fn frames_are_bounded() {
    let mut decoder = Decoder::new(16);
    decoder.push(&octets("81 00000007 0000000f 80 00000008 000011"));
    assert_eq!(
        decoder.next_frame(),
        Ok(Some(FramedMessage::Ack {
            sequence: 7,
            received: 15
        }))
    );
    let refused = Err(FramingError::TooLarge {
        sequence: 8,
        length: 17,
        limit: 16,
    });
    assert_eq!(decoder.next_frame(), refused, "before a single octet of it is there");
    decoder.push(&[0; 17]);
    assert_eq!(decoder.next_frame(), refused, "for good");
    let mut decoder = Decoder::new(16);
    decoder.push(&octets("16"));
    assert_eq!(decoder.next_frame(), Err(FramingError::Type(0x16)));
}

#[test]
fn vectors_beyond_their_ceiling_are_refused() {
    let mut out = Writer::new();
    out.vector(1, |out| out.octets(&[0; 255]));
    assert_eq!(out.checked().unwrap().len(), 256);
    let mut out = Writer::new();
    out.vector(1, |out| out.octets(&[0; 256]));
    assert_eq!(out.checked().unwrap_err().ceiling, 255);
}

#[test]
fn lines_are_told_apart_by_their_first_octets() {
    let outcome = |line: &str| inspect::decode_line(line).unwrap().outcome;
    assert!(inspect::decode_line(" # nothing here").is_none());
    let Outcome::Read { reencoded, .. } = outcome("ack 810000000100000003 # a comment") else {
        panic!("not read")
    };
    assert_eq!(reencoded, "810000000100000003");
    let Outcome::Bad { error, .. } = outcome("81000000010000000300") else {
        panic!("trailing octet accepted")
    };
    assert_eq!((error.at, error.what), (9, Fault::Trailing(1)));
    let Outcome::Bad { error, .. } = outcome("d2454c4f0g") else {
        panic!("not hex")
    };
    assert_eq!((error.at, error.what), (4, Fault::NotHex));
    let Outcome::Bad { error, .. } = outcome("17030300") else {
        panic!("no token")
    };
    assert_eq!((error.at, error.what), (0, Fault::NoToken));
    let framed =
        "80 00000000 000026 d2454c4f 00000000 0000 0a 64 c0000000 00000027 0000000000000000 00000000 0000 0000 0000";
    let Outcome::Bad { error, octet } = outcome(&framed.replace(' ', "")) else {
        panic!("wrong length accepted")
    };
    assert_eq!(octet, 46);
    assert!(
        matches!(
            error,
            DecodeError {
                what: Fault::Short { needed: 1, left: 0 },
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn inspection_prints_one_json_line() {
    let message = "d2454c4f 9aa32b8d 0001 0a 64 c0000000 0000004d 0102030405060708 00000000 0000 0012 0000
        0110 ffffffffffffffffffffffffffffffff 0017 00000002 0000 00000000 0000 0000 03 0000 0000";
    let line = message.split_whitespace().collect::<String>();
    let json = serde_json::to_string(&inspect::decode_line(&line).unwrap()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["reencoded"], line);
    assert_eq!(value["code"], "ping_req");
    assert_eq!(value["header"]["overlay"], "9aa32b8d");
    assert_eq!(value["header"]["transaction_id"], "0102030405060708");
    assert_eq!(value["security"]["signature"]["identity"], "none");
}
