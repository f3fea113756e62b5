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

/// What was released, by minor version: SHA-256 of its lines in the list, each with its line end. So a frozen file cannot
/// go together with its line.
pub const RELEASES: [(&str, &str); 1] = [(
    "1.0",
    "81f0c69b91780a8946f30c1df100c0989c094462e290ab4d9e2ef3567b96ebb6",
)];

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

/// The minor version that a frozen file belongs to.
fn release(path: &str) -> Option<String> {
    let rest = FROZEN.iter().find_map(|start| path.strip_prefix(start))?;
    let mut parts = rest.split(['.', '/']);
    Some(format!("{}.{}", parts.next()?, parts.next()?))
}

/// Compares the lines of each release with what they were when it was made: [`RELEASES`], or those of a test.
#[must_use]
pub fn releases(list: &str, known: &[(&str, &str)]) -> Vec<Finding> {
    let mut sections: BTreeMap<String, String> = BTreeMap::new();
    for (version, _) in known {
        sections.insert((*version).to_owned(), String::new());
    }
    for line in list.lines() {
        let path = line.split_once("  ").map(|(_, path)| path);
        if let Some(version) = path.and_then(release) {
            let section = sections.entry(version).or_default();
            section.push_str(line);
            section.push('\n');
        }
    }
    let wrong = |(version, section): (String, String)| {
        let is = digest(section.as_bytes());
        let expected = known.iter().find(|(known, _)| *known == version);
        let text = match expected {
            Some((_, was)) if *was == is => return None,
            Some(_) => format!(
                "the lines of {version} are not those of its release, and {RULE}. Put them back (`git checkout main -- {LIST}`)"
            ),
            None => format!(
                "{version} is new: write (\"{version}\", \"{is}\") into RELEASES of tests/tidy/src/frozen.rs"
            ),
        };
        Some(Finding::of(LIST, text))
    };
    sections.into_iter().filter_map(wrong).collect()
}
