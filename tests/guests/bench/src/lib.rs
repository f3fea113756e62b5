//! Receives every payload and lets it pass, or (`{"patch": true}`) puts another of the same size in its place: what a
//! call costs, measured in `host/docs/performance.md`.

use serde::Deserialize;
use witmq_sdk::{Failure, Message, Outcome, Place, Plugin, Transform};

/// What the operator may set.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether the payload is exchanged.
    #[serde(default)]
    patch: bool,
}

/// The plugin.
#[witmq_sdk::plugin(transform)]
#[derive(Debug)]
pub struct Bench {
    patch: bool,
}

impl Plugin for Bench {
    type Config = Config;

    fn new(config: Config, _place: &Place) -> Result<Self, String> {
        Ok(Self {
            patch: config.patch,
        })
    }
}

impl Transform for Bench {
    fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure> {
        Ok(match self.patch {
            true => Outcome::payload(message.payload.clone()),
            false => Outcome::Pass,
        })
    }
}
