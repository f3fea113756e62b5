//! What each verb does, as a list of steps.
//!
//! Owns: which packages are built in which profile, and why. Must not: start a process itself (`step` does).
//!
//! wasmtime is the dear part: minutes of two cores. So it is compiled once, in the release profile that the broker
//! needs anyway; the crates without it are tested in the dev profile, with debug assertions and overflow checks.
//! Clippy needs every dependency once more as metadata, whatever the profile. It runs with `--release` for all
//! crates in one call: metadata of each dependency is then made once, not once for each profile, and the build
//! scripts and procedural macros are the ones that the release build uses. The price: code behind
//! `cfg(debug_assertions)` is not linted.

use crate::step::{Call, Run};
use crate::tools;
use crate::tree::{END_TO_END, HEAVY};
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

/// Builds, then becomes `witmq dev`.
pub(crate) fn dev(run: &mut Run<'_>, words: &[String]) -> Result<()> {
    build(run)?;
    let broker = run.tree().broker();
    let call = Call::new(broker).words(["dev"]).words(words);
    println!("\n==> {}", call.line(run.tree()));
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    // The broker takes the place of this process: its signals, its exit code.
    Err(call.command(run.tree()).current_dir(here).exec()).context("cannot start the broker")
}

/// Components and the broker.
pub(crate) fn build(run: &mut Run<'_>) -> Result<()> {
    guests(run)?;
    tools::page(run);
    run.step(
        "broker",
        &Call::cargo("build --release --package witmq --bins"),
    )
}

/// The same, with the binary that is published: linked as a whole, which takes minutes.
pub(crate) fn dist(run: &mut Run<'_>) -> Result<()> {
    guests(run)?;
    tools::page(run);
    let call = Call::cargo("build --profile dist --package witmq --bins");
    run.step("broker, linked as a whole", &call)
}

/// Components.
pub(crate) fn guests(run: &mut Run<'_>) -> Result<()> {
    let components = run.tree().components()?;
    if components.is_empty() {
        bail!("no component found in plugins, examples and tests/guests: none asks for a cdylib");
    }
    tools::wasm(run)?;
    let call = Call::cargo("build --profile guest --target wasm32-wasip2 --target-dir")
        .words([run.tree().guests()])
        .words(packages(components.iter().map(String::as_str)));
    run.step("components", &call)
}

/// Formatting, clippy, house rules.
pub(crate) fn lint(run: &mut Run<'_>) -> Result<()> {
    style(run)?;
    let tidy = light("test").words(["--test", "house", "--", "--nocapture"]);
    run.step("house rules", &tidy)?;
    run.summary();
    Ok(())
}

/// The landing gate. Cheap steps first, and what may be missing on a machine before what takes long.
pub(crate) fn test(run: &mut Run<'_>, fast: bool) -> Result<()> {
    if !fast {
        tools::end_to_end(run)?;
        tools::valgrind(run)?;
    }
    tools::wasm(run)?;
    style(run)?;
    run.step(
        "house rules",
        &light("test").words(["--test", "house", "--", "--nocapture"]),
    )?;
    run.step("light crates", &light("test").words(["--no-fail-fast"]))?;
    guests(run)?;
    // Binary and tests in one call: their dependencies' features are those of the test call, so nothing is
    // compiled again for it.
    run.step("broker", &heavy("build").words(["--bins", "--tests"]))?;
    run.step(
        "plugin host and server",
        &heavy("test").words(["--no-fail-fast"]),
    )?;
    if !fast {
        let call = Call::cargo("test --release --no-fail-fast").words(packages(END_TO_END));
        run.step("end to end", &environment(run, call))?;
        let program = run.tree().broker().with_file_name("matrix");
        let short = ["--instructions", "--short"];
        run.step(
            "instructions of a message",
            &Call::new(program).words(short),
        )?;
    }
    run.summary();
    Ok(())
}

/// What deny.toml asks of the dependencies. Apart from the gate: advisories come from the network, and a new one is no
/// reason to refuse a change that has nothing to do with it.
pub(crate) fn deny(run: &mut Run<'_>, words: &[String]) -> Result<()> {
    tools::cargo_deny(run)?;
    run.step("dependencies", &Call::cargo("deny check").words(words))
}

/// Every statement of the standards against a broker: the one built here, or another.
pub(crate) fn conformance(run: &mut Run<'_>, words: &[String]) -> Result<()> {
    let has_target = words.iter().any(|word| {
        ["--target", "--tls", "--ws"]
            .iter()
            .any(|name| word.starts_with(name))
    });
    if !has_target {
        build(run)?;
    }
    let call =
        Call::cargo("run --release --quiet --package witmq-conformance --bin conformance --")
            .words(words)
            .words((!has_target).then_some("--start"));
    run.step("conformance", &environment(run, call))
}

