//! What a message through the chains costs, in instructions and time:
//! `cargo test --release --package witmq-rules --lib -- --ignored --nocapture cost_of_chains`.
//!
//! Instructions are counted by callgrind (the package `valgrind`) in a process of its own for each case, once with a number
//! of messages and once with twice as many; the difference is what messages cost. Times are of pieces of a hundred messages, which
//! are shorter than what a scheduler gives at once: their median in rounds in which the cases take turns.

use super::message;
use crate::{Rules, RulesConfig, ShardChains};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;
use witmq_broker::ports::{Chains, RuleControl};
use witmq_broker::router::known::Known;
use witmq_proto::Message;

/// Says to a process which case it runs, and with how many messages.
const WORK: &str = "WITMQ_COST_OF_CHAINS";
const TOPICS: usize = 10_000;
/// Messages whose instructions are counted; every topic as often as every other.
const COUNTED: usize = TOPICS;
const ROUNDS: usize = 15;
/// Messages that are timed at once.
const PIECE: usize = 100;
const CASES: [&str; 8] = [
    "none",
    "elsewhere",
    "true",
    "topic",
    "filter",
    "five",
    "one",
    "thousand",
];

/// Five steps that need nothing but this crate.
const FIVE: &str = r#"
[[step]]
filter = "payload.temperature > -40"
[[step]]
set = { fahrenheit = "payload.temperature * 9 / 5 + 32", site = "topic.b" }
[[step]]
filter = "payload.battery >= 3 && payload.unit == 'C'"
[[step]]
delete = ["debug"]
[[step]]
publish = "out/{b}"
"#;

fn payload() -> String {
    let head = r#"{"temperature":21.5,"humidity":40.2,"battery":3.1,"unit":"C","id":"sensor-000017","firmware":"1.4.2","position":{"x":12.5,"y":7.25},"tags":["roof","north"],"debug":""#;
    format!("{head}{}\"}}", "x".repeat(256 - head.len() - 2))
}

fn files(case: &str) -> Vec<(String, String)> {
    let one =
        |from: &str, steps: &str| vec![("one".to_owned(), format!("from = '{from}'\n{steps}"))];
    match case {
        "none" => Vec::new(),
        "elsewhere" => one("t/{a}/{b}", FIVE),
        "filter" => one(
            "s/{a}/{b}",
            "[[step]]\nfilter = \"payload.temperature > 40\"\n",
        ),
        "true" => one("s/{a}/{b}", "[[step]]\nfilter = \"true\"\n"),
        "topic" => one("s/{a}/{b}", "[[step]]\nfilter = \"topic.b == '9'\"\n"),
        "five" | "one" => one("s/{a}/{b}", FIVE),
        "thousand" => (0..1000)
            .map(|n| (format!("c{n}"), format!("from = 's/{n}/{{b}}'\n{FIVE}")))
            .collect(),
        other => panic!("no case {other}"),
    }
}

/// Chains and messages of a case.
struct Prepared {
    _rules: Rules,
    chains: ShardChains,
    /// What a shard knows of topics.
    known: Known<()>,
    messages: Vec<Arc<Message>>,
}

/// With the messages of ten topics for each of a thousand; of one for all where topics do not matter.
fn prepared(case: &str) -> Prepared {
    let (rules, _) = Rules::new(RulesConfig::default());
    for (name, text) in files(case) {
        rules.apply(&format!("{name}.toml"), &text, false).unwrap();
    }
    let payload = payload();
    assert_eq!(payload.len(), 256);
    let topics = match case {
        "true" | "topic" | "five" => 1,
        _ => TOPICS,
    };
    let topic = |n: usize| format!("s/{}/{}", n % 1000, n / 1000);
    let mut prepared = Prepared {
        messages: (0..topics).map(|n| message(&topic(n), &payload)).collect(),
        chains: rules.shard_chains(),
        known: Known::new(TOPICS),
        _rules: rules,
    };
    // A topic is remembered when it comes again.
    prepared.work(0, 2 * topics);
    prepared
}

impl Prepared {
    /// So many messages from one on, as a shard has them: those that no chain names pass by. How many were published.
    fn work(&mut self, from: usize, count: usize) -> usize {
        let mut published = 0;
        let (before, behind) = self.messages.split_at(from % self.messages.len());
        for message in behind.iter().chain(before).cycle().take(count) {
            let version = self.chains.version().unwrap();
            let place = self.known.place(&message.topic);
            let names = |topic: &str| self.chains.names(topic);
            let named = self.known.named(place, version, names);
            if named.is_some() {
                self.chains.expect(version, named);
                published += super::through(&mut self.chains, message).emissions.len();
            }
        }
        published
    }
}

/// Instructions of a process that runs a case.
fn counted(case: &str, count: usize) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "--test-threads=1"])
        .arg("rules::tests::bench::cost_of_chains")
        .env(WORK, format!("{case} {count}"))
        .output()
        .expect("valgrind is there");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let number = text
        .split("Collected :")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .expect("a number of instructions")
}

#[test]
#[ignore = "a measurement"]
fn cost_of_chains() {
    if let Ok(wanted) = std::env::var(WORK) {
        let (case, count) = wanted.split_once(' ').unwrap();
        prepared(case).work(0, count.parse().unwrap());
        return;
    }
    let mut prepared: Vec<_> = CASES.iter().map(|case| prepared(case)).collect();
    let mut times = vec![Vec::new(); CASES.len()];
    for _ in 0..ROUNDS {
        for (prepared, times) in prepared.iter_mut().zip(&mut times) {
            for from in (0..COUNTED).step_by(PIECE) {
                let began = Instant::now();
                prepared.work(from, PIECE);
                times.push(began.elapsed().as_nanos() / PIECE as u128);
            }
        }
    }
    println!("{:<12} {:>8} {:>12}", "case", "ns", "instructions");
    for (case, mut times) in CASES.iter().zip(times) {
        times.sort_unstable();
        let (once, twice) = (counted(case, COUNTED), counted(case, 2 * COUNTED));
        let each = (twice - once) / COUNTED as u64; // of topics that were seen before
        println!("{case:<12} {:>8} {each:>12}", times[times.len() / 2]);
    }
}

/// What is measured is what it says: five steps publish once for each message, filters and other topics nothing.
#[test]
fn each_case_does_what_it_is_named_for() {
    for (case, expected) in CASES.iter().zip([0, 0, 0, 0, 0, 50, 50, 50]) {
        assert_eq!(prepared(case).work(0, 50), expected, "{case}");
    }
}
