//! The form of the configuration.
//!
//! Owns: names and bounds. Must not: compile a schema; `JsonSchema::new` does.

use serde::Deserialize;
use serde_json::Value;
use witmq_sdk::topic;

/// What the operator may set.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which schema holds where: the first one with a filter that matches the topic.
    #[config(max_items = 64)]
    pub(crate) schemas: Vec<Entry>,
    /// What becomes of a message that does not fit.
    pub(crate) on_invalid: OnInvalid,
    /// Where `dead-letter` sends it; `{topic}` is its own topic.
    #[config(min_length = 1, max_length = 256)]
    pub(crate) dead_letter: String,
    /// What becomes of a message on a topic without a schema.
    pub(crate) unmatched: Unmatched,
    /// Whether `format` is checked as well.
    pub(crate) formats: bool,
    /// Most errors that are told of one message. Of payloads beyond 16 KiB only the first is.
    #[config(minimum = 1, maximum = 16)]
    pub(crate) max_errors: u8,
    /// Bytes of a payload; a longer one does not fit.
    #[config(minimum = 1, maximum = 1_048_576)]
    pub(crate) max_bytes: u32,
    /// Levels of arrays and objects in a payload; a deeper one does not fit.
    #[config(minimum = 1, maximum = 100)]
    pub(crate) max_depth: u8,
}

/// One schema and its topics.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Topic filters.
    #[config(min_items = 1, max_items = 64)]
    pub(crate) topics: Vec<String>,
    /// The JSON Schema; what it refers to has to be in it.
    pub(crate) schema: Value,
    /// How it is read, if it has no `$schema`.
    #[serde(default)]
    pub(crate) draft: Draft,
}

/// Versions of JSON Schema.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
pub(crate) enum Draft {
    /// Draft 2020-12.
    #[default]
    #[serde(rename = "2020-12")]
    Draft202012,
    /// Draft 7.
    #[serde(rename = "7")]
    Draft7,
}

/// What becomes of a message that does not fit.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnInvalid {
    /// Payload format invalid, with places and reasons.
    #[default]
    Refuse,
    /// It goes on with a user property `schema-error` for each error.
    Tag,
    /// It is acknowledged and goes nowhere.
    Consume,
    /// It goes to another topic, with a user property for each error.
    DeadLetter,
}

/// What becomes of a message on a topic without a schema.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unmatched {
    #[default]
    Pass,
    Refuse,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            schemas: Vec::new(),
            on_invalid: OnInvalid::default(),
            dead_letter: "invalid/{topic}".to_owned(),
            unmatched: Unmatched::default(),
            formats: false,
            max_errors: 3,
            max_bytes: 65_536,
            max_depth: 32,
        }
    }
}

impl Config {
    /// Where a message goes that does not fit; `None` if that is no topic name.
    pub(crate) fn dead_letter(&self, topic: &str) -> Option<String> {
        let topic = self.dead_letter.replace("{topic}", topic);
        topic::is_name(&topic).then_some(topic)
    }

    /// What cannot be used, in words.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.dead_letter("t").is_none() {
            let template = &self.dead_letter;
            return Err(format!(
                "dead_letter: `{template}` makes no topic name: leave wildcards out"
            ));
        }
        for (index, entry) in self.schemas.iter().enumerate() {
            if let Some(bad) = entry.topics.iter().find(|filter| !topic::is_filter(filter)) {
                return Err(format!(
                    "schemas[{index}].topics: `{bad}` is no topic filter"
                ));
            }
        }
        Ok(())
    }
}
