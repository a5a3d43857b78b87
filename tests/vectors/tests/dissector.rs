//! Golden messages through Wireshark's RELOAD dissector, and broken ones that it must not pass.

use bytes::Bytes;

use p2psip_vectors::{Captured, Direction, Golden, Verdict, alone, dissect, fragments, link};

#[allow(
    clippy::panic,
    reason = "the error's text names the package to install; expect would show its debug form"
)]
fn verdicts(messages: &[Captured]) -> Vec<Verdict> {
    dissect(messages).unwrap_or_else(|error| panic!("{error}"))
}

fn forth(link: u16, octets: &Bytes) -> Captured {
    Captured {
        octets: octets.clone(),
        link,
        direction: Direction::Forth,
    }
}

fn assert_clean(golden: &[Golden], messages: &[Captured]) {
    for (Golden { name, .. }, verdict) in golden.iter().zip(verdicts(messages)) {
        assert!(verdict.is_clean(), "{name}: {:?}", verdict.faults);
    }
}

#[test]
fn golden_messages_are_clean() {
    let golden = alone();
    let messages: Vec<_> = (0..)
        .zip(&golden)
        .map(|(link, golden)| forth(link, &golden.octets))
        .collect();
    assert_clean(&golden, &messages);
}

#[test]
fn frames_of_a_link_are_clean() {
    let golden = link();
    let direction = |name: &str| {
        if name.starts_with("back") {
            Direction::Back
        } else {
            Direction::Forth
        }
    };
    let captured = |Golden { name, octets }: &Golden| Captured {
        octets: octets.clone(),
        link: 0,
        direction: direction(name),
    };
    assert_clean(&golden, &golden.iter().map(captured).collect::<Vec<_>>());
}

#[test]
fn fragments_are_clean() {
    let golden = fragments();
    assert_clean(
        &golden,
        &golden.iter().map(|golden| forth(0, &golden.octets)).collect::<Vec<_>>(),
    );
}

#[test]
fn broken_messages_are_not_clean() {
    let golden = alone();
    let named = |name: &str| {
        golden
            .iter()
            .find(|golden| golden.name == name)
            .unwrap()
            .octets
            .to_vec()
    };
    let ping = named("hand_ping_req");
    let trailing = [&ping[..], &[0]].concat();
    let mut longer_header = trailing.clone();
    longer_header[19] += 1;
    let mut destination = ping.clone();
    destination[39] = 0x20;
    let mut padding = ping.clone();
    padding[63] = 9;
    let mut frame = named("hand_frame");
    frame[7] -= 1;
    let cases = [
        ("an octet too many", trailing),
        ("an octet too many that the header counts", longer_header),
        ("a destination beyond its list", destination),
        ("a vector beyond its body", padding),
        ("a frame shorter than its message", frame),
        (
            "an acknowledgement of nothing",
            wire::hex::decode("810000000700000000").unwrap(),
        ),
        ("no RELOAD at all", vec![0x16; 60]),
    ];
    let messages: Vec<_> = (0..)
        .zip(&cases)
        .map(|(link, (_, octets))| forth(link, &octets.clone().into()))
        .collect();
    for ((name, _), verdict) in cases.iter().zip(verdicts(&messages)) {
        assert!(!verdict.is_clean(), "{name} passed");
    }
}
