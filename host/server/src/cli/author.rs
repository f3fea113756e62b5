//! What the author of a plugin asks before anybody installs it: would it be taken, does it do what it should, what does a
//! call cost. All without a broker, under the limits of one.

use super::args::{BenchArgs, CheckArgs, TestArgs};
use super::plugin::{read, text_or_file};
use super::{CliError, Exit, print, project, table};
use crate::bounds::plugin_limits;
use crate::config::Limits;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use witmq_broker::ports::{ControlError, StepOutcome};
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{ByteString, Bytes, Message, TopicName};
use witmq_runtime::{About, Offline, Opened, RuntimeConfig, TestRun};

/// What each import lets a plugin do.
const IMPORTS: [(&str, &str); 10] = [
    ("log", "writes lines to its log"),
    ("metrics", "counts in the broker's metrics"),
    ("clock", "knows the time"),
    ("kv", "keeps keys of its own"),
    ("publish", "publishes messages, where it is granted"),
    ("timers", "sets timers"),
    ("secrets", "reads secrets that are granted by name"),
    (
        "payload",
        "reads the payload of its message when it wants to",
    ),
    ("clients", "looks clients up and disconnects them; waits"),
    (
        "http",
        "sends requests to services that are granted by name; waits",
    ),
];

/// Bytes of compiled components that are kept between two calls of these tools.
const KEPT_BYTES: u64 = 512 * 1024 * 1024;

/// Where they are kept: a Python plugin takes ten seconds to compile, and each tool would do it again.
fn cache() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    caches
        .filter(|path| path.is_absolute())
        .map(|path| path.join("witmq"))
}

fn offline() -> Result<Offline, CliError> {
    let config = RuntimeConfig {
        data_dir: cache(),
        compiled_bytes: KEPT_BYTES,
        ..plugin_limits(&Limits::default())
    };
    Offline::new(config).map_err(|error| CliError::failed(error.to_string()))
}

/// A refusal of the plugin host, for a person.
fn refusal(error: ControlError) -> CliError {
    match error {
        ControlError::Invalid {
            message,
            hint: Some(hint),
            ..
        } => CliError::new(Exit::Refused, message).hint(hint),
        other => CliError::new(Exit::Refused, other.to_string()),
    }
}

/// The component of a file, or of a project that is built first.
fn component(path: &Path) -> Result<Vec<u8>, CliError> {
    match path.is_dir() {
        true => read(&project::build(path)?),
        false => read(path),
    }
}

fn config(text: Option<&str>) -> Result<String, CliError> {
    text.map_or_else(|| Ok("{}".to_owned()), text_or_file)
}

/// `witmq plugin build`.
pub(super) fn build(folder: &Path) -> Result<(), CliError> {
    let path = project::build(folder)?;
    let offline = offline()?;
    let wasm = read(&path)?;
    let about = offline.open(&wasm).map_err(refusal)?.about();
    print(&path.display().to_string());
    print(&title(&about));
    print(&format!(
        "hooks: {}; imports: {}",
        list(&about.hooks),
        list(&about.imports)
    ));
    Ok(())
}

/// `witmq plugin check`.
pub(super) fn check(args: &CheckArgs) -> Result<(), CliError> {
    let wasm = component(&args.path)?;
    let offline = offline()?;
    let opened = offline.open(&wasm).map_err(refusal)?;
    let about = opened.about();
    print(&title(&about));
    print(&format!("sha256:{}", about.digest));
    print(&format!("hooks: {}", list(&about.hooks)));
    print(&format!("its messages have: topic, {}", list(&about.needs)));
    print(match about.is_effectful {
        true => "runs beside the shards, because it imports something that waits",
        false => "runs on the shards where a hook is on the message path",
    });
    let rows: Vec<Vec<String>> = about
        .imports
        .iter()
        .map(|import| vec![import.clone(), words(import)])
        .collect();
    table(&["IMPORTS", "SO IT"], &rows);
    if !about.asks.is_empty() {
        let name = if about.about[0].is_empty() {
            "NAME"
        } else {
            &about.about[0]
        };
        let add: Vec<String> = about
            .asks
            .iter()
            .map(|asked| format!("--add {asked}"))
            .collect();
        print(&format!(
            "asks for {}; to grant it: witmq plugin grants {name} {}",
            list(&about.asks),
            add.join(" ")
        ));
    }
    match (&args.config, &about.schema) {
        (Some(text), _) => {
            opened.check_config(&text_or_file(text)?).map_err(refusal)?;
            print("the configuration fits");
        }
        (None, Some(schema)) => print(&format!("configuration: {schema}")),
        (None, None) => print("configuration: any JSON"),
    }
    print("a broker of this version takes it");
    Ok(())
}

fn words(import: &str) -> String {
    let known = IMPORTS.iter().find(|(name, _)| *name == import);
    known.map_or(import, |(_, words)| words).to_owned()
}

fn title(about: &About) -> String {
    let [name, version, _] = &about.about;
    let name = if name.is_empty() {
        "a plugin without a name"
    } else {
        name
    };
    let compiled = match about.compile {
        Some(took) => format!("compiled in {} ms", took.as_millis()),
        None => "compiled before".to_owned(),
    };
    format!("{name} {version}, {} bytes, {compiled}", about.bytes)
}

fn list<T: AsRef<str>>(all: &[T]) -> String {
    match all {
        [] => "nothing".to_owned(),
        all => all.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", "),
    }
}

