//! Adds the temperature in Fahrenheit to JSON messages: `{"c": 20}` becomes `{"c": 20, "f": 68.0}`.
//!
//! Configuration: `{"from": "c", "to": "f"}` names the fields; both may be left out. A payload that is no JSON
//! object, or has no number there, is bad input: the chain's failure policy decides.

use serde::Deserialize;
use serde_json::{Map, Value};
use witmq_sdk::{Failure, Message, Outcome, Place, Plugin, Transform};

/// What the operator may set.
#[derive(Deserialize, witmq_sdk::Config)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Field with degrees Celsius.
    from: String,
    /// Field for degrees Fahrenheit.
    to: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            from: "c".to_owned(),
            to: "f".to_owned(),
        }
    }
}

/// Adds the temperature in Fahrenheit to JSON messages.
#[witmq_sdk::plugin(transform, tests = "tests.json")]
pub struct CelsiusToFahrenheit {
    config: Config,
}

impl Plugin for CelsiusToFahrenheit {
    type Config = Config;

    fn new(config: Config, _place: &Place) -> Result<Self, String> {
        if config.from == config.to {
            return Err(format!(
                "`from` and `to` are both `{}`: the Celsius value would be lost",
                config.from
            ));
        }
        Ok(Self { config })
    }
}

impl Transform for CelsiusToFahrenheit {
    fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure> {
        let mut object: Map<String, Value> = message.json()?;
        let from = &self.config.from;
        let celsius = object.get(from).and_then(Value::as_f64).ok_or_else(|| {
            Failure::bad_input(format!("no number in `{from}` on {}", message.topic))
        })?;
        // In tenths, so that 41.5 becomes 106.7 and not 106.69999999999999.
        let fahrenheit = (celsius * 18.0 + 320.0).round() / 10.0;
        object.insert(self.config.to.clone(), fahrenheit.into());
        Outcome::json(&object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use witmq_sdk::assert_outcome;
    use witmq_sdk::testing::TestBroker;

    type Broker = TestBroker<CelsiusToFahrenheit>;

    #[test]
    fn the_vectors_of_the_manifest_hold() {
        assert_eq!(Broker::run_vectors(), 3);
    }

    #[test]
    fn whole_and_broken_numbers_are_converted_and_other_fields_kept() {
        let mut broker = Broker::start("{}").unwrap();
        assert_outcome!(broker,
            ("room/1", r#"{"c":20,"room":"a"}"#) => Outcome::payload(r#"{"c":20,"f":68.0,"room":"a"}"#),
            ("room/1", r#"{"c":20.0}"#) => Outcome::payload(r#"{"c":20.0,"f":68.0}"#),
            ("room/1", r#"{"c":41.5}"#) => Outcome::payload(r#"{"c":41.5,"f":106.7}"#),
        );
        let mut broker = Broker::start(r#"{"from":"t","to":"tf"}"#).unwrap();
        assert_outcome!(broker, ("t", r#"{"t":-40}"#) => Outcome::payload(r#"{"t":-40,"tf":-40.0}"#));
    }

    #[test]
    fn what_is_no_temperature_is_bad_input() {
        let mut broker = Broker::start("{}").unwrap();
        for payload in ["", "20", "[1]", "{}", r#"{"c":"warm"}"#] {
            assert_outcome!(broker, ("t", payload) => Err("bad input"));
        }
    }

    #[test]
    fn a_configuration_that_would_lose_data_is_refused() {
        let error = Broker::start(r#"{"from":"x","to":"x"}"#).unwrap_err();
        assert!(error.contains("would be lost"));
    }
}
