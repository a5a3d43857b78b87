//! Certificates, Node-IDs, user names, signing and verifying.
