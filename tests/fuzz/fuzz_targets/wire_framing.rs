//! Cuts an arbitrary stream, arriving in pieces, into frames; the frames must be the stream again.

#![no_main]

use libfuzzer_sys::fuzz_target;

use wire::{Encode, FramedMessage, framing::Decoder};

/// Limit for one message, small enough that the fuzzer meets it.
const LIMIT: usize = 300;

fuzz_target!(|octets: &[u8]| {
    let Some((&step, stream)) = octets.split_first() else {
        return;
    };
    let mut decoder = Decoder::new(LIMIT);
    let mut again = Vec::new();
    for piece in stream.chunks(usize::from(step).max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    if let FramedMessage::Data { message, .. } = &frame {
                        assert!(message.len() <= LIMIT);
                    }
                    again.extend_from_slice(&frame.to_bytes());
                }
                Ok(None) => break,
                Err(_) => {
                    assert!(stream.starts_with(&again));
                    return;
                }
            }
        }
    }
    assert!(stream.starts_with(&again));
});
