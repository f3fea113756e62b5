//! The folder of a plugin: its language, and how it is built and tested.
//!
//! Must not: know what a component is; it gives the path of a file.

use super::{CliError, Exit};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TARGET: &str = "wasm32-wasip2";

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Rust,
}

fn language(folder: &Path) -> Result<Language, CliError> {
    if folder.join("Cargo.toml").is_file() {
        return Ok(Language::Rust);
    }
    let text = format!("{} is no plugin: it has no Cargo.toml", folder.display());
    Err(CliError::new(Exit::Usage, text).hint("start one with `witmq plugin new NAME`"))
}

/// Builds the component of a folder; where it is.
///
/// # Errors
/// The folder is no plugin, a tool is missing, or the build fails; what the tools say is on standard error.
pub(super) fn build(folder: &Path) -> Result<PathBuf, CliError> {
    match language(folder)? {
        Language::Rust => build_rust(folder),
    }
}

/// Runs the tests of a folder in its own language.
///
/// # Errors
/// As [`build`], or a test fails.
pub(super) fn test(folder: &Path) -> Result<(), CliError> {
    match language(folder)? {
        Language::Rust => {
            let mut cargo = Command::new("cargo");
            cargo.args(["test", "--quiet"]).current_dir(folder);
            run(&mut cargo, "cargo", "its tests fail")
        }
    }
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
        _ => "install it and see that it is in PATH",
    };
    CliError::failed(format!("{tool} cannot be run: {error}")).hint(hint)
}

fn build_rust(folder: &Path) -> Result<PathBuf, CliError> {
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
