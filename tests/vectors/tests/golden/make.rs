//! Writes `messages.hex`, `framed.hex`, `link.hex` and `fragments.hex` anew:
//! `cargo test -p p2psip-vectors make -- --ignored`. What it writes is reviewed and committed.

use std::{fmt::Write as _, fs, path::Path};

use bytes::Bytes;

use wire::{
    Body, Destination, Encode, ForwardingOption, Fragment, FramedMessage, Message, MessageContents, MessageExtension,
    NodeId, Packet, TraceContext, hex,
};

use crate::sample::{NOW_MS, Signers, bodies, header};

#[test]
#[ignore = "writes the golden files"]
fn make() {
    let signers = Signers::new();
    let messages: Vec<(String, Bytes)> = bodies(&signers)
        .into_iter()
        .zip(1..)
        .map(|((name, body), transaction)| (name, signers.message(transaction, &body).to_bytes()))
        .chain(headers(&signers))
        .collect();
    write(
        "messages.hex",
        "Every message, answer, error and data model, signed. Made by tests/golden/make.rs.",
        &messages,
    );
    write(
        "framed.hex",
        "Messages in data frames, each alone. Made by tests/golden/make.rs.",
        &framed(&messages),
    );
    write(
        "link.hex",
        "Frames of one link in their order. Made by tests/golden/make.rs.",
        &link(&messages),
    );
    write(
        "fragments.hex",
        "Messages cut into fragments, in their order. Made by tests/golden/make.rs.",
        &fragments(&signers),
    );
}

/// Messages whose headers are unusual.
fn headers(signers: &Signers) -> Vec<(String, Bytes)> {
    let ping = Body::PingReq(wire::PingReq::default());
    let named = |name: &str, message: Message| (name.to_owned(), message.to_bytes());
    let mut lists = signers.message(0x1001, &ping);
    lists.header.via_list = vec![
        Destination::Node(NodeId::from([7; 16])),
        Destination::Compact(0x8123),
        Destination::Opaque(vec![9; 3].into()),
    ];
    lists.header.destination_list = vec![
        Destination::Compact(0xfffe),
        Destination::Opaque(vec![8; 5].into()),
        Destination::Node(NodeId::WILDCARD),
    ];
    let trace = TraceContext {
        trace_id: [0x11; 16],
        span_id: [0x22; 8],
        flags: 1,
    };
    let mut options = signers.message(0x1002, &ping);
    options.header.options = vec![
        ForwardingOption {
            kind: 1,
            flags: ForwardingOption::DESTINATION_CRITICAL,
            value: vec![1, 2].into(),
        },
        trace.to_option(),
    ];
    let mut answer = signers.message(
        0x1003,
        &Body::PingAns(wire::PingAns {
            response_id: 5,
            time: NOW_MS,
        }),
    );
    answer.header.options = trace.to_option().response_copy().into_iter().collect();
    let update = wire::ChordUpdate {
        uptime: 61,
        kind: wire::ChordUpdateKind::PeerReady,
    }
    .into();
    let complete = MessageExtension {
        kind: MessageExtension::RANGE_COMPLETE,
        critical: false,
        contents: vec![1].into(),
    };
    let contents = MessageContents {
        extensions: vec![complete],
        ..MessageContents::of(&update)
    };
    let extended = signers.close(header(0x1004), contents, &[]);
    let limited = {
        let mut message = signers.message(0x1005, &ping);
        message.header.max_response_length = 5000;
        message.header.configuration_sequence = 65_534;
        message.header.ttl = 1;
        message
    };
    let changed = wire::Changed {
        resource: wire::ResourceId::of(b"alice@overlay.example.org"),
        kind: wire::KindId::P2PSIP_USER,
        generation_counter: NOW_MS,
    };
    let contents = MessageContents {
        extensions: vec![changed.to_extension()],
        ..MessageContents::of(&ping)
    };
    let notice = signers.close(header(0x1006), contents, &[]);
    vec![
        named("header_lists", lists),
        named("header_options_trace", options),
        named("header_trace_copied", answer),
        named("update_req_extension", extended),
        named("header_limits", limited),
        named("ping_req_changed", notice),
    ]
}

fn framed(messages: &[(String, Bytes)]) -> Vec<(String, Bytes)> {
    let some = messages.iter().filter(|(name, _)| {
        [
            "ping_req",
            "ping_ans",
            "store_req_dictionary",
            "fetch_ans_array",
            "header_lists",
            "error_not_found",
        ]
        .contains(&name.as_str())
    });
    (0..)
        .zip(some)
        .map(|(sequence, (name, message))| {
            let frame = FramedMessage::Data {
                sequence,
                message: message.clone(),
            };
            (format!("framed_{name}"), frame.to_bytes())
        })
        .collect()
}

fn link(messages: &[(String, Bytes)]) -> Vec<(String, Bytes)> {
    let mut frames = Vec::new();
    for (sequence, (name, message)) in (0_u32..).zip(messages.iter().take(4)) {
        let data = FramedMessage::Data {
            sequence,
            message: message.clone(),
        };
        // The frames before this one were all received: as many low bits as there were.
        let ack = FramedMessage::Ack {
            sequence,
            received: (1 << sequence) - 1,
        };
        frames.push((format!("forth_{name}"), data.to_bytes()));
        frames.push((format!("back_ack_{sequence}"), ack.to_bytes()));
    }
    frames
}

fn fragments(signers: &Signers) -> Vec<(String, Bytes)> {
    let ping = Body::PingReq(wire::PingReq {
        padding: vec![0xaa; 1000].into(),
    });
    let whole = signers.message(0x2001, &ping).to_packet();
    let mut out = Vec::new();
    for (number, piece) in (0..).zip(whole.payload.chunks(600)) {
        let offset = number * 600;
        let last = usize::try_from(offset).expect("a small offset") + piece.len() == whole.payload.len();
        let mut header = whole.header.clone();
        header.fragment = Fragment::new(offset, last);
        let packet = Packet {
            header,
            payload: Bytes::copy_from_slice(piece),
        };
        out.push((format!("ping_req_fragment_{number}"), packet.to_bytes()));
    }
    out
}

fn write(file: &str, comment: &str, lines: &[(String, Bytes)]) {
    let mut text = format!("# {comment}\n");
    for (name, octets) in lines {
        writeln!(text, "{name} {}", hex::encode(octets)).expect("memory");
    }
    fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), text).expect("a writable source tree");
}
