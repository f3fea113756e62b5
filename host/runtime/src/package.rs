//! From bytes to a compiled component whose imports and exports are known and allowed.

use crate::abi::{authenticate, authorize, events, lifecycle, sink, timer};
use crate::compiled::Compiled;
use crate::config::RuntimeConfig;
use crate::http;
use crate::imports::State;
use crate::manifest::{self, Manifest};
use crate::wasi;
use rustls::ClientConfig;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use wasmtime::Engine;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};
use witmq_broker::ports::ControlError;

/// Capabilities of `witmq:plugin`, by the name of their interface.
const CAPABILITIES: [(&str, &str); 9] = [
    ("host-log", "log"),
    ("host-metrics", "metrics"),
    ("host-clock", "clock"),
    ("host-kv", "kv"),
    ("host-publish", "publish"),
    ("host-timers", "timers"),
    ("host-secrets", "secrets"),
    ("host-payload", PAYLOAD),
    ("host-clients", CLIENTS),
];
/// The payload of the message of a call, in parts.
pub(crate) const PAYLOAD: &str = "payload";
/// A capability that waits.
const CLIENTS: &str = "clients";
/// The one of WASI that waits and has to be granted, and how it is shown.
const HTTP: [&str; 2] = ["wasi:http/", "http"];
/// Hooks, in the order they are shown in.
const HOOKS: [&str; 6] = [
    "authenticate",
    "authorize",
    "transform",
    "sink",
    "events",
    "timer",
];
/// Parts of WASI that a plugin has no use for and that are refused when called; importing them is harmless.
const WASI: &str = "wasi:";
const PACKAGE: &str = "witmq:plugin/";
/// What a guest lends memory by (ADR 0026).
const DESK: &str = "witmq:guest/desk@1.0.0";
/// Of the package that the bindings are made from.
const VERSION: &str = "1.0.0";

/// A compiled component.
pub(crate) struct Package {
    pub(crate) digest: String,
    pub(crate) manifest: Manifest,
    pub(crate) pre: InstancePre<State>,
    pub(crate) lifecycle: lifecycle::GuestIndices,
    pub(crate) authenticate: Option<authenticate::GuestIndices>,
    pub(crate) authorize: Option<authorize::GuestIndices>,
    /// Its `on-message`.
    pub(crate) transform: Option<ComponentExportIndex>,
    /// Its `lend`: it has a desk for what `on-message` is given.
    pub(crate) lend: Option<ComponentExportIndex>,
    pub(crate) sink: Option<sink::GuestIndices>,
    pub(crate) events: Option<events::GuestIndices>,
    pub(crate) timer: Option<timer::GuestIndices>,
    pub(crate) capabilities: Vec<String>,
    /// It imports something that waits.
    pub(crate) is_effectful: bool,
    /// It sends requests to other services: who vouches for these.
    pub(crate) trusted: Option<Arc<ClientConfig>>,
}

impl Package {
    /// Names of the hooks it has.
    pub(crate) fn hooks(&self) -> Vec<String> {
        let has = [
            self.authenticate.is_some(),
            self.authorize.is_some(),
            self.transform.is_some(),
            self.sink.is_some(),
            self.events.is_some(),
            self.timer.is_some(),
        ];
        let hooks = HOOKS.iter().zip(has).filter(|(_, has)| *has);
        hooks.map(|(name, _)| (*name).to_owned()).collect()
    }

    /// Whether shards call it.
    pub(crate) fn runs_on_shards(&self) -> bool {
        !self.is_effectful && (self.authorize.is_some() || self.transform.is_some())
    }

    /// Whether authenticator threads call it.
    pub(crate) fn runs_on_authenticators(&self) -> bool {
        !self.is_effectful && self.authenticate.is_some()
    }

    /// Whether it has instances beside the shards.
    pub(crate) fn has_lane(&self) -> bool {
        self.is_effectful || self.sink.is_some() || self.events.is_some() || self.timer.is_some()
    }
}

/// Whether components of this version load: those of the same major that need nothing newer (ADR 0013).
fn is_spoken(version: &str) -> bool {
    let parts = |version: &str| {
        let mut parts = version.split('.').map(str::parse::<u32>);
        let all = (
            parts.next()?.ok()?,
            parts.next()?.ok()?,
            parts.next()?.ok()?,
        );
        parts.next().is_none().then_some(all)
    };
    parts(version)
        .zip(parts(VERSION))
        .is_some_and(|(theirs, ours)| theirs.0 == ours.0 && theirs.1 <= ours.1)
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
    compiled: &Compiled,
) -> Result<Package, ControlError> {
    check_header(wasm, config.component_bytes)?;
    let digest = digest(wasm);
    let component = compiled.component(engine, &digest, wasm).map_err(|error| {
        invalid(
            "not-a-component",
            format!(
                "this is no valid WebAssembly component: {}",
                first_line(&error)
            ),
            BUILD,
        )
    })?;
    let manifest = manifest::read(wasm).map_err(|error| {
        let hint = "the section is written by the SDK; see host/docs/plugins.md";
        invalid("bad-manifest", error.to_string(), hint)
    })?;
    let capabilities = check_imports(engine, &component)?;
    check_exports(engine, &component)?;
    let is_effectful = waits(&capabilities);
    let exports_of = |hook: &str| {
        let name = format!("{PACKAGE}{hook}@{VERSION}");
        component.get_export_index(None, &name).is_some()
    };
    if is_effectful && exports_of("authorize") {
        let text = "it imports something that waits (host-clients or wasi:http), so its hook `authorize` cannot run on the message path".to_owned();
        let hint = "move what waits into a component of its own, with the other hooks";
        return Err(invalid("waits-on-path", text, hint));
    }
    let trusted = match capabilities.iter().any(|name| name == HTTP[1]) {
        true => Some(http::trust(config.http.ca.as_deref()).map_err(|text| {
            let hint = "`plugin_ca` in the configuration of the broker names the file";
            invalid("bad-ca", text, hint)
        })?),
        false => None,
    };
    let mut linker = linker.clone();
    let linked = match trusted {
        Some(_) => http::add_to_linker(&mut linker),
        None => wasi::add_to_linker(&mut linker, engine, &component),
    };
    linked
        .and_then(|()| linker.instantiate_pre(&component))
        .map_err(|error| {
            let text = format!("its imports do not fit this broker: {error:#}");
            invalid(
                "missing-import",
                text,
                "build it against the `wit` folder of this broker's version",
            )
        })
        .and_then(|pre| bind(pre, capabilities, manifest, digest))
        .map(|package| Package { trusted, ..package })
}

