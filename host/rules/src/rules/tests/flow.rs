//! Ways through a file: named chains, a message for each element, and what the steps behind know.

use super::{NOBODY, deployed, message, text, through};
use crate::check::check;
use crate::rules::{Rules, RulesConfig, ShardChains};
use bytestring::ByteString;
use std::sync::Arc;
use witmq_broker::ports::chains::Emit;
use witmq_broker::ports::{
    ChainOutcome, ChainProgress, Chains, Publisher, RuleControl, StepFailure, StepOutcome,
    Transform,
};
use witmq_proto::Message;
use witmq_proto::packet::PublishProperties;

/// What is published for a payload on the topic `t`.
fn published(chains: &mut ShardChains, payload: &str) -> Vec<String> {
    let run = through(chains, &message("t", payload));
    run.emissions.iter().map(|message| text(message)).collect()
}

fn wrong(file: &str) -> (String, String) {
    let error = check("c.toml", file).unwrap_err();
    (error.to_string(), error.hint.unwrap_or_default())
}

const PAGE: &str = r#"
from = "t"
[[step]]
when = "payload.f > 140"
then = "page"
[[step]]
when = "payload.f > 100"
then = "warn"
[[step]]
publish = "fine"
payload = "payload.f"
[chain.page]
step = [{ publish = "pager", payload = "payload.f" }, { when = "true", then = "warn" }, { publish = "never" }]
[[chain.warn.step]]
publish = "warning"
payload = "payload.f"
"#;

