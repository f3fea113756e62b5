//! No path of one machine in a file of everybody.
//!
//! Owns: what counts as such a path. Must not: look at lock files and binaries; the caller leaves them out.

use crate::Finding;

/// Folders where people and runners keep their own. In two pieces, or this file would be a finding.
const HOMES: [&str; 6] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("/builds", "/"),
    concat!("C:\\Us", "ers\\"),
];

/// Paths that hold on one machine only.
#[must_use]
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for home in HOMES {
            for (at, _) in line.match_indices(home) {
                if starts_a_path(line, at) {
                    let text = format!("`{home}` is a path of one machine: make it relative");
                    found.push(Finding::at(path, index + 1, text));
                }
            }
        }
    }
    found
}

/// Whether an absolute path starts here: `sensors/home/1` and `https://x/root/` do not.
fn starts_a_path(line: &str, at: usize) -> bool {
    let before = line.get(..at).and_then(|before| before.chars().next_back());
    before.is_none_or(|c| c.is_whitespace() || "\"'`=(<[,:;".contains(c))
}
