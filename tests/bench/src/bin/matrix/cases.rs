//! The cases, what is read off each, and the goals.
//!
//! Owns: the one list. Must not: know who is measured.

/// What WitMQ is meant to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
    /// At most so much more than the same figure of another case.
    Above(&'static str, f64),
    /// At most so many times the same figure of another case.
    Times(&'static str, f64),
    /// At most so many times the best of the other brokers.
    Peers(f64),
}

/// A number that a run gives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    /// As the table says it.
    pub(crate) title: &'static str,
    /// Its name in the run's JSON.
    pub(crate) field: &'static str,
    pub(crate) goal: Option<Goal>,
}

impl Figure {
    /// Whether a value reaches the goal, `bound` being the goal as a number.
    pub(crate) fn is_met(&self, bound: f64, value: f64) -> bool {
        match self.goal {
            Some(Goal::Least(_)) => value >= bound,
            _ => value <= bound,
        }
    }
}

/// What a broker is told besides what every run tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Plain,
    /// MQTT over WebSocket.
    WebSocket,
    /// Clients log in and have rules, as `serve` wants it.
    Named,
    /// A component that does nothing is given every message whole.
    Step,
    /// What it acknowledges is on disk (`fsync`).
    Synced,
    /// Its system calls are counted, by a difference of two runs.
    Counted,
}

/// One way of loading a broker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// Short, for the command line.
    pub(crate) name: &'static str,
    /// The words after `mqload`, separated by blanks.
    pub(crate) words: &'static str,
    pub(crate) way: Way,
    /// What is read off it.
    pub(crate) figures: &'static [Figure],
}

impl Case {
    /// About memory and things kept, of which a floor has none.
    pub(crate) fn is_state(&self) -> bool {
        let scenario = self.words.split(' ').next().unwrap_or_default();
        let is_kept = ["conns", "subs", "churn", "retained", "session"].contains(&scenario);
        is_kept || self.words.contains("--slow") || self.words.contains("--persistent")
    }

    /// At a fixed rate.
    pub(crate) fn is_paced(&self) -> bool {
        self.words.contains("--rate")
    }
}

/// CPU of the broker for each delivered message, µs.
pub(crate) const CPU: &str = "cpu_us_per_msg";

/// System calls of the broker for each delivered message.
pub(crate) const CALLS: &str = "calls_per_msg";

const fn figure(title: &'static str, field: &'static str, goal: Option<f64>) -> Figure {
    let goal = match goal {
        Some(most) => Some(Goal::Most(most)),
        None => None,
    };
    Figure { title, field, goal }
}

const fn against(title: &'static str, field: &'static str, goal: Goal) -> Figure {
    let goal = Some(goal);
    Figure { title, field, goal }
}

