//! The smallest plugin worth having: puts a greeting before every payload.
//!
//! Configuration: `{"greeting": "hello"}`; the greeting may be left out.

use serde::Deserialize;
use witmq_sdk::{Failure, Message, Outcome, Place, Plugin, Transform};

/// What the operator may set.
#[derive(Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What comes before the payload.
    #[serde(default = "hello")]
    greeting: String,
}

fn hello() -> String {
    "hello".to_owned()
}

/// Puts a greeting before every payload.
#[witmq_sdk::plugin(transform)]
pub struct Hello {
    greeting: String,
}

impl Plugin for Hello {
    type Config = Config;

    fn new(config: Config, _place: &Place) -> Result<Self, String> {
        Ok(Self {
            greeting: config.greeting,
        })
    }
}

impl Transform for Hello {
    fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure> {
        Ok(Outcome::payload(format!(
            "{}, {}",
            self.greeting,
            message.text()?
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use witmq_sdk::assert_outcome;
    use witmq_sdk::testing::TestBroker;

    #[test]
    fn it_greets() {
        let mut broker = TestBroker::<Hello>::start(r#"{"greeting":"moin"}"#).unwrap();
        assert_outcome!(broker, ("a", "world") => Outcome::payload("moin, world"));
    }
}
