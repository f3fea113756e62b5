//! What is written for people: decisions with a number, and the list of changes.
//!
//! Owns: the form of `host/docs/adr` and `CHANGELOG.md`. Must not: judge what they say.

use crate::Finding;
use std::collections::BTreeMap;

/// Folder of the decisions.
pub const DECISIONS: &str = "host/docs/adr/";

/// Every decision has a number of its own and a line in the list; every line has its decision.
#[must_use]
pub fn decisions<'path>(paths: impl IntoIterator<Item = &'path str>, list: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut numbers: BTreeMap<&str, &str> = BTreeMap::new();
    let mut names = Vec::new();
    for path in paths {
        let Some(name) = path
            .strip_prefix(DECISIONS)
            .filter(|name| *name != "README.md")
        else {
            continue;
        };
        let Some(number) = number(name) else {
            found.push(Finding::of(path, "is to be named NNNN-what-was-decided.md"));
            continue;
        };
        if let Some(other) = numbers.insert(number, name) {
            found.push(Finding::of(path, format!("has the number of {other}")));
        }
        if !list.contains(&format!("({name})")) {
            found.push(Finding::of(
                path,
                "is not listed in host/docs/adr/README.md",
            ));
        }
        names.push(name);
    }
    for (index, line) in list.lines().enumerate() {
        let linked = line
            .split('(')
            .skip(1)
            .filter_map(|part| part.split(')').next());
        for name in linked.filter(|name| name.ends_with(".md") && !names.contains(name)) {
            let text = format!("lists {name}, which is not there");
            found.push(Finding::at("host/docs/adr/README.md", index + 1, text));
        }
    }
    found
}

/// `0001` of `0001-some-words.md`.
fn number(name: &str) -> Option<&str> {
    let (number, words) = name.strip_suffix(".md")?.split_once('-')?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let well_formed = number.len() == 4
        && number.chars().all(|c| c.is_ascii_digit())
        && !words.is_empty()
        && words.chars().all(plain);
    well_formed.then_some(number)
}

/// The list of changes says what is coming and what was in the present version.
#[must_use]
pub fn changes(text: &str) -> Vec<Finding> {
    if text.lines().any(|line| line.starts_with("## ")) {
        return Vec::new();
    }
    vec![Finding::of(
        "CHANGELOG.md",
        "has no `## ` section with a version",
    )]
}
