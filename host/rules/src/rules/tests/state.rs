//! Steps that remember: over shards and revisions, within their bounds.

use super::{NOBODY, Plugins, message, through};
use crate::{Rules, RulesConfig};
use std::sync::Arc;
use witmq_broker::ports::{ChainOutcome, ChainProgress, Chains, ControlError, RuleControl};
use witmq_proto::{Message, ReasonCode};

fn at(topic: &str, payload: &str, received_ms: u64) -> Arc<Message> {
    let mut message = message(topic, payload);
    Arc::make_mut(&mut message).received_ms = received_ms;
    message
}

fn rules(files: &[(&str, &str)]) -> Rules {
    bounded(RulesConfig::default(), files)
}

fn bounded(config: RulesConfig, files: &[(&str, &str)]) -> Rules {
    let (rules, problems) = Rules::new(config);
    assert!(problems.is_empty());
    for (name, text) in files {
        rules.apply(&format!("{name}.toml"), text, false).unwrap();
    }
    rules
}

/// What a rule chain publishes for a message.
fn emitted(chains: &mut crate::ShardChains, message: &Arc<Message>) -> usize {
    through(chains, message).emissions.len()
}

const DEDUP: &str =
    "from = 't/{x}'\n[[step]]\ndedup = { key = 'topic.x', for = '10s' }\n[[step]]\npublish = 'u'\n";

fn refusal(rules: &Rules, text: &str) -> String {
    let Err(ControlError::Invalid { message, .. }) = rules.apply("bad.toml", text, false) else {
        panic!("it is taken: {text}")
    };
    message
}

#[test]
fn all_shards_remember_the_same() {
    let rules = rules(&[("d", DEDUP)]);
    let mut shards = [rules.shard_chains(), rules.shard_chains()];
    let [one, other] = &mut shards;
    assert_eq!(emitted(one, &at("t/a", "", 0)), 1);
    assert_eq!(emitted(other, &at("t/a", "", 9_999)), 0);
    assert_eq!(emitted(other, &at("t/b", "", 9_999)), 1);
    assert_eq!(emitted(other, &at("t/a", "", 10_000)), 1);
    let info = &rules.list()[0];
    assert_eq!((info.filtered, info.state_entries, info.evicted), (1, 2, 0));
}

#[test]
fn a_step_that_is_the_same_in_the_next_revision_goes_on_with_what_it_remembers() {
    let rules = rules(&[("d", DEDUP)]);
    let mut chains = rules.shard_chains();
    assert_eq!(emitted(&mut chains, &at("t/a", "", 0)), 1);
    let further = DEDUP.replace(
        "[[step]]\npublish",
        "[[step]]\nfilter = 'true'\n[[step]]\npublish",
    );
    rules.apply("d.toml", &further, true).unwrap();
    rules.apply("d.toml", &further, false).unwrap();
    assert_eq!(emitted(&mut chains, &at("t/a", "", 1)), 0, "kept");
    let longer = further.replace("'10s'", "'20s'");
    rules.apply("d.toml", &longer, false).unwrap();
    assert_eq!(emitted(&mut chains, &at("t/a", "", 2)), 1, "another time");
    let twice = longer.replace(
        "[[step]]\ndedup",
        "[[step]]\ndedup = { key = 'topic.x', for = '20s' }\n[[step]]\ndedup",
    );
    rules.apply("d.toml", &twice, false).unwrap();
    assert_eq!(emitted(&mut chains, &at("t/a", "", 3)), 0);
    assert_eq!(
        emitted(&mut chains, &at("t/b", "", 3)),
        1,
        "each of two remembers for itself"
    );
}

#[test]
fn tests_of_a_file_leave_nothing_behind() {
    let tested = format!(
        "{DEDUP}[[test]]\nname = 'twice'\ngiven = [{{ topic = 't/a', payload = '' }}, {{ topic = 't/a', payload = '' }}]\nexpect = [{{ topic = 'u' }}]\n[[test]]\nname = 'anew'\ngiven = {{ topic = 't/a', payload = '' }}\nexpect = [{{ topic = 'u' }}]\n"
    );
    let rules = rules(&[("d", &tested)]);
    assert_eq!(emitted(&mut rules.shard_chains(), &at("t/a", "", 1)), 1);
    let wrong = tested.replacen("expect = [{ topic = 'u' }]", "expect = []", 1);
    let error = refusal(&rules, &wrong);
    assert!(
        error.contains("test `twice` fails: 0 messages are expected, 1 came"),
        "{error}"
    );
    let wrong = tested.replacen("payload = '' }, {", "pay = '' }, {", 1);
    let error = refusal(&rules, &wrong);
    assert!(error.contains("unknown field `pay`"), "{error}");
}

#[test]
fn what_a_step_remembers_is_bounded_and_what_it_gives_up_is_counted() {
    let limits = |state_entries, state_bytes| RulesConfig {
        state_entries,
        state_bytes,
        ..RulesConfig::default()
    };
    for (config, fits) in [
        (limits(2, 1 << 20), 2),
        (limits(100, 400), 2),
        (limits(100, 600), 3),
    ] {
        let rules = bounded(config, &[("d", DEDUP)]);
        let mut chains = rules.shard_chains();
        for key in 0..3 {
            assert_eq!(emitted(&mut chains, &at(&format!("t/{key}"), "", 0)), 1);
        }
        let info = &rules.list()[0];
        assert_eq!((info.state_entries, info.evicted), (fits, 3 - fits as u64));
        assert!(info.state_bytes > 0);
        let again = emitted(&mut chains, &at("t/0", "", 0));
        assert_eq!(again, 3 - fits, "the first one is forgotten, or not");
    }
}

