//! From bytes to a compiled component whose imports and exports are known and allowed.

use crate::abi::{authenticate, authorize, lifecycle, transform};
use crate::config::RuntimeConfig;
use crate::imports::State;
use crate::wasi;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};
use witmq_broker::ports::ControlError;

/// Capabilities of `witmq:plugin`, by the name of their interface.
const CAPABILITIES: [(&str, &str); 4] = [
    ("host-log", "log"),
    ("host-kv", "kv"),
    ("host-publish", "publish"),
    ("host-clock", "clock"),
];
/// Parts of WASI that a plugin has no use for and that are refused when called; importing them is harmless.
const WASI: &str = "wasi:";
const PACKAGE: &str = "witmq:plugin/";
const ABI: &str = "0.1.";

/// A compiled component.
pub(crate) struct Package {
    pub(crate) digest: String,
    pub(crate) pre: InstancePre<State>,
    pub(crate) lifecycle: lifecycle::GuestIndices,
    pub(crate) authenticate: Option<authenticate::GuestIndices>,
    pub(crate) authorize: Option<authorize::GuestIndices>,
    pub(crate) transform: Option<transform::GuestIndices>,
    pub(crate) capabilities: Vec<String>,
}

impl Package {
    /// Names of the hooks it has.
    pub(crate) fn hooks(&self) -> Vec<String> {
        let mut hooks = Vec::new();
        let mut add = |has: bool, name: &str| hooks.extend(has.then(|| name.to_owned()));
        add(self.authenticate.is_some(), "authenticate");
        add(self.authorize.is_some(), "authorize");
        add(self.transform.is_some(), "transform");
        hooks
    }

    /// Whether shards call it; otherwise only authenticator threads do.
    pub(crate) fn runs_on_shards(&self) -> bool {
        self.authorize.is_some() || self.transform.is_some()
    }
}

