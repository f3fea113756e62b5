//! Chains offline: a file's own tests, and one message traced step by step.

use crate::chain::Chain;
use crate::file::{self, Expected, Given, Mode, Test};
use crate::place::{RuleError, Source};
use crate::run::{End, Sinks, run};
use crate::state::Bounds;
use bytes::Bytes;
use bytestring::ByteString;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use witmq_broker::ports::chains::Patch;
use witmq_broker::ports::{Publisher, StepFailure, StepOutcome, Transform};
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{Message, TopicName};

/// The expression parser recurses deeply; hostile files must not reach the end of a stack.
pub(crate) const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Runs `work` on a thread with a large stack.
pub(crate) fn with_large_stack<R: Send>(
    work: impl FnOnce() -> R + Send,
    failed: impl FnOnce(&str) -> R,
) -> R {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new()
            .name("chain-compiler".to_owned())
            .stack_size(STACK_BYTES);
        match builder
            .spawn_scoped(scope, work)
            .map(std::thread::ScopedJoinHandle::join)
        {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => failed("the compiler of chains failed"),
            Err(error) => failed(&format!("no thread for the compiler of chains: {error}")),
        }
    })
}

/// Parses and compiles a file; the chain's name is its stem.
pub(crate) fn compile(file: &str, text: &str) -> Result<Chain, RuleError> {
    let source = Source { file, text };
    with_large_stack(
        || compile_here(file, text),
        |cause| Err(source.error(0, "internal", cause)),
    )
}

pub(crate) fn compile_here(file: &str, text: &str) -> Result<Chain, RuleError> {
    let source = Source { file, text };
    let name = Path::new(file)
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    if !file::is_plain(name) {
        let text = format!(
            "`{name}` is no name for a chain: use 1 to 64 letters, digits, - and _ as the file's name"
        );
        return Err(source.error(0, "bad-name", text));
    }
    let parsed = file::parse(source)?;
    Chain::compile(name, &parsed, source)
}

/// Checks a file and runs its own tests, without a broker.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn check(file: &str, text: &str) -> Result<(), RuleError> {
    let mut chain = compile(file, text)?;
    run_tests(&mut chain, file, text)
}

/// Answers for plugins in tests: a payload, or the message as it is.
struct Stubs<'a> {
    answers: &'a BTreeMap<String, toml::Value>,
    /// What reached a sink.
    delivered: Vec<(String, Arc<Message>)>,
}

impl Transform for Stubs<'_> {
    fn transform(
        &mut self,
        plugin: &str,
        _: Publisher<'_>,
        _: &Message,
    ) -> Result<StepOutcome, StepFailure> {
        Ok(self
            .answers
            .get(plugin)
            .map_or(StepOutcome::Pass, |payload| {
                StepOutcome::Modify(Patch {
                    payload: Some(payload_of(payload)),
                    ..Patch::default()
                })
            }))
    }

    fn deliver(
        &mut self,
        plugin: &str,
        _: Publisher<'_>,
        message: &Arc<Message>,
    ) -> Result<(), StepFailure> {
        self.delivered.push((plugin.to_owned(), message.clone()));
        Ok(())
    }
}

fn to_json(value: &toml::Value) -> Json {
    serde_json::to_value(value).unwrap_or_default()
}

/// A text is itself, everything else is JSON.
fn payload_of(value: &toml::Value) -> Bytes {
    match value {
        toml::Value::String(text) => Bytes::copy_from_slice(text.as_bytes()),
        other => Bytes::from(to_json(other).to_string()),
    }
}

fn message(topic: TopicName, payload: Bytes, qos: u8, retain: bool) -> Arc<Message> {
    Arc::new(Message {
        topic,
        payload,
        qos: QoS::from_bits(qos).unwrap_or_default(),
        retain,
        properties: PublishProperties::default(),
        expires_at: None,
        publisher: ByteString::from_static("test"),
        received_ms: 0,
        hops: 0,
    })
}

const NOBODY: Publisher<'_> = Publisher {
    client_id: "test",
    username: None,
    attributes: &[],
    session: 0,
};

