//! `lookup` and `store`, and tables as they are asked for by name.

use super::{message, text, through};
use crate::check::check;
use crate::{Rules, RulesConfig, Tables};
use std::sync::Arc;
use witmq_broker::kv::{KvBounds, Spaces};
use witmq_broker::ports::TableControl;
use witmq_broker::ports::kv::{Expect, KEY_BYTES, PluginKv as _, VALUE_BYTES};
use witmq_broker::ports::{ControlError, RuleControl};

const DEVICES: &str = r#"
from = "s/{id}"
[[step]]
lookup = { table = "devices", key = "topic.id", as = "device", default = { name = "nobody" } }
[[step]]
publish = "named"
payload = "device.name"
"#;

const FEED: &str = r#"
from = "devices/{id}"
[[step]]
store = { table = "devices", key = "topic.id", value = "payload == '' ? null : payload" }
"#;

fn with(tables: &Tables, files: &[(&str, &str)]) -> Rules {
    let (rules, problems) = Rules::new(RulesConfig {
        tables: tables.clone(),
        ..RulesConfig::default()
    });
    assert!(problems.is_empty());
    for (name, text) in files {
        rules.apply(&format!("{name}.toml"), text, false).unwrap();
    }
    rules
}

#[test]
fn a_topic_feeds_a_table_that_all_chains_look_up() {
    let tables = Tables::default();
    let rules = with(&tables, &[("devices", DEVICES), ("feed", FEED)]);
    let mut chains = rules.shard_chains();
    let mut named = |id: &str| {
        let run = through(&mut chains, &message(&format!("s/{id}"), "1"));
        text(&run.emissions[0])
    };
    assert_eq!(named("7"), "named nobody");
    let mut other = rules.shard_chains();
    let mut feed = |payload: &str| through(&mut other, &message("devices/7", payload));
    feed(r#"{"name":"press","id":12345678901234567}"#);
    assert_eq!(named("7"), "named press");
    let kept = tables.find("devices", "7").unwrap();
    assert_eq!(kept, r#"{"id":12345678901234567,"name":"press"}"#);
    feed("");
    assert_eq!(named("7"), "named nobody");
    assert!(matches!(
        tables.find("devices", "7"),
        Err(ControlError::NotFound(_))
    ));
    tables
        .put("devices", "7", r#" {"name": "lathe"} "#)
        .unwrap();
    assert_eq!(named("7"), "named lathe");
}

#[test]
fn constants_of_a_file_are_its_own() {
    let tables = Tables::default();
    tables.put("devices", "7", r#"{"name":"shared"}"#).unwrap();
    let own = format!("{DEVICES}[table.devices]\n7 = {{ name = 'own' }}\n");
    let rules = with(&tables, &[("own", &own)]);
    let run = through(&mut rules.shard_chains(), &message("s/7", "1"));
    assert_eq!(text(&run.emissions[0]), "named own");
    let stored = format!("{FEED}[table.devices]\n7 = 1\n");
    let Err(ControlError::Invalid { message, .. }) = rules.apply("f.toml", &stored, true) else {
        panic!("it is taken")
    };
    assert!(
        message.starts_with("f.toml:4:19: `devices` is a table of this file"),
        "{message}"
    );
}

#[test]
fn a_full_table_refuses_what_is_new_and_says_so() {
    let spaces = Arc::new(Spaces::new(KvBounds {
        table_keys: 2,
        table_bytes: 1000,
        ..KvBounds::default()
    }));
    let tables = Tables::new(spaces.clone());
    let rules = with(&tables, &[("feed", FEED)]);
    let mut chains = rules.shard_chains();
    for (id, failed) in [("1", 0), ("2", 0), ("3", 1), ("2", 1)] {
        through(&mut chains, &message(&format!("devices/{id}"), "true"));
        assert_eq!(rules.list()[0].failed, failed, "{id}");
    }
    let info = &rules.list()[0];
    let error = info.last_error.as_deref().unwrap();
    assert!(
        error.contains("table `devices` is full (table_keys)"),
        "{error}"
    );
    let full = |error| matches!(error, Err(ControlError::LimitReached(_)));
    assert!(full(tables.put("devices", "4", "1")));
    tables.remove("devices", Some("1")).unwrap();
    tables.put("devices", "4", "1").unwrap();
    // 64 and the key for each entry.
    let room = 1000 - 65 - "true".len() - 65 - 2;
    assert!(full(tables.put(
        "devices",
        "4",
        &format!("\"{}\"", "x".repeat(room + 1))
    )));
    tables
        .put("devices", "4", &format!("\"{}\"", "x".repeat(room)))
        .unwrap();
    let numbers = spaces.entries();
    let number = |name: &str| numbers.iter().find(|(known, ..)| *known == name).unwrap().2;
    assert_eq!((number("table_keys"), number("table_bytes")), (2, 1000));
    assert_eq!(
        (number("table_refused_total"), number("plugin_kv_keys")),
        (3, 0)
    );
}

#[test]
fn all_tables_together_are_bounded_and_say_which_bound_it_was() {
    // Five entries of 64 bytes, a key of one and a value of one.
    let spaces = Arc::new(Spaces::new(KvBounds {
        table_total_bytes: 5 * 66,
        ..KvBounds::default()
    }));
    let tables = Tables::new(spaces.clone());
    for key in ["1", "2", "3"] {
        tables.put("one", key, "1").unwrap();
    }
    for key in ["1", "2"] {
        tables.put("other", key, "1").unwrap();
    }
    let Err(ControlError::LimitReached(text)) = tables.put("other", "3", "1") else {
        panic!("it is taken")
    };
    assert!(text.contains("(table_total_bytes)"), "{text}");
    tables.put("other", "2", "7").unwrap();
    let plugin = spaces.space("plugin");
    plugin.put("k", "v".into(), Expect::Any, 0, 0).unwrap();
    assert!(tables.put("other", "2", "77").is_err(), "one byte more");
    tables.remove("one", Some("1")).unwrap();
    tables.put("other", "3", "1").unwrap();
    assert!(tables.put("third", "1", "1").is_err());
    let numbers = spaces.entries();
    let number = |name: &str| numbers.iter().find(|(known, ..)| *known == name).unwrap().2;
    assert_eq!((number("table_keys"), number("table_bytes")), (5, 330));
    assert_eq!(number("table_refused_total"), 3);
}

#[test]
fn tables_are_listed_read_in_pages_and_removed() {
    let tables = Tables::default();
    for (table, key, value) in [
        ("b", "2", "2"),
        ("b", "1", "\"x\""),
        ("a", "k/1", "{}"),
        ("b", "3", "null"),
    ] {
        tables.put(table, key, value).unwrap();
    }
    let list = tables.list();
    let names: Vec<_> = list
        .iter()
        .map(|info| (&*info.name, info.keys, info.bytes))
        .collect();
    assert_eq!(names, [("a", 1, 5), ("b", 3, 11)]);
    let page = |after, limit| {
        let entries = tables.entries("b", after, limit).unwrap();
        entries.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(
        (page(None, 2), page(Some("2"), 2)),
        (vec!["1".to_owned(), "2".to_owned()], vec!["3".to_owned()])
    );
    assert_eq!(tables.remove("b", Some("2")), Ok(1));
    assert_eq!(tables.remove("b", None), Ok(2));
    for gone in [tables.remove("b", None), tables.remove("b", Some("1"))] {
        assert!(matches!(gone, Err(ControlError::NotFound(_))));
    }
    assert_eq!(tables.list().len(), 1);
}

#[test]
fn entries_that_cannot_be_are_refused_on_both_sides_of_their_bounds() {
    let tables = Tables::default();
    let invalid =
        |done: Result<(), ControlError>| matches!(done, Err(ControlError::Invalid { .. }));
    assert!(invalid(tables.put("t", "k", "{")));
    assert!(invalid(tables.put("t/u", "k", "1")));
    assert!(invalid(tables.put(&"t".repeat(65), "k", "1")));
    tables.put(&"t".repeat(64), "k", "1").unwrap();
    assert!(invalid(tables.put("t", "", "1")));
    assert!(invalid(tables.put("t", &"k".repeat(KEY_BYTES + 1), "1")));
    tables.put("t", &"k".repeat(KEY_BYTES), "1").unwrap();
    let value = |bytes: usize| format!("\"{}\"", "v".repeat(bytes - 2));
    assert!(invalid(tables.put("t", "k", &value(VALUE_BYTES + 1))));
    tables.put("t", "k", &value(VALUE_BYTES)).unwrap();
    let rules = with(&tables, &[]);
    for (step, expected) in [
        (
            "lookup = { table = 'a b', key = 'payload', as = 'x' }",
            "a.toml:3:20: `a b` is no name for a table",
        ),
        (
            "lookup = { table = 't', key = 'payload', as = 'payload' }",
            "`payload` cannot name a value",
        ),
        (
            "lookup = { table = 't', key = 'payload' }",
            "missing field `as`",
        ),
        (
            "store = { table = 't', key = 'payload' }",
            "missing field `value`",
        ),
    ] {
        let text = format!("from = 's'\n[[step]]\n{step}\n");
        let Err(ControlError::Invalid { message, .. }) = rules.apply("a.toml", &text, true) else {
            panic!("{step} is taken")
        };
        assert!(message.contains(expected), "{step}: {message}");
    }
}

#[test]
fn hysteresis_by_a_table_and_tests_that_fill_one() {
    let text = r#"
from = "t/{room}"
[[step]]
lookup = { table = "alarms", key = "topic.room", as = "alarm", default = false }
[[step]]
filter = "alarm ? payload < 38 : payload > 40"
[[step]]
store = { table = "alarms", key = "topic.room", value = "!alarm" }
[[step]]
publish = "alarm/{room}"
payload = "alarm ? 'off' : 'on'"
[[test]]
name = "on and off"
given = [
  { topic = "t/7", payload = 39 }, { topic = "t/7", payload = 41 }, { topic = "t/7", payload = 39 },
  { topic = "t/7", payload = 37 }, { topic = "t/7", payload = 37 },
]
expect = [{ topic = "alarm/7", payload = "on" }, { payload = "off" }]
[[test]]
name = "it was on"
tables = { alarms = { 7 = true } }
given = { topic = "t/7", payload = 37 }
expect = [{ topic = "alarm/7", payload = "off" }]
"#;
    if let Err(error) = check("h.toml", text) {
        panic!("{error}");
    }
    let tables = Tables::default();
    with(&tables, &[("h", text)]);
    assert!(tables.list().is_empty(), "tests leave nothing behind");
    let trace = crate::run_message("h.toml", text, r#"{"topic":"t/7","payload":41}"#);
    let text = trace.unwrap().to_string();
    for part in ["alarms \"7\" -> false, the default", "alarms \"7\" -> true"] {
        assert!(text.contains(part), "{text}");
    }
}