/// sha256 of a component, in hex.
#[must_use]
pub fn digest(wasm: &[u8]) -> String {
    Sha256::digest(wasm)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn invalid(code: &'static str, message: String, hint: &str) -> ControlError {
    ControlError::Invalid {
        code,
        message,
        hint: Some(hint.to_owned()),
    }
}

const BUILD: &str = "build it as a component: cargo build --release --target wasm32-wasip2 (see `witmq plugin new`)";

/// Checks and compiles `wasm`. Takes tens of milliseconds and more: never call it on a shard.
pub(crate) fn load(
    engine: &Engine,
    linker: &Linker<State>,
    wasm: &[u8],
    config: &RuntimeConfig,
) -> Result<Package, ControlError> {
    check_header(wasm, config.component_bytes)?;
    let component = Component::new(engine, wasm).map_err(|error| {
        invalid(
            "not-a-component",
            format!(
                "this is no valid WebAssembly component: {}",
                first_line(&error)
            ),
            BUILD,
        )
    })?;
    let capabilities = check_imports(engine, &component)?;
    check_exports(engine, &component)?;
    let mut linker = linker.clone();
    wasi_versions(engine, &component)
        .iter()
        .try_for_each(|version| wasi::add_to_linker(&mut linker, version))
        .and_then(|()| linker.define_unknown_imports_as_traps(&component))
        .and_then(|()| linker.instantiate_pre(&component))
        .map_err(|error| {
            let text = format!("its imports do not fit this broker: {error:#}");
            invalid(
                "missing-import",
                text,
                "build it against the `wit` folder of this broker's version",
            )
        })
        .and_then(|pre| bind(pre, capabilities, digest(wasm)))
}

/// Versions of WASI 0.2 that a component imports.
fn wasi_versions(engine: &Engine, component: &Component) -> BTreeSet<String> {
    let ty = component.component_type();
    let versions = ty.imports(engine).filter_map(|(name, _)| {
        let version = name.strip_prefix(WASI)?.split('@').nth(1)?;
        version.starts_with("0.2.").then(|| version.to_owned())
    });
    versions.collect()
}

fn check_header(wasm: &[u8], maximum: usize) -> Result<(), ControlError> {
    if wasm.len() > maximum {
        let text = format!(
            "the component is {} bytes long, at most {maximum} are allowed",
            wasm.len()
        );
        return Err(invalid(
            "too-large",
            text,
            "build it with the profile of the template: opt-level, lto, strip",
        ));
    }
    match wasm.get(..8) {
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => {
            let text = "this is a core WebAssembly module, not a component".to_owned();
            Err(invalid("not-a-component", text, BUILD))
        }
        Some([0, b'a', b's', b'm', ..]) => Ok(()),
        _ if Engine::detect_precompiled(wasm).is_some() => {
            let text = "this is precompiled native code; only components are accepted".to_owned();
            Err(invalid("not-a-component", text, BUILD))
        }
        _ => Err(invalid(
            "not-a-component",
            "this is no WebAssembly at all".to_owned(),
            BUILD,
        )),
    }
}

/// Everything it imports must be ours or WASI's; the capabilities among it.
fn check_imports(engine: &Engine, component: &Component) -> Result<Vec<String>, ControlError> {
    let mut capabilities = Vec::new();
    for (name, _) in component.component_type().imports(engine) {
        if name.starts_with(WASI) {
            continue;
        }
        let known = name
            .strip_prefix(PACKAGE)
            .and_then(|rest| rest.split_once('@'))
            .and_then(|(interface, version)| {
                let found = CAPABILITIES.iter().find(|(known, _)| *known == interface);
                let is_types = interface == "types";
                (version.starts_with(ABI) && (is_types || found.is_some()))
                    .then(|| found.map(|(_, short)| *short))
            });
        match known {
            Some(short) => capabilities.extend(short.map(str::to_owned)),
            None => {
                let text = format!("it imports `{name}`, which this broker does not offer");
                let hint = "a plugin may import witmq:plugin/host-log, host-kv, host-publish, host-clock (@0.1) and WASI";
                return Err(invalid("missing-import", text, hint));
            }
        }
    }
    Ok(capabilities)
}

fn check_exports(engine: &Engine, component: &Component) -> Result<(), ControlError> {
    let exports: Vec<String> = component
        .component_type()
        .exports(engine)
        .map(|(name, _)| name.to_owned())
        .collect();
    let ours: Vec<&String> = exports
        .iter()
        .filter(|name| name.starts_with(PACKAGE))
        .collect();
    let other = ours.iter().find(|name| {
        !name
            .split('@')
            .nth(1)
            .is_some_and(|version| version.starts_with(ABI))
    });
    if let Some(name) = other {
        let text = format!("it exports `{name}`; this broker speaks witmq:plugin@0.1");
        return Err(invalid(
            "unknown-abi",
            text,
            "build it against the `wit` folder of this broker's version",
        ));
    }
    let has = |interface: &str| {
        ours.iter()
            .any(|name| name.starts_with(&format!("{PACKAGE}{interface}@")))
    };
    if !has("lifecycle") {
        let text = "it exports no witmq:plugin/lifecycle@0.1, so it is no WitMQ plugin".to_owned();
        return Err(invalid(
            "unknown-abi",
            text,
            "start from `witmq plugin new NAME`",
        ));
    }
    if !["authenticate", "authorize", "transform"]
        .into_iter()
        .any(has)
    {
        let text = "it exports none of the hooks authenticate, authorize and transform".to_owned();
        return Err(invalid(
            "no-hook",
            text,
            "name at least one hook in witmq_sdk::plugin!",
        ));
    }
    Ok(())
}

fn bind(
    pre: InstancePre<State>,
    capabilities: Vec<String>,
    digest: String,
) -> Result<Package, ControlError> {
    let has = |interface: &str| {
        pre.component()
            .get_export_index(None, format!("{PACKAGE}{interface}@0.1.0"))
            .is_some()
    };
    let unfit = |error: wasmtime::Error| {
        let text = format!("its exports do not fit witmq:plugin@0.1: {error:#}");
        invalid(
            "unknown-abi",
            text,
            "build it against the `wit` folder of this broker's version",
        )
    };
    let lifecycle = lifecycle::GuestIndices::new(&pre).map_err(unfit)?;
    let authenticate = has("authenticate")
        .then(|| authenticate::GuestIndices::new(&pre))
        .transpose()
        .map_err(unfit)?;
    let authorize = has("authorize")
        .then(|| authorize::GuestIndices::new(&pre))
        .transpose()
        .map_err(unfit)?;
    let transform = has("transform")
        .then(|| transform::GuestIndices::new(&pre))
        .transpose()
        .map_err(unfit)?;
    Ok(Package {
        digest,
        pre,
        lifecycle,
        authenticate,
        authorize,
        transform,
        capabilities,
    })
}

/// The first line of an error, for people.
pub(crate) fn first_line(error: &wasmtime::Error) -> String {
    let text = error.root_cause().to_string();
    text.lines().next().unwrap_or_default().to_owned()
}
