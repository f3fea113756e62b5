//! The tests that a file brings: messages in, what must come out, and a clock that they set.
//!
//! Owns: [`run_tests`]. Must not: read a clock, or leave anything in the chain that a test made.

use super::{NOBODY, compile, given_payload, list, message, with_large_stack};
use crate::breaker::Fared;
use crate::chain::Chain;
use crate::file::{self, Expected, Given, Mode, Test};
use crate::payload::Format;
use crate::place::{RuleError, Source};
use crate::run::{End, Sinks, due, run};
use crate::state::{Bounds, WINDOWS_AT_ONCE};
use crate::tables::Tables;
use bytes::Bytes;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;
use witmq_broker::ports::chains::Patch;
use witmq_broker::ports::{Publisher, StepFailure, StepOutcome, Transform};
use witmq_proto::{Message, TopicName};

/// So few that a step has one stripe: which of two windows ends first is then always the same.
fn bounds() -> Bounds {
    Bounds {
        entries: 1000,
        ..Bounds::default()
    }
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

/// What a test of a file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// Its name.
    pub name: String,
    /// Why it failed, with its place.
    pub failure: Option<RuleError>,
}

/// Checks a file and runs all of its tests, without a broker.
///
/// # Errors
/// The file is wrong.
pub fn test(file: &str, text: &str) -> Result<Vec<Tested>, RuleError> {
    let mut chain = compile(file, text)?;
    tested(&mut chain, file, text, false)
}

/// Runs the tests that a file brings, each with steps that remember nothing yet; the first that fails is the error.
pub(crate) fn run_tests(chain: &mut Chain, file: &str, text: &str) -> Result<(), RuleError> {
    let failure = tested(chain, file, text, true)?.pop();
    failure.and_then(|test| test.failure).map_or(Ok(()), Err)
}

/// All tests, or those up to the first that fails.
fn tested(
    chain: &mut Chain,
    file: &str,
    text: &str,
    is_first_enough: bool,
) -> Result<Vec<Tested>, RuleError> {
    let source = Source { file, text };
    let work = || {
        let mut all = Vec::new();
        for test in &file::parse(source)?.test {
            let name = test.get_ref().name.clone();
            let failure = prepare(chain, test.get_ref())
                .and_then(|()| run_test(chain, test.get_ref()))
                .err()
                .map(|cause| {
                    let text = format!("test `{name}` fails: {cause}");
                    source.error(test.span().start, "test-failed", text)
                });
            let is_over = failure.is_some() && is_first_enough;
            all.push(Tested { name, failure });
            if is_over {
                break;
            }
        }
        Ok(all)
    };
    with_large_stack(work, |cause| Err(source.error(0, "internal", cause)))
}

/// Nothing is remembered yet, and tables hold what the test says.
fn prepare(chain: &mut Chain, test: &Test) -> Result<(), String> {
    chain.forget(&bounds());
    let tables = Tables::default();
    for (name, entries) in &test.tables {
        for (key, value) in entries {
            tables.fill(name, key, &to_json(value))?;
        }
    }
    chain.attach(&tables);
    Ok(())
}

/// What came out: the sink it reached, or none.
type Came = (Option<String>, Arc<Message>);

fn run_test(chain: &Chain, test: &Test) -> Result<(), String> {
    let mut came = Vec::new();
    for given in &test.given {
        time_passes(chain, test, given.received_ms, &mut came);
        one_message(chain, test, given, &mut came)?;
    }
    if let Some(until_ms) = test.until_ms {
        time_passes(chain, test, until_ms, &mut came);
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
        compare(expected, got, chain)?;
    }
    Ok(())
}

/// Windows that are over by then end.
fn time_passes(chain: &Chain, test: &Test, now_ms: u64, came: &mut Vec<Came>) {
    let mut emissions = Vec::new();
    let mut stubs = Stubs {
        answers: &test.stub,
        delivered: Vec::new(),
    };
    while due(chain, &mut stubs, (now_ms, WINDOWS_AT_ONCE), &mut emissions) > 0 {}
    came.extend(emissions.into_iter().map(|message| (None, message)));
    let delivered = stubs.delivered.into_iter();
    came.extend(delivered.map(|(sink, message)| (Some(sink), message)));
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
    let payload = given_payload(chain, to_json(&given.payload))?;
    let mut message = message(topic, payload, given.qos, given.retain);
    Arc::make_mut(&mut message).received_ms = given.received_ms;
    let mut emissions = Vec::new();
    let mut sinks = Sinks {
        emissions: &mut emissions,
        trace: None,
        failed: None,
        fared: Fared::Well,
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

fn compare(expected: &Expected, got: &Message, chain: &Chain) -> Result<(), String> {
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
        other => {
            let formats = [&Format::Json, &chain.encode, &chain.decode].into_iter();
            let mut read = formats.filter_map(|format| format.read(&got.payload).ok()?);
            read.any(|json| is_part(&to_json(other), &json))
        }
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
