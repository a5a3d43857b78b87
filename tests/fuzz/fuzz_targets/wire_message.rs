//! Reads arbitrary octets as a message and as each body; what can be read must be written back the same.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

use wire::{Body, Decode, Encode, MessageCode, Packet, WellKnown, inspect::inspect};

fuzz_target!(|octets: &[u8]| {
    let octets = Bytes::copy_from_slice(octets);
    if let Ok((_, again)) = inspect(&octets, &WellKnown) {
        assert_eq!(again, octets);
    }
    if let Ok(packet) = Packet::from_bytes(&octets) {
        assert_eq!(packet.to_bytes(), octets);
        if let Ok(message) = packet.open() {
            assert_eq!(message.to_bytes(), octets);
        }
    }
    // The first octet chooses a body for the others, so that the fuzzer need not build a header first.
    let Some((&choice, _)) = octets.split_first() else {
        return;
    };
    let Some(code) = MessageCode::ALL.get(usize::from(choice) % MessageCode::ALL.len()) else {
        return;
    };
    let body = octets.slice(1..);
    if let Ok(read) = Body::decode(*code, &body) {
        assert_eq!(read.to_bytes(), body);
    }
});
