//! `document`: the overlay's configuration, changed where the off-line keys are and brought to all nodes.

pub(crate) mod request;