/// The crash suite in its long form.
pub(crate) fn crash(run: &mut Run<'_>, kills: u64, seed: Option<u64>) -> Result<()> {
    build(run)?;
    let mut call = Call::cargo("test --release --package witmq-e2e --test crash")
        .words(["--", "--nocapture", "--test-threads=1"])
        .set("WITMQ_TEST_CRASHES", kills.to_string());
    if let Some(seed) = seed {
        call = call.set("WITMQ_TEST_SEED", seed.to_string());
    }
    run.step("crash suite", &environment(run, call))
}

/// Many seeds of the simulation. Optimised, yet with the assertions of the dev profile.
pub(crate) fn simulate(run: &mut Run<'_>, seeds: u64, from: u64) -> Result<()> {
    let call = Call::cargo("test --package witmq-broker --lib simulation -- --nocapture")
        .set("CARGO_PROFILE_TEST_OPT_LEVEL", "2")
        .set("WITMQ_TEST_FROM", from.to_string())
        .set("WITMQ_TEST_SEEDS", seeds.to_string());
    run.step("simulation", &call)
}

/// One fuzz target for a while.
pub(crate) fn fuzz(run: &mut Run<'_>, target: &str, seconds: u32) -> Result<()> {
    if !run.tree().root().join("tests/fuzz/Cargo.toml").is_file() {
        bail!("tests/fuzz has no manifest");
    }
    if tools::which("cargo-fuzz").is_none() {
        bail!("cargo-fuzz is missing: cargo install --locked cargo-fuzz");
    }
    let call = Call::new("rustup")
        .words([
            "run",
            "nightly",
            "cargo",
            "fuzz",
            "run",
            "--fuzz-dir",
            "tests/fuzz",
            target,
            "--",
        ])
        .words([format!("-max_total_time={seconds}")]);
    run.step(&format!("fuzz {target}"), &call)
}

/// WitMQ, other brokers and the floors side by side; or, with `--instructions` or `--micro`, what a message takes by itself.
pub(crate) fn bench(run: &mut Run<'_>, words: &[String]) -> Result<()> {
    let asks = |name: &str| words.iter().any(|word| word == name);
    if asks("--micro") {
        return micro(run, words);
    }
    let measures = !["--instructions", "--list", "--help"].into_iter().any(asks);
    if measures {
        tools::mosquitto(run);
        if asks("--dist") {
            dist(run)?;
        } else {
            build(run)?;
        }
    } else if asks("--instructions") {
        tools::valgrind(run)?;
        guests(run)?;
    }
    matrix(run, "measurement", words)
}

/// The workloads whose instructions are counted, timed; other words are divan's.
fn micro(run: &mut Run<'_>, words: &[String]) -> Result<()> {
    guests(run)?;
    let words = words.iter().filter(|word| *word != "--micro");
    let call = Call::cargo("bench --package witmq-bench --bench micro --").words(words);
    run.step("microbenches", &call)
}

/// Builds the measuring programs and runs the one that drives the others.
fn matrix<W: Into<OsString>>(
    run: &mut Run<'_>,
    title: &str,
    words: impl IntoIterator<Item = W>,
) -> Result<()> {
    let call = Call::cargo("build --release --package witmq-bench --bins");
    run.step("measuring programs", &call)?;
    let program = run.tree().broker().with_file_name("matrix");
    run.step(title, &Call::new(program).words(words))
}

/// API documentation of all crates.
pub(crate) fn doc(run: &mut Run<'_>) -> Result<()> {
    // Release for the same reason as clippy: the metadata of the dependencies is there already.
    let call = Call::cargo("doc --release --workspace --no-deps --document-private-items");
    run.step("documentation", &call.set("RUSTDOCFLAGS", "-D warnings"))
}

fn style(run: &mut Run<'_>) -> Result<()> {
    run.step("formatting", &Call::cargo("fmt --all --check"))?;
    run.step("clippy", &clippy())
}

fn clippy() -> Call {
    Call::cargo("clippy --release --workspace --all-targets -- -D warnings")
}

/// A cargo verb over every crate without wasmtime, in the dev profile.
fn light(verb: &str) -> Call {
    let others = HEAVY
        .into_iter()
        .chain(END_TO_END)
        .flat_map(|name| ["--exclude", name]);
    Call::cargo(verb).words(["--workspace"]).words(others)
}

/// A cargo verb over the crates with wasmtime.
fn heavy(verb: &str) -> Call {
    Call::cargo(verb)
        .words(["--release"])
        .words(packages(HEAVY))
}

fn packages<'name>(names: impl IntoIterator<Item = &'name str>) -> Vec<String> {
    names
        .into_iter()
        .flat_map(|name| ["--package".to_owned(), name.to_owned()])
        .collect()
}

/// Where a test finds what was built for it, if that is not below `target`. Not set otherwise: the broker reads
/// variables of this prefix as configuration and refuses those that it does not know.
fn environment(run: &Run<'_>, call: Call) -> Call {
    let tree = run.tree();
    if !tree.moved() {
        return call;
    }
    call.set("WITMQ_BIN", tree.broker())
        .set("WITMQ_GUESTS", tree.guests().join("wasm32-wasip2/guest"))
        .set("WITMQ_PYTHON", tree.venv().join("bin/python"))
}
