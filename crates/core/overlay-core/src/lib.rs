//! One RELOAD node without sockets or clocks (RFC 6940 §6).