/// Whether it has to run beside the shards.
fn waits(capabilities: &[String]) -> bool {
    (capabilities.iter()).any(|name| name == CLIENTS || name == HTTP[1])
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
        if name.starts_with(HTTP[0]) && !capabilities.iter().any(|known| known == HTTP[1]) {
            capabilities.push(HTTP[1].to_owned());
        }
        if name.starts_with(WASI) {
            continue;
        }
        let known = name
            .strip_prefix(PACKAGE)
            .and_then(|rest| rest.split_once('@'))
            .and_then(|(interface, version)| {
                let found = CAPABILITIES.iter().find(|(known, _)| *known == interface);
                let is_types = interface == "types";
                (is_spoken(version) && (is_types || found.is_some()))
                    .then(|| found.map(|(_, short)| *short))
            });
        match known {
            Some(short) => capabilities.extend(short.map(str::to_owned)),
            None => {
                let text = format!("it imports `{name}`, which this broker does not offer");
                let hint = format!(
                    "a plugin may import the host-* interfaces of witmq:plugin up to {VERSION} and WASI 0.2"
                );
                return Err(invalid("missing-import", text, &hint));
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
    let other = ours
        .iter()
        .find(|name| !name.split('@').nth(1).is_some_and(is_spoken));
    if let Some(name) = other {
        let text = format!("it exports `{name}`; this broker speaks witmq:plugin@{VERSION}");
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
        let text =
            format!("it exports no witmq:plugin/lifecycle@{VERSION}, so it is no WitMQ plugin");
        return Err(invalid(
            "unknown-abi",
            text,
            "start from `witmq plugin new NAME`",
        ));
    }
    if !HOOKS.into_iter().any(has) {
        let text = format!("it exports none of the hooks {}", HOOKS.join(", "));
        return Err(invalid(
            "no-hook",
            text,
            "name at least one hook in #[witmq_sdk::plugin(…)]",
        ));
    }
    Ok(())
}

fn bind(
    pre: InstancePre<State>,
    capabilities: Vec<String>,
    manifest: Manifest,
    digest: String,
) -> Result<Package, ControlError> {
    let component = pre.component();
    let export = |interface: &str| {
        component.get_export_index(None, format!("{PACKAGE}{interface}@{VERSION}"))
    };
    let unfit = |error: wasmtime::Error| {
        let text = format!("its exports do not fit witmq:plugin@{VERSION}: {error:#}");
        invalid(
            "unknown-abi",
            text,
            "build it against the `wit` folder of this broker's version",
        )
    };
    macro_rules! indices {
        ($hook:ident) => {
            export(stringify!($hook))
                .map(|_| $hook::GuestIndices::new(&pre))
                .transpose()
                .map_err(unfit)?
        };
    }
    let on_message = |transform| component.get_export_index(Some(&transform), "on-message");
    Ok(Package {
        digest,
        lifecycle: lifecycle::GuestIndices::new(&pre).map_err(unfit)?,
        authenticate: indices!(authenticate),
        authorize: indices!(authorize),
        transform: export("transform").and_then(on_message),
        lend: (component.get_export_index(None, DESK))
            .and_then(|desk| component.get_export_index(Some(&desk), "lend")),
        sink: indices!(sink),
        events: indices!(events),
        timer: indices!(timer),
        is_effectful: waits(&capabilities),
        trusted: None,
        manifest,
        capabilities,
        pre,
    })
}

/// The first line of an error, for people.
pub(crate) fn first_line(error: &wasmtime::Error) -> String {
    let text = error.root_cause().to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{VERSION, is_spoken};

    #[test]
    fn the_version_is_that_of_the_package() {
        let text = include_str!("../../../wit/types.wit");
        assert!(text.contains(&format!("\npackage witmq:plugin@{VERSION};\n")));
    }

    #[test]
    fn components_of_this_major_load_that_need_nothing_newer() {
        let minor: u32 = VERSION.split('.').nth(1).unwrap().parse().unwrap();
        for ours in (0..=minor).flat_map(|minor| [format!("1.{minor}.0"), format!("1.{minor}.7")]) {
            assert!(is_spoken(&ours), "{ours}");
        }
        let newer = format!("1.{}.0", minor + 1);
        for other in [&newer, "0.1.0", "2.0.0", "1.0.0-rc", "1.0", "1.0.0.0", ""] {
            assert!(!is_spoken(other), "{other}");
        }
    }
}
