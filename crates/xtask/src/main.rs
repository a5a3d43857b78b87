//! the project's own tasks: ci, arch, bench, fuzz.

fn main() {}
