//! What `publish` makes of a message, and dead letters.

use super::{deployed, message, text, through};
use crate::check::check;
use crate::rules::ShardChains;
use bytestring::ByteString;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};
use witmq_broker::ports::{ChainOutcome, RuleControl};
use witmq_proto::Message;
use witmq_proto::packet::QoS;

fn published(chains: &mut ShardChains, given: &Arc<Message>) -> Vec<Arc<Message>> {
    through(chains, given).emissions
}

fn wrong(file: &str) -> String {
    check("c.toml", file).unwrap_err().to_string()
}

const FULL: &str = r#"
from = "a/{x}"
[[step]]
publish = "u/{x}/{payload.kind}-{payload.n}"
payload = "payload.body"
qos = "payload.qos"
retain = "payload.keep"
expiry = "payload.seconds"
content_type = "text/{payload.kind}"
response_topic = "answers/{payload.kind}"
user = { origin = "topic.name", "a b" = "payload.n" }
"#;

#[test]
fn a_publish_sets_properties_from_the_message() {
    let (_, mut chains) = deployed(&[("c", FULL)]);
    let given = r#"{"kind":"k","n":7,"body":"x","qos":2,"keep":true,"seconds":60}"#;
    let mut given = message("a/1", given);
    Arc::make_mut(&mut given).properties.user = [("origin", "old"), ("other", "1")]
        .map(|(name, value)| (ByteString::from(name), ByteString::from(value)))
        .to_vec();
    let before = Instant::now();
    let one = &published(&mut chains, &given)[0];
    assert_eq!(text(one), "u/1/k-7 x");
    assert_eq!((one.qos, one.retain, one.hops), (QoS::ExactlyOnce, true, 1));
    let properties = &one.properties;
    assert_eq!(properties.message_expiry, Some(60));
    assert!(one.expires_at.unwrap() >= before + Duration::from_secs(60));
    assert_eq!(properties.content_type.as_deref(), Some("text/k"));
    assert_eq!(properties.response_topic.as_deref(), Some("answers/k"));
    let user: Vec<_> = properties
        .user
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    assert_eq!(user, [("other", "1"), ("a b", "7"), ("origin", "a/1")]);
}

#[test]
fn what_a_publish_cannot_take_fails_the_step() {
    let good = r#"{"kind":"k","n":7,"body":"x","qos":2,"keep":true,"seconds":60}"#;
    for (given, expected) in [
        (
            good.replace("\"qos\":2", "\"qos\":3"),
            "qos: 3 is not 0, 1 or 2",
        ),
        (good.replace("true", "1"), "retain: 1 is not true or false"),
        (
            good.replace(":60", ":-1"),
            "expiry: -1 is no whole number of seconds",
        ),
        (
            good.replace(":60", ":1.5"),
            "expiry: 1.5 is no whole number of seconds",
        ),
        (
            good.replace(":60", ":4294967296"),
            "expiry: 4294967296 is no whole number of seconds",
        ),
        (
            good.replace("\"k\"", "[1]"),
            "`{payload.kind}` gives [1], which is no text",
        ),
        (good.replace("\"k\"", "\"\""), "`{payload.kind}` is empty"),
        (
            good.replace("\"k\"", "null"),
            "`{payload.kind}` gives null, which is no text",
        ),
        (
            good.replace("\"k\"", "\"\\u0000\""),
            "a property is a text of at most 65535 bytes without NUL",
        ),
    ] {
        let (rules, mut chains) = deployed(&[("c", FULL)]);
        assert!(
            published(&mut chains, &message("a/1", &given)).is_empty(),
            "{given}"
        );
        let error = rules.list()[0].last_error.clone().unwrap();
        assert_eq!(error, expected, "{given}");
    }
}

#[test]
fn a_property_has_so_many_bytes() {
    let file = "from = 't'\n[[step]]\npublish = 'u'\nuser = { long = 'payload' }\n";
    let (rules, mut chains) = deployed(&[("c", file)]);
    let longest = message("t", &"a".repeat(65_535));
    assert_eq!(published(&mut chains, &longest).len(), 1);
    let longer = message("t", &"a".repeat(65_536));
    assert!(published(&mut chains, &longer).is_empty());
    assert_eq!(rules.list()[0].failed, 1);
}

