//! Chains from file to outcome.

mod bench;
mod deploying;
mod direct;
mod events;
mod flow;
mod limits;
mod looking;
mod payloads;
mod publishing;
mod reading;
mod resting;
mod sharing;
mod state;
mod tables;
mod trying;
mod waiting;
mod windows;

use super::*;
use crate::check::{check, trace};
use bytes::Bytes;
use bytestring::ByteString;
use proptest::prelude::*;
use std::time::{Duration, Instant};
use witmq_broker::ports::{
    ChainOutcome, ChainProgress, ChainRun, Chains, Publisher, StepFailure, StepOutcome, Transform,
};
use witmq_broker::ports::{ControlError, RuleControl};
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{Message, ReasonCode, TopicName};

/// Plugins by name: upper case, refusal, failure.
struct Plugins;

impl Transform for Plugins {
    fn transform(
        &mut self,
        plugin: &str,
        _: Publisher<'_>,
        message: &Message,
    ) -> Result<StepOutcome, StepFailure> {
        match plugin {
            "upper" => Ok(StepOutcome::Modify(witmq_broker::ports::chains::Patch {
                payload: Some(Bytes::from(message.payload.to_ascii_uppercase())),
                ..Default::default()
            })),
            "refuse" => Ok(StepOutcome::Refuse {
                reason: ReasonCode::NotAuthorized,
                text: None,
            }),
            "expire" => {
                let mut properties = PublishProperties::default();
                properties.message_expiry = Some(60);
                Ok(StepOutcome::Modify(witmq_broker::ports::chains::Patch {
                    properties: Some(properties),
                    ..Default::default()
                }))
            }
            other => Err(StepFailure::Unknown(other.to_owned())),
        }
    }
}

fn message(topic: &str, payload: &str) -> Arc<Message> {
    Arc::new(Message {
        topic: TopicName::new(topic).unwrap(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: PublishProperties::default(),
        expires_at: None,
        publisher: ByteString::from_static("c"),
        received_ms: 1,
        hops: 0,
    })
}

const NOBODY: Publisher<'_> = Publisher {
    client_id: "c",
    username: None,
    attributes: &[],
    session: 1,
};

fn deployed(files: &[(&str, &str)]) -> (Rules, ShardChains) {
    let (rules, problems) = Rules::new(RulesConfig::default());
    assert!(problems.is_empty());
    for (name, text) in files {
        crate::schema::tests::assert_valid(text);
        rules
            .apply(&format!("rules/{name}.toml"), text, false)
            .unwrap();
    }
    let chains = rules.shard_chains();
    (rules, chains)
}

/// A message through all chains, with plugins that never wait.
fn through(chains: &mut ShardChains, message: &Arc<Message>) -> ChainRun {
    match chains.run(&mut Plugins, NOBODY, message) {
        ChainProgress::Done(run) => run,
        ChainProgress::Waits { .. } => panic!("a step waits"),
    }
}

fn text(message: &Message) -> String {
    format!(
        "{} {}",
        message.topic,
        String::from_utf8_lossy(&message.payload)
    )
}

const HOT: &str = r#"
from = "sensors/{site}/{room}/temp"

[[step]]
filter = "payload.c > 40"

[[step]]
set = { site = "topic.site", f = "payload.c * 9 / 5 + 32" }

[[step]]
publish = "alerts/{site}/{room}"

[[test]]
name = "hot reading raises an alert"
given = { topic = "sensors/ams/12/temp", payload = { c = 41.5 } }
expect = [{ topic = "alerts/ams/12", payload = { f = 106.7, site = "ams" } }]

[[test]]
name = "cold reading does not"
given = { topic = "sensors/ams/12/temp", payload = { c = 20 } }
expect = []
"#;

