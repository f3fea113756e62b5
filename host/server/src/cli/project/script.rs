//! Plugins in Python and JavaScript: an interpreter and the source in one component.
//!
//! Owns: the tools in the folder (`.venv`, `node_modules`), fetched the first time in the versions that it pins;
//! `witmq.json`, which becomes the manifest; and what was built, kept as long as no source changes. Must not: install
//! anything outside of the folder.

use super::{is_source, missing, run};
use crate::cli::plugin::read;
use crate::cli::{CliError, Exit, new};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What becomes the manifest of the component.
pub(super) const MANIFEST: &str = "witmq.json";
/// Where components go.
const BUILD: &str = "build";
/// Files of a plugin that are looked at, and bytes of one: beyond that it is no plugin's source.
const FILES: usize = 10_000;

/// How a language becomes a component.
pub(super) struct Toolchain {
    name: &'static str,
    /// The file that pins the tools.
    pins: &'static str,
    /// Says for which pins the tools were fetched; the last thing that is written.
    marker: &'static str,
    /// What is fetched, in words.
    fetched: &'static str,
    fetch: fn(&Path) -> Result<(), CliError>,
    /// The command that writes a component; where.
    compile: fn(&Path, &Path) -> (Command, &'static str),
}

/// CPython, by componentize-py.
pub(super) const PYTHON: Toolchain = Toolchain {
    name: "Python",
    pins: "requirements.txt",
    marker: ".venv/witmq-installed",
    fetched: "componentize-py (about 50 MB) from PyPI into .venv",
    fetch: |folder| {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", ".venv"]).current_dir(folder);
        run(&mut venv, "python3", "python3 -m venv .venv fails").map_err(|error| {
            error.hint("it needs Python 3.10 with venv (Debian: apt install python3-venv)")
        })?;
        let mut pip = Command::new(folder.join(".venv/bin/python"));
        pip.args(["-m", "pip", "install", "--quiet"])
            .args(["--disable-pip-version-check", "-r", PYTHON.pins])
            .current_dir(folder);
        run(
            &mut pip,
            "python3",
            "the packages of requirements.txt cannot be installed",
        )
    },
    compile: |folder, to| {
        let mut command = Command::new(folder.join(".venv/bin/componentize-py"));
        command
            .args(["--quiet", "--wit-path", "wit", "--world", "plugin"])
            .args(["componentize", "plugin", "--output"])
            .arg(to)
            // Else it takes packages from wherever Python finds some.
            .env("VIRTUAL_ENV", folder.join(".venv"));
        (command, "componentize-py")
    },
};

/// QuickJS, by componentize-qjs.
pub(super) const JAVASCRIPT: Toolchain = Toolchain {
    name: "JavaScript",
    pins: "package.json",
    marker: "node_modules/.witmq-installed",
    fetched: "componentize-qjs (about 40 MB) from npm into node_modules",
    fetch: |folder| {
        let has_lock = folder.join("package-lock.json").is_file();
        let mut npm = Command::new("npm");
        npm.arg(if has_lock { "ci" } else { "install" })
            .args(["--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(folder);
        run(
            &mut npm,
            "npm",
            "the packages of package.json cannot be installed",
        )
    },
    compile: |_, to| {
        let mut command = Command::new("node");
        command
            .arg("node_modules/componentize-qjs/cli.mjs")
            .args(["--sync", "--wit", "wit", "--world", "plugin"])
            .args(["--module-root", ".", "--js", "plugin.js", "--output"])
            .arg(to);
        (command, "node")
    },
};

/// Builds the component of a folder, unless nothing changed since; where it is.
///
/// # Errors
/// `witmq.json` is no manifest, a tool is missing or cannot be fetched, or the source is not what the tool takes.
pub(super) fn build(folder: &Path, tools: &Toolchain) -> Result<PathBuf, CliError> {
    let folder = &folder
        .canonicalize()
        .map_err(|error| CliError::failed(format!("{}: {error}", folder.display())))?;
    let manifest = manifest(folder)?;
    let wasm = folder
        .join(BUILD)
        .join(format!("{}.wasm", name(&manifest)?));
    let sources = sources(folder)?;
    let record = wasm.with_extension("sources");
    let is_fresh = std::fs::read_to_string(&record).is_ok_and(|before| before == sources);
    if is_fresh && wasm.is_file() {
        return Ok(wasm);
    }
    let bad = |path: &Path, error: &std::io::Error| {
        CliError::failed(format!("{}: {error}", path.display()))
    };
    let build = folder.join(BUILD);
    std::fs::create_dir_all(&build).map_err(|error| bad(&build, &error))?;
    ready(folder, tools)?;
    eprintln!("building {} ({})", wasm.display(), tools.name);
    let start = Instant::now();
    let bare = build.join("bare.wasm");
    let (mut command, tool) = (tools.compile)(folder, &bare);
    quietly(command.current_dir(folder), tool)
        .map_err(|error| error.hint(format!("{} does not build", folder.display())))?;
    let whole = witmq_runtime::with_manifest(read(&bare)?, &manifest.to_string());
    let whole = whole.map_err(|error| {
        CliError::new(Exit::Refused, format!("{MANIFEST}: {error}"))
            .hint("host/docs/plugins.md has the keys of a manifest")
    })?;
    std::fs::write(&bare, &whole).map_err(|error| bad(&bare, &error))?;
    // Between these two, what is there is of other sources.
    let _was_none = std::fs::remove_file(&record).is_err();
    std::fs::rename(&bare, &wasm).map_err(|error| bad(&wasm, &error))?;
    std::fs::write(&record, sources).map_err(|error| bad(&record, &error))?;
    eprintln!("built in {:.1} s", start.elapsed().as_secs_f64());
    Ok(wasm)
}

/// Runs a tool whose words count only if it fails.
fn quietly(command: &mut Command, tool: &str) -> Result<(), CliError> {
    // A failure is the plugin's, not one of the tool.
    command.env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    let output = command.output().map_err(|error| missing(tool, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    Err(CliError::failed(format!(
        "{}\n{tool} failed ({})",
        said.trim(),
        output.status
    )))
}

fn manifest(folder: &Path) -> Result<Value, CliError> {
    let path = folder.join(MANIFEST);
    serde_json::from_slice(&read(&path)?)
        .map_err(|error| CliError::failed(format!("{}: {error}", path.display())))
}

/// The name of the file that is built.
fn name(manifest: &Value) -> Result<&str, CliError> {
    let name = manifest["name"].as_str().unwrap_or_default();
    new::check_name(name).map_err(|error| {
        CliError::new(Exit::Usage, format!("{MANIFEST}: {error}"))
            .hint("give it a `name`, for example that of the folder")
    })?;
    Ok(name)
}

/// The tools of a folder, in the versions that it pins now.
fn ready(folder: &Path, tools: &Toolchain) -> Result<(), CliError> {
    let pins = read(&folder.join(tools.pins))?;
    let marker = folder.join(tools.marker);
    if std::fs::read(&marker).is_ok_and(|before| before == pins) {
        return Ok(());
    }
    eprintln!("fetching {}, once", tools.fetched);
    (tools.fetch)(folder)?;
    std::fs::write(&marker, pins)
        .map_err(|error| CliError::failed(format!("{}: {error}", marker.display())))
}

/// The sources of a folder with their digests: the same text, the same component.
fn sources(folder: &Path) -> Result<String, CliError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    let bad = |path: &Path, error: std::io::Error| {
        CliError::failed(format!("{}: {error}", path.display()))
    };
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).map_err(|error| bad(&next, error))? {
            let entry = entry.map_err(|error| bad(&next, error))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|error| bad(&path, error))?;
            match is_source(folder, &path) {
                true if kind.is_dir() => folders.push(path),
                true if path.is_file() => files.push(path),
                _ => {}
            }
        }
        if files.len() > FILES {
            let text = format!("{} has more than {FILES} files", folder.display());
            return Err(CliError::failed(text).hint("keep a plugin in a folder of its own"));
        }
    }
    files.sort();
    let mut text = format!("witmq {}\n", env!("CARGO_PKG_VERSION"));
    for path in files {
        let below = path.strip_prefix(folder).unwrap_or(&path);
        let digest = witmq_runtime::digest(&read(&path)?);
        text.push_str(&format!("{digest} {}\n", below.display()));
    }
    Ok(text)
}
