//! Builds the bundled authenticator as a component, and embeds mqtt.js for the example page if npm has fetched it.
//!
//! The component is built like any other plugin, in a target folder of its own, so that the outer cargo's lock and
//! flags do not matter; cargo caches it there.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a build that cannot go on ends with words"
)]

use std::path::Path;
use std::process::Command;
use std::{env, fs};

fn main() {
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let here = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let root = Path::new(&here).join("../..");
    for watched in [
        "plugins/auth-file/src",
        "plugins/auth-file/Cargo.toml",
        "plugins/users/src",
        "plugins/users/Cargo.toml",
        "sdk/src",
        "sdk/macros/src",
        "sdk/Cargo.toml",
        "wit",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let target = root.join("target/guests");
    let mut cargo = Command::new(env::var("CARGO").expect("cargo sets CARGO"));
    cargo
        .current_dir(&root)
        .args([
            "build",
            "--quiet",
            "--profile",
            "guest",
            "--target",
            "wasm32-wasip2",
            "--package",
            "witmq-auth-file",
        ])
        .arg("--target-dir")
        .arg(&target);
    // What is meant for the host must not reach the guest.
    for name in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CLIPPY_ARGS",
    ] {
        cargo.env_remove(name);
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(
        status.success(),
        "the bundled authenticator could not be built; is the target there? rustup target add wasm32-wasip2"
    );
    let component = target.join("wasm32-wasip2/guest/witmq_auth_file.wasm");
    fs::copy(&component, Path::new(&out).join("auth-file.wasm")).expect("the component was built");

    let script = root.join("examples/browser/node_modules/mqtt/dist/mqtt.min.js");
    println!("cargo::rerun-if-changed={}", script.display());
    let text = fs::read(&script).unwrap_or_else(|_| {
        b"document.getElementById('state').textContent = 'mqtt.js is not built in: run npm ci in examples/browser, then build again';".to_vec()
    });
    fs::write(Path::new(&out).join("mqtt.min.js"), text).expect("OUT_DIR can be written");
}
