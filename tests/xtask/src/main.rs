//! Verbs of this repository: `cargo xtask dev`, `cargo xtask test`.
fn main() {}
