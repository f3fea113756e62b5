//! Holds payloads against JSON Schemas (2020-12 and draft 7) of the configuration, by topic filter. What does not fit is
//! refused with places and reasons, or goes on with them as user properties, or is consumed, or goes to another topic.
//!
//! ```json
//! { "schemas": [ { "topics": ["room/+/temp"],
//!                  "schema": { "type": "object", "required": ["c"], "properties": { "c": { "type": "number" } } } } ] }
//! ```
//!
//! Owns: what fits, and the words for what does not. Must not: fetch anything; a schema is whole by itself.
//!
//! Whatever a publisher sends, a call has to end well before its deadline: sizes and depths are bounded before the schema
//! is asked, patterns are matched in linear time, and so are the steps of a check.

mod check;
mod config;
mod format;
#[cfg(test)]
mod keywords;
mod pattern;
mod refs;
mod schema;
#[cfg(test)]
mod tests;
mod value;

use config::{OnInvalid, Unmatched};
use schema::Schema;
use serde_json::Value;
use witmq_sdk::host::metrics;
use witmq_sdk::{Failure, Message, Outcome, Patch, Place, Plugin, Properties, Transform, topic};

pub use config::Config;

/// MQTT 5: payload format invalid.
const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
/// MQTT 5: topic name invalid.
const TOPIC_NAME_INVALID: u8 = 0x90;
/// The user property of an error.
const TAG: &str = "schema-error";
/// Bytes of a payload that is searched for all errors: each costs time.
const SEARCHED_BYTES: usize = 16 * 1024;
/// Holds payloads against JSON Schemas.
#[witmq_sdk::plugin(
    transform,
    name = "json-schema",
    needs(payload, properties),
    tests = "tests.json"
)]
pub struct JsonSchema {
    config: Config,
    schemas: Vec<(Vec<String>, Schema)>,
}

impl Plugin for JsonSchema {
    type Config = Config;

    fn new(mut config: Config, _place: &Place) -> Result<Self, String> {
        config.check()?;
        let entries = std::mem::take(&mut config.schemas);
        let mut schemas = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let schema = Schema::compile(&entry.schema, entry.draft, config.formats);
            let schema = schema.map_err(|error| format!("schemas[{index}].schema: {error}"))?;
            schemas.push((entry.topics, schema));
        }
        Ok(Self { config, schemas })
    }
}

impl Transform for JsonSchema {
    fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure> {
        let is_guarded = |filters: &[String]| {
            filters
                .iter()
                .any(|filter| topic::matches(filter, &message.topic))
        };
        let guard = self.schemas.iter().find(|(filters, _)| is_guarded(filters));
        let Some((_, schema)) = guard else {
            return Ok(match self.config.unmatched {
                Unmatched::Pass => self.valid(message),
                Unmatched::Refuse => {
                    let text = format!("no schema allows messages on {}", message.topic);
                    Outcome::refuse(TOPIC_NAME_INVALID, text)
                }
            });
        };
        // An empty retained message takes the retained one away; it says nothing itself.
        if message.retain && message.payload.is_empty() {
            return Ok(self.valid(message));
        }
        match self.errors(schema, &message.payload) {
            errors if errors.is_empty() => Ok(self.valid(message)),
            errors => Ok(self.invalid(message, &errors)),
        }
    }
}

impl JsonSchema {
    /// Why a payload does not fit, in words with places; none if it does.
    fn errors(&self, schema: &Schema, payload: &[u8]) -> Vec<String> {
        let max_bytes = usize::try_from(self.config.max_bytes).unwrap_or(usize::MAX);
        if payload.len() > max_bytes {
            return vec![format!(
                "it has {} bytes, allowed are {max_bytes}",
                payload.len()
            )];
        }
        let value: Value = match serde_json::from_slice(payload) {
            Ok(value) => value,
            Err(error) => return vec![error.to_string()],
        };
        let max_depth = usize::from(self.config.max_depth);
        if depth(&value) > max_depth {
            return vec![format!("it has more than {max_depth} levels")];
        }
        let is_short = payload.len() <= SEARCHED_BYTES;
        let max_errors = if is_short {
            self.config.max_errors.into()
        } else {
            1
        };
        check::errors(schema, &value, max_errors)
    }

    /// It goes on as it came, and without our tag, were it sent with one.
    fn valid(&self, message: &Message) -> Outcome {
        metrics::count("valid", 1);
        let is_tagged = message.properties.user_property(TAG).is_some();
        if self.config.on_invalid != OnInvalid::Tag || !is_tagged {
            return Outcome::Pass;
        }
        Outcome::Modify(Patch {
            properties: Some(tagged(message, &[])),
            ..Patch::default()
        })
    }

    fn invalid(&self, message: &Message, errors: &[String]) -> Outcome {
        metrics::count("invalid", 1);
        let properties = || Some(tagged(message, errors));
        let dead_letter = |topic| {
            Outcome::Modify(Patch {
                topic: Some(topic),
                properties: properties(),
                retain: Some(false),
                ..Patch::default()
            })
        };
        let refuse = || {
            let text = format!("payload on {}: {}", message.topic, errors.join("; "));
            Outcome::refuse(PAYLOAD_FORMAT_INVALID, text)
        };
        match self.config.on_invalid {
            OnInvalid::Refuse => refuse(),
            OnInvalid::Tag => Outcome::Modify(Patch {
                properties: properties(),
                ..Patch::default()
            }),
            OnInvalid::Consume => Outcome::Consume,
            // A topic that is too long for it: rather refused than lost.
            OnInvalid::DeadLetter => self
                .config
                .dead_letter(&message.topic)
                .map_or_else(refuse, dead_letter),
        }
    }
}

/// The message's properties with the tags that we say, and no others of that name.
fn tagged(message: &Message, errors: &[String]) -> Properties {
    let mut properties = message.properties.clone();
    properties.user.retain(|(name, _)| name != TAG);
    let tags = errors.iter().map(|error| (TAG.to_owned(), error.clone()));
    properties.user.extend(tags);
    properties
}

/// Levels of arrays and objects: 0 for a number, 1 for `[1]`. The reader allows 127.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
