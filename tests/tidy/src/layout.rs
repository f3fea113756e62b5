//! The rooms: what may lie at the top of the tree, and what every crate's manifest says.
//!
//! Owns: the list of rooms of `host/docs/architecture.md`.

use crate::Finding;
use std::collections::BTreeSet;

/// What must be there.
const ROOMS: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "CHANGELOG.md",
    "examples",
    "host",
    "plugins",
    "sdk",
    "tests",
    "wit",
];

/// Configuration that tools look for at the top; names with a dot are free.
const CONFIGURATION: [&str; 6] = [
    "README.md",
    "LICENSE",
    "clippy.toml",
    "deny.toml",
    "rust-toolchain.toml",
    "rustfmt.toml",
];

/// Compares the entries at the top of the tree with the rooms.
#[must_use]
pub fn top<'path>(paths: impl IntoIterator<Item = &'path str>) -> Vec<Finding> {
    let entries: BTreeSet<&str> = paths
        .into_iter()
        .filter_map(|path| path.split('/').next())
        .collect();
    let missing = ROOMS
        .into_iter()
        .filter(|room| !entries.contains(room))
        .map(|room| Finding::of(room, "is missing at the top of the tree"));
    let surplus = entries
        .iter()
        .filter(|entry| !entry.starts_with('.'))
        .filter(|entry| !ROOMS.contains(entry) && !CONFIGURATION.contains(entry))
        .map(|entry| Finding::of(entry, "is no room of this house: put it into one"));
    missing.chain(surplus).collect()
}

/// A crate whose manifest does not take the workspace's lints.
#[must_use]
pub fn lints(path: &str, manifest: &str) -> Vec<Finding> {
    let inherits = manifest
        .split("[lints]")
        .nth(1)
        .and_then(|rest| rest.trim_start().lines().next())
        .is_some_and(|line| line.replace(' ', "") == "workspace=true");
    if inherits {
        return Vec::new();
    }
    vec![Finding::of(path, "needs `[lints]` with `workspace = true`")]
}
