//! What the broker takes of a plugin: topic names, properties, outcomes.

use crate::message::{Emit, Outcome};
use crate::properties::Properties;
use crate::topic::{WIRE_BYTES, is_name};

/// Messages that one may be split into.
const PARTS: usize = 64;

fn check_topic(topic: &str) -> Result<(), String> {
    match is_name(topic) {
        true => Ok(()),
        false => Err(format!("`{topic}` is no topic name")),
    }
}

fn check_properties(properties: &Properties) -> Result<(), String> {
    let texts = properties
        .user
        .iter()
        .flat_map(|(name, value)| [name, value]);
    let texts = texts
        .chain(&properties.content_type)
        .chain(&properties.response_topic);
    let data = properties.correlation_data.iter().map(Vec::len);
    if texts
        .map(String::len)
        .chain(data)
        .any(|bytes| bytes > WIRE_BYTES)
    {
        return Err(format!("a property has more than {WIRE_BYTES} bytes"));
    }
    match properties.payload_format {
        Some(2..) => Err("the payload format is neither 0 nor 1".to_owned()),
        _ => Ok(()),
    }
}

pub(super) fn check_emit(emit: &Emit) -> Result<(), String> {
    check_topic(&emit.topic)?;
    check_properties(&emit.properties)
}

/// What the broker would not take of an outcome.
pub(super) fn check_outcome(outcome: &Outcome) -> Result<(), String> {
    match outcome {
        Outcome::Modify(patch) => {
            patch.topic.as_deref().map_or(Ok(()), check_topic)?;
            patch.properties.as_ref().map_or(Ok(()), check_properties)
        }
        Outcome::Split(parts) if parts.len() > PARTS => {
            Err(format!("{} messages, at most {PARTS}", parts.len()))
        }
        Outcome::Split(parts) => parts.iter().try_for_each(check_emit),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_checked_on_both_sides_of_each_bound() {
        let split = |count| Outcome::Split(vec![Emit::new("a", ""); count]);
        assert_eq!(check_outcome(&split(PARTS)), Ok(()));
        assert!(check_outcome(&split(PARTS + 1)).is_err());
        let topic = |bytes| Outcome::topic("x".repeat(bytes));
        assert!(check_outcome(&topic(0)).is_err());
        assert_eq!(check_outcome(&topic(WIRE_BYTES)), Ok(()));
        assert!(check_outcome(&topic(WIRE_BYTES + 1)).is_err());
        assert!(check_outcome(&Outcome::topic("a/+")).is_err());
    }
}
