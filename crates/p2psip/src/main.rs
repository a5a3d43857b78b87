//! the p2psip program: a peer, its components, and the operator's commands.

fn main() {}