#[test]
fn qos_retain_and_expiry_may_be_values_too() {
    let step = "from = 't'\n[[step]]\npublish = 'u'\nqos = 0\nretain = true\nexpiry = 5\n";
    let (_, mut chains) = deployed(&[("c", step)]);
    let one = &published(&mut chains, &message("t", "x"))[0];
    assert_eq!((one.qos, one.retain), (QoS::AtMostOnce, true));
    assert_eq!(one.properties.message_expiry, Some(5));
    for (setting, expected) in [
        ("qos = 3", "c.toml:4:7: qos is 0, 1 or 2, not 3"),
        (
            "qos = 300",
            "c.toml:4:7: a value of its kind, or an expression in quotes",
        ),
        (
            "retain = 1",
            "c.toml:4:10: a value of its kind, or an expression in quotes",
        ),
        ("qos = 'payload.'", "c.toml:4:"),
        (
            "response_topic = 'a/#'",
            "c.toml:4:19: response_topic: a topic name must not contain a wildcard",
        ),
        (
            "content_type = '{payload'",
            "c.toml:4:17: content_type: `{` without `}`",
        ),
        (
            "content_type = 'a{payloat.x}'",
            "c.toml:4:19: `payloat` is unknown",
        ),
        ("user = { a = 'b' }", "c.toml:4:15: `b` is unknown"),
    ] {
        let error = wrong(&format!("from = 't'\n[[step]]\npublish = 'u'\n{setting}\n"));
        assert!(error.starts_with(expected), "{setting}: {error}");
    }
    let error = wrong("from = 't'\n[[step]]\nfilter = 'true'\nexpiry = 1\n");
    assert_eq!(error, "c.toml:4:10: `expiry` belongs to a publish step");
}

/// What is published for a value in the topic.
fn level(template: &str, value: &str) -> Option<String> {
    let file = format!("from = 't'\n[[step]]\npublish = \"{template}\"\n");
    let (_, mut chains) = deployed(&[("c", &file)]);
    let payload = serde_json::json!({ "v": value }).to_string();
    let all = published(&mut chains, &message("t", &payload));
    all.first().map(|one| one.topic.to_string())
}

#[test]
fn data_makes_no_levels_and_no_wildcards() {
    for (value, expected) in [
        ("a/b", "u/a%2Fb/x"),
        ("+", "u/%2B/x"),
        ("#", "u/%23/x"),
        ("../$SYS", "u/..%2F$SYS/x"),
        ("%2F", "u/%252F/x"),
        ("a\0b\n", "u/a%00b%0A/x"),
        ("grün {x}", "u/grün {x}/x"),
    ] {
        assert_eq!(level("u/{payload.v}/x", value).unwrap(), expected);
    }
    assert_eq!(level("{payload.v}/x", "$SYS").unwrap(), "%24SYS/x");
    let nested = "u/{ {'}': payload.v}['}'] }";
    assert_eq!(level(nested, "y").unwrap(), "u/y");
}

#[test]
fn the_topic_itself_keeps_its_levels_and_nothing_that_is_made_of_it_does() {
    for (template, expected) in [
        ("copy/{topic.name}", "copy/a/b"),
        ("{topic.name}/copy", "a/b/copy"),
        ("copy/{ topic.name }", "copy/a/b"),
        ("copy/{topic.name + '/c'}", "copy/a%2Fb%2Fc"),
    ] {
        let file = format!("from = 'a/#'\n[[step]]\npublish = \"{template}\"\n");
        let (_, mut chains) = deployed(&[("c", &file)]);
        let all = published(&mut chains, &message("a/b", "{}"));
        assert_eq!(all[0].topic.to_string(), expected);
    }
}

proptest! {
    #[test]
    fn whatever_the_data_says_it_is_one_level(value in ".{1,20}|[/+#$%\0a]{1,6}") {
        let topic = level("{payload.v}/x", &value).unwrap();
        prop_assert_eq!(topic.split('/').count(), 2);
        prop_assert!(topic.ends_with("/x") && !topic.starts_with('$'));
        prop_assert!(!topic.contains(['+', '#', '\0']));
    }
}

#[test]
fn a_captured_name_does_not_reach_the_topics_of_the_broker() {
    let (rules, mut chains) = deployed(&[("c", "from = 'a/{x...}'\n[[step]]\npublish = '{x}'\n")]);
    assert!(published(&mut chains, &message("a/$SYS/x", "")).is_empty());
    let error = rules.list()[0].last_error.clone().unwrap();
    assert_eq!(
        error,
        "publish: topics that begin with $ are the broker's own"
    );
    assert_eq!(
        published(&mut chains, &message("a/b/c", ""))[0]
            .topic
            .as_str(),
        "b/c"
    );
}

