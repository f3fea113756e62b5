//! What an author's component holds in the end: its manifest, and no import that it does not use.
#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use wasmparser::{ComponentExternalKind, Parser, Payload};

/// The bytes of an example, built as its README says.
fn component(package: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = root.join("target/guests");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(&root)
        .args([
            "build",
            "--quiet",
            "--profile",
            "guest",
            "--target",
            "wasm32-wasip2",
        ])
        .args(["--package", package, "--target-dir"])
        .arg(&target);
    for name in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        cargo.env_remove(name);
    }
    let is_built = cargo.status().unwrap().success();
    assert!(
        is_built,
        "is the target there? rustup target add wasm32-wasip2"
    );
    let file = format!("wasm32-wasip2/guest/{}.wasm", package.replace('-', "_"));
    std::fs::read(target.join(file)).unwrap()
}

/// The manifests of a component and its modules, and the names in `witmq:plugin` that it imports and exports.
#[derive(Default)]
struct Contents {
    manifests: Vec<Value>,
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
}

impl Contents {
    fn of(wasm: &[u8]) -> Self {
        let mut contents = Self::default();
        let mut depth = 0;
        let own = |name: &str| name.strip_prefix("witmq:plugin/").map(str::to_owned);
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.unwrap() {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) if depth > 0 => depth -= 1,
                Payload::CustomSection(section) if section.name() == "witmq:manifest" => {
                    let manifest = serde_json::from_slice(section.data()).unwrap();
                    contents.manifests.push(manifest);
                }
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    let names = imports.into_iter().map(|import| import.unwrap().name.name);
                    contents.imports.extend(names.filter_map(own));
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    let exports = exports.into_iter().map(Result::unwrap);
                    let instances =
                        exports.filter(|one| one.kind == ComponentExternalKind::Instance);
                    contents
                        .exports
                        .extend(instances.filter_map(|one| own(one.name.name)));
                }
                _ => {}
            }
        }
        contents
    }
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| format!("{name}@1.0.0")).collect()
}

#[test]
fn the_manifest_is_in_the_component_and_nothing_is_imported_that_is_not_used() {
    let contents = Contents::of(&component("hello-transform"));
    assert_eq!(
        contents.manifests,
        [json!({
            "name": "hello-transform",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Puts a greeting before every payload.",
            "needs": ["payload"],
            "config": {
                "type": "object",
                "properties": {
                    "greeting": { "type": "string", "description": "What comes before the payload." }
                },
                "additionalProperties": false,
                "description": "What the operator may set.",
            },
        })]
    );
    assert_eq!(contents.exports, names(&["lifecycle", "transform"]));
    assert_eq!(contents.imports, names(&["types"]));
}

#[test]
fn what_the_code_calls_is_what_the_component_imports() {
    let contents = Contents::of(&component("witmq-test-guests"));
    let manifest = &contents.manifests[0];
    assert_eq!(
        manifest["needs"],
        json!(["payload", "properties", "client"])
    );
    assert_eq!(
        manifest["capabilities"],
        json!(["publish:made/by/#", "secret:token"])
    );
    let hooks = [
        "authenticate",
        "authorize",
        "events",
        "lifecycle",
        "sink",
        "timer",
        "transform",
    ];
    assert_eq!(contents.exports, names(&hooks));
    // It looks up no clients, so the broker may run it on its shards.
    let imports = [
        "host-kv",
        "host-log",
        "host-metrics",
        "host-payload",
        "host-publish",
        "host-secrets",
        "host-timers",
        "types",
    ];
    assert_eq!(contents.imports, names(&imports));
}
