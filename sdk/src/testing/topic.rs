//! Topic names and filters as the broker checks them (MQTT 5 section 4.7).

use crate::message::{Emit, Outcome};
use crate::properties::Properties;

/// Bytes of a topic name, and of every text and blob among the properties: lengths have two bytes on the wire.
const WIRE_BYTES: usize = 65_535;
/// Messages that one may be split into.
const PARTS: usize = 64;

/// A topic name: no wildcard [MQTT-3.3.2-2], no null [MQTT-4.7.3-2], 1 to 65,535 bytes [MQTT-4.7.3-1, MQTT-4.7.3-3].
pub(super) fn is_name(topic: &str) -> bool {
    (1..=WIRE_BYTES).contains(&topic.len()) && !topic.contains(['+', '#', '\0'])
}

/// Whether a filter has a match. `#` and `+` do not match what begins with `$` [MQTT-4.7.2-1].
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['#', '+']) {
        return false;
    }
    let mut levels = topic.split('/');
    for part in filter.split('/') {
        match (part, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (part, Some(level)) if part == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

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
    fn filters_match_as_the_standard_says() {
        for (filter, topic, expected) in [
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("+", "a", true),
            ("#", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a", "a/b", false),
            ("a/b", "a", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

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