/// `witmq plugin test`: the tests of its language, where it is a project; then its own and more on the component.
pub(super) fn test(args: &TestArgs) -> Result<(), CliError> {
    if args.path.is_dir() {
        project::test(&args.path)?;
    }
    let wasm = component(&args.path)?;
    let offline = offline()?;
    let opened = offline.open(&wasm).map_err(refusal)?;
    let more = args
        .cases
        .as_deref()
        .map(cases)
        .transpose()?
        .unwrap_or_default();
    run_tests(&opened, &config(args.config.as_deref())?, &more)
}

/// Runs them and shows each; an error if one fails.
fn run_tests(opened: &Opened<'_>, config: &str, more: &[Value]) -> Result<(), CliError> {
    print(&title(&opened.about()));
    let runs = opened.run_tests(config, more).map_err(refusal)?;
    if runs.is_empty() {
        print("it brings no tests, and --cases names none: nothing ran on the component");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
    table(&["TEST", "RESULT", "µs", "MEMORY", "OUT"], &rows);
    let bad: Vec<&TestRun> = runs.iter().filter(|run| run.result.is_err()).collect();
    for run in &bad {
        if let Err(cause) = &run.result {
            print(&format!("{}: {cause}", run.name));
        }
    }
    let (passed, failed) = (runs.len() - bad.len(), bad.len());
    print(&format!("{passed} passed, {failed} failed"));
    match failed {
        0 => Ok(()),
        _ => Err(CliError::failed(format!(
            "{failed} of {} tests failed",
            runs.len()
        ))),
    }
}

fn row(run: &TestRun) -> Vec<String> {
    let result = if run.result.is_ok() { "ok" } else { "FAILED" };
    let micros = format!("{:.1}", run.took.as_secs_f64() * 1e6);
    vec![
        run.name.clone(),
        result.to_owned(),
        micros,
        format!("{} KiB", run.memory_bytes / 1024),
        format!("{} B", run.output_bytes),
    ]
}

/// Tests of a file: a JSON list of them.
fn cases(path: &Path) -> Result<Vec<Value>, CliError> {
    let bad = |error: serde_json::Error| CliError::failed(format!("{}: {error}", path.display()));
    serde_json::from_slice(&read(path)?).map_err(bad)
}

/// Calls before it is measured.
const WARM: u32 = 1000;

/// `witmq plugin bench`.
pub(super) fn bench(args: &BenchArgs) -> Result<(), CliError> {
    let wasm = component(&args.path)?;
    let offline = offline()?;
    let opened = offline.open(&wasm).map_err(refusal)?;
    let config = config(args.config.as_deref())?;
    let payload = match &args.payload {
        Some(text) => Bytes::from(text_or_file(text)?),
        None => Bytes::from(vec![b'x'; args.size]),
    };
    let message = message(&args.topic, payload)?;
    let start = Instant::now();
    let mut trial = opened.start(&config).map_err(refusal)?;
    let made = start.elapsed();
    let mut outcomes = BTreeMap::<&str, u32>::new();
    let mut took = Vec::with_capacity(usize::try_from(args.count).unwrap_or(0));
    for number in 0..WARM.min(args.count) + args.count {
        let start = Instant::now();
        let outcome = trial.call(&message);
        let elapsed = start.elapsed();
        let outcome =
            outcome.map_err(|failure| CliError::failed(format!("call {number}: {failure}")))?;
        if number >= WARM.min(args.count) {
            took.push(elapsed);
            *outcomes.entry(outcome_name(&outcome)).or_default() += 1;
        }
    }
    print(&title(&opened.about()));
    print(&format!(
        "{} calls of transform, {} bytes to `{}`:",
        args.count,
        message.payload.len(),
        args.topic
    ));
    print(&figures(took));
    let (memory, made) = (trial.memory_bytes() / 1024, made.as_micros());
    print(&format!(
        "  memory {memory} KiB; an instance is made in {made} µs"
    ));
    let outcomes: Vec<String> = outcomes
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    print(&format!("  outcomes: {}", outcomes.join(", ")));
    Ok(())
}

fn figures(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let all: Duration = took.iter().sum();
    let at = |per_mille: usize| {
        let place = (took.len() * per_mille / 1000).min(took.len().saturating_sub(1));
        took.get(place).map_or(0, Duration::as_nanos)
    };
    let count = u32::try_from(took.len()).unwrap_or(u32::MAX);
    let mean = all.checked_div(count).unwrap_or_default();
    let per_second = 1.0 / mean.as_secs_f64().max(1e-9);
    format!(
        "  mean {} ns, p50 {} ns, p99 {} ns; {per_second:.0} calls a second",
        mean.as_nanos(),
        at(500),
        at(990)
    )
}

fn outcome_name(outcome: &StepOutcome) -> &'static str {
    match outcome {
        StepOutcome::Pass => "pass",
        StepOutcome::Modify(_) => "modify",
        StepOutcome::Split(_) => "split",
        StepOutcome::Refuse { .. } => "refuse",
        StepOutcome::Consume => "consume",
        StepOutcome::Withhold => "withhold",
        StepOutcome::Stop => "stop",
        StepOutcome::Jump(_) => "jump",
    }
}

fn message(topic: &str, payload: Bytes) -> Result<Message, CliError> {
    let topic = TopicName::new(topic)
        .map_err(|error| CliError::new(Exit::Usage, format!("--topic {topic}: {error}")))?;
    Ok(Message {
        topic,
        payload,
        qos: QoS::AtMostOnce,
        retain: false,
        properties: PublishProperties::default(),
        expires_at: None,
        publisher: ByteString::from_static("client"),
        received_ms: 0,
        hops: 0,
    })
}
