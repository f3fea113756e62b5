//! Adds the temperature in Fahrenheit to JSON messages: `{"c": 20}` becomes `{"c": 20, "f": 68.0}`.
//!
//! Configuration: `{"from": "c", "to": "f"}` names the fields; both may be left out. A payload that is no JSON
//! object, or has no number there, is bad input: the chain's failure policy decides.

use serde::Deserialize;
use serde_json::{Map, Value};
use witmq_sdk::{Failure, Message, Outcome, Place, Plugin, Transform};

/// What the operator may set.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    from: String,
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

/// The plugin.
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
            Failure::BadInput(format!(
                "no number in `{from}` of the message on {}",
                message.topic
            ))
        })?;
        // In tenths, so that 41.5 becomes 106.7 and not 106.69999999999999.
        let fahrenheit = (celsius * 18.0 + 320.0).round() / 10.0;
        object.insert(self.config.to.clone(), fahrenheit.into());
        Outcome::json(&object)
    }
}

witmq_sdk::plugin!(CelsiusToFahrenheit: transform);

#[cfg(test)]
mod tests {
    use super::*;
    use witmq_sdk::testing::start;

    fn run(config: &str, payload: &str) -> Result<String, Failure> {
        let mut plugin = start::<CelsiusToFahrenheit>(config).unwrap();
        match plugin.on_message(&Message::new("room/1", payload))? {
            Outcome::Modify(patch) => Ok(String::from_utf8(patch.payload.unwrap()).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn whole_and_broken_numbers_are_converted_and_other_fields_kept() {
        assert_eq!(
            run("{}", r#"{"c":20,"room":"a"}"#).unwrap(),
            r#"{"c":20,"f":68.0,"room":"a"}"#
        );
        assert_eq!(
            run("{}", r#"{"c":20.0}"#).unwrap(),
            r#"{"c":20.0,"f":68.0}"#
        );
        assert_eq!(
            run("{}", r#"{"c":41.5}"#).unwrap(),
            r#"{"c":41.5,"f":106.7}"#
        );
        assert_eq!(
            run(r#"{"from":"t","to":"tf"}"#, r#"{"t":-40}"#).unwrap(),
            r#"{"t":-40,"tf":-40.0}"#
        );
    }

    #[test]
    fn what_is_no_temperature_is_bad_input() {
        for payload in ["", "20", "[1]", "{}", r#"{"c":"warm"}"#] {
            assert!(
                matches!(run("{}", payload), Err(Failure::BadInput(_))),
                "{payload}"
            );
        }
    }

    #[test]
    fn a_configuration_that_would_lose_data_is_refused() {
        let error = start::<CelsiusToFahrenheit>(r#"{"from":"x","to":"x"}"#)
            .err()
            .unwrap();
        assert!(error.contains("would be lost"));
    }
}
