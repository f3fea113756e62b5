//! What belongs to a released version of the plugin interface, and that nobody changes it.
//!
//! Owns: the form of `wit/frozen.sha256` and where frozen files lie. Must not: make them; `cargo xtask freeze` does.

use crate::Finding;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// The list of frozen files with their digests, as `sha256sum --check` reads it from the workspace root.
pub const LIST: &str = "wit/frozen.sha256";
/// Below these everything is frozen: packages as they were released, and components made for them.
const FROZEN: [&str; 2] = ["wit/since-", "tests/guests/released/"];
/// Not frozen: it tells where the components come from.
const README: &str = "tests/guests/released/README.md";

const RULE: &str = "a released version never changes: host/docs/adr/0013-released-interfaces.md";

/// Whether a file belongs to a released version.
#[must_use]
pub fn is_frozen(path: &str) -> bool {
    path != README && FROZEN.iter().any(|start| path.starts_with(start))
}

/// SHA-256 in hex.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares the list with the files below the workspace root; `paths` are all of them.
#[must_use]
pub fn check<'path>(
    root: &Path,
    list: &str,
    paths: impl IntoIterator<Item = &'path str>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut listed = BTreeMap::new();
    for (number, line) in (1..).zip(list.lines()) {
        match line.split_once("  ") {
            Some((digest, path)) if digest.len() == 64 && is_frozen(path) => {
                listed.insert(path, digest);
            }
            _ => {
                let text = format!("`{line}` is no digest of a frozen file; {RULE}");
                found.push(Finding::at(LIST, number, text));
            }
        }
    }
    for (path, expected) in &listed {
        match std::fs::read(root.join(path)) {
            Ok(bytes) if digest(&bytes) == **expected => {}
            Ok(_) => found.push(Finding::of(path, format!(
                "was changed, and {RULE}. Put it back (`git checkout main -- {path}`); what is to be new goes into wit/ with a higher version"
            ))),
            Err(error) => found.push(Finding::of(path, format!(
                "cannot be read ({error}), and {RULE}. Put it back (`git checkout main -- {path}`)"
            ))),
        }
    }
    let frozen = paths.into_iter().filter(|path| is_frozen(path));
    let surplus = frozen.filter(|path| !listed.contains_key(path));
    found.extend(surplus.map(|path| {
        let text = format!("is not in {LIST}: only `cargo xtask freeze` puts files there; {RULE}");
        Finding::of(path, text)
    }));
    found
}
