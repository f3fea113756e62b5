//! Makes JSON of Sparkplug B 3.0: metrics with the names that their birth gave them, values by their datatypes.
//!
//! ```json
//! { "mode": "copy", "topic_prefix": "sparkplug", "form": "full" }
//! ```
//!
//! Owns: what becomes of a message. Must not: change what an edge node or a host application said.
//!
//! Births are in memory, for the edge nodes of one shard, and are handed over at a swap. A node that is forgotten has to be
//! born again.

mod births;
mod config;
mod json;
mod payload;
#[cfg(test)]
mod tests;
mod topic;
mod value;
mod wire;

use births::{Births, Problem, Source, Table};
use config::{Form, Mode, OnProblem};
use json::Json;
use payload::{Metric, Payload};
use serde::Deserialize;
use std::collections::BTreeMap;
use topic::{Kind, NAMESPACE, Topic};
use wire::Read;
use witmq_sdk::host::metrics;
use witmq_sdk::{Emit, Failure, Message, Outcome, Patch, Place, Plugin, Properties, Transform};

pub use config::Config;

/// MQTT 5: payload format invalid.
const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
/// MQTT 5: implementation specific error.
const IMPLEMENTATION_SPECIFIC: u8 = 0x83;
/// The user property with a problem.
const TAG: &str = "sparkplug-problem";
/// Bytes of a problem; the rest is cut.
const PROBLEM_BYTES: usize = 500;

/// Makes JSON of Sparkplug B messages.
#[witmq_sdk::plugin(
    transform,
    name = "sparkplug-b",
    needs(payload, properties),
    tests = "tests.json"
)]
pub struct SparkplugB {
    config: Config,
    /// None where topics stay as they are.
    prefix: Option<String>,
    births: Births,
}

/// What a host application says of itself.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only whether it is there counts")]
struct State {
    online: bool,
    timestamp: u64,
}

impl Plugin for SparkplugB {
    type Config = Config;

    fn new(config: Config, _place: &Place) -> Result<Self, String> {
        Ok(Self {
            prefix: config.prefix()?,
            births: Births::new(config.max_nodes, config.max_birth_bytes),
            config,
        })
    }

    fn adopt(&mut self, state: &[u8]) -> Result<(), String> {
        let gone = self.births.adopt(state);
        self.forgot(gone.unwrap_or(0));
        gone.map(|_| ())
            .ok_or("the state is not that of births; nodes have to be born again".to_owned())
    }

    fn shut_down(&mut self) -> Option<Vec<u8>> {
        let (state, left_out) = self.births.encode();
        self.forgot(left_out);
        Some(state)
    }
}

impl Transform for SparkplugB {
    fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure> {
        let Some(topic) = Topic::parse(&message.topic) else {
            return Ok(Outcome::Pass);
        };
        // An empty retained message takes the retained one away; it says nothing itself.
        if message.retain && message.payload.is_empty() {
            return Ok(Outcome::Pass);
        }
        Ok(match topic.and_then(|topic| self.decode(topic, message)) {
            Ok((json, problems)) => self.decoded(message, json, &problems),
            Err(problem) => self.malformed(message, &problem),
        })
    }
}

impl SparkplugB {
    /// The payload as JSON, and what is wrong with the message all the same.
    fn decode(&mut self, topic: Topic<'_>, message: &Message) -> Read<(Vec<u8>, Vec<Problem>)> {
        let (bytes, max) = (message.payload.len(), self.config.max_bytes);
        if u32::try_from(bytes).is_ok_and(|bytes| bytes > max) {
            return Err(format!("it has {bytes} bytes, allowed are {max}"));
        }
        let Topic::Metrics {
            kind,
            group,
            node,
            device,
        } = topic
        else {
            let state = serde_json::from_slice::<State>(&message.payload);
            return match state {
                Ok(_) => Ok((message.payload.clone(), Vec::new())),
                Err(error) => Err(format!("no state of a host application: {error}")),
            };
        };
        let node = format!("{group}/{node}");
        let source = Source {
            kind,
            node: &node,
            device,
        };
        let payload = Payload::read(&message.payload)?;
        let born = match kind {
            Kind::Birth => Some(Table::of(&payload)?),
            _ => None,
        };
        let mut problems = self.births.judge(source, &payload);
        let known = match kind {
            Kind::Birth => born.as_ref(),
            _ => self.births.table(source),
        };
        let (json, unknown) = write(&self.config, &payload, known)?;
        if let Some(alias) = unknown
            && !matches!(problems.first(), Some(Problem::MissingBirth(_)))
        {
            let problem = format!("the alias {alias} is in no birth that is known");
            problems.push(Problem::MissingBirth(problem));
        }
        let gone = self.births.take(source, &payload, born);
        self.forgot(gone);
        Ok((json, problems))
    }

    /// Nodes that made room.
    fn forgot(&self, nodes: usize) {
        let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
        if nodes > 0 {
            metrics::count("evicted", number(nodes).into());
        }
        let (nodes, bytes) = self.births.size();
        metrics::gauge("nodes", number(nodes).into());
        metrics::gauge("birth_bytes", number(bytes).into());
    }

