//! Real phones against a real overlay.
