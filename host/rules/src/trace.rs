//! What became of one message in one chain, step by step: the one format of `rule run`, taps and misses.
//!
//! Owns: [`Trace`], its text, and [`Tracing`], which fills it. Must not: change what happens. Texts in it are cut; it shows
//! what the message, its publisher's name and the chain say, never a plugin's configuration or secrets.

use crate::expression::Parts;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use witmq_proto::Message;

/// Bytes that a trace shows of one text.
const SHOWN_BYTES: usize = 512;
/// Changed fields, evaluations, messages and notes that one step of a trace shows, of each.
const ENTRIES: usize = 32;
/// Steps that one trace shows: parts of a message that was split have theirs one by one.
const STEPS: usize = 256;

/// A message's way through a chain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trace {
    /// Name of the chain.
    pub chain: String,
    /// Its revision.
    pub revision: u64,
    /// When the message was received, milliseconds since 1970.
    pub at_ms: u64,
    /// Client id of the publisher.
    pub client: String,
    /// Topic it came with.
    pub topic: String,
    /// Payload it came with.
    pub payload: String,
    /// The steps, as they ran.
    pub steps: Vec<TracedStep>,
    /// What became of the message, in words.
    pub end: String,
}

/// One step for one message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TracedStep {
    /// From 1, in the order of the file.
    pub index: usize,
    /// Its word, for example `filter`.
    pub kind: String,
    /// How it ended.
    pub mark: Mark,
    /// The plugin it calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// Its expressions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expressions: Vec<Evaluated>,
    /// What it changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<Changed>,
    /// What it published.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub emitted: Vec<Emitted>,
    /// More in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took.
    pub micros: f64,
}

/// How a step ended for a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// The message went on to the next.
    #[default]
    Passed,
    /// The chain ended here.
    Ended,
    /// It failed.
    Failed,
    /// It waits for an answer.
    Waits,
}

/// An expression and what it gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// As written.
    pub source: String,
    /// What it gave, or why it failed.
    pub value: String,
    /// Its parts with their values, as far as they were evaluated.
    pub parts: Vec<(String, String)>,
    /// The part that made it false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_false: Option<String>,
}

/// A changed field; absent is `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// `payload.PATH`, `payload`, `topic`, `qos`, `retain` or `user.NAME`.
    pub field: String,
    /// Before.
    pub before: Option<String>,
    /// After.
    pub after: Option<String>,
}

/// A message that was published.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Emitted {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: String,
    /// Its QoS.
    pub qos: u8,
    /// Whether it is retained.
    pub retain: bool,
}

/// Text that is not too long, of bytes that may be no text.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..SHOWN_BYTES + 3).unwrap_or(bytes));
    let end = text.floor_char_boundary(SHOWN_BYTES);
    let dots = if bytes.len() > SHOWN_BYTES { "…" } else { "" };
    text.get(..end).unwrap_or_default().to_owned() + dots
}

/// A trace that is being made.
pub(crate) struct Tracing {
    trace: Trace,
    /// Of the step that runs.
    expressions: Vec<Evaluated>,
    notes: Vec<String>,
}

/// How things stood before a step.
pub(crate) struct Before {
    message: Arc<Message>,
    emitted: usize,
    began: Instant,
}

impl Before {
    pub(crate) fn new(message: &Arc<Message>, emitted: usize) -> Self {
        Self {
            message: message.clone(),
            emitted,
            began: Instant::now(),
        }
    }
}

