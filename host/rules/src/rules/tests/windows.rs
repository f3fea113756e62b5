//! Windows in chains: what they come to, and that they end by themselves.

use super::{NOBODY, Plugins, message, text, through};
use crate::check::check;
use crate::state::WINDOWS_AT_ONCE;
use crate::{Rules, RulesConfig, ShardChains};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use witmq_broker::ports::{ChainOutcome, Chains, ControlError, RuleControl};
use witmq_proto::Message;

fn at(topic: &str, payload: &str, received_ms: u64) -> Arc<Message> {
    let mut message = message(topic, payload);
    Arc::make_mut(&mut message).received_ms = received_ms;
    message
}

fn deployed(text: &str) -> (Rules, ShardChains) {
    let (rules, problems) = Rules::new(RulesConfig::default());
    assert!(problems.is_empty());
    rules.apply("w.toml", text, false).unwrap();
    let chains = rules.shard_chains();
    (rules, chains)
}

fn texts(messages: &[Arc<Message>]) -> Vec<String> {
    messages.iter().map(|message| text(message)).collect()
}

const MINUTE: &str = r#"
from = "s/{x}"
[[step]]
window = { key = "topic.x", time = "1m", value = "payload.c" }
[[step]]
publish = "avg/{x}"
payload = "[window.avg, window.count, window.start_ms, window.end_ms, payload.c, client.id]"
"#;

#[test]
fn a_window_of_time_ends_with_the_next_message_on_any_shard() {
    let (rules, mut one) = deployed(MINUTE);
    let mut other = rules.shard_chains();
    for (c, now) in [("1", 60_000), ("4", 119_999)] {
        let run = through(&mut one, &at("s/a", &format!("{{\"c\":{c}}}"), now));
        assert!(run.emissions.is_empty() && matches!(run.outcome, ChainOutcome::Untouched));
    }
    let run = through(&mut other, &at("s/a", "{\"c\":9}", 120_000));
    let expected = "avg/a [2.5,2,60000,120000,4,\"c\"]";
    assert_eq!(
        texts(&run.emissions),
        [expected],
        "of the last message of the window"
    );
    assert!(matches!(run.outcome, ChainOutcome::Untouched));
}

#[test]
fn a_window_of_time_ends_by_itself() {
    let (rules, mut chains) = deployed(MINUTE);
    let told = Arc::new(AtomicUsize::new(0));
    let counts = told.clone();
    rules.on_earlier(Box::new(move || {
        counts.fetch_add(1, Ordering::Relaxed);
    }));
    assert_eq!(rules.next_due_ms(), None);
    through(&mut chains, &at("s/a", "{\"c\":1}", 60_000));
    through(&mut chains, &at("s/b", "{\"c\":2}", 60_001));
    assert_eq!(
        (rules.next_due_ms(), told.load(Ordering::Relaxed)),
        (Some(120_000), 1)
    );
    assert!(chains.due(&mut Plugins, 119_999).is_empty());
    let mut due = texts(&chains.due(&mut Plugins, 120_000));
    due.sort();
    assert_eq!(
        due,
        [
            "avg/a [1.0,1,60000,120000,1,\"c\"]",
            "avg/b [2.0,1,60000,120000,2,\"c\"]"
        ]
    );
    assert_eq!(rules.next_due_ms(), None);
    assert!(chains.due(&mut Plugins, 240_000).is_empty());
    assert_eq!(rules.list()[0].state_entries, 0);
}

#[test]
fn many_windows_end_in_steps() {
    let (rules, mut chains) = deployed(MINUTE);
    for key in 0..=WINDOWS_AT_ONCE {
        through(&mut chains, &at(&format!("s/{key}"), "{\"c\":1}", 0));
    }
    assert_eq!(chains.due(&mut Plugins, 60_000).len(), WINDOWS_AT_ONCE);
    assert_eq!(rules.next_due_ms(), Some(60_000), "there are more");
    assert_eq!(chains.due(&mut Plugins, 60_000).len(), 1);
    assert_eq!(rules.next_due_ms(), None);
}

#[test]
fn windows_go_on_in_the_next_revision_and_end_with_their_chain() {
    let (rules, mut chains) = deployed(MINUTE);
    through(&mut chains, &at("s/a", "{\"c\":1}", 0));
    rules
        .apply("w.toml", &MINUTE.replace("avg/", "mean/"), false)
        .unwrap();
    through(&mut chains, &at("s/a", "{\"c\":3}", 1));
    let due = texts(&chains.due(&mut Plugins, 60_000));
    assert_eq!(due, ["mean/a [2.0,2,0,60000,3,\"c\"]"]);
    through(&mut chains, &at("s/a", "{\"c\":1}", 60_000));
    rules.remove("w").unwrap();
    assert!(chains.due(&mut Plugins, 120_000).is_empty());
    assert_eq!(rules.next_due_ms(), None);
}

#[test]
fn a_message_that_a_window_held_has_no_client_but_its_name() {
    let text = MINUTE.replace("client.id]", "client.username]");
    let (_rules, mut chains) = deployed(&text);
    let named = witmq_broker::ports::Publisher {
        username: Some("u"),
        ..NOBODY
    };
    let first = at("s/a", "{\"c\":1}", 0);
    drop(chains.run(&mut Plugins, named, &first));
    assert_eq!(
        texts(&chains.due(&mut Plugins, 60_000)),
        ["avg/a [1.0,1,0,60000,1,\"\"]"]
    );
}

