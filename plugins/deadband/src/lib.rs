//! Report by exception: of each topic only those values go on that changed by more than a deadband, or that come after a
//! long silence; the rest is acknowledged and consumed.
//!
//! ```json
//! { "absolute": 0.5, "max_silence_s": 300 }
//! { "fields": [ { "path": "/c", "absolute": 0.5 }, { "path": "/rpm", "percent": 2 } ], "not_a_number": "refuse" }
//! ```
//!
//! Owns: what passes. Must not: change a message.
//!
//! What passed last is in memory, for topics of the publishers of one shard, and is handed over at a swap. A topic that is
//! forgotten begins anew: its next value passes.

mod config;
mod state;
#[cfg(test)]
mod tests;

use config::{Band, NotANumber};
use serde_json::Value;
use state::{Last, Topics};
use witmq_sdk::host::metrics;
use witmq_sdk::{Failure, Message, Outcome, Place, Plugin, Transform};

pub use config::Config;

/// MQTT 5: payload format invalid.
const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
/// Bytes of a payload that is a number by itself.
const NUMBER_BYTES: usize = 128;

/// Lets values pass that changed, and consumes the rest.
#[witmq_sdk::plugin(transform, name = "deadband", tests = "tests.json")]
pub struct Deadband {
    config: Config,
    bands: Vec<Band>,
    topics: Topics,
}

impl Plugin for Deadband {
    type Config = Config;

    fn new(config: Config, _place: &Place) -> Result<Self, String> {
        config.check()?;
        Ok(Self {
            bands: config.bands(),
            topics: state::topics(config.max_topics.min(config::MAX_TOPICS)),
            config,
        })
    }

    fn adopt(&mut self, state: &[u8]) -> Result<(), String> {
        let paths = paths(&self.config);
        let gone = state::adopt(&mut self.topics, &paths, state);
        self.gone(gone.unwrap_or(0));
        gone.map(|_| ())
            .ok_or("the state is not that of a deadband; values begin anew".to_owned())
    }

    fn shut_down(&mut self) -> Option<Vec<u8>> {
        Some(state::encode(&self.topics, &paths(&self.config)))
    }
}

impl Transform for Deadband {
    fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure> {
        if message.retain && message.payload.is_empty() {
            // It takes the retained message away, so nothing of this topic is known to anybody.
            self.topics.remove(&message.topic);
            return Ok(Outcome::Pass);
        }
        let values = match self.read(&message.payload) {
            Ok(values) => values,
            Err(reason) => return Ok(self.not_a_number(message, &reason)),
        };
        let (config, bands) = (&self.config, &self.bands);
        let Some(last) = self.topics.get(&message.topic) else {
            self.first(message, values);
            return Ok(Outcome::Pass);
        };
        if !is_news(last, message, &values, bands, config.max_silence_s) {
            metrics::count("consumed", 1);
            return Ok(Outcome::Consume);
        }
        last.at_ms = message.received_ms;
        last.retain = message.retain;
        for (last, value) in last.values.iter_mut().zip(values) {
            *last = value.or(*last);
        }
        Ok(Outcome::Pass)
    }
}

fn paths(config: &Config) -> Vec<&str> {
    config.fields.iter().map(|field| &*field.path).collect()
}

fn is_news(
    last: &Last,
    message: &Message,
    values: &[Option<f64>],
    bands: &[Band],
    max_silence_s: Option<u32>,
) -> bool {
    // A clock that was set back would make the silence endless.
    let silence_ms = message.received_ms.checked_sub(last.at_ms);
    let is_silent = max_silence_s
        .is_some_and(|bound| silence_ms.is_none_or(|silence| silence >= u64::from(bound) * 1000));
    // The retained message would stay the one before the value that subscribers know.
    let is_retained_first = message.retain && !last.retain;
    let mut pairs = last.values.iter().zip(values).zip(bands);
    is_silent
        || is_retained_first
        || pairs.any(|((last, value), band)| match (last, value) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(last), Some(value)) => band.is_left(*last, *value),
        })
}

impl Deadband {
    /// The numbers of a payload, one for each field; those of fields that are not there are left out.
    fn read(&self, payload: &[u8]) -> Result<Vec<Option<f64>>, String> {
        if self.config.fields.is_empty() {
            let text = Some(payload).filter(|payload| payload.len() <= NUMBER_BYTES);
            let text = text.and_then(|payload| std::str::from_utf8(payload).ok());
            let value = text.and_then(|text| text.trim().parse::<f64>().ok());
            // `NaN` and `inf` can be read as numbers, yet nothing can be compared with them.
            let value = value.filter(|value| value.is_finite());
            return value
                .map(|value| vec![Some(value)])
                .ok_or("it is not a number".to_owned());
        }
        let object: Value = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
        let mut values = Vec::with_capacity(self.config.fields.len());
        for field in &self.config.fields {
            let value = object.pointer(&field.path);
            let number = value.map(|value| {
                let number = value.as_f64().filter(|number| number.is_finite());
                number.ok_or_else(|| format!("`{}` is not a number", field.path))
            });
            values.push(number.transpose()?);
        }
        if values.iter().all(Option::is_none) {
            return Err("it has none of the fields".to_owned());
        }
        Ok(values)
    }

    fn first(&mut self, message: &Message, values: Vec<Option<f64>>) {
        let last = Last {
            at_ms: message.received_ms,
            retain: message.retain,
            values,
        };
        let bytes = state::bytes(&last);
        let gone = self.topics.insert(&message.topic, last, bytes);
        self.gone(gone);
    }

    /// Topics that made room.
    fn gone(&self, gone: usize) {
        if gone > 0 {
            metrics::count("evicted", u64::try_from(gone).unwrap_or(u64::MAX));
        }
        let topics = u32::try_from(self.topics.len()).unwrap_or(u32::MAX);
        metrics::gauge("topics", topics.into());
    }

    fn not_a_number(&mut self, message: &Message, reason: &str) -> Outcome {
        metrics::count("not_a_number", 1);
        match self.config.not_a_number {
            NotANumber::Pass => {
                // What subscribers know is no number any more, so the next one is news.
                self.topics.remove(&message.topic);
                Outcome::Pass
            }
            NotANumber::Refuse => {
                let text = format!("payload on {}: {reason}", message.topic);
                Outcome::refuse(PAYLOAD_FORMAT_INVALID, text)
            }
        }
    }
}
