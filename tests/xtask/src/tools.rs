//! What a machine must have before the tests run, installed where that is possible.
//!
//! Owns: the list of programs and how each is obtained. A missing one is a failure that names it, never a skipped test.
//! Must not: run tests, or ask for anything that a machine already has (so a second run needs no network).

use crate::step::{Call, Run};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target that components are built for.
const WASM: &str = "wasm32-wasip2";

/// Programs of the gate's longer steps, each with its Debian package.
const PROGRAMS: [(&str, &str); 17] = [
    ("mosquitto", "mosquitto"),
    ("mosquitto_pub", "mosquitto-clients"),
    ("mosquitto_sub", "mosquitto-clients"),
    ("mosquitto_rr", "mosquitto-clients"),
    ("paho_cs_pub", "paho.mqtt.c-examples"),
    ("paho_cs_sub", "paho.mqtt.c-examples"),
    ("stdbuf", "coreutils"),
    ("chromium", "chromium"),
    ("openssl", "openssl"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("python3", "python3-venv"),
    ("valgrind", "valgrind"),
    ("psql", "postgresql"),
    ("pg_ctlcluster", "postgresql"),
    ("nats-server", "nats-server"),
    ("kcat", "kcat"), // a client of Kafka; with it comes librdkafka, which has the cluster of the tests in it
];

/// Python packages of the end-to-end tests.
const PYTHON: [&str; 4] = [
    "paho-mqtt==2.2.0",
    "aiomqtt==2.5.0",
    "gmqtt==0.8.0",
    "duckdb==2.0.1", // one wheel, which reads Parquet
];

/// The wasm target, unless the toolchain has it.
///
/// # Errors
/// When rustup is missing or cannot fetch it.
pub(crate) fn wasm(run: &mut Run<'_>) -> Result<()> {
    let libraries = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", WASM])
        .current_dir(run.tree().root())
        .output();
    if let Ok(output) = libraries {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() && Path::new(&folder).is_dir() {
            return Ok(());
        }
    }
    run.step(
        "wasm target",
        &Call::new("rustup").words(["target", "add", WASM]),
    )
}

/// cargo-deny, unless it is there.
///
/// # Errors
/// It cannot be fetched or built.
pub(crate) fn cargo_deny(run: &mut Run<'_>) -> Result<()> {
    let version = Command::new("cargo").args(["deny", "--version"]).output();
    if version.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    run.step(
        "cargo-deny",
        &Call::cargo("install --locked cargo-deny --version ^0.20"),
    )
}

/// Everything the end-to-end tests call.
///
/// # Errors
/// When something is missing and cannot be installed here.
pub(crate) fn end_to_end(run: &mut Run<'_>) -> Result<()> {
    programs(run)?;
    for folder in run.tree().npm() {
        npm(run, &folder)?;
    }
    python(run)
}

/// The broker that WitMQ is measured beside, where it can be had.
pub(crate) fn mosquitto(run: &mut Run<'_>) {
    if let Err(error) = install(run, "the comparison", &[("mosquitto", "mosquitto")]) {
        println!("note: {error:#}");
    }
}

/// What counts instructions.
///
/// # Errors
/// When it is missing and cannot be installed here.
pub(crate) fn valgrind(run: &mut Run<'_>) -> Result<()> {
    install(run, "counting instructions", &[("valgrind", "valgrind")])
}

fn programs(run: &mut Run<'_>) -> Result<()> {
    install(run, "the end-to-end tests", &PROGRAMS).context("or run `cargo xtask test --fast`")
}

/// Installs the Debian packages of those programs that are missing.
fn install(run: &mut Run<'_>, purpose: &str, programs: &[(&str, &str)]) -> Result<()> {
    let wanted = missing(programs);
    if wanted.is_empty() {
        return Ok(());
    }
    let names = |missing: &[(&str, &str)]| {
        let names = missing.iter().map(|(program, _)| *program);
        names.collect::<Vec<_>>().join(", ")
    };
    let mut packages: Vec<&str> = wanted.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    let Some(root) = become_root() else {
        bail!(
            "{purpose} needs programs that are missing: {}; install them (Debian packages: {})",
            names(&wanted),
            packages.join(" ")
        );
    };
    let apt = |words: &[&str]| {
        let mut all: Vec<&str> = root.to_vec();
        all.push("apt-get");
        all.extend(words);
        let call = Call::new(all.first().copied().unwrap_or_default());
        call.words(all.iter().skip(1).copied())
            .set("DEBIAN_FRONTEND", "noninteractive")
    };
    run.step("list of packages", &apt(&["update", "-q"]))?;
    let install = ["install", "-q", "-y", "--no-install-recommends"];
    run.step("packages", &apt(&[&install[..], &packages].concat()))?;
    let left = missing(programs);
    if left.is_empty() {
        return Ok(());
    }
    bail!(
        "installed {}, yet these programs are still not found: {}",
        packages.join(" "),
        names(&left)
    )
}

fn missing<'name>(programs: &[(&'name str, &'name str)]) -> Vec<(&'name str, &'name str)> {
    let programs = programs.iter().copied();
    programs
        .filter(|(program, _)| which(program).is_none())
        .collect()
}

