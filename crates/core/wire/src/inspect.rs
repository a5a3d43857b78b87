//! Hex in, readable structures out: what `p2psip wire decode` prints.
