//! What a version has to pass before it serves: its grants, and its configuration against its schema. Its own tests are in
//! `vectors`.
//!
//! Owns: the refusals in words, each with what to do. Must not: switch anything.

use crate::capability::{self, Capability};
use crate::config::{Grants, Outside};
use crate::manifest::Manifest;
use crate::package::Package;
use serde_json::Value;
use witmq_broker::ports::ControlError;

/// Errors of a schema that are shown.
const SHOWN: usize = 5;

fn invalid(code: &'static str, message: String, hint: String) -> ControlError {
    ControlError::Invalid {
        code,
        message,
        hint: Some(hint),
    }
}

/// Everything it asks for must be granted; so must a host, if it can send requests at all.
pub(crate) fn check_grants(
    name: &str,
    package: &Package,
    grants: &Grants,
) -> Result<(), ControlError> {
    let manifest = &package.manifest;
    let asked = capability::parse(&manifest.capabilities).map_err(|error| {
        let text = format!("the manifest of `{name}` asks for what there is not: {error}");
        invalid(
            "bad-manifest",
            text,
            "correct its `capabilities`".to_owned(),
        )
    })?;
    let missing: Vec<&Capability> = asked.iter().filter(|asked| !grants.has(asked)).collect();
    if missing.is_empty() && package.trusted.is_some() && grants.http.is_empty() {
        let text = format!(
            "plugin `{name}` sends requests to other services (wasi:http), and no host is granted to it"
        );
        let hint = format!(
            "grant it the hosts that its configuration names: witmq plugin grants {name} --add http:HOST"
        );
        return Err(invalid("not-granted", text, hint));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list = |before: &str| -> Vec<String> {
        missing
            .iter()
            .map(|capability| format!("{before}{capability}"))
            .collect()
    };
    let text = format!(
        "plugin `{name}` asks for what is not granted: {}",
        list("").join(", ")
    );
    let hint = format!(
        "if that is right, grant it: witmq plugin grants {name} {}",
        list("--add ").join(" ")
    );
    Err(invalid("not-granted", text, hint))
}

/// A `sink` step names one thing only.
pub(crate) fn check_sink(
    name: &str,
    package: &Package,
    outside: &Outside,
) -> Result<(), ControlError> {
    if package.sink.is_none() || !(outside.is_sink)(name) {
        return Ok(());
    }
    let text = format!("`{name}` has the hook `sink`, and a connector is called so");
    let hint = "install it by another name (--name), or remove the connector: witmq sink rm";
    Err(invalid("name-taken", text, hint.to_owned()))
}

/// The configuration must be JSON and fit the schema of the manifest.
pub(crate) fn check_config(
    name: &str,
    manifest: &Manifest,
    config: &str,
) -> Result<(), ControlError> {
    let value: Value = serde_json::from_str(config).map_err(|error| {
        let text = format!("the configuration of `{name}` is no JSON: {error}");
        let hint = "the configuration of a plugin is one JSON value, for example {}";
        invalid("bad-config", text, hint.to_owned())
    })?;
    let Some(schema) = &manifest.config else {
        return Ok(());
    };
    let validator = jsonschema::options()
        .with_pattern_options(jsonschema::PatternOptions::regex()) // linear in time
        .build(schema)
        .map_err(|error| {
            let text = format!("the manifest of `{name}` has a schema that is none: {error}");
            invalid("bad-manifest", text, "correct its `config`".to_owned())
        })?;
    let errors: Vec<String> = validator
        .iter_errors(&value)
        .take(SHOWN)
        .map(|error| {
            let path = error.instance_path().to_string();
            let place = if path.is_empty() { "/" } else { &path };
            format!("{place}: {error}")
        })
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    let text = format!(
        "the configuration of `{name}` does not fit: {}",
        errors.join("; ")
    );
    let hint = format!(
        "`witmq plugin check FILE` shows the schema of a component that is not installed yet, `witmq plugin get {name}` \
         that of one that is"
    );
    Err(invalid("bad-config", text, hint))
}
