//! A secured connection to a Node-ID: mutual TLS over TCP.