/// Runs the tests that a file brings, each with steps that remember nothing yet.
pub(crate) fn run_tests(chain: &mut Chain, file: &str, text: &str) -> Result<(), RuleError> {
    let source = Source { file, text };
    let work = || {
        for test in &file::parse(source)?.test {
            chain.forget(Bounds::default());
            run_test(chain, test.get_ref()).map_err(|cause| {
                let text = format!("test `{}` fails: {cause}", test.get_ref().name);
                source.error(test.span().start, "test-failed", text)
            })?;
        }
        Ok(())
    };
    with_large_stack(work, |cause| Err(source.error(0, "internal", cause)))
}

/// What came out: the sink it reached, or none.
type Came = (Option<String>, Arc<Message>);

fn run_test(chain: &Chain, test: &Test) -> Result<(), String> {
    let mut came = Vec::new();
    for given in &test.given {
        one_message(chain, test, given, &mut came)?;
    }
    if came.len() != test.expect.len() {
        return Err(format!(
            "{} messages are expected, {} came{}",
            test.expect.len(),
            came.len(),
            list(came.iter().map(|(_, message)| message))
        ));
    }
    for (expected, (sink, got)) in test.expect.iter().zip(&came) {
        if expected.sink != *sink {
            let name = |sink: &Option<String>| match sink {
                Some(name) => format!("sink {name}"),
                None => "the broker".to_owned(),
            };
            let (wanted, came) = (name(&expected.sink), name(sink));
            return Err(format!(
                "a message for {wanted} is expected, one for {came} came"
            ));
        }
        compare(expected, got)?;
    }
    Ok(())
}

/// One of a test's messages through the chain.
fn one_message(
    chain: &Chain,
    test: &Test,
    given: &Given,
    came: &mut Vec<Came>,
) -> Result<(), String> {
    // The thread is that of the tests alone.
    crate::functions::seed(given.seed);
    let topic = TopicName::new(given.topic.as_str()).map_err(|error| format!("given: {error}"))?;
    if !chain.from.matches(&topic) {
        return Err(format!(
            "given: {topic} does not match {}",
            chain.from.text()
        ));
    }
    let mut message = message(topic, payload_of(&given.payload), given.qos, given.retain);
    Arc::make_mut(&mut message).received_ms = given.received_ms;
    let mut emissions = Vec::new();
    let mut sinks = Sinks {
        emissions: &mut emissions,
        trace: None,
    };
    let mut stubs = Stubs {
        answers: &test.stub,
        delivered: Vec::new(),
    };
    let end = run(chain, &mut stubs, NOBODY, &message, &mut sinks);
    let routed = match end {
        End::On(messages) if chain.mode == Mode::Transform => messages,
        End::Refused { text, .. } if test.given.len() == 1 && !test.expect.is_empty() => {
            return Err(format!(
                "the message is refused: {}",
                text.unwrap_or_default()
            ));
        }
        _ => Vec::new(),
    };
    let routed = routed.into_iter().chain(emissions);
    came.extend(routed.map(|message| (None, message)));
    let delivered = stubs.delivered.into_iter();
    came.extend(delivered.map(|(sink, message)| (Some(sink), message)));
    Ok(())
}

fn list<'a>(messages: impl IntoIterator<Item = &'a Arc<Message>>) -> String {
    let one = |message: &Arc<Message>| {
        format!(
            " [{} {}]",
            message.topic,
            String::from_utf8_lossy(&message.payload)
        )
    };
    messages.into_iter().map(one).collect()
}

fn compare(expected: &Expected, got: &Message) -> Result<(), String> {
    if let Some(topic) = expected
        .topic
        .as_ref()
        .filter(|topic| **topic != *got.topic)
    {
        return Err(format!("topic {topic} is expected, {} came", got.topic));
    }
    let Some(payload) = &expected.payload else {
        return Ok(());
    };
    let is_same = match payload {
        toml::Value::String(text) => text.as_bytes() == &got.payload[..],
        other => serde_json::from_slice(&got.payload)
            .is_ok_and(|json: Json| is_part(&to_json(other), &json)),
    };
    if is_same {
        return Ok(());
    }
    Err(format!(
        "payload {} is expected, {} came",
        to_json(payload),
        String::from_utf8_lossy(&got.payload)
    ))
}

