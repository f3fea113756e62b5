//! The smallest plugin worth having: puts a greeting before every payload.
//!
//! Configuration: `{"greeting": "hello"}`; the greeting may be left out.

use serde::Deserialize;
use witmq_sdk::{Failure, Message, Outcome, Place, Plugin, Transform};

/// What the operator may set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default = "hello")]
    greeting: String,
}

fn hello() -> String {
    "hello".to_owned()
}

/// The plugin.
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

witmq_sdk::plugin!(Hello: transform);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_greets() {
        let mut plugin = witmq_sdk::testing::start::<Hello>(r#"{"greeting":"moin"}"#).unwrap();
        let outcome = plugin.on_message(&Message::new("a", "world")).unwrap();
        assert_eq!(outcome, Outcome::payload("moin, world"));
    }
}