#[test]
fn another_expiry_of_a_plugin_counts_from_then() {
    let step = "mode = \"transform\"\nfrom = \"t\"\n[[step]]\nplugin = \"expire\"\n";
    let (_rules, mut chains) = deployed(&[("expire", step)]);
    let before = Instant::now();
    let mut given = message("t", "x");
    let expires =
        |chains: &mut ShardChains, given: &Arc<Message>| match through(chains, given).outcome {
            ChainOutcome::Replaced(message) => message.expires_at.unwrap(),
            other => panic!("{other:?}"),
        };
    let (minute, found) = (Duration::from_secs(60), expires(&mut chains, &given));
    assert!(found >= before + minute && found <= Instant::now() + minute);
    let message = Arc::make_mut(&mut given);
    (message.properties.message_expiry, message.expires_at) = (Some(60), Some(before));
    assert_eq!(expires(&mut chains, &given), before, "it is the same one");
}

#[test]
fn a_rule_chain_leaves_the_message_alone_and_publishes_beside_it() {
    let (rules, mut chains) = deployed(&[("hot", HOT)]);
    for (payload, expected) in [(r#"{"c":50}"#, 1), (r#"{"c":50.0}"#, 1), (r#"{"c":20}"#, 0)] {
        let run = through(&mut chains, &message("sensors/ams/12/temp", payload));
        assert!(matches!(run.outcome, ChainOutcome::Untouched));
        assert_eq!(run.emissions.len(), expected, "{payload}");
        if let Some(emission) = run.emissions.first() {
            assert_eq!((&*emission.topic, emission.hops), ("alerts/ams/12", 1));
            assert!(
                text(emission).contains(r#""f":122.0"#),
                "{}",
                text(emission)
            );
        }
    }
    let run = through(&mut chains, &message("other", "x"));
    assert!(matches!(run.outcome, ChainOutcome::Untouched) && run.emissions.is_empty());
    let info = &rules.list()[0];
    assert_eq!(
        (info.matched, info.filtered, info.failed, info.mode),
        (3, 1, 0, "rule")
    );
}

#[test]
fn transform_chains_come_before_rules_and_in_order() {
    let step = |value: &str| {
        format!(
            "mode = \"transform\"\nfrom = \"t\"\norder = 1\n[[step]]\nset = {{ \"$payload\" = \"payload + '{value}'\" }}\n"
        )
    };
    let rule = "from = \"t\"\norder = -5\n[[step]]\npublish = \"copy\"\n";
    let first = step("1").replace("order = 1", "order = 0");
    let (_, mut chains) = deployed(&[
        ("a", &step("2")),
        ("b", &step("3")),
        ("z", &first),
        ("r", rule),
    ]);
    let run = through(&mut chains, &message("t", "x"));
    let ChainOutcome::Replaced(replaced) = run.outcome else {
        panic!("{:?}", run.outcome)
    };
    assert_eq!(text(&replaced), "t x123");
    assert_eq!(
        text(&run.emissions[0]),
        "copy x123",
        "the rule sees what left the transforms"
    );
}

#[test]
fn plugins_and_failure_policies_decide_in_transform_chains() {
    let file = |plugin: &str, policy: &str| {
        format!(
            "mode = \"transform\"\nfrom = \"t\"\n[[step]]\nplugin = \"{plugin}\"\n{policy}\n[[step]]\nset = {{ \"$payload\" = \"payload + '!'\" }}\n"
        )
    };
    for (plugin, policy, expected) in [
        ("upper", "", "t X!"),
        ("absent", "on_error = \"continue\"", "t x!"),
        ("absent", "on_error = \"stop\"", ""),
        ("absent", "", "refused 0x83 implementation specific error"),
        ("refuse", "", "refused 0x87 not authorized"),
    ] {
        let (rules, mut chains) = deployed(&[("c", &file(plugin, policy))]);
        let run = through(&mut chains, &message("t", "x"));
        let got = match run.outcome {
            ChainOutcome::Replaced(message) => text(&message),
            ChainOutcome::Untouched => String::new(),
            ChainOutcome::Refused { reason, .. } => format!("refused {reason}"),
            other => panic!("{other:?}"),
        };
        assert_eq!(got, expected, "{plugin} {policy}");
        assert_eq!(rules.list()[0].failed, u64::from(plugin == "absent"));
    }
}

#[test]
fn a_bad_file_names_its_place_and_the_running_revision_stays() {
    let (rules, mut chains) = deployed(&[("hot", HOT)]);
    let place = |text: &str| {
        let error = rules.apply("rules/hot.toml", text, false).unwrap_err();
        let ControlError::Invalid { message, hint, .. } = error else {
            panic!("{error:?}")
        };
        (message, hint.unwrap_or_default())
    };
    let (message_, hint) = place("from = \"t\"\n[[step]]\nfliter = \"true\"\n");
    assert!(
        message_.starts_with("rules/hot.toml:3:1: ") && hint.contains("`filter`"),
        "{message_} {hint}"
    );
    let (message_, _) = place("from = \"t\"\n[[step]]\nfilter = \"payload.c > \"\n");
    assert!(message_.starts_with("rules/hot.toml:3:"), "{message_}");
    let (message_, _) = place("from = \"t\"\n[[step]]\nfilter = \"true && paylod.c > 1\"\n");
    assert!(
        message_.starts_with("rules/hot.toml:3:19: `paylod`"),
        "{message_}"
    );
    let (message_, _) = place("from = \"t/{x}\"\n[[step]]\npublish = \"u/{y}\"\n");
    assert!(
        message_.starts_with("rules/hot.toml:3:12: publish: `{y}`"),
        "{message_}"
    );
    let (message_, _) = place("from = \"t\"\n[[step]]\nwhen = \"true\"\n");
    assert!(message_.contains("a when step needs `then`"), "{message_}");
    let (message_, _) = place("from = \"t\"\n[[step]]\nhttp = \"x\"\n");
    assert!(message_.contains("not in this version"), "{message_}");
    let (message_, _) = place("from = \"t\"\n");
    assert!(message_.contains("at least one [[step]]"), "{message_}");
    let (message_, _) = place(
        "from = \"t\"\n[[step]]\nfilter = \"true\"\n[[test]]\nname = \"n\"\ngiven = { topic = \"t\", payload = 1 }\nexpect = [{}]\n",
    );
    assert!(
        message_.starts_with("rules/hot.toml:4:1: test `n` fails"),
        "{message_}"
    );
    assert_eq!(rules.list()[0].revision, 1);
    let run = through(&mut chains, &message("sensors/a/b/temp", r#"{"c":50}"#));
    assert_eq!(run.emissions.len(), 1);
}

#[test]
fn limits_hold_on_both_sides() {
    let (rules, _) = Rules::new(RulesConfig {
        chains: 1,
        file_bytes: HOT.len(),
        ..RulesConfig::default()
    });
    rules.apply("a.toml", HOT, true).unwrap();
    assert!(rules.list().is_empty(), "a dry run deploys nothing");
    rules.apply("a.toml", HOT, false).unwrap();
    assert!(matches!(
        rules.apply("b.toml", HOT, false),
        Err(ControlError::LimitReached(_))
    ));
    assert!(matches!(
        rules.apply("a.toml", &format!("{HOT} "), false),
        Err(ControlError::LimitReached(_))
    ));
}

#[test]
fn a_message_is_traced_step_by_step() {
    check("hot.toml", HOT).unwrap();
    let lines = trace(
        "hot.toml",
        HOT,
        r#"{"topic":"sensors/a/b/temp","payload":{"c":41.5}}"#,
    )
    .unwrap();
    assert!(
        lines[0].starts_with("+  filter payload.c > 40"),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("+  publish alerts/a/b")),
        "{lines:?}"
    );
    assert!(trace("hot.toml", HOT, "{").is_err());
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-z\\[\\]=\"{}\n.#' 0-9]{0,120}") {
        drop(check("x.toml", &text));
    }
}