/// The words before `apt-get`, or nothing when packages cannot be installed here.
fn become_root() -> Option<&'static [&'static str]> {
    which("apt-get")?;
    let quiet = |program: &str, words: &[&str]| {
        Command::new(program)
            .args(words)
            .stderr(Stdio::null())
            .output()
            .ok()
    };
    if quiet("id", &["-u"]).is_some_and(|output| output.stdout.trim_ascii() == b"0") {
        return Some(&[]);
    }
    quiet("sudo", &["-n", "true"])
        .is_some_and(|output| output.status.success())
        .then_some(&["sudo", "--preserve-env=DEBIAN_FRONTEND"])
}

/// Where a program is. Debian keeps daemons out of a user's PATH, so their folders are read too.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// mqtt.js for the example page that the broker serves. The broker is built without it where there is no npm, and
/// its page then says so: one command with nothing but rustup has to be enough.
pub(crate) fn page(run: &mut Run<'_>) {
    let page = run.tree().page();
    if !page.join("package.json").is_file() || page.join("node_modules/mqtt").is_dir() {
        return;
    }
    if which("npm").is_none() {
        println!("note: no npm here, so the example page is built without mqtt.js");
    } else if let Err(error) = npm(run, &page) {
        println!("note: the example page is built without mqtt.js: {error:#}");
    }
}

/// Packages of npm, by the lock file where there is one. A marker beside them says for which manifest.
fn npm(run: &mut Run<'_>, folder: &Path) -> Result<()> {
    let marker = folder.join("node_modules/.witmq-installed");
    if std::fs::read(&marker).is_ok_and(|have| have == wanted(folder)) {
        return Ok(());
    }
    let verb = if folder.join("package-lock.json").is_file() {
        "ci"
    } else {
        "install"
    };
    let name = folder
        .strip_prefix(run.tree().root())
        .unwrap_or(folder)
        .display()
        .to_string();
    let call = Call::new("npm")
        .words([verb, "--no-audit", "--no-fund"])
        .within(folder);
    run.step(&format!("npm packages of {name}"), &call)?;
    if marker.parent().is_some_and(Path::is_dir) {
        std::fs::write(&marker, wanted(folder))?;
    }
    Ok(())
}

/// What the packages in a folder depend on.
fn wanted(folder: &Path) -> Vec<u8> {
    let files = ["package.json", "package-lock.json"].map(|file| folder.join(file));
    files
        .iter()
        .flat_map(|file| std::fs::read(file).unwrap_or_default())
        .collect()
}

/// A Python environment with the clients.
fn python(run: &mut Run<'_>) -> Result<()> {
    let venv = run.tree().venv();
    let marker = venv.join("witmq-installed");
    if std::fs::read_to_string(&marker).is_ok_and(|have| have == PYTHON.join("\n")) {
        return Ok(());
    }
    let make = Call::new("python3")
        .words(["-m", "venv"])
        .words([venv.as_os_str()]);
    run.step("python environment", &make)?;
    let install = Call::new(venv.join("bin/python"))
        .words([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .words(PYTHON);
    run.step("python packages", &install)?;
    std::fs::write(&marker, PYTHON.join("\n"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{missing, which};

    #[test]
    fn only_what_is_missing_is_installed() {
        let programs = [("sh", "dash"), ("witmq-no-such-program", "witmq-none")];
        assert_eq!(missing(&programs), programs[1..]);
    }

    #[test]
    fn a_program_is_found_or_not() {
        assert!(which("sh").is_some());
        assert!(which("witmq-no-such-program").is_none());
    }
}