impl Tracing {
    pub(crate) fn new((chain, revision): (&str, u64), client: &str, message: &Message) -> Self {
        let trace = Trace {
            chain: chain.to_owned(),
            revision,
            at_ms: message.received_ms,
            client: shown(client.as_bytes()),
            topic: shown(message.topic.as_bytes()),
            payload: shown(&message.payload),
            ..Trace::default()
        };
        Self {
            trace,
            expressions: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn note(&mut self, line: String) {
        if self.notes.len() < ENTRIES {
            self.notes.push(shown(line.as_bytes()));
        }
    }

    /// An expression of the step that runs was evaluated.
    pub(crate) fn evaluated(&mut self, source: &str, value: String, parts: &Parts) {
        if self.expressions.len() < ENTRIES {
            self.expressions.push(evaluated(source, value, parts));
        }
    }

    /// The step has run. `step`: index from 0, its word and plugin.
    pub(crate) fn step(
        &mut self,
        (index, kind, plugin): (usize, &str, Option<&str>),
        mark: Mark,
        before: &Before,
        (message, emissions): (&Arc<Message>, &[Arc<Message>]),
    ) {
        let mut step = TracedStep {
            index: index + 1,
            kind: kind.to_owned(),
            mark,
            plugin: plugin.map(str::to_owned),
            expressions: std::mem::take(&mut self.expressions),
            notes: std::mem::take(&mut self.notes),
            micros: (before.began.elapsed().as_secs_f64() * 1e7).round() / 10.0,
            ..TracedStep::default()
        };
        step.changed = changes(&before.message, message);
        let emitted = emissions.iter().skip(before.emitted).take(ENTRIES);
        step.emitted = emitted.map(|message| Emitted::of(message)).collect();
        if self.trace.steps.len() < STEPS {
            self.trace.steps.push(step);
        }
    }

    /// All that is known is that a step failed.
    pub(crate) fn only_failed(&mut self, index: usize, kind: &str, error: &str) {
        self.trace.steps.push(TracedStep {
            index: index + 1,
            kind: kind.to_owned(),
            mark: Mark::Failed,
            error: Some(shown(error.as_bytes())),
            ..TracedStep::default()
        });
    }

    /// The last step failed.
    pub(crate) fn failed(&mut self, error: &str) {
        if let Some(step) = self.trace.steps.last_mut() {
            step.mark = Mark::Failed;
            step.error = Some(shown(error.as_bytes()));
        }
    }

    pub(crate) fn end(mut self, end: impl Into<String>) -> Trace {
        self.trace.end = end.into();
        self.trace
    }
}

/// An evaluation with the values of its parts.
pub(crate) fn evaluated(source: &str, value: String, parts: &Parts) -> Evaluated {
    let first_false = match value.as_str() {
        "false" => parts.first_false(source),
        _ => None,
    };
    Evaluated {
        source: source.to_owned(),
        first_false,
        parts: parts.values(source),
        value,
    }
}

impl Emitted {
    fn of(message: &Message) -> Self {
        Self {
            topic: shown(message.topic.as_bytes()),
            payload: shown(&message.payload),
            qos: message.qos as u8,
            retain: message.retain,
        }
    }
}

/// What is different, in the order of topic, payload, flags and properties.
fn changes(before: &Message, after: &Message) -> Vec<Changed> {
    if std::ptr::eq(before, after) {
        return Vec::new();
    }
    let mut all = Vec::new();
    let mut put = |field: String, before: Option<String>, after: Option<String>| {
        if before != after && all.len() < ENTRIES {
            all.push(Changed {
                field,
                before,
                after,
            });
        }
    };
    let text = |message: &Message| Some(shown(message.topic.as_bytes()));
    put("topic".to_owned(), text(before), text(after));
    if before.payload != after.payload {
        let json = |message: &Message| serde_json::from_slice::<Json>(&message.payload);
        match (json(before), json(after)) {
            (Ok(before @ Json::Object(_)), Ok(after @ Json::Object(_))) => {
                compare("payload", Some(&before), Some(&after), &mut put);
            }
            _ => {
                let text = |message: &Message| Some(shown(&message.payload));
                put("payload".to_owned(), text(before), text(after));
            }
        }
    }
    let qos = |message: &Message| Some((message.qos as u8).to_string());
    put("qos".to_owned(), qos(before), qos(after));
    let retain = |message: &Message| Some(message.retain.to_string());
    put("retain".to_owned(), retain(before), retain(after));
    let value = |message: &Message, name: &str| {
        let mut user = message.properties.user.iter();
        let found = user.find(|(known, _)| *known == *name);
        found.map(|(_, value)| shown(value.as_bytes()))
    };
    let users = before.properties.user.iter().chain(&after.properties.user);
    for name in users.map(|(name, _)| name).collect::<BTreeSet<_>>() {
        put(
            format!("user.{name}"),
            value(before, name),
            value(after, name),
        );
    }
    all
}

/// Fields of objects one by one. JSON that was parsed is at most 128 deep.
fn compare(
    path: &str,
    before: Option<&Json>,
    after: Option<&Json>,
    put: &mut impl FnMut(String, Option<String>, Option<String>),
) {
    if let (Some(Json::Object(one)), Some(Json::Object(other))) = (before, after) {
        for (name, value) in one {
            compare(&format!("{path}.{name}"), Some(value), other.get(name), put);
        }
        for (name, value) in other.iter().filter(|(name, _)| !one.contains_key(*name)) {
            compare(&format!("{path}.{name}"), None, Some(value), put);
        }
        return;
    }
    if before != after {
        let text = |value: Option<&Json>| value.map(|value| shown(value.to_string().as_bytes()));
        put(path.to_owned(), text(before), text(after));
    }
}

impl fmt::Display for Evaluated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.source, self.value)?;
        if !self.parts.is_empty() {
            let parts = self.parts.iter();
            let parts = parts.map(|(source, value)| format!("{source} = {value}"));
            write!(f, "  ({})", parts.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (None, Some(after)) => write!(f, "{} = {after}", self.field),
            (Some(before), None) => write!(f, "{} is gone (was {before})", self.field),
            (before, after) => {
                let text = |value: &Option<String>| value.clone().unwrap_or_default();
                write!(f, "{}: {} -> {}", self.field, text(before), text(after))
            }
        }
    }
}

impl fmt::Display for TracedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.mark {
            Mark::Passed => '+',
            Mark::Ended => '-',
            Mark::Failed => '!',
            Mark::Waits => '~',
        };
        let mut parts: Vec<String> = self.plugin.iter().cloned().collect();
        // What was set says what its expressions gave.
        if self.changed.is_empty() {
            let expressions = self.expressions.iter();
            let told = expressions.filter(|one| self.error.as_ref() != Some(&one.value));
            parts.extend(told.map(ToString::to_string));
        }
        parts.extend(self.changed.iter().map(ToString::to_string));
        let emitted = self.emitted.iter();
        parts.extend(emitted.map(|message| format!("{} {}", message.topic, message.payload)));
        parts.extend(self.notes.iter().cloned());
        if let Some(error) = &self.error {
            parts.push(format!("failed: {error}"));
        }
        let text = parts.join("; ");
        write!(f, "{mark}  {} {text}  {:.1} µs", self.kind, self.micros)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps.iter();
        steps.clone().try_for_each(|step| writeln!(f, "{step}"))?;
        write!(f, "=  {}", self.end)
    }
}
