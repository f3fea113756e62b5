//! The folder of a plugin: its language, and how it is built and tested.
//!
//! | module | owns |
//! |---|---|
//! | `rust` | cargo and the target of components |
//! | `script` | Python and JavaScript: their tools within the folder, `witmq.json`, what was built already |
//!
//! Must not: know what a component is; it gives the path of a file.

mod rust;
mod script;

use super::{CliError, Exit};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Folders that building fills.
const BUILT: [&str; 6] = [
    "target",
    "node_modules",
    ".venv",
    "build",
    "__pycache__",
    ".git",
];
/// Files that tools write.
const LOCKS: [&str; 2] = ["Cargo.lock", "package-lock.json"];

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Rust,
    Python,
    JavaScript,
}

fn language(folder: &Path) -> Result<Language, CliError> {
    let has = |name: &str| folder.join(name).is_file();
    if has("Cargo.toml") {
        return Ok(Language::Rust);
    }
    match (has(script::MANIFEST), has("plugin.py"), has("plugin.js")) {
        (true, true, _) => Ok(Language::Python),
        (true, false, true) => Ok(Language::JavaScript),
        _ => {
            let text = format!(
                "{} is no plugin: it has no Cargo.toml, and no {} with a plugin.py or plugin.js",
                folder.display(),
                script::MANIFEST
            );
            Err(CliError::new(Exit::Usage, text).hint("start one with `witmq plugin new NAME`"))
        }
    }
}

/// Builds the component of a folder; where it is.
///
/// # Errors
/// The folder is no plugin, a tool is missing, or the build fails; what the tools say is on standard error.
pub(super) fn build(folder: &Path) -> Result<PathBuf, CliError> {
    match language(folder)? {
        Language::Rust => rust::build(folder),
        Language::Python => script::build(folder, &script::PYTHON),
        Language::JavaScript => script::build(folder, &script::JAVASCRIPT),
    }
}

/// Runs the tests of a folder in its own language. Python and JavaScript have those of the manifest, which run on the
/// component.
///
/// # Errors
/// As [`build`], or a test fails.
pub(super) fn test(folder: &Path) -> Result<(), CliError> {
    match language(folder)? {
        Language::Rust => rust::test(folder),
        Language::Python | Language::JavaScript => Ok(()),
    }
}

/// Whether a path is what somebody writes, not what a build does.
pub(super) fn is_source(root: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(root).unwrap_or(path);
    let mut parts = below.iter().filter_map(|part| part.to_str());
    !parts.any(|part| BUILT.contains(&part) || LOCKS.contains(&part) || part.ends_with(".wasm"))
}

/// Runs a tool whose words go to standard error.
fn run(command: &mut Command, tool: &str, failure: &str) -> Result<(), CliError> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::from(std::io::stderr()));
    let status = command.status().map_err(|error| missing(tool, &error))?;
    match status.success() {
        true => Ok(()),
        false => Err(CliError::failed(format!("{failure} ({status})"))),
    }
}

fn missing(tool: &str, error: &std::io::Error) -> CliError {
    let hint = match tool {
        "cargo" | "rustup" => "install Rust: see rustup.rs",
        "python3" => "install Python 3.10 or newer with venv (Debian: apt install python3-venv)",
        "npm" | "node" => "install Node.js 18 or newer with npm (Debian: apt install nodejs npm)",
        _ => "install it and see that it is in PATH",
    };
    CliError::failed(format!("{tool} cannot be run: {error}")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_writes_starts_no_build() {
        let root = Path::new("/p");
        for path in [
            "/p/src/lib.rs",
            "/p/Cargo.toml",
            "/p/plugin.py",
            "/p/witmq.json",
        ] {
            assert!(is_source(root, Path::new(path)), "{path}");
        }
        for path in [
            "/p/target/release/x",
            "/p/Cargo.lock",
            "/p/package-lock.json",
            "/p/node_modules/a/b.js",
            "/p/plugin.wasm",
            "/p/.venv/x",
        ] {
            assert!(!is_source(root, Path::new(path)), "{path}");
        }
        assert!(is_source(
            Path::new("/target/p"),
            Path::new("/target/p/src/lib.rs")
        ));
    }
}