/// Whether everything in `part` is in `whole`; numbers by value.
fn is_part(part: &Json, whole: &Json) -> bool {
    match (part, whole) {
        (Json::Object(part), Json::Object(whole)) => part
            .iter()
            .all(|(name, value)| whole.get(name).is_some_and(|found| is_part(value, found))),
        (Json::Array(part), Json::Array(whole)) => {
            part.len() == whole.len()
                && part
                    .iter()
                    .zip(whole)
                    .all(|(one, other)| is_part(one, other))
        }
        (Json::Number(one), Json::Number(other)) => match (one.as_f64(), other.as_f64()) {
            // Times and counters are large and whole: a difference of one matters.
            (Some(one), Some(other)) if one.fract() == 0.0 && other.fract() == 0.0 => one == other,
            (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * one.abs().max(1.0),
            _ => one == other,
        },
        (one, other) => one == other,
    }
}

/// Plugins are not there offline.
struct Absent;

impl Transform for Absent {
    fn transform(
        &mut self,
        _: &str,
        _: Publisher<'_>,
        _: &Message,
    ) -> Result<StepOutcome, StepFailure> {
        Ok(StepOutcome::Pass)
    }

    fn deliver(&mut self, _: &str, _: Publisher<'_>, _: &Arc<Message>) -> Result<(), StepFailure> {
        Ok(())
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Runs one message (`{"topic": …, "payload": …}`) through a file without a broker: one line per step. Plugins
/// are passed by. It is received now, or at its `received_ms`.
///
/// # Errors
/// The file is wrong; a message that is none is an error at the file's first line.
pub fn trace(file: &str, text: &str, msg: &str) -> Result<Vec<String>, RuleError> {
    let chain = compile(file, text)?;
    let source = Source { file, text };
    let bad = |cause: String| {
        source
            .error(0, "bad-message", format!("the message is none: {cause}"))
            .hint(r#"give it as --msg '{"topic":"sensors/a/temp","payload":{"c":20}}'"#)
    };
    let given: Json = serde_json::from_str(msg).map_err(|error| bad(error.to_string()))?;
    let topic = given
        .get("topic")
        .and_then(Json::as_str)
        .ok_or_else(|| bad("it has no `topic`".to_owned()))?;
    let topic = TopicName::new(topic).map_err(|error| bad(error.to_string()))?;
    let payload = match given.get("payload") {
        Some(Json::String(text)) => Bytes::copy_from_slice(text.as_bytes()),
        Some(other) => Bytes::from(other.to_string()),
        None => Bytes::new(),
    };
    if !chain.from.matches(&topic) {
        return Ok(vec![format!(
            "-  {topic} does not match {}",
            chain.from.text()
        )]);
    }
    let received_ms = given.get("received_ms").and_then(Json::as_u64);
    let mut given = message(topic, payload, 0, false);
    Arc::make_mut(&mut given).received_ms = received_ms.unwrap_or_else(now_ms);
    let (mut emissions, mut lines) = (Vec::new(), Vec::new());
    let mut sinks = Sinks {
        emissions: &mut emissions,
        trace: Some(&mut lines),
    };
    let end = run(&chain, &mut Absent, NOBODY, &given, &mut sinks);
    if chain.mode == Mode::Transform {
        lines.push(match end {
            End::On(messages) => format!("=  goes on:{}", list(&messages)),
            End::Refused { reason, text } => {
                format!("=  refused: {reason} {}", text.unwrap_or_default())
            }
            End::Consumed => "=  consumed".to_owned(),
            End::Withheld => "=  withheld".to_owned(),
        });
    }
    lines.push(format!("=  {} published (not sent)", emissions.len()));
    Ok(lines)
}
