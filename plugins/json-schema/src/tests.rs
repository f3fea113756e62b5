//! What fits and what does not, on both sides of each bound.

use super::*;
use crate::schema::SCHEMA_DEPTH;
use crate::value::ERROR_BYTES;
use serde_json::json;
use witmq_sdk::assert_outcome;
use witmq_sdk::testing::TestBroker;

type Broker = TestBroker<JsonSchema>;

/// A schema for every topic.
fn with(schema: &Value, more: &[(&str, Value)]) -> Value {
    let mut config = json!({"schemas": [{"topics": ["#"], "schema": schema}]});
    for (name, value) in more {
        config[*name] = value.clone();
    }
    config
}

fn start(config: impl std::fmt::Display) -> Broker {
    Broker::start(config).unwrap()
}

fn room() -> Value {
    json!({
        "type": "object",
        "required": ["c"],
        "properties": {"c": {"type": "number", "minimum": -40}, "list": {"items": {"type": "boolean"}}},
        "additionalProperties": false,
    })
}

fn refused(errors: &str) -> Outcome {
    Outcome::refuse(0x99, format!("payload on t: {errors}"))
}

fn tags(outcome: &Outcome) -> Vec<&str> {
    let Outcome::Modify(patch) = outcome else {
        panic!("{outcome:?}")
    };
    let properties = patch.properties.as_ref().unwrap();
    let tags = properties.user.iter().filter(|(name, _)| name == TAG);
    tags.map(|(_, value)| value.as_str()).collect()
}

#[test]
fn the_vectors_of_the_manifest_hold() {
    assert_eq!(Broker::run_vectors(), 5);
}

