//! The form of the configuration.
//!
//! Owns: names, bounds, and which deadband holds for which field. Must not: see a message.

use serde::Deserialize;

/// Most topics that may be remembered, whatever the configuration says.
pub(crate) const MAX_TOPICS: u32 = 50_000;

/// What the operator may set.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A value passes that differs by more than this from the last one that passed.
    #[config(minimum = 0)]
    pub(crate) absolute: Option<f64>,
    /// The same in percent of the last one that passed. With both, exceeding either is enough; without both, any change is.
    #[config(minimum = 0)]
    pub(crate) percent: Option<f64>,
    /// Numbers in a JSON payload, 64 at most; without any, the payload itself is the number.
    #[config(max_items = 64)]
    pub(crate) fields: Vec<Field>,
    /// A value passes, changed or not, when this many seconds went by since the last one did. Without it, never.
    #[config(minimum = 1)]
    pub(crate) max_silence_s: Option<u32>,
    /// What becomes of a payload that is not a number.
    pub(crate) not_a_number: NotANumber,
    /// Topics that an instance remembers; the least recently used one makes room.
    #[config(minimum = 1, maximum = 50_000)]
    pub(crate) max_topics: u32,
}

/// One number in a JSON payload.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub(crate) struct Field {
    /// JSON Pointer (RFC 6901), as `/motor/rpm`.
    #[config(min_length = 1, max_length = 256)]
    pub(crate) path: String,
    /// In place of the general one.
    #[config(minimum = 0)]
    pub(crate) absolute: Option<f64>,
    /// In place of the general one.
    #[config(minimum = 0)]
    pub(crate) percent: Option<f64>,
}

/// What becomes of a payload that is not a number.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NotANumber {
    /// It passes, and so does the next number.
    #[default]
    Pass,
    /// Payload format invalid.
    Refuse,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            absolute: None,
            percent: None,
            fields: Vec::new(),
            max_silence_s: None,
            not_a_number: NotANumber::default(),
            max_topics: 10_000,
        }
    }
}

/// How much a value has to change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Band {
    absolute: Option<f64>,
    percent: Option<f64>,
}

impl Band {
    /// Whether the step from one value to another leaves the band around the first.
    pub(crate) fn is_left(self, last: f64, value: f64) -> bool {
        let change = (value - last).abs();
        let exceeds = |bound: Option<f64>| bound.is_some_and(|bound| change > bound);
        let percent = self.percent.map(|percent| last.abs() * percent / 100.0);
        match (self.absolute, percent) {
            (None, None) => change > 0.0,
            (absolute, percent) => exceeds(absolute) || exceeds(percent),
        }
    }
}

impl Config {
    /// The band of the whole payload, or of each field in order.
    pub(crate) fn bands(&self) -> Vec<Band> {
        let general = Band {
            absolute: self.absolute,
            percent: self.percent,
        };
        if self.fields.is_empty() {
            return vec![general];
        }
        let own = |field: &Field| match (field.absolute, field.percent) {
            (None, None) => general,
            (absolute, percent) => Band { absolute, percent },
        };
        self.fields.iter().map(own).collect()
    }

    /// What does not go together, in words.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (index, field) in self.fields.iter().enumerate() {
            let path = &field.path;
            if !path.starts_with('/') {
                return Err(format!(
                    "fields[{index}].path: `{path}` is no JSON Pointer: it begins with `/`, as `/{path}`"
                ));
            }
            if self
                .fields
                .iter()
                .skip(index + 1)
                .any(|other| other.path == *path)
            {
                return Err(format!("fields: `{path}` is there twice"));
            }
        }
        Ok(())
    }
}
