//! Golden messages, read, written, verified, and made.

mod codec;
mod make;
mod sample;
mod signatures;
