//! Topic names and filters as the broker reads them (MQTT 5 section 4.7).
//!
//! ```
//! use witmq_sdk::topic;
//!
//! assert!(topic::matches("room/+/temp", "room/7/temp"));
//! assert!(topic::is_name("room/7/temp") && !topic::is_name("room/+/temp"));
//! ```

/// Bytes of a topic name or filter: lengths have two bytes on the wire.
pub(crate) const WIRE_BYTES: usize = 65_535;

/// A topic name: no wildcard, no null, 1 to 65,535 bytes.
#[must_use]
pub fn is_name(topic: &str) -> bool {
    (1..=WIRE_BYTES).contains(&topic.len()) && !topic.contains(['+', '#', '\0'])
}

/// A topic filter: wildcards stand alone in their level, `#` in the last one; no null, 1 to 65,535 bytes.
#[must_use]
pub fn is_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').rev();
    let last = levels.next().unwrap_or_default();
    (1..=WIRE_BYTES).contains(&filter.len())
        && !filter.contains('\0')
        && (last == "#" || is_plain(last))
        && levels.all(is_plain)
}

fn is_plain(level: &str) -> bool {
    level == "+" || !level.contains(['+', '#'])
}

/// Whether a filter has a match. `#` and `+` do not match what begins with `$`.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        // [MQTT-4.7.1-1] to [MQTT-4.7.2-1]
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
    fn names_and_filters_are_told_from_what_is_neither() {
        for filter in ["#", "+", "a", "/", "a/#", "+/b/#", "a//+"] {
            assert!(is_filter(filter), "{filter}");
        }
        for filter in ["", "a#", "#/a", "a+/b", "a/b+", "a\0"] {
            assert!(!is_filter(filter), "{filter}");
        }
        for (bytes, expected) in [
            (0, false),
            (1, true),
            (WIRE_BYTES, true),
            (WIRE_BYTES + 1, false),
        ] {
            let text = "x".repeat(bytes);
            assert_eq!(
                (is_name(&text), is_filter(&text)),
                (expected, expected),
                "{bytes}"
            );
        }
    }
}
