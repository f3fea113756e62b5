//! The form of the configuration.
//!
//! Owns: names, bounds, and what does not go together. Must not: see a message.

use serde::Deserialize;

/// What the operator may set.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What becomes of a message that was decoded.
    pub(crate) mode: Mode,
    /// First levels of the topics of what was decoded: `sparkplug` makes `sparkplug/plant/DDATA/press/motor` of
    /// `spBv1.0/plant/DDATA/press/motor`. Not with the mode `replace`.
    #[config(min_length = 1, max_length = 256)]
    pub(crate) topic_prefix: Option<String>,
    /// What JSON is made.
    pub(crate) form: Form,
    /// How JSON gets integers beyond 2^53, which many readers of JSON round.
    pub(crate) integers: Integers,
    /// What becomes of a message that is not Sparkplug B though its topic says so.
    pub(crate) on_malformed: OnProblem,
    /// What becomes of a message whose birth is not known here, or an alias in it.
    pub(crate) on_missing_birth: OnProblem,
    /// What becomes of a message that does not follow the one before it.
    pub(crate) on_gap: OnProblem,
    /// Bytes of a payload.
    #[config(minimum = 1, maximum = 524_288)]
    pub(crate) max_bytes: u32,
    /// Edge nodes whose births an instance remembers; the least recently heard one makes room.
    #[config(minimum = 1, maximum = 50_000)]
    pub(crate) max_nodes: u32,
    /// Bytes that births may take together: the name of each metric and 48 more.
    #[config(minimum = 65_536, maximum = 16_777_216)]
    pub(crate) max_birth_bytes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            topic_prefix: None,
            form: Form::default(),
            integers: Integers::default(),
            on_malformed: OnProblem::Refuse,
            on_missing_birth: OnProblem::Tag,
            on_gap: OnProblem::Tag,
            max_bytes: 262_144,
            max_nodes: 10_000,
            max_birth_bytes: 4_194_304,
        }
    }
}

/// What becomes of a message that was decoded.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// It goes on as it is, and what was decoded besides it.
    #[default]
    Copy,
    /// Only what was decoded goes on, below the prefix.
    Move,
    /// Only what was decoded goes on, with the topic of the message.
    Replace,
}

/// What JSON is made.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// All that the payload says.
    #[default]
    Full,
    /// The value of each metric by its name.
    Values,
}

/// How JSON gets integers beyond 2^53.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Integers {
    /// As numbers, all digits.
    #[default]
    Number,
    /// As texts.
    Text,
}

/// What becomes of a message with a problem.
#[derive(Clone, Copy, Debug, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnProblem {
    /// It goes on, with the problem as user property `sparkplug-problem`.
    Tag,
    /// The publisher is told.
    Refuse,
}

impl Config {
    /// The prefix, or none for topics that stay.
    pub(crate) fn prefix(&self) -> Result<Option<String>, String> {
        let prefix = self.topic_prefix.as_deref();
        match (self.mode, prefix) {
            (Mode::Replace, None) => Ok(None),
            (Mode::Replace, Some(_)) => Err(
                "topic_prefix: with the mode `replace` topics stay as they are; leave it out"
                    .to_owned(),
            ),
            (_, prefix) => {
                let prefix = prefix.unwrap_or("sparkplug");
                let is_namespace = prefix.split('/').next() == Some(crate::topic::NAMESPACE);
                if !witmq_sdk::topic::is_name(prefix) || prefix.starts_with('$') {
                    return Err(format!(
                        "topic_prefix: `{prefix}` is no topic name for clients"
                    ));
                }
                if prefix.ends_with('/') || is_namespace {
                    return Err(format!(
                        "topic_prefix: `{prefix}` ends with a slash, or is the namespace of Sparkplug itself"
                    ));
                }
                Ok(Some(prefix.to_owned()))
            }
        }
    }
}
