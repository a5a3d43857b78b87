//! Kinds, data models, access control and replicas without a disk (RFC 6940 §7).
