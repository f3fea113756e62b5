//! What a version has to pass before it serves: its grants, its configuration against its schema, its own tests.
//!
//! Owns: the refusals in words, each with what to do. Must not: switch anything.

use crate::capability::{self, Capability};
use crate::config::{Grants, Outside};
use crate::instance::{Instance, at_once};
use crate::manifest::{Given, Manifest, Vector};
use crate::offline::TestRun;
use crate::package::Package;
use crate::plugin::Shared;
use crate::template::{Post, Template};
use crate::timers::Timers;
use bytes::Bytes;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use witmq_broker::kv::{KvBounds, Spaces};
use witmq_broker::ports::chains::{Emit, Patch};
use witmq_broker::ports::{ControlError, Publisher, StepFailure, StepOutcome};
use witmq_proto::packet::{MessageProperties, PublishProperties, QoS};
use witmq_proto::{ByteString, Message, TopicName};

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

/// What a component waits for is not there in a test of it.
pub(crate) fn waits(name: &str) -> ControlError {
    let text = format!(
        "`{name}` waits for something (host-clients or wasi:http), which is not there in a test of the component"
    );
    let hint = "leave the tests out of the manifest, and test it natively, with a `TestBroker` that answers";
    invalid("waits", text, hint.to_owned())
}

/// Runs the test vectors of the manifest on instances of their own, cut off from everything: what they publish goes
/// nowhere, and their keys are thrown away.
pub(crate) fn run_vectors(template: &Template) -> Result<(), ControlError> {
    let package = &template.package;
    if package.transform.is_none() {
        return Ok(());
    }
    if package.is_effectful && !package.manifest.tests.is_empty() {
        return Err(waits(&template.plugin.name));
    }
    for vector in &package.manifest.tests {
        run_vector(template, vector).result.map_err(|cause| {
            let name = &template.plugin.name;
            let text = format!(
                "plugin `{name}` fails its own test `{}`: {cause}",
                vector.name
            );
            let hint = "`witmq plugin test` runs the tests of a plugin's folder".to_owned();
            invalid("test-failed", text, hint)
        })?;
    }
    Ok(())
}

/// One test, on an instance of its own.
pub(crate) fn run_vector(template: &Template, vector: &Vector) -> TestRun {
    let mut run = TestRun {
        name: vector.name.clone(),
        result: Ok(()),
        took: Duration::ZERO,
        memory_bytes: 0,
        output_bytes: 0,
    };
    run.result = try_vector(template, vector, &mut run);
    run
}

fn try_vector(template: &Template, vector: &Vector, run: &mut TestRun) -> Result<(), String> {
    let config = match &vector.config {
        Some(config) => config.to_string(),
        None => template.config.clone(),
    };
    let apart = Arc::new(Template::new(
        Arc::new(alone(template)),
        template.package.clone(),
        config,
        template.generation,
        template.limits.clone(),
        template.engine.clone(),
    ));
    let made = at_once(Instance::new(&apart, Post::Alone));
    let mut instance = made.map_err(|error| error.to_string())?;
    let message = message(&vector.given)?;
    let publisher = Publisher {
        client_id: &vector.given.client_id,
        username: None,
        attributes: &[],
        session: 0,
    };
    let start = Instant::now();
    let outcome = instance.transform(publisher, &message);
    run.took = start.elapsed();
    run.memory_bytes = instance.memory_bytes();
    run.output_bytes = match &outcome {
        Ok(StepOutcome::Modify(patch)) => patch.payload.as_ref().map_or(0, Bytes::len),
        Ok(StepOutcome::Split(parts)) => parts.iter().map(|part| part.payload.len()).sum(),
        _ => 0,
    };
    compare(&vector.expect, outcome.map_err(|failed| failed.failure))
}

/// The plugin without anything around it.
fn alone(template: &Template) -> Shared {
    let bounds = KvBounds::default();
    let outside = Outside {
        publish: Arc::new(|_| true),
        kv: Arc::new(Spaces::new(bounds)),
        ..(*template.plugin.outside).clone()
    };
    let name = &template.plugin.name;
    let grants = template.plugin.grants();
    let (alarm, _) = std::sync::mpsc::sync_channel(1);
    let grants = (**grants).clone();
    Shared::new(
        name,
        &template.limits,
        Arc::new(outside),
        Timers::none(),
        grants,
        alarm,
        template.plugin.pool.clone(),
    )
}

