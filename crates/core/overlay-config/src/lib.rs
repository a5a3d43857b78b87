//! The overlay configuration document (RFC 6940 §11.1), typed and signature-checked.