#[test]
fn what_is_too_much_stops_is_dropped_or_refused() {
    let file = |excess: &str| {
        format!(
            "mode = 'transform'\nfrom = 't'\n[[step]]\nrate = {{ limit = 1, per = '1s'{excess} }}\n[[step]]\nset = {{ '$payload' = \"'set'\" }}\n"
        )
    };
    for (excess, expected) in [
        ("", "untouched"),
        (", excess = 'drop'", "consumed"),
        (", excess = 'refuse'", "refused 0x97"),
    ] {
        let rules = rules(&[("r", &file(excess))]);
        let mut chains = rules.shard_chains();
        let mut outcome =
            |received_ms| match chains.run(&mut Plugins, NOBODY, &at("t", "x", received_ms)) {
                ChainProgress::Done(run) => match run.outcome {
                    ChainOutcome::Untouched => "untouched".to_owned(),
                    ChainOutcome::Consumed => "consumed".to_owned(),
                    ChainOutcome::Replaced(_) => "replaced".to_owned(),
                    ChainOutcome::Refused { reason, .. } => {
                        assert_eq!(reason, ReasonCode::QuotaExceeded);
                        "refused 0x97".to_owned()
                    }
                    other => panic!("{other:?}"),
                },
                ChainProgress::Waits { .. } => panic!("it waits"),
            };
        let outcomes = [outcome(0), outcome(999), outcome(1000)];
        assert_eq!(outcomes, ["replaced", expected, "replaced"], "{excess}");
        assert_eq!(rules.list()[0].filtered, 1);
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place() {
    let rules = rules(&[]);
    for (step, expected) in [
        (
            "dedup = { key = 'topic.x', for = '10 s' }",
            "bad.toml:3:35: for: `10 s` is no time",
        ),
        (
            "dedup = { key = 'topic.x', for = '0s' }",
            "for: `0s` is no time",
        ),
        (
            "dedup = { key = 'topic.x', for = '367d' }",
            "for: `367d` is no time",
        ),
        (
            "dedup = { key = 'topic.y', for = '1s' }",
            "bad.toml:3:18: `topic.y` is unknown",
        ),
        ("dedup = { key = 'topic.x' }", "missing field `for`"),
        (
            "dedup = { key = 'topic.x', for = '1s', excess = 'drop' }",
            "bad.toml:3:49: a rule chain works on a copy",
        ),
        (
            "rate = { limit = 0, per = '1s' }",
            "bad.toml:3:18: limit is 1 to 1000000, not 0",
        ),
        (
            "rate = { limit = 1000001, per = '1s' }",
            "limit is 1 to 1000000",
        ),
        (
            "changed = { value = 'payload', by = -1.0 }",
            "by is a number from 0 on",
        ),
        (
            "changed = { value = 'payload', at_least = 'soon' }",
            "at_least: `soon` is no time",
        ),
    ] {
        let error = refusal(&rules, &format!("from = 't/{{x}}'\n[[step]]\n{step}\n"));
        assert!(error.contains(expected), "{step}: {error}");
    }
    for fine in [
        "dedup = { key = 'topic.x', for = '366d' }",
        "rate = { limit = 1000000, per = '1ms' }",
    ] {
        let text = format!("from = 't/{{x}}'\n[[step]]\n{fine}\n");
        rules.apply("fine.toml", &text, false).unwrap();
    }
    let text = "mode = 'transform'\nfrom = 't'\n[[step]]\ndedup = { key = 'payload', for = '1s', excess = 'refuse' }\n";
    assert!(refusal(&rules, text).contains("only a rate refuses"));
}

#[test]
fn keys_are_compared_by_value_and_bounded() {
    let text =
        "from = 't'\n[[step]]\ndedup = { key = 'payload', for = '10s' }\n[[step]]\npublish = 'u'\n";
    let rules = rules(&[("d", text)]);
    let mut chains = rules.shard_chains();
    for (payload, expected) in [
        ("20", 1),
        ("20.0", 0),
        ("\"20\"", 0),
        ("[1, 2.0]", 1),
        ("[1.0,2]", 0),
        ("{\"a\":1,\"b\":2}", 1),
        ("{\"b\":2.0,\"a\":1}", 0),
        ("true", 1),
        ("null", 0),
    ] {
        assert_eq!(
            emitted(&mut chains, &at("t", payload, 1)),
            expected,
            "{payload}"
        );
    }
    let failed = rules.list()[0].failed;
    assert_eq!(failed, 1, "null is no key");
    assert_eq!(emitted(&mut chains, &at("t", &"k".repeat(1024), 1)), 1);
    assert_eq!(emitted(&mut chains, &at("t", &"k".repeat(1025), 1)), 0);
    let info = &rules.list()[0];
    let error = info.last_error.as_deref().unwrap();
    assert!(
        info.failed == 2 && error.contains("at most 1024 are taken"),
        "{error}"
    );
}