#[test]
fn names_topics_and_values_are_told_apart_at_deploy() {
    for (topic, expected) in [
        (
            "u/{side}",
            "c.toml:3:12: publish: `{side}` is no name of this chain's `from`: it has site",
        ),
        (
            "u/+",
            "c.toml:3:12: publish: a topic name must not contain a wildcard",
        ),
        ("$SYS/x", "c.toml:3:12: publish: topics that begin with $"),
        (
            "",
            "c.toml:3:12: publish: a topic is at least one character",
        ),
        ("u/{site", "c.toml:3:14: publish: `{` without `}`"),
        ("u/{payload.a + }", "c.toml:3:"),
        ("u/{}", "c.toml:3:"),
    ] {
        let error = wrong(&format!(
            "from = 'a/{{site}}'\n[[step]]\npublish = '{topic}'\n"
        ));
        assert!(error.starts_with(expected), "{topic}: {error}");
    }
}

#[test]
fn a_payload_that_is_no_text_any_more_is_not_called_one() {
    let file = "from = 't'\nencode = 'cbor'\n[[step]]\npublish = 'u'\npayload = '200'\n[[step]]\nset = { '$payload' = '200' }\n[[step]]\npublish = 'v'\n";
    let (_, mut chains) = deployed(&[("c", file)]);
    let mut given = message("t", "1");
    Arc::make_mut(&mut given).properties.payload_format = Some(1);
    for one in published(&mut chains, &given) {
        assert_eq!(one.payload[..], [0x18, 200]);
        assert_eq!(one.properties.payload_format, None);
    }
}

const BURIES: &str = "from = 't'\n[[step]]\nset = { a = 'payload.none' }\non_error = 'dead-letter'\n[[step]]\npublish = 'u'\n";

#[test]
fn a_message_that_fails_becomes_a_dead_letter_as_it_came() {
    for (mode, consumed) in [("transform", true), ("rule", false)] {
        let first = "[[step]]\nset = { '$payload' = '{}', '$topic' = '\"elsewhere\"' }\n[[step]]\npublish = 'before'\n";
        let file = format!(
            "mode = '{mode}'\n{}",
            BURIES.replacen("[[step]]", &format!("{first}[[step]]"), 1)
        );
        let (rules, mut chains) = deployed(&[("c", &file)]);
        let mut given = message("t", r#"{"c":1}"#);
        let changed = Arc::make_mut(&mut given);
        (changed.retain, changed.properties.user) = (true, vec![("x".into(), "y".into())]);
        let run = through(&mut chains, &given);
        assert_eq!(matches!(run.outcome, ChainOutcome::Consumed), consumed);
        let texts: Vec<String> = run.emissions.iter().map(|one| text(one)).collect();
        let expected = ["before {}", r#"$dead-letter/chain/c {"c":1}"#];
        assert_eq!(texts, expected, "and no further");
        let letter = &run.emissions[1];
        let user: Vec<_> = letter
            .properties
            .user
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(user[..2], [("x", "y"), ("topic", "t")]);
        assert!(
            user[2].0 == "reason" && user[2].1.contains("payload.none"),
            "{user:?}"
        );
        assert!(!letter.retain && letter.hops == 1);
        assert_eq!(rules.list()[0].failed, 1);
    }
    let (_, mut chains) = deployed(&[("c", BURIES)]);
    let run = through(&mut chains, &message("t", r#"{"none":1}"#));
    assert_eq!(run.emissions.len(), 1, "nothing failed");
}

#[test]
fn a_payload_that_cannot_be_read_becomes_one_as_well_and_one_only() {
    let file = "mode = 'transform'\nfrom = 't'\ndecode = 'json'\non_error = 'dead-letter'\n[[step]]\nforeach = 'payload'\n[[step]]\nfilter = 'item'\n";
    let (_, mut chains) = deployed(&[("c", file)]);
    for given in ["x", "[1,2,3]"] {
        let run = through(&mut chains, &message("t", given));
        assert!(matches!(run.outcome, ChainOutcome::Consumed), "{given}");
        assert_eq!(run.emissions.len(), 1);
        assert_eq!(
            text(&run.emissions[0]),
            format!("$dead-letter/chain/c {given}")
        );
    }
}

#[test]
fn the_reason_of_a_dead_letter_is_bounded() {
    let reason = |length: usize| {
        let given = message("t", "x");
        let letter = crate::run::letter("c", &given, &"ä".repeat(length)).unwrap();
        letter.properties.user[1].1.len()
    };
    assert_eq!((reason(512), reason(513)), (1024, 1024));
}