    fn decoded(&self, message: &Message, json: Vec<u8>, problems: &[Problem]) -> Outcome {
        let mut properties = without_tag(message);
        for problem in problems {
            let (text, on_problem, name) = match problem {
                Problem::MissingBirth(text) => {
                    (text, self.config.on_missing_birth, "missing_births")
                }
                Problem::Gap(text) => (text, self.config.on_gap, "gaps"),
            };
            metrics::count(name, 1);
            if on_problem == OnProblem::Refuse {
                return Outcome::refuse(IMPLEMENTATION_SPECIFIC, told(message, text));
            }
            properties.user.push((TAG.to_owned(), text.clone()));
        }
        properties.content_type = Some("application/json".to_owned());
        properties.payload_format = Some(1);
        let topic = self.prefix.as_ref().map(|prefix| {
            let rest = message.topic.strip_prefix(NAMESPACE).unwrap_or_default();
            format!("{prefix}{rest}")
        });
        if let Some(topic) = &topic
            && !witmq_sdk::topic::is_name(topic)
        {
            return self.malformed(message, "its topic has no room for the prefix");
        }
        metrics::count("decoded", 1);
        if self.config.mode != Mode::Copy {
            return Outcome::Modify(Patch {
                topic,
                payload: Some(json),
                properties: Some(properties),
                ..Patch::default()
            });
        }
        let emit = |topic, payload, properties| Emit {
            topic,
            payload,
            properties,
            qos: message.qos,
            retain: message.retain,
        };
        Outcome::Split(vec![
            emit(
                message.topic.clone(),
                message.payload.clone(),
                without_tag(message),
            ),
            emit(topic.unwrap_or_default(), json, properties),
        ])
    }

    fn malformed(&self, message: &Message, problem: &str) -> Outcome {
        metrics::count("malformed", 1);
        // Names of a payload may be in it; a null is not allowed in a text of MQTT.
        let problem = problem[..problem.floor_char_boundary(PROBLEM_BYTES)].replace('\0', " ");
        match self.config.on_malformed {
            OnProblem::Refuse => Outcome::refuse(PAYLOAD_FORMAT_INVALID, told(message, &problem)),
            OnProblem::Tag => {
                let mut properties = without_tag(message);
                properties.user.push((TAG.to_owned(), problem));
                Outcome::Modify(Patch {
                    properties: Some(properties),
                    ..Patch::default()
                })
            }
        }
    }
}

fn told(message: &Message, problem: &str) -> String {
    format!("sparkplug b on {}: {problem}", message.topic)
}

/// The tag is ours alone: whoever reads it may trust it.
fn without_tag(message: &Message) -> Properties {
    let mut properties = message.properties.clone();
    properties.user.retain(|(name, _)| name != TAG);
    properties
}

/// An error with the metric that it is about.
fn within(name: Option<&str>, metric: &Metric<'_>, error: &str) -> String {
    match (name, metric.alias) {
        (Some(name), _) => format!("metric `{name}`: {error}"),
        (None, alias) => format!("metric of the alias {}: {error}", alias.unwrap_or_default()),
    }
}

/// JSON of a payload with the names that a birth gave, and an alias that has none.
fn write(
    config: &Config,
    payload: &Payload<'_>,
    known: Option<&Table>,
) -> Read<(Vec<u8>, Option<u64>)> {
    let named = |metric: &Metric<'_>| {
        let known = known.and_then(|table| table.find(metric));
        let name = known.map(|known| &*known.name);
        let datatype = known.and_then(|known| known.datatype);
        (name, metric.datatype.or(datatype))
    };
    let mut unknown = None;
    let mut json = Json::new(config.integers);
    json.object(|members| {
        members.put_integer("timestamp", payload.timestamp)?;
        members.put_integer("seq", payload.seq)?;
        members.put_text("uuid", payload.uuid)?;
        members.put_bytes("body", payload.body)?;
        match config.form {
            Form::Full => members
                .put("metrics")?
                .list(&payload.metrics, |json, metric| {
                    let (name, datatype) = named(metric);
                    let name = metric.name.or(name);
                    if name.is_none() {
                        unknown = unknown.or(metric.alias);
                    }
                    let written = json.metric(metric, name, datatype);
                    written.map_err(|error| within(name, metric, &error))
                }),
            Form::Values => {
                // Of those with one name the last one counts.
                let (mut values, mut aliases) = (BTreeMap::new(), BTreeMap::new());
                for metric in &payload.metrics {
                    let (name, datatype) = named(metric);
                    match (metric.name.or(name), metric.alias) {
                        (Some(name), _) => drop(values.insert(name, (metric, datatype))),
                        (None, Some(alias)) => drop(aliases.insert(alias, (metric, datatype))),
                        (None, None) => {}
                    }
                }
                unknown = aliases.keys().next().copied();
                members.put("metrics")?.object(|members| {
                    values.iter().try_for_each(|(name, (metric, datatype))| {
                        let value = members.put(name)?;
                        let written = value.value(*datatype, metric.value, metric.is_null);
                        written.map_err(|error| within(Some(name), metric, &error))
                    })
                })?;
                if aliases.is_empty() {
                    return Ok(());
                }
                members.put("aliases")?.object(|members| {
                    aliases.iter().try_for_each(|(alias, (metric, datatype))| {
                        let value = members.put(&alias.to_string())?;
                        let written = value.value(*datatype, metric.value, metric.is_null);
                        written.map_err(|error| within(None, metric, &error))
                    })
                })
            }
        }
    })?;
    Ok((json.into_bytes(), unknown))
}
