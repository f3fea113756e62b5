//! Rules as they are imported, and messages through what came out.

mod rules;

use super::*;
use crate::rules::{Rules, RulesConfig};
use bytes::Bytes;
use proptest::prelude::*;
use std::sync::Arc;
use witmq_broker::ports::{
    ChainProgress, Chains, Publisher, RuleControl, StepFailure, StepOutcome, Transform,
};
use witmq_proto::packet::{MessageProperties, PublishProperties, QoS};
use witmq_proto::{Message, TopicName};

/// No rule calls a plugin.
struct Nothing;

impl Transform for Nothing {
    fn transform(
        &mut self,
        plugin: &str,
        _: Publisher<'_>,
        _: &Message,
    ) -> Result<StepOutcome, StepFailure> {
        Err(StepFailure::Unknown(plugin.to_owned()))
    }
}

fn import(text: &str) -> Imported {
    import_emqx(Some("r"), "r.sql", text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What a message to `topic` leads to, each as topic, payload, quality of service and `retain`.
fn came(rule: &str, topic: &str, payload: &str) -> Vec<String> {
    let imported = import(rule);
    let (rules, problems) = Rules::new(RulesConfig::default());
    assert!(problems.is_empty());
    rules.apply("r.toml", &imported.text, false).unwrap();
    let message = Arc::new(Message {
        topic: TopicName::new(topic).unwrap(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: PublishProperties::from(MessageProperties {
            user: vec![("site".into(), "ams".into())],
            ..MessageProperties::default()
        }),
        expires_at: None,
        publisher: "dev-7".into(),
        received_ms: 1_795_773_600_123,
        hops: 0,
    });
    let attributes = [("floor".to_owned(), "2".to_owned())];
    let publisher = Publisher {
        client_id: "dev-7",
        username: Some("ann"),
        attributes: &attributes,
        session: 1,
    };
    let run = match rules.shard_chains().run(&mut Nothing, publisher, &message) {
        ChainProgress::Done(run) => run,
        ChainProgress::Waits { .. } => panic!("no step waits"),
    };
    let shown = |message: &Arc<Message>| {
        let payload = String::from_utf8_lossy(&message.payload);
        let retain = if message.retain { " retained" } else { "" };
        format!("{} {payload} {}{retain}", message.topic, message.qos as u8)
    };
    run.emissions.iter().map(shown).collect()
}

/// The one payload that comes, as JSON; `None` if nothing does.
fn selected(rule: &str, topic: &str, payload: &str) -> Option<Json> {
    let came = came(rule, topic, payload);
    assert!(came.len() < 2, "{came:?}");
    let one = came.first()?;
    let json = one
        .strip_prefix("rules/r ")
        .unwrap()
        .strip_suffix(" 1")
        .unwrap();
    Some(serde_json::from_str(json).unwrap_or_else(|_| panic!("{one}")))
}

/// Columns that a rule selects of one message, compared whole; nothing is missing.
#[track_caller]
fn selects(rule: &str, topic: &str, payload: &str, wanted: Json) {
    assert_eq!(import(rule).remarks, [], "{rule}");
    assert_eq!(selected(rule, topic, payload), Some(wanted), "{rule}");
}

/// Nothing comes, and nothing is missing.
#[track_caller]
fn is_silent(rule: &str, topic: &str, payload: &str) {
    assert_eq!(import(rule).remarks, [], "{rule}");
    assert_eq!(selected(rule, topic, payload), None, "{rule}");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let wrong = |text: &str| import_emqx(None, "r.sql", text).unwrap_err().to_string();
    assert_eq!(
        wrong("SELECT a\nFROM t"),
        "r.sql:2:6: `t` stands where a topic in double quotes is needed"
    );
    assert_eq!(
        wrong("SELECT 'a FROM \"t\""),
        "r.sql:1:8: a text without an end"
    );
    assert_eq!(
        wrong("SELECT ? FROM \"t\""),
        "r.sql:1:8: `?` means nothing here"
    );
    assert!(wrong("SELECT * FROM \"a/#/b\"").starts_with("r.sql:1:15: `a/#/b` is no topic: "));
    assert!(
        wrong("SELECT * FROM \"$bridges/x\"").ends_with("no topic here that a chain can listen on")
    );
    assert!(wrong("{\"sql\": 1}").contains("has its statement as `sql`"));
    assert!(wrong("{\n oops").starts_with("r.sql:2:2: this is no JSON"));
    let inner = wrong(r#"{"sql": "SELECT\n FROM \"t\""}"#);
    assert!(
        inner.starts_with("r.sql (sql):2:2: `FROM` stands where an expression"),
        "{inner}"
    );
    let name = import_emqx(Some("a b"), "r.sql", "SELECT * FROM \"t\"").unwrap_err();
    assert!(name.hint.unwrap().contains("--name"));
}

#[test]
fn bounds_hold_on_both_sides() {
    let nested = |depth: usize| {
        format!(
            "SELECT {}1{} as x FROM \"t\"",
            "(".repeat(depth),
            ")".repeat(depth)
        )
    };
    assert!(import_emqx(None, "r", &nested(40)).is_ok());
    let deep = import_emqx(None, "r", &nested(50)).unwrap_err().message;
    assert!(deep.contains("within 48 others"), "{deep}");
    let long = |bytes: usize| format!("SELECT 1 as x FROM \"t\"{}", " ".repeat(bytes - 22));
    assert!(import_emqx(None, "r", &long(BYTES)).is_ok());
    let long = import_emqx(None, "r", &long(BYTES + 1))
        .unwrap_err()
        .message;
    assert!(long.contains("at most 65536"), "{long}");
    let topics = |count: usize| {
        let topics: Vec<String> = (0..count).map(|number| format!("\"t/{number}\"")).collect();
        format!("SELECT 1 as x FROM {}", topics.join(", "))
    };
    assert!(import_emqx(None, "r", &topics(16)).is_ok());
    assert!(import_emqx(None, "r", &topics(17)).is_err());
}

#[test]
fn what_is_missing_is_in_the_file_and_beside_it() {
    let imported = import("SELECT jq('.a', payload) as a,\n peerhost, clientid FROM \"t\"");
    let places: Vec<_> = imported
        .remarks
        .iter()
        .map(|r| (r.line, r.column))
        .collect();
    assert_eq!(places, [(1, 8), (2, 2)]);
    assert!(
        imported.remarks[0]
            .text
            .contains("the function `jq` is not there")
    );
    assert!(
        imported.remarks[1]
            .text
            .contains("the column `peerhost` is null")
    );
    for remark in &imported.remarks {
        assert!(imported.text.contains(&remark.text), "{}", imported.text);
    }
    assert!(
        imported
            .text
            .contains("#     SELECT jq('.a', payload) as a,")
    );
}

#[test]
fn a_condition_that_cannot_be_carried_over_passes_nothing() {
    let rule = "SELECT clientid FROM \"t\" WHERE peerhost = '127.0.0.1' or qos = 1";
    let imported = import(rule);
    assert!(
        imported.remarks[0].text.contains("passes nothing"),
        "{:?}",
        imported.remarks
    );
    assert_eq!(selected(rule, "t", "x"), None);
}

#[test]
fn what_aliases_grow_to_is_bounded() {
    let mut columns = vec!["payload.a as a0".to_owned()];
    columns.extend((1..40).map(|n| format!("a{0} + a{0} as a{n}", n - 1)));
    let imported = import(&format!("SELECT {} FROM \"t\"", columns.join(", ")));
    assert!(!imported.remarks.is_empty());
}

fn word() -> impl Strategy<Value = String> {
    let words = [
        "SELECT",
        "FOREACH",
        "DO",
        "INCASE",
        "FROM",
        "WHERE",
        "AS",
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "and",
        "or",
        "not",
        "div",
        "mod",
        "payload",
        "payload.x",
        "clientid",
        "topic",
        "qos",
        "item",
        "*",
        ",",
        "(",
        ")",
        "[",
        "]",
        "[1]",
        "[1..2]",
        "=",
        "<>",
        "=~",
        ">",
        "+",
        "-",
        "/",
        "1",
        "-1",
        "0",
        "1.5e3",
        "9999999999999999999",
        "'a'",
        "'a''{b'",
        "\"t/#\"",
        "\"t\"",
        "\"$events/x\"",
        "upper(",
        "nth(1,",
        "sprintf_s('~s',",
        "jq(",
        ".",
        "''",
        "'\n'",
        "'\u{7f}'",
        "null",
        "payload.'a b'",
        "flags",
        "pub_props.'User-Property'",
    ];
    prop_oneof![
        20 => proptest::sample::select(words.map(str::to_owned).to_vec()),
        1 => any::<String>(),
    ]
}

/// Compiles, whatever it is, or says where it does not.
fn promise(text: &str) {
    match import_emqx(Some("r"), "r.sql", text) {
        Ok(imported) => check("r.toml", &imported.text).unwrap(),
        Err(error) => assert!(error.line > 0 && error.column > 0 && error.code != "internal"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_an_error_or_a_chain(text in any::<String>()) {
        promise(&text);
    }

    #[test]
    fn any_words_are_an_error_or_a_chain(
        columns in proptest::collection::vec(word(), 1..12),
        condition in proptest::collection::vec(word(), 0..8),
        is_foreach in any::<bool>(),
    ) {
        let first = if is_foreach { "FOREACH" } else { "SELECT" };
        promise(&format!("{first} {} FROM \"t/#\"", columns.join(" ")));
        let condition = condition.join(" ");
        promise(&format!("SELECT * FROM \"t/#\" WHERE {condition}"));
    }

    #[test]
    fn any_action_is_an_error_or_a_chain(
        topic in any::<String>(), payload in "[a-z${}.'\\\\]{0,20}", name in any::<String>(),
    ) {
        let rule = serde_json::json!({
            "name": name,
            "sql": "SELECT *, payload.x as x FROM \"t/#\"",
            "actions": [{"function": "republish", "args": {"topic": topic, "payload": payload}}],
        });
        promise(&rule.to_string());
    }
}