/// All of them, in the order of the table.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "fanin-16",
        words: "fanin --pubs 50 --payload 16 --window 64",
        way: Way::Plain,
        figures: &[figure("fan-in 50→1, 16 B, W64", CPU, Some(0.25))],
    },
    Case {
        name: "fanin-single",
        words: "fanin --pubs 200 --payload 16 --window 1",
        way: Way::Plain,
        figures: &[figure("fan-in 200→1, 16 B, one at a time", CPU, Some(4.0))],
    },
    Case {
        name: "fanout-1000",
        words: "fanout --subs 1000 --payload 16 --window 16",
        way: Way::Plain,
        figures: &[figure("fan-out 1→1000, 16 B, W16", CPU, Some(0.8))],
    },
    Case {
        name: "fanout-1000-1",
        words: "fanout --subs 1000 --payload 256 --window 1",
        way: Way::Plain,
        figures: &[figure(
            "fan-out 1→1000, 256 B, one at a time",
            CPU,
            Some(6.8),
        )],
    },
    Case {
        name: "fanout-100-4k",
        words: "fanout --subs 100 --payload 4096 --window 8",
        way: Way::Plain,
        figures: &[figure("fan-out 1→100, 4 KiB, W8", CPU, Some(1.3))],
    },
    Case {
        name: "pair-q0",
        words: "pair --pubs 50 --payload 16 --window 64",
        way: Way::Plain,
        figures: &[figure("50 pairs, QoS 0, 16 B, W64", CPU, Some(0.3))],
    },
    Case {
        name: "pair-q0-256",
        words: "pair --pubs 50 --payload 256 --window 64",
        way: Way::Plain,
        figures: &[figure("50 pairs, QoS 0, 256 B, W64", CPU, Some(0.4))],
    },
    Case {
        name: "pair-q0-4k",
        words: "pair --pubs 50 --payload 4096 --window 8",
        way: Way::Plain,
        figures: &[figure("50 pairs, QoS 0, 4 KiB, W8", CPU, Some(1.8))],
    },
    Case {
        name: "pair-q1",
        words: "pair --pubs 50 --payload 16 --qos 1 --window 16",
        way: Way::Plain,
        figures: &[figure("50 pairs, QoS 1, 16 B, W16", CPU, Some(1.2))],
    },
    Case {
        name: "pair-q1-single",
        words: "pair --pubs 200 --payload 256 --qos 1 --window 1",
        way: Way::Plain,
        figures: &[figure(
            "200 pairs, QoS 1, 256 B, one at a time",
            CPU,
            Some(17.0),
        )],
    },
    Case {
        name: "pair-q2",
        words: "pair --pubs 50 --payload 16 --qos 2 --window 16",
        way: Way::Plain,
        figures: &[figure("50 pairs, QoS 2, 16 B, W16", CPU, Some(2.4))],
    },
    Case {
        name: "pair-q1-kept",
        words: "pair --pubs 50 --payload 16 --qos 1 --window 16 --persistent",
        way: Way::Plain,
        figures: &[figure(
            "50 pairs, QoS 1, 16 B, W16, persistent sessions, nothing on disk",
            CPU,
            None,
        )],
    },
    Case {
        name: "pair-q1-synced",
        words: "pair --pubs 50 --payload 16 --qos 1 --window 16 --persistent",
        way: Way::Synced,
        figures: &[figure("… with `durability = \"fsync\"`", CPU, None)],
    },
    Case {
        name: "pair-q0-256-auth",
        words: "pair --pubs 50 --payload 256 --window 64",
        way: Way::Named,
        figures: &[figure(
            "… 256 B, clients with passwords and rules",
            CPU,
            None,
        )],
    },
    Case {
        name: "pair-q0-256-step",
        words: "pair --pubs 50 --payload 256 --window 64",
        way: Way::Step,
        figures: &[against(
            "… 256 B, a component that does nothing",
            CPU,
            Goal::Above("pair-q0-256", 0.6),
        )],
    },
    Case {
        name: "pair-q0-256-ws",
        words: "pair --pubs 50 --payload 256 --window 64",
        way: Way::WebSocket,
        figures: &[against(
            "… 256 B, over WebSocket",
            CPU,
            Goal::Times("pair-q0-256", 1.3),
        )],
    },
    Case {
        name: "pair-q0-calls",
        words: "pair --pubs 50 --payload 16 --window 64",
        way: Way::Counted,
        figures: &[figure("… 16 B, W64: system calls", CALLS, Some(0.06))],
    },
    Case {
        name: "fanin-calls",
        words: "fanin --pubs 200 --payload 16 --window 1",
        way: Way::Counted,
        figures: &[figure(
            "fan-in 200→1, one at a time: system calls",
            CALLS,
            Some(1.5),
        )],
    },
    Case {
        name: "rate-20k",
        words: "pair --pubs 20 --payload 256 --rate 20000",
        way: Way::Plain,
        figures: &[
            figure("20 pairs, QoS 0, 256 B, 20,000 msg/s", CPU, None),
            against("… p50, µs", "p50_us", Goal::Peers(1.15)),
            against("… p99, µs", "p99_us", Goal::Peers(1.15)),
        ],
    },
    Case {
        name: "fanout-slow-0",
        words: "fanout --subs 5000 --slow 0 --payload 4096 --rate 10",
        way: Way::Plain,
        figures: &[
            figure("fan-out 1→5000, 4 KiB, 10 msg/s: p50, µs", "p50_us", None),
            figure("… p99, µs", "p99_us", None),
        ],
    },
    Case {
        name: "fanout-slow-50",
        words: "fanout --subs 5000 --slow 50 --payload 4096 --rate 10",
        way: Way::Plain,
        figures: &[
            against(
                "… while 50 more take nothing: p50, µs",
                "p50_us",
                Goal::Times("fanout-slow-0", 1.15),
            ),
            figure("… p99, µs", "p99_us", None),
        ],
    },
    Case {
        name: "rate-2k",
        words: "pair --pubs 20 --payload 256 --rate 2000",
        way: Way::Plain,
        figures: &[figure("20 pairs, QoS 0, 256 B, 2,000 msg/s", CPU, None)],
    },
    Case {
        name: "rate-q1-2k",
        words: "pair --pubs 20 --payload 256 --qos 1 --rate 2000",
        way: Way::Plain,
        figures: &[figure("20 pairs, QoS 1, 256 B, 2,000 msg/s", CPU, None)],
    },
    Case {
        name: "conns-10k",
        words: "conns --n 10000 --subscribe",
        way: Way::Plain,
        figures: &[
            figure(
                "connect, 10,000 clients, µs",
                "cpu_us_per_connect",
                Some(25.0),
            ),
            against(
                "… connects a second",
                "connect_per_s",
                Goal::Least(10_000.0),
            ),
            figure("idle connection, bytes", "rss_bytes_per_conn", Some(2000.0)),
            figure(
                "… with a subscription, bytes",
                "rss_bytes_per_conn_sub",
                None,
            ),
        ],
    },
    Case {
        name: "conns-storm",
        words: "conns --n 10000 --handshakes 10000",
        way: Way::Plain,
        figures: &[
            figure(
                "connect, 10,000 clients at once, µs",
                "cpu_us_per_connect",
                None,
            ),
            figure("… connects a second", "connect_per_s", None),
        ],
    },
    Case {
        name: "conns-ws-5k",
        words: "conns --n 5000",
        way: Way::WebSocket,
        figures: &[figure(
            "idle WebSocket, 5,000 clients, bytes",
            "rss_bytes_per_conn",
            Some(4000.0),
        )],
    },
    Case {
        name: "churn-1m",
        words: "churn --n 1000000 --storm 50 --rate 1000",
        way: Way::Plain,
        figures: &[
            figure(
                "1,000,000 subscriptions, 50 clients change theirs: a message's p99.9, µs",
                "p999_us",
                None,
            ),
            figure("… longest, µs", "max_us", Some(5000.0)),
            figure("… CPU µs for each change", "cpu_us_per_change", None),
        ],
    },
    Case {
        name: "subs-100k",
        words: "subs --n 100000",
        way: Way::Plain,
        figures: &[
            figure(
                "100,000 subscriptions: publish and match, µs",
                CPU,
                Some(2.5),
            ),
            figure("… each, bytes", "rss_bytes_per_sub", Some(400.0)),
            figure("… add one, µs", "cpu_us_per_subscribe", None),
        ],
    },
    Case {
        name: "retained-100k",
        words: "retained --n 100000",
        way: Way::Plain,
        figures: &[
            figure(
                "100,000 retained messages: retrieve one, µs",
                CPU,
                Some(1.0),
            ),
            figure("… store one, µs", "cpu_us_per_store", None),
            figure("… each, bytes", "rss_bytes_per_retained", None),
        ],
    },
    Case {
        name: "session-60k",
        words: "session --n 60000",
        way: Way::Plain,
        figures: &[
            figure(
                "60,000 queued for an absent session: drain one, µs",
                CPU,
                Some(1.0),
            ),
            figure("… queue one, µs", "cpu_us_per_enqueue", None),
            figure("… each, bytes", "rss_bytes_per_queued", None),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::{CASES, Figure, Goal};

    #[test]
    fn names_and_titles_are_unique_and_the_kinds_are_told_apart() {
        let mut names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CASES.len());
        let state = CASES.iter().filter(|case| case.is_state()).count();
        let paced = CASES.iter().filter(|case| case.is_paced()).count();
        assert_eq!((state, paced), (11, 6));
    }

    #[test]
    fn a_goal_that_is_taken_from_another_case_finds_its_figure() {
        for figure in CASES.iter().flat_map(|case| case.figures) {
            let Some(Goal::Above(of, _) | Goal::Times(of, _)) = figure.goal else {
                continue;
            };
            let case = CASES.iter().find(|case| case.name == of).unwrap();
            let has_it = |other: &Figure| other.field == figure.field;
            assert!(case.figures.iter().any(has_it), "{}", figure.title);
        }
    }
}
