//! What applications mean by stored data: SIP registrations (RFC 7904) and user records.
