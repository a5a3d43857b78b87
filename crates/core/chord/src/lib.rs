//! The topology plug-in CHORD-RELOAD (RFC 6940 §10).
