//! RELOAD structures and their bytes (RFC 6940 §6.3, §6.6.2, §7).