#[test]
fn what_fits_passes_and_what_does_not_is_refused_with_place_and_reason() {
    let mut broker = start(with(&room(), &[]));
    assert_outcome!(broker,
        ("t", r#"{"c":20}"#) => Outcome::Pass,
        ("t", r#"{"c":-40,"list":[true,false]}"#) => Outcome::Pass,
        ("t", r#"{"c":"warm"}"#) => refused(r#"/c: has to be of type number"#),
        ("t", r#"{"c":-41}"#) => refused("/c: has to be at least -40"),
        ("t", "{}") => refused(r#"/: `c` is missing"#),
        ("t", r#"{"c":1,"list":[true,0,1]}"#) =>
            refused(r#"/list/1: has to be of type boolean; /list/2: has to be of type boolean"#),
        ("t", "7") => refused(r#"/: has to be of type object"#),
    );
    assert_eq!((broker.counter("valid"), broker.counter("invalid")), (2, 5));
}

#[test]
fn what_is_no_json_does_not_fit() {
    let mut broker = start(with(&json!(true), &[]));
    for payload in ["", "warm", "{", "[1,]", "NaN", "1 2", "{\"a\":1e999}"] {
        let outcome = broker.send(("t", payload)).unwrap();
        assert!(
            matches!(
                outcome,
                Outcome::Refuse {
                    reason_code: 0x99,
                    ..
                }
            ),
            "{payload}"
        );
    }
    let outcome = broker.send(("t", b"\"\xFF\"")).unwrap();
    assert!(matches!(outcome, Outcome::Refuse { .. }));
    assert_outcome!(broker, ("t", "null") => Outcome::Pass);
    let mut broker = start(with(&json!(false), &[]));
    assert_outcome!(broker, ("t", "null") => refused("/: nothing is allowed here"));
}

#[test]
fn the_first_filter_that_matches_decides() {
    let config = json!({"schemas": [
        {"topics": ["a/+/x", "b"], "schema": {"type": "number"}},
        {"topics": ["a/#"], "schema": {"type": "string"}},
    ]});
    let mut broker = start(&config);
    assert_outcome!(broker,
        ("a/1/x", "1") => Outcome::Pass,
        ("b", "1") => Outcome::Pass,
        ("a/1/y", "\"1\"") => Outcome::Pass,
        ("a", "\"1\"") => Outcome::Pass,
        ("elsewhere", "no json") => Outcome::Pass,
    );
    for (topic, payload) in [("a/1/x", "\"1\""), ("b", "\"1\""), ("a/1/y", "1")] {
        assert!(
            matches!(broker.send((topic, payload)), Ok(Outcome::Refuse { .. })),
            "{topic}"
        );
    }
    let mut config = config;
    config["unmatched"] = json!("refuse");
    let refused = Outcome::refuse(0x90, "no schema allows messages on elsewhere");
    assert_outcome!(start(config), ("elsewhere", "1") => refused);
}

#[test]
fn both_drafts_are_read_as_they_are() {
    // `prefixItems` is of 2020-12, a list of `items` of draft 7.
    let new = json!({"prefixItems": [{"type": "number"}]});
    let old = json!({"items": [{"type": "number"}]});
    for (schema, draft, is_read) in [
        (&new, "2020-12", true),
        (&new, "7", false),
        (&old, "7", true),
    ] {
        let config = json!({"schemas": [{"topics": ["#"], "schema": schema, "draft": draft}]});
        let outcome = start(config).send(("t", r#"["x"]"#)).unwrap();
        assert_eq!(outcome == Outcome::Pass, !is_read, "{schema} {draft}");
    }
    // The schema's own word counts more.
    let mut named = old;
    named["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    assert!(matches!(
        start(with(&named, &[])).send(("t", r#"["x"]"#)),
        Ok(Outcome::Refuse { .. })
    ));
}

#[test]
fn formats_are_checked_only_if_asked_for() {
    let schema = json!({"format": "ipv4"});
    assert_outcome!(start(with(&schema, &[])), ("t", "\"warm\"") => Outcome::Pass);
    let mut broker = start(with(&schema, &[("formats", json!(true))]));
    assert_outcome!(broker,
        ("t", "\"10.0.0.1\"") => Outcome::Pass,
        ("t", "\"warm\"") => refused(r#"/: has to be of the format ipv4"#),
    );
}

#[test]
fn a_tag_is_ours_alone() {
    let mut broker = start(with(&room(), &[("on_invalid", json!("tag"))]));
    let mut message = Message::new("t", r#"{"c":1}"#);
    message.properties.content_type = Some("application/json".to_owned());
    message.properties.user = vec![("a".to_owned(), "1".to_owned())];
    assert_outcome!(broker, message.clone() => Outcome::Pass);
    message
        .properties
        .user
        .push((TAG.to_owned(), "/: forged".to_owned()));
    let outcome = broker.send(message.clone()).unwrap();
    assert_eq!(tags(&outcome), [""; 0]);
    message.payload = b"{}".to_vec();
    let outcome = broker.send(message).unwrap();
    assert_eq!(tags(&outcome), [r#"/: `c` is missing"#]);
    let Outcome::Modify(patch) = outcome else {
        panic!()
    };
    let properties = patch.properties.unwrap();
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(properties.user_property("a"), Some("1"));
    assert_eq!((patch.payload, patch.topic), (None, None));
}

#[test]
fn what_does_not_fit_is_consumed_or_goes_to_the_dead_letters() {
    assert_outcome!(start(with(&room(), &[("on_invalid", json!("consume"))])), ("t", "1") => Outcome::Consume);
    let dead = [
        ("on_invalid", json!("dead-letter")),
        ("dead_letter", json!("dead/{topic}/x")),
    ];
    let mut broker = start(with(&room(), &dead));
    let message = Message {
        retain: true,
        ..Message::new("t", "1")
    };
    let outcome = broker.send(message).unwrap();
    assert_eq!(tags(&outcome).len(), 1);
    let Outcome::Modify(patch) = outcome else {
        panic!()
    };
    assert_eq!(
        (patch.topic.as_deref(), patch.retain),
        (Some("dead/t/x"), Some(false))
    );
    // 65,535 bytes are a topic, one more is none.
    for (bytes, is_dead) in [(65_528, true), (65_529, false)] {
        let outcome = broker.send(("t".repeat(bytes), "1")).unwrap();
        assert_eq!(matches!(outcome, Outcome::Modify(_)), is_dead, "{bytes}");
    }
}

#[test]
fn a_retained_message_may_be_taken_away() {
    let empty = |retain| Message {
        retain,
        ..Message::new("t", "")
    };
    let mut broker = start(with(&room(), &[]));
    assert_outcome!(broker, empty(true) => Outcome::Pass);
    assert!(matches!(
        broker.send(empty(false)),
        Ok(Outcome::Refuse { .. })
    ));
}

#[test]
fn errors_are_counted_and_cut() {
    let numbers = json!({"items": {"type": "string"}});
    let list = |count: usize| format!("[{}]", vec!["1"; count].join(","));
    for (max_errors, expected) in [(1, 1), (3, 3), (16, 16)] {
        let config = with(
            &numbers,
            &[
                ("max_errors", json!(max_errors)),
                ("on_invalid", json!("tag")),
            ],
        );
        let outcome = start(config).send(("t", list(50))).unwrap();
        assert_eq!(tags(&outcome).len(), expected);
    }
    let mut broker = start(with(&numbers, &[("on_invalid", json!("tag"))]));
    let just = format!("{:1$}", list(8191), SEARCHED_BYTES);
    for (payload, expected) in [(just.clone(), 3), (format!("{just} "), 1)] {
        let outcome = broker.send(("t", payload)).unwrap();
        assert_eq!(tags(&outcome).len(), expected);
    }
    let long = json!({"enum": ["ü".repeat(500)]});
    let outcome = start(with(&long, &[("on_invalid", json!("tag"))]))
        .send(("t", "1"))
        .unwrap();
    assert!(tags(&outcome)[0].len() <= ERROR_BYTES + 3 && tags(&outcome)[0].ends_with('…'));
}

#[test]
fn sizes_and_depths_are_bounded() {
    let mut broker = start(with(
        &json!(true),
        &[("max_bytes", json!(10)), ("max_depth", json!(3))],
    ));
    assert_outcome!(broker,
        ("t", "[123456 ] ") => Outcome::Pass,
        ("t", "[1234567 ] ") => refused("it has 11 bytes, allowed are 10"),
        ("t", r#"[{"a":[]}]"#) => Outcome::Pass,
        ("t", "[[[[]]]]") => refused("it has more than 3 levels"),
    );
    let mut broker = start(with(
        &json!(true),
        &[("max_depth", json!(100)), ("max_bytes", json!(1_048_576))],
    ));
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_outcome!(broker, ("t", nested(100)) => Outcome::Pass);
    for levels in [101, 128, 500_000] {
        assert!(
            matches!(
                broker.send(("t", nested(levels))),
                Ok(Outcome::Refuse { .. })
            ),
            "{levels}"
        );
    }
}

#[test]
fn schemas_that_cannot_be_used_are_refused_in_words() {
    let nested = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({"not": inner}));
    assert!(Broker::start(with(&nested(SCHEMA_DEPTH), &[])).is_ok());
    for (schema, expected) in [
        (json!({"type": "numbre"}), "/type"),
        (
            json!({"$ref": "http://example.com/schema.json"}),
            "example.com",
        ),
        (json!({"$ref": "file:///etc/passwd"}), "passwd"),
        (json!({"$ref": "other.json"}), "other.json"),
        (json!({"$schema": "http://example.com/mine"}), "example.com"),
        (json!({"$ref": "#/nowhere"}), "nowhere"),
        (json!({"pattern": "(?=a)b"}), "pattern"),
        (json!({"pattern": "("}), "pattern"),
        (json!({"pattern": "([a-z]{1,100}){1,100}"}), "pattern"),
        (json!(7), "schemas[0].schema"),
        (nested(SCHEMA_DEPTH + 1), "more than 64 levels"),
    ] {
        let error = Broker::start(with(&schema, &[])).unwrap_err();
        assert!(error.contains(expected), "{schema}: {error}");
    }
    for (config, expected) in [
        (
            json!({"schemas": [{"topics": ["a#"], "schema": true}]}),
            "`a#` is no topic filter",
        ),
        (
            json!({"schemas": [{"topics": [], "schema": true}]}),
            "items",
        ),
        (json!({"dead_letter": "a/+"}), "makes no topic name"),
        (json!({"max_errors": 0}), "less than 1"),
        (json!({"max_errors": 17}), "more than 16"),
        (json!({"max_depth": 101}), "more than 100"),
        (json!({"max_bytes": 1_048_577}), "more than"),
        (json!({"on_invalid": "drop"}), "expected one of"),
        (
            json!({"schemas": [{"topics": ["a"], "schema": true, "draft": "4"}]}),
            "expected one of",
        ),
    ] {
        let error = Broker::start(&config).unwrap_err();
        assert!(error.contains(expected), "{config}: {error}");
    }
    let entry = json!({"topics": ["a"], "schema": true});
    assert!(Broker::start(json!({"schemas": vec![entry.clone(); 64]})).is_ok());
    assert!(Broker::start(json!({"schemas": vec![entry; 65]})).is_err());
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    let tree = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
    let nested = (1..30).fold(json!({}), |inner, _| json!({"next": inner}));
    assert_outcome!(start(with(&tree, &[])), ("t", nested.to_string()) => Outcome::Pass);
    for schema in [
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"if": {"$ref": "#"}, "then": false}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}),
    ] {
        let error = Broker::start(with(&schema, &[])).unwrap_err();
        assert!(error.contains("it would never end"), "{schema}: {error}");
    }
}

#[test]
fn a_pattern_that_would_be_slow_elsewhere_is_not_and_a_large_one_is_not_matched_with_a_long_text() {
    let text = |length: usize| format!("\"{}!\"", "a".repeat(length));
    let mut broker = start(with(&json!({"pattern": "^(a+)+$"}), &[]));
    assert_outcome!(broker, ("t", text(30_000)) => refused("/: has to match `^(a+)+$`"));
    let mut broker = start(with(&json!({"pattern": "^[a-z]{500}"}), &[]));
    assert_outcome!(broker, ("t", text(500)) => Outcome::Pass);
    let Ok(Outcome::Refuse { text, .. }) = broker.send(("t", text(60_000))) else {
        panic!("it takes too long")
    };
    assert!(text.unwrap().contains("more than 200000 steps"));
}