fn message(given: &Given) -> Result<Message, String> {
    let payload = match (&given.payload_base64, &given.payload) {
        (Some(text), _) => base64(text)?,
        (None, Value::Null) => Bytes::new(),
        (None, Value::String(text)) => Bytes::copy_from_slice(text.as_bytes()),
        (None, other) => Bytes::from(other.to_string()),
    };
    let user = given.user_properties.iter();
    let user = user.map(|(name, value)| (ByteString::from(&**name), ByteString::from(&**value)));
    Ok(Message {
        topic: TopicName::new(given.topic.as_str()).map_err(|error| format!("given: {error}"))?,
        payload,
        qos: QoS::from_bits(given.qos).ok_or_else(|| format!("given: no QoS {}", given.qos))?,
        retain: given.retain,
        properties: PublishProperties::from(MessageProperties {
            user: user.collect(),
            ..MessageProperties::default()
        }),
        expires_at: None,
        publisher: ByteString::from(&*given.client_id),
        received_ms: 0,
        hops: 0,
    })
}

fn base64(text: &str) -> Result<Bytes, String> {
    use base64::Engine as _;
    let decoded = base64::engine::general_purpose::STANDARD.decode(text);
    decoded
        .map(Bytes::from)
        .map_err(|error| format!("given: payload_base64: {error}"))
}

/// What came against what was expected; only what `expect` names counts.
fn compare(expect: &Value, came: Result<StepOutcome, StepFailure>) -> Result<(), String> {
    let different = || Err(format!("{expect} is expected, {came:?} came"));
    let (word, detail) = match expect {
        Value::String(word) => (word.as_str(), &Value::Null),
        Value::Object(object) if object.len() == 1 => match object.iter().next() {
            Some((word, detail)) => (word.as_str(), detail),
            None => return different(),
        },
        _ => return Err(format!("{expect} is nothing that can be expected")),
    };
    let is_same = match (word, &came) {
        ("pass", Ok(StepOutcome::Pass))
        | ("consume", Ok(StepOutcome::Consume))
        | ("withhold", Ok(StepOutcome::Withhold))
        | ("stop", Ok(StepOutcome::Stop)) => true,
        ("jump", Ok(StepOutcome::Jump(chain))) => detail.as_str() == Some(chain),
        ("refuse", Ok(StepOutcome::Refuse { reason, .. })) => {
            detail.as_u64() == Some(u64::from(reason.to_u8()))
        }
        ("failure", Err(failure)) => {
            let text = failure.to_string();
            detail.as_str().is_some_and(|part| text.contains(part))
        }
        ("modify", Ok(StepOutcome::Modify(patch))) => is_patch(detail, patch),
        ("split", Ok(StepOutcome::Split(parts))) => {
            let all = detail.as_array().map_or(&[][..], Vec::as_slice);
            all.len() == parts.len()
                && all
                    .iter()
                    .zip(parts)
                    .all(|(wanted, part)| is_emit(wanted, part))
        }
        _ => false,
    };
    if is_same { Ok(()) } else { different() }
}

/// Whether a payload is what is expected: text as it is, anything else as JSON.
fn is_payload(wanted: &Value, payload: &[u8]) -> bool {
    match wanted {
        Value::String(text) => text.as_bytes() == payload,
        json => serde_json::from_slice(payload).is_ok_and(|found: Value| found == *json),
    }
}

fn is_patch(wanted: &Value, patch: &Patch) -> bool {
    let fields = wanted.as_object().into_iter().flatten();
    fields.into_iter().all(|(key, value)| match key.as_str() {
        "topic" => patch.topic.as_deref() == value.as_str(),
        "payload" => patch
            .payload
            .as_ref()
            .is_some_and(|payload| is_payload(value, payload)),
        "qos" => patch.qos.map(|qos| u64::from(qos as u8)) == value.as_u64(),
        "retain" => patch.retain == value.as_bool(),
        _ => false,
    })
}

fn is_emit(wanted: &Value, part: &Emit) -> bool {
    let fields = wanted.as_object().into_iter().flatten();
    fields.into_iter().all(|(key, value)| match key.as_str() {
        "topic" => Some(&*part.topic) == value.as_str(),
        "payload" => is_payload(value, &part.payload),
        "qos" => Some(u64::from(part.qos as u8)) == value.as_u64(),
        "retain" => Some(part.retain) == value.as_bool(),
        _ => false,
    })
}
