//! A broker that is not at hand, by what it took beside one that is.
//!
//! Owns: figures of FlashMQ 1.26.2 (one thread) and mosquitto 2.0.11, measured in one run with this generator on a
//! machine of this kind. A ratio of two brokers depends less on the machine than either figure does. Must not: stand
//! for a measurement: whoever has a binary gives it (`--peer`), and nothing is estimated.

use crate::cases::{CALLS, CPU};

/// As the table says it.
pub(crate) const TITLE: &str = "FlashMQ 1.26, by ratio (¹)";

/// What stands below the table.
pub(crate) const NOTE: &str = "\n(¹) Not run here: what FlashMQ 1.26.2 took beside mosquitto 2.0.11 in an earlier run of \
                               the same generator, times what mosquitto takes here.\n";

/// Beginnings of names of participants: the one that is estimated, and the one it was measured beside.
const ABSENT: &str = "flashmq";
const BESIDE: &str = "mosquitto 2.0";

/// Case, figure, FlashMQ's, mosquitto's.
const TOOK: &[(&str, &str, f64, f64)] = &[
    ("fanin-16", CPU, 0.42, 6.0),
    ("fanin-single", CPU, 4.2, 8.4),
    ("fanout-1000", CPU, 1.0, 9.2),
    ("fanout-1000-1", CPU, 10.0, 9.8),
    ("fanout-100-4k", CPU, 1.6, 7.7),
    ("pair-q0", CPU, 0.56, 8.6),
    ("pair-q0-256", CPU, 0.73, 10.0),
    ("pair-q0-4k", CPU, 2.2, 11.0),
    ("pair-q1", CPU, 1.7, 16.0),
    ("pair-q1-single", CPU, 21.0, 22.0),
    ("pair-q2", CPU, 3.2, 33.0),
    ("pair-q0-calls", CALLS, 0.10, 8.1),
    ("fanin-calls", CALLS, 2.1, 8.0),
    ("rate-20k", "p50_us", 81.0, 79.0),
    ("rate-20k", "p99_us", 289.0, 177.0),
    ("conns-10k", "cpu_us_per_connect", 30.0, 26.0),
    ("conns-10k", "connect_per_s", 10_400.0, 12_100.0),
    ("conns-10k", "rss_bytes_per_conn", 4300.0, 730.0),
    ("conns-10k", "rss_bytes_per_conn_sub", 5350.0, 1760.0),
    ("subs-100k", CPU, 4.0, 13.0),
    ("subs-100k", "rss_bytes_per_sub", 957.0, 1010.0),
    ("subs-100k", "cpu_us_per_subscribe", 2.6, 2.1),
    ("retained-100k", CPU, 1.3, 2.4),
    ("retained-100k", "cpu_us_per_store", 2.7, 11.0),
    ("retained-100k", "rss_bytes_per_retained", 1000.0, 1140.0),
    ("session-60k", CPU, 1.1, 2.6),
    ("session-60k", "cpu_us_per_enqueue", 1.7, 9.0),
    ("session-60k", "rss_bytes_per_queued", 571.0, 352.0),
];

/// Whose figure it is estimated by; none where it takes part itself, or the other does not.
pub(crate) fn beside<'name>(
    mut names: impl Iterator<Item = &'name str> + Clone,
) -> Option<&'name str> {
    let begins = |name: &str, with: &str| name.to_lowercase().starts_with(with);
    if names.clone().any(|name| begins(name, ABSENT)) {
        return None;
    }
    names.find(|name| begins(name, BESIDE))
}

/// How many times of the other's figure it took.
pub(crate) fn ratio(case: &str, field: &str) -> Option<f64> {
    let mut took = TOOK.iter();
    let (.., own, other) = took.find(|took| took.0 == case && took.1 == field)?;
    Some(own / other)
}

#[cfg(test)]
mod tests {
    use super::{TOOK, beside, ratio};
    use crate::cases::{CASES, CPU};

    #[test]
    fn every_figure_is_one_of_a_case() {
        for (case, field, own, other) in TOOK {
            let found = CASES.iter().find(|known| known.name == *case);
            let figures = found.map_or(&[][..], |known| known.figures);
            let is_there = figures.iter().any(|figure| figure.field == *field);
            assert!(is_there && *own > 0.0 && *other > 0.0, "{case} {field}");
        }
        assert_eq!(ratio("fanin-single", CPU), Some(0.5));
        assert_eq!(ratio("fanin-single", "p50_us"), None);
    }

    #[test]
    fn nothing_is_estimated_of_who_takes_part_or_beside_nobody() {
        let of = |names: &[&'static str]| beside(names.iter().copied());
        assert_eq!(of(&["WitMQ", "mosquitto 2.0.11"]), Some("mosquitto 2.0.11"));
        assert_eq!(of(&["WitMQ", "mosquitto 2.1.2"]), None);
        assert_eq!(of(&["FlashMQ", "mosquitto 2.0.11"]), None);
    }
}