#[test]
fn windows_pass_their_tests_by_a_clock_that_the_tests_set() {
    let hopping = r#"
from = "s/{x}"
[[step]]
window = { key = "topic.x", time = "2m", every = "1m", sliding = true, values = { c = "payload.c", p = "payload.p" } }
[[step]]
publish = "o/{x}"
payload = "window"
[[test]]
name = "a minute passes, and another"
given = [
  { topic = "s/a", payload = { c = 1, p = 5 }, received_ms = 10_000 },
  { topic = "s/b", payload = { c = 7, p = 7 }, received_ms = 20_000 },
  { topic = "s/a", payload = { c = 3, p = 2 }, received_ms = 70_000 },
]
until_ms = 240_000
expect = [
  { topic = "o/a", payload = { count = 1, start_ms = 0, end_ms = 60_000, c = { avg = 1, last = 1 }, p = { max = 5 } } },
  { topic = "o/b", payload = { count = 1 } },
  { topic = "o/a", payload = { count = 2, end_ms = 120_000, c = { sum = 4, first = 1, last = 3 }, p = { min = 2, max = 5 } } },
  { topic = "o/a", payload = { count = 1, end_ms = 180_000, c = { sum = 3 } } },
  { topic = "o/b", payload = { count = 1, end_ms = 120_000 } },
]
"#;
    if let Err(error) = check("h.toml", hopping) {
        panic!("{error}");
    }
    let wrong = hopping.replace("sum = 4", "sum = 5");
    assert!(check("h.toml", &wrong).is_err());
}

#[test]
fn windows_of_messages_in_a_transform_chain() {
    let text = r#"
mode = "transform"
from = "s"
[[step]]
window = { count = 3, value = "payload", excess = "drop" }
[[step]]
set = { "$payload" = "window.sum" }
"#;
    let (rules, mut chains) = deployed(text);
    let outcomes: Vec<_> = ["1", "2", "3", "4"]
        .map(|payload| through(&mut chains, &at("s", payload, 0)).outcome)
        .into();
    assert!(matches!(outcomes[0], ChainOutcome::Consumed));
    assert!(matches!(outcomes[1], ChainOutcome::Consumed));
    assert!(matches!(outcomes[3], ChainOutcome::Consumed));
    let ChainOutcome::Replaced(third) = &outcomes[2] else {
        panic!("{:?}", outcomes[2])
    };
    assert_eq!(super::text(third), "s 6.0");
    rules
        .apply(
            "w.toml",
            &text.replace("count = 3", "sliding = true, count = 2"),
            false,
        )
        .unwrap();
    let sums =
        ["1", "2", "3"].map(
            |payload| match through(&mut chains, &at("s", payload, 0)).outcome {
                ChainOutcome::Replaced(message) => super::text(&message),
                other => panic!("{other:?}"),
            },
        );
    assert_eq!(sums, ["s 1.0", "s 3.0", "s 5.0"]);
    through(&mut chains, &at("s", "\"x\"", 0));
    let info = &rules.list()[0];
    let error = info.last_error.as_deref().unwrap();
    assert!(
        error.contains("window: `payload` gives \"x\", not a number"),
        "{error}"
    );
}

#[test]
fn windows_that_cannot_be_meant_are_refused_with_their_place() {
    let (rules, _) = Rules::new(RulesConfig::default());
    let apply = |mode: &str, window: &str| {
        let text = format!("mode = '{mode}'\nfrom = 's'\n[[step]]\nwindow = {{ {window} }}\n");
        match rules.apply("w.toml", &text, true) {
            Ok(_) => String::new(),
            Err(ControlError::Invalid { message, .. }) => message,
            Err(other) => panic!("{other:?}"),
        }
    };
    for (window, expected) in [
        ("value = 'payload'", "w.toml:3:1: a window has either"),
        ("count = 2, time = '1s'", "either `count` or `time`"),
        ("count = 0", "w.toml:4:20: count is 1 to 10000, not 0"),
        ("count = 10001", "count is 1 to 10000"),
        (
            "count = 5, every = '1s'",
            "every belongs to a sliding window",
        ),
        (
            "time = '2s', every = '1s'",
            "every belongs to a sliding window",
        ),
        (
            "time = '2s', every = '1500ms', sliding = true",
            "time is 1 to 60 times every",
        ),
        (
            "time = '61s', every = '1s', sliding = true",
            "time is 1 to 60 times every",
        ),
        (
            "time = '1s', value = 'payload', values = { a = 'payload' }",
            "either `value` or `values`",
        ),
        ("time = '1s', values = {}", "values are 1 to 16, not 0"),
        (
            "time = '1s', values = { count = 'payload' }",
            "`count` cannot name a value",
        ),
        ("time = '1s', value = 'window.avg'", "`window` is unknown"),
    ] {
        let error = apply("rule", window);
        assert!(error.contains(expected), "{window}: {error}");
    }
    let names = |count: usize| {
        let one = |number: usize| format!("v{number} = 'payload'");
        let names: Vec<String> = (0..count).map(one).collect();
        format!("time = '1s', values = {{ {} }}", names.join(", "))
    };
    assert_eq!(apply("rule", &names(16)), "");
    assert!(apply("rule", &names(17)).contains("values are 1 to 16, not 17"));
    assert_eq!(apply("rule", "count = 10000"), "");
    assert_eq!(
        apply("rule", "time = '60s', every = '1s', sliding = true"),
        ""
    );
    assert_eq!(apply("transform", "time = '60s', sliding = true"), "");
    assert!(apply("transform", "time = '60s'").contains("works in a rule chain only"));
}
