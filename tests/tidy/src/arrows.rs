//! Which crate may use which: `cargo metadata` against three blocks of `host/docs/architecture.md`.
//!
//! Owns: the form of the blocks and the comparison. The allowed arrows themselves are in the document, so that the
//! drawing people read is the one that is enforced. A new arrow is a change of that document, reviewed as such.
//!
//! - `arrows`: `package: packages of this repository it may use`
//! - `owners`: `external crate: packages that may use it`
//! - `closed`: `package: every external crate it may use`

use crate::Finding;
use std::collections::BTreeMap;

/// One package of the workspace as cargo sees it.
#[derive(Debug, Clone, Default)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Folder from the workspace root.
    pub folder: String,
    /// What it is built with.
    pub uses: Vec<String>,
    /// What only its tests are built with.
    pub tests_use: Vec<String>,
}

/// The three blocks.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    arrows: Block,
    owners: Block,
    closed: Block,
}

type Block = BTreeMap<String, Vec<String>>;

impl Allowed {
    /// Reads the blocks of a document.
    ///
    /// # Errors
    /// When a block is missing or a line is not `name: names`.
    pub fn read(document: &str) -> Result<Self, Vec<Finding>> {
        let mut found = Vec::new();
        let mut read = |name| {
            block(document, name).unwrap_or_else(|finding| {
                found.push(finding);
                Block::new()
            })
        };
        let allowed = Self {
            arrows: read("arrows"),
            owners: read("owners"),
            closed: read("closed"),
        };
        if found.is_empty() {
            Ok(allowed)
        } else {
            Err(found)
        }
    }

    /// Compares packages with the blocks.
    #[must_use]
    pub fn check(&self, packages: &[Package]) -> Vec<Finding> {
        let ours: Vec<&str> = packages
            .iter()
            .map(|package| package.name.as_str())
            .collect();
        let mut found = Vec::new();
        for package in packages {
            self.arrows_of(package, &ours, &mut found);
            self.externals_of(package, &ours, &mut found);
        }
        found
    }

    fn arrows_of(&self, package: &Package, ours: &[&str], found: &mut Vec<Finding>) {
        let Some(allowed) = entry(&self.arrows, package) else {
            found.push(Finding::of(
                &package.name,
                "has no line in the `arrows` block",
            ));
            return;
        };
        for used in package.uses.iter().chain(&package.tests_use) {
            let own = *used == package.name;
            if ours.contains(&used.as_str()) && !own && !allowed.contains(used) {
                found.push(Finding::of(&package.name, format!("may not use {used}")));
            }
        }
    }

    fn externals_of(&self, package: &Package, ours: &[&str], found: &mut Vec<Finding>) {
        let closed = entry(&self.closed, package);
        for used in package
            .uses
            .iter()
            .filter(|used| !ours.contains(&used.as_str()))
        {
            if closed.is_some_and(|allowed| !allowed.contains(used)) {
                let text = format!("uses {used}, and its `closed` list is without it");
                found.push(Finding::of(&package.name, text));
            }
            let owners = self.owners.get(used);
            let test_crate = package.folder.starts_with("tests/");
            if owners.is_some_and(|owners| !owners.contains(&package.name)) && !test_crate {
                let text = format!(
                    "uses {used}, which only {} may",
                    owners.map_or(String::new(), |o| o.join(", "))
                );
                found.push(Finding::of(&package.name, text));
            }
        }
    }
}

/// The line of a package, or the one of its folder (`plugins/*`).
fn entry<'block>(block: &'block Block, package: &Package) -> Option<&'block Vec<String>> {
    let parent = package
        .folder
        .rsplit_once('/')
        .map_or("", |(parent, _)| parent);
    block
        .get(&package.name)
        .or_else(|| block.get(&format!("{parent}/*")))
}

/// Reads one fenced block: lines `name name: name name`, the right side may be empty.
fn block(document: &str, name: &str) -> Result<Block, Finding> {
    const PLACE: &str = "host/docs/architecture.md";
    let fence = format!("```{name}");
    let mut lines = document
        .lines()
        .enumerate()
        .skip_while(|(_, line)| *line != fence)
        .skip(1)
        .peekable();
    if lines.peek().is_none() {
        return Err(Finding::of(
            PLACE,
            format!("has no block that opens with {fence}"),
        ));
    }
    let mut block = Block::new();
    for (index, line) in lines.take_while(|(_, line)| *line != "```") {
        let Some((left, right)) = line.split_once(':') else {
            return Err(Finding::at(PLACE, index + 1, "is to read `name: names`"));
        };
        for key in left.split_whitespace() {
            let names = right.split_whitespace().map(str::to_owned).collect();
            if block.insert(key.to_owned(), names).is_some() {
                return Err(Finding::at(PLACE, index + 1, format!("names {key} twice")));
            }
        }
    }
    Ok(block)
}
