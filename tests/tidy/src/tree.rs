//! The files of this repository and its packages, read once.
//!
//! Owns: what belongs to the repository (what git knows or would add; everything else when there is no git).
//! Must not: use the network. `cargo metadata --no-deps` resolves nothing.

use crate::arrows::Package;
use cargo_metadata::{DependencyKind, MetadataCommand};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders that are never part of the repository.
const NOT_OURS: [&str; 4] = [".git", "target", "node_modules", ".venv"];

/// A text file.
#[derive(Debug, Clone)]
pub struct File {
    /// From the workspace root, with `/`.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// The workspace root. From the variable that cargo sets when it runs a test: two checkouts may share a target
/// folder, and then what was compiled in is the other one's path.
#[must_use]
pub fn root() -> PathBuf {
    let here =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = Path::new(&here);
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Every file of the repository that is text, in order of path.
///
/// # Errors
/// When a folder cannot be listed.
pub fn files(root: &Path) -> std::io::Result<Vec<File>> {
    let read = |path: String| {
        let text = std::fs::read_to_string(root.join(&path)).ok()?;
        Some(File { path, text })
    };
    Ok(paths(root)?.into_iter().filter_map(read).collect())
}

/// Every file of the repository, in order of path.
///
/// # Errors
/// When a folder cannot be listed.
pub fn paths(root: &Path) -> std::io::Result<Vec<String>> {
    let mut paths = match known_to_git(root) {
        Some(paths) => paths,
        None => walk(root)?,
    };
    paths.sort();
    Ok(paths)
}

fn known_to_git(root: &Path) -> Option<Vec<String>> {
    if !root.join(".git").exists() {
        return None;
    }
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(
        text.split('\0')
            .filter(|path| !path.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}

fn walk(root: &Path) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir()? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if NOT_OURS.contains(&name.as_ref()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(below) = path.strip_prefix(root) {
                found.push(below.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(found)
}

/// The packages of the workspace.
///
/// # Errors
/// What cargo said.
pub fn packages(root: &Path) -> Result<Vec<Package>, cargo_metadata::Error> {
    let metadata = MetadataCommand::new()
        .current_dir(root)
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()?;
    let package = |package: &cargo_metadata::Package| {
        let folder = package
            .manifest_path
            .parent()
            .map_or("", |folder| folder.as_str());
        let folder = folder
            .strip_prefix(metadata.workspace_root.as_str())
            .unwrap_or(folder);
        let of_tests = |tests: bool| {
            let dependencies = package.dependencies.iter();
            let wanted =
                dependencies.filter(|one| (one.kind == DependencyKind::Development) == tests);
            wanted.map(|one| one.name.clone()).collect()
        };
        Package {
            name: package.name.to_string(),
            folder: folder.trim_start_matches('/').to_owned(),
            uses: of_tests(false),
            tests_use: of_tests(true),
        }
    };
    Ok(metadata.packages.iter().map(package).collect())
}
