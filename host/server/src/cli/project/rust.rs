//! Plugins in Rust: cargo, and the target that components are built for.

use super::{missing, run};
use crate::cli::CliError;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TARGET: &str = "wasm32-wasip2";

/// `cargo test`.
///
/// # Errors
/// A test fails, or cargo is not there.
pub(super) fn test(folder: &Path) -> Result<(), CliError> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--quiet"]).current_dir(folder);
    run(&mut cargo, "cargo", "its tests fail")
}

/// Builds the component; where it is.
///
/// # Errors
/// As [`super::build`].
pub(super) fn build(folder: &Path) -> Result<PathBuf, CliError> {
    let mut cargo = Command::new("cargo");
    cargo
        .args([
            "build",
            "--release",
            "--target",
            TARGET,
            "--message-format=json-render-diagnostics",
        ])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    add_target(folder)?;
    let output = cargo.output().map_err(|error| missing("cargo", &error))?;
    if !output.status.success() {
        return Err(CliError::failed(format!(
            "{} does not build",
            folder.display()
        )));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let found = said.lines().rev().find_map(artefact);
    found.ok_or_else(|| {
        CliError::failed(format!("{} builds, but to no .wasm", folder.display()))
            .hint("its Cargo.toml needs: [lib] crate-type = [\"cdylib\"]")
    })
}

/// The component that a line of cargo's tells of. The last one is the package itself.
fn artefact(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let files = message["filenames"]
        .as_array()?
        .iter()
        .filter_map(Value::as_str);
    files
        .map(PathBuf::from)
        .find(|path| path.extension().is_some_and(|end| end == "wasm"))
}

/// The target that components are built for, unless the toolchain has it.
fn add_target(folder: &Path) -> Result<(), CliError> {
    let said = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .output()
        .map_err(|error| missing("cargo", &error))?;
    let place = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    if said.status.success() && Path::new(&place).is_dir() {
        return Ok(());
    }
    eprintln!("{TARGET} is not installed yet: rustup target add {TARGET}");
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]).current_dir(folder);
    run(
        &mut rustup,
        "rustup",
        &format!("{TARGET} cannot be installed"),
    )
}