#[test]
fn when_leads_to_a_named_chain_and_falls_through_otherwise() {
    let (rules, mut chains) = deployed(&[("c", PAGE)]);
    assert_eq!(published(&mut chains, r#"{"f":50}"#), ["fine 50"]);
    assert_eq!(published(&mut chains, r#"{"f":120}"#), ["warning 120"]);
    let both = ["pager 150", "warning 150"];
    assert_eq!(published(&mut chains, r#"{"f":150}"#), both);
    assert!(published(&mut chains, "{}").is_empty());
    let info = &rules.list()[0];
    let error = info.last_error.as_deref().unwrap();
    assert!(info.failed == 1 && error.contains("payload.f"), "{error}");
}

#[test]
fn a_condition_that_is_neither_true_nor_false_fails() {
    let (rules, mut chains) = deployed(&[("c", &PAGE.replace("payload.f > 140", "payload.f"))]);
    assert!(published(&mut chains, r#"{"f":1}"#).is_empty());
    let error = rules.list()[0].last_error.clone().unwrap();
    assert_eq!(error, "when `payload.f` gives 1, not true or false");
}

#[test]
fn circles_and_unknown_names_are_refused_at_deploy() {
    let circle = "from = 't'\n[[step]]\nwhen = 'true'\nthen = 'a'\n[chain.a]\nstep = [{ when = 'true', then = 'b' }]\n[chain.b]\nstep = [{ when = 'true', then = 'a' }]\n";
    let (error, hint) = wrong(circle);
    assert_eq!(
        error,
        "c.toml:8:33: named chains go in a circle: a -> b -> a"
    );
    assert!(!hint.is_empty());
    let (error, _) = wrong(&circle.replace("then = 'b'", "then = 'a'"));
    assert!(error.ends_with(": a -> a"), "{error}");
    let open = circle.replace("when = 'true', then = 'a' }", "filter = 'true' }");
    check("c.toml", &open).unwrap();
    let (error, hint) = wrong(&PAGE.replace("then = \"page\"", "then = \"pagr\""));
    assert_eq!(error, "c.toml:5:8: there is no chain `pagr` in this file");
    assert_eq!(hint, "did you mean `page`?");
    let (error, _) = wrong(
        "from = 't'\n[[step]]\nfilter = 'true'\nthen = 'a'\n[chain.a]\nstep = [{ filter = 'true' }]",
    );
    assert_eq!(error, "c.toml:4:8: `then` belongs to a when step");
    let (error, _) = wrong("from = 't'\n[[step]]\nfilter = 'true'\n[chain.a]\n");
    assert_eq!(error, "c.toml:4:8: the chain `a` needs at least one step");
}

#[test]
fn a_file_has_so_many_steps_with_its_named_chains() {
    let file = |named: usize| {
        let steps = "[[chain.a.step]]\nfilter = 'true'\n".repeat(named);
        format!("from = 't'\n[[step]]\nwhen = 'true'\nthen = 'a'\n{steps}")
    };
    check("c.toml", &file(63)).unwrap();
    let (error, _) = wrong(&file(64));
    assert!(error.contains("at most 64 steps"), "{error}");
}

/// A plugin that jumps to the chain it is named after, or makes two of one.
struct Jumps;

impl Transform for Jumps {
    fn transform(
        &mut self,
        plugin: &str,
        _: Publisher<'_>,
        message: &Message,
    ) -> Result<StepOutcome, StepFailure> {
        let part = || Emit {
            topic: message.topic.as_byte_string().clone(),
            payload: message.payload.clone(),
            properties: PublishProperties::default(),
            qos: message.qos,
            retain: false,
        };
        Ok(match plugin {
            "two" => StepOutcome::Split(vec![part(), part()]),
            other => StepOutcome::Jump(other.to_owned()),
        })
    }
}

fn jumped(rules: &Rules, payload: &str) -> Vec<String> {
    let mut chains = rules.shard_chains();
    match chains.run(&mut Jumps, NOBODY, &message("t", payload)) {
        ChainProgress::Done(run) => run.emissions.iter().map(|one| text(one)).collect(),
        ChainProgress::Waits { .. } => panic!("it waits"),
    }
}

#[test]
fn a_plugin_jumps_to_a_named_chain_but_not_for_ever() {
    let file = |plugin: &str| {
        format!(
            "from = 't'\n[[step]]\nplugin = '{plugin}'\n[chain.a]\nstep = [{{ publish = 'a' }}]\n[chain.b]\nstep = [{{ publish = 'b' }}, {{ plugin = 'b' }}]\n"
        )
    };
    let (rules, _) = deployed(&[("c", &file("a"))]);
    assert_eq!(jumped(&rules, "x"), ["a x"]);
    let (rules, _) = deployed(&[("c", &file("elsewhere"))]);
    assert!(jumped(&rules, "x").is_empty());
    let error = rules.list()[0].last_error.clone().unwrap();
    assert_eq!(
        error,
        "the plugin jumps: there is no chain `elsewhere` in this file"
    );
    let (rules, _) = deployed(&[("c", &file("b"))]);
    assert_eq!(jumped(&rules, "x").len(), 64, "the limit");
    let error = rules.list()[0].last_error.clone().unwrap();
    assert_eq!(error, "more than 64 times on to a named chain");
}

const EACH: &str = r#"
mode = "transform"
from = "t"
[[step]]
foreach = "payload.readings"
as = "reading"
[[step]]
filter = "reading.c > 0"
[[step]]
set = { "$payload" = "reading", "$topic" = "'t/' + string(index)" }
"#;

fn routed(chains: &mut ShardChains, payload: &str) -> Vec<String> {
    match through(chains, &message("t", payload)).outcome {
        ChainOutcome::Split(parts) => parts.iter().map(|part| text(part)).collect(),
        ChainOutcome::Replaced(one) => vec![text(&one)],
        ChainOutcome::Consumed => Vec::new(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_for_each_element_knows_it_and_its_place() {
    let (_, mut chains) = deployed(&[("c", EACH)]);
    let given = r#"{"readings":[{"c":1},{"c":2}]}"#;
    let expected = [r#"t/0 {"c":1}"#, r#"t/1 {"c":2}"#];
    assert_eq!(routed(&mut chains, given), expected);
    assert!(routed(&mut chains, r#"{"readings":[]}"#).is_empty());
    let given = r#"{"readings":[{"c":0},{"c":2}]}"#;
    let expected = [format!("t {given}"), r#"t/1 {"c":2}"#.to_owned()];
    assert_eq!(routed(&mut chains, given), expected, "as it was before");
}

#[test]
fn one_becomes_at_most_so_many() {
    let (rules, mut chains) = deployed(&[("c", EACH)]);
    let given = |count: usize| {
        format!(
            r#"{{"readings":[{}]}}"#,
            vec![r#"{"c":1}"#; count].join(",")
        )
    };
    assert_eq!(routed(&mut chains, &given(64)).len(), 64);
    let run = through(&mut chains, &message("t", &given(65)));
    let ChainOutcome::Refused { text, .. } = run.outcome else {
        panic!("{:?}", run.outcome)
    };
    assert_eq!(text.unwrap(), "chain c: more than 64 messages out of one");
    assert_eq!(rules.list()[0].failed, 1);
    let run = through(&mut chains, &message("t", r#"{"readings":1}"#));
    let ChainOutcome::Refused { text, .. } = run.outcome else {
        panic!("{:?}", run.outcome)
    };
    assert!(text.unwrap().contains("gives 1, not a list"));
}

#[test]
fn elements_within_elements_and_parts_of_a_plugin_keep_what_is_named() {
    let file = r#"
from = "t"
[[step]]
foreach = "payload.rows"
as = "row"
[[step]]
plugin = "two"
[[step]]
foreach = "row"
[[step]]
when = "true"
then = "out"
[[chain.out.step]]
publish = "cell"
payload = "string(row.size()) + '/' + string(index) + '=' + string(item)"
"#;
    let (rules, _) = deployed(&[("c", file)]);
    let row = ["cell 2/0=1 ", "cell 2/1=2 "].map(str::trim);
    let expected: Vec<&str> = [row, row, ["cell 1/0=3", "cell 1/0=3"]].concat();
    assert_eq!(jumped(&rules, r#"{"rows":[[1,2],[3]]}"#), expected);
}

#[test]
fn what_is_not_named_on_every_way_is_unknown() {
    let file = "from = 't'\n[[step]]\nwhen = 'payload.early'\nthen = 'a'\n[[step]]\nforeach = 'payload.l'\nas = 'one'\n[[step]]\nwhen = 'true'\nthen = 'a'\n[[chain.a.step]]\npublish = 'u'\npayload = 'one'\n";
    let (error, _) = wrong(file);
    assert!(
        error.starts_with("c.toml:13:12: `one` is unknown"),
        "{error}"
    );
    let early = "[[step]]\nwhen = 'payload.early'\nthen = 'a'\n";
    check("c.toml", &file.replacen(early, "", 1)).unwrap();
    for taken in ["payload", "1", "", "node"] {
        let file = format!("from = 't'\n[[step]]\nforeach = 'payload'\nas = '{taken}'\n");
        let (error, _) = wrong(&file);
        assert!(error.starts_with("c.toml:4:6: `"), "{error}");
    }
}

#[test]
fn user_properties_and_the_node_are_known() {
    let file =
        "from = 't'\n[[step]]\npublish = 'u'\npayload = \"[user.a, user.b, has(user.c), node]\"\n";
    let (rules, _) = Rules::new(RulesConfig {
        node: Arc::from("north"),
        ..RulesConfig::default()
    });
    rules.apply("c.toml", file, false).unwrap();
    let mut given = message("t", "x");
    Arc::make_mut(&mut given).properties.user = [("a", "1"), ("b", "2"), ("b", "3")]
        .map(|(name, value)| (ByteString::from(name), ByteString::from(value)))
        .to_vec();
    let run = through(&mut rules.shard_chains(), &given);
    assert_eq!(
        text(&run.emissions[0]),
        r#"u ["1",["2","3"],false,"north"]"#
    );
}

#[test]
fn a_chain_listens_on_several_topics_that_name_the_same() {
    let file = "from = ['a/{x}/temp', 'b/{x}', 'a/+/{x}']\n[[step]]\npublish = 'u/{x}'\n";
    let (rules, mut chains) = deployed(&[("c", file)]);
    assert_eq!(rules.list()[0].from, "a/{x}/temp, b/{x}, a/+/{x}");
    for (topic, expected) in [("a/1/temp", "u/1"), ("b/2", "u/2"), ("a/1/hum", "u/hum")] {
        let run = through(&mut chains, &message(topic, ""));
        let topics: Vec<&str> = run.emissions.iter().map(|one| &*one.topic).collect();
        assert_eq!(topics, [expected], "once, by the first that matches");
    }
    assert!(
        through(&mut chains, &message("b/2/3", ""))
            .emissions
            .is_empty()
    );
    for (from, expected) in [
        (
            "['a/{x}', 'b/{y}']",
            "c.toml:1:19: from: `b/{y}` has no `{x}`, but `a/{x}` has",
        ),
        (
            "['a/{x}', 'b/{x}/{y}']",
            "c.toml:1:19: from: `b/{x}/{y}` has `{y}`, but `a/{x}` has not",
        ),
        (
            "['a/{x}', 'b/{']",
            "c.toml:1:19: from: `{`: a name takes a whole level",
        ),
        ("[]", "c.toml:1:8: `from` is 1 to 16 topics, not 0"),
        ("[1]", "c.toml:1:9: invalid type: integer `1`"),
        (
            "1",
            "c.toml:1:8: invalid type: integer `1`, expected a topic or a list of topics",
        ),
    ] {
        let (error, _) = wrong(&file.replace("['a/{x}/temp', 'b/{x}', 'a/+/{x}']", from));
        assert!(error.starts_with(expected), "{from}: {error}");
    }
    let many = |count: usize| {
        format!(
            "from = [{}]\n[[step]]\nfilter = 'true'\n",
            "'a',".repeat(count)
        )
    };
    check("c.toml", &many(16)).unwrap();
    let (error, _) = wrong(&many(17));
    assert!(error.contains("1 to 16 topics, not 17"), "{error}");
}
