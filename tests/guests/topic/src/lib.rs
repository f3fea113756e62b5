//! Asks for the topic only and lets everything pass: what a call costs, measured in `host/docs/performance.md`.

use witmq_sdk::{Failure, Message, NoConfig, Outcome, Place, Plugin, Transform};

/// The plugin.
#[witmq_sdk::plugin(transform, needs())]
#[derive(Debug)]
pub struct Topic;

impl Plugin for Topic {
    type Config = NoConfig;

    fn new(_config: NoConfig, _place: &Place) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Transform for Topic {
    fn on_message(&mut self, _message: &Message) -> Result<Outcome, Failure> {
        Ok(Outcome::Pass)
    }
}
