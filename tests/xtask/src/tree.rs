//! Where things are: the workspace root, the target folder, and which packages are what.
//!
//! Owns: the lists that every plan reads. A new plugin or example is found by its manifest; nobody edits a list here.
//! Must not: run anything.

use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// Packages that link wasmtime. They are built and tested in the release profile only, so that a machine
/// compiles wasmtime once.
pub(crate) const HEAVY: [&str; 3] = ["witmq-runtime", "witmq", "witmq-bench"];
/// Tests that start the release binary. Of no profile's business but their own.
pub(crate) const END_TO_END: [&str; 2] = ["witmq-e2e", "witmq-conformance"];
/// Folders that hold components.
const COMPONENTS: [&str; 3] = ["plugins", "examples", "tests/guests"];

/// A checkout.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    target: PathBuf,
}

impl Tree {
    /// The checkout that this binary is run from; `CARGO_TARGET_DIR` moves the target folder.
    ///
    /// # Errors
    /// When the workspace is no longer where it was built.
    pub(crate) fn find() -> Result<Self> {
        // What cargo sets when it runs this, for the compiled-in path is another checkout's when the two share a
        // target folder.
        let here = std::env::var_os("CARGO_MANIFEST_DIR");
        let here = PathBuf::from(here.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()));
        let root = here
            .ancestors()
            .nth(2)
            .filter(|root| root.join("Cargo.toml").is_file())
            .with_context(|| format!("{} is no workspace", here.display()))?
            .to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => root.join(folder),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the target folder is elsewhere.
    pub(crate) fn moved(&self) -> bool {
        self.target != self.root.join("target")
    }

    /// The release binary.
    pub(crate) fn broker(&self) -> PathBuf {
        self.target.join("release/witmq")
    }

    /// Where components are built: a folder of their own, or two cargo calls would wait for each other.
    pub(crate) fn guests(&self) -> PathBuf {
        self.target.join("guests")
    }

    /// The Python environment of the end-to-end tests.
    pub(crate) fn venv(&self) -> PathBuf {
        self.target.join("venv")
    }

    /// Names of the packages that are components: a manifest in a folder of components that asks for a `cdylib`.
    ///
    /// # Errors
    /// When a folder or a manifest cannot be read.
    pub(crate) fn components(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for folder in COMPONENTS {
            for manifest in manifests(&self.root.join(folder))? {
                let text = std::fs::read_to_string(&manifest)
                    .with_context(|| format!("cannot read {}", manifest.display()))?;
                if text.contains("\"cdylib\"") {
                    names.push(
                        package(&text).with_context(|| {
                            format!("{} has no package name", manifest.display())
                        })?,
                    );
                }
            }
        }
        Ok(names)
    }

    /// The example page, which is built into the broker.
    pub(crate) fn page(&self) -> PathBuf {
        self.root.join("examples/browser")
    }

    /// Folders with an npm manifest that the tests need installed.
    pub(crate) fn npm(&self) -> Vec<PathBuf> {
        [self.page(), self.root.join("tests/e2e")]
            .into_iter()
            .filter(|folder| folder.join("package.json").is_file())
            .collect()
    }
}

/// The manifest of `folder` itself and those one level below, in order of name.
fn manifests(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    found.push(folder.join("Cargo.toml"));
    for entry in folder
        .read_dir()
        .with_context(|| format!("cannot list {}", folder.display()))?
    {
        found.push(entry?.path().join("Cargo.toml"));
    }
    found.retain(|manifest| manifest.is_file());
    found.sort();
    Ok(found)
}

/// `name` of the `[package]` table.
fn package(manifest: &str) -> Option<String> {
    let mut lines = manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[package]")
        .skip(1);
    lines
        .by_ref()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == "name")
        .map(|(_, value)| value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Tree, package};

    #[test]
    fn a_name_is_the_packages_own() {
        let text = "[lib]\nname = \"other\"\n[package]\nversion = \"1\"\nname = \"right\"\n[[bin]]\nname = \"no\"\n";
        assert_eq!(package(text).as_deref(), Some("right"));
        assert_eq!(package("[package]\n[lib]\nname = \"other\"\n"), None);
    }

    #[test]
    fn this_checkout_is_found() {
        let tree = Tree::find().unwrap();
        assert!(tree.root().join("host/proto/Cargo.toml").is_file());
        tree.components().unwrap();
    }
}
