//! What is shown of messages: traces of `rule run`, taps, misses.

use super::*;
use crate::check::run_message;
use crate::tap::{Miss, Tapped};
use crate::trace::{Changed, Mark, Trace};

const BOTH: &str = r#"
mode = "transform"
from = "s/{room}"

[[step]]
filter = "payload.c > 10 && (payload.c < 40 || topic.room == 'sauna')"

[[step]]
set = { f = "payload.c * 2", c = "1", "$user.room" = "topic.room" }

[[step]]
publish = "copy/{room}"
payload = "payload.f"
qos = 1
retain = true

[[step]]
set = { x = "payload.none + 1" }
on_error = "continue"
"#;

fn traced(payload: &str) -> Trace {
    let msg = format!(r#"{{"topic":"s/a","payload":{payload},"received_ms":7}}"#);
    run_message("both.toml", BOTH, &msg).unwrap()
}

fn changed(field: &str, before: Option<&str>, after: &str) -> Changed {
    Changed {
        field: field.to_owned(),
        before: before.map(str::to_owned),
        after: Some(after.to_owned()),
    }
}

#[test]
fn a_trace_has_parts_changes_publishes_and_errors() {
    let trace = traced(r#"{"c":20}"#);
    assert_eq!((&*trace.topic, trace.at_ms), ("s/a", 7));
    let marks: Vec<Mark> = trace.steps.iter().map(|step| step.mark).collect();
    let expected = [Mark::Passed, Mark::Passed, Mark::Passed, Mark::Failed];
    assert_eq!(marks, expected);
    let [filter, set, publish, failing] = &trace.steps[..] else {
        panic!("{trace:?}")
    };
    assert_eq!((filter.index, &*filter.kind), (1, "filter"));
    let parts: Vec<(&str, &str)> = (filter.expressions[0].parts.iter())
        .map(|(source, value)| (&**source, &**value))
        .collect();
    assert!(parts.contains(&("payload.c", "20")), "{parts:?}");
    assert!(parts.contains(&("payload.c > 10", "true")), "{parts:?}");
    assert!(
        !parts.iter().any(|(source, _)| source.starts_with("topic")),
        "what decides is enough, the rest was not evaluated: {parts:?}"
    );
    let expected = [
        changed("payload.c", Some("20"), "1"),
        changed("payload.f", None, "40.0"),
        changed("user.room", None, "a"),
    ];
    for one in expected {
        assert!(set.changed.contains(&one), "{one:?} in {:?}", set.changed);
    }
    let emitted = &publish.emitted[0];
    assert_eq!((&*emitted.topic, &*emitted.payload), ("copy/a", "40.0"));
    assert_eq!((emitted.qos, emitted.retain), (1, true));
    let error = failing.error.as_deref().unwrap();
    assert!(error.contains("payload.none"), "{error}");
    let json = serde_json::to_string(&trace).unwrap();
    assert_eq!(serde_json::from_str::<Trace>(&json).unwrap(), trace);
    let text = trace.to_string();
    assert!(text.starts_with("+  filter payload.c > 10"), "{text}");
    assert!(text.contains("failed: 18:14: `payload.none`"), "{text}");
    assert!(text.contains("=  goes on: [s/a "), "{text}");
}

#[test]
fn a_condition_that_is_false_names_the_part_that_made_it_so() {
    for (payload, part) in [
        (r#"{"c":1}"#, "payload.c > 10"),
        // The one after || is as much to blame; the first is named.
        (r#"{"c":50}"#, "payload.c < 40"),
    ] {
        let trace = traced(payload);
        let [filter] = &trace.steps[..] else {
            panic!("{trace:?}")
        };
        assert_eq!(filter.mark, Mark::Ended);
        assert_eq!(filter.expressions[0].first_false.as_deref(), Some(part));
    }
    let not = "from = \"t\"\n[[step]]\nfilter = \"!(payload == 1 || payload == 2)\"\n";
    let trace = run_message("n.toml", not, r#"{"topic":"t","payload":2}"#).unwrap();
    let whole = "!(payload == 1 || payload == 2)";
    let named = trace.steps[0].expressions[0].first_false.as_deref();
    assert_eq!(named, Some(whole), "what is false within is not to blame");
}

fn tapped(rules: &Rules, after: Option<u64>) -> Tapped {
    serde_json::from_str(&rules.tap("both", after).unwrap()).unwrap()
}

/// A message that is received now, as the clock of taps is.
fn now(payload: &str) -> Arc<Message> {
    let mut message = message("s/a", payload);
    Arc::make_mut(&mut message).received_ms = kept::now_ms();
    message
}

#[test]
fn a_tap_shows_messages_while_somebody_asks_and_failures_beyond_its_pace() {
    let (rules, mut chains) = deployed(&[("both", BOTH)]);
    drop(through(&mut chains, &now(r#"{"c":20}"#)));
    assert!(
        tapped(&rules, None).traces.is_empty(),
        "nobody asked before"
    );
    let one = now(r#"{"c":20}"#);
    for _ in 0..30 {
        drop(through(&mut chains, &one));
    }
    let shown = tapped(&rules, Some(0));
    assert_eq!((shown.traces.len(), shown.skipped), (30, 10));
    let [first, .., last] = &shown.traces[..] else {
        panic!("{shown:?}")
    };
    assert_eq!((first.steps.len(), &*first.client), (4, "c"));
    assert_eq!(first.revision, 1);
    // Beyond the pace only what failed is there, and of it only that.
    assert_eq!((last.steps.len(), last.steps[0].mark), (1, Mark::Failed));
    assert_eq!((last.steps[0].index, &*last.steps[0].kind), (4, "set"));
    for _ in 0..5 {
        let mut quiet = one.clone();
        Arc::make_mut(&mut quiet).payload = Bytes::from_static(br#"{"c":1}"#);
        drop(through(&mut chains, &quiet));
    }
    let more = tapped(&rules, Some(shown.last));
    assert!(more.traces.is_empty(), "no failure, no trace: {more:?}");
    assert_eq!(more.skipped, 15);
    assert!(rules.tap("none", None).is_err());
}

#[test]
fn the_last_misses_are_kept_with_their_reason() {
    let (rules, mut chains) = deployed(&[("both", BOTH)]);
    for payload in [r#"{"c":20}"#, r#"{"c":1}"#, r#"{"c":50}"#] {
        drop(through(&mut chains, &message("s/a", payload)));
    }
    let misses: Vec<Miss> = serde_json::from_str(&rules.misses("both").unwrap()).unwrap();
    let reasons: Vec<(&str, Option<&str>)> = (misses.iter())
        .map(|miss| (&*miss.payload, miss.why.first_false.as_deref()))
        .collect();
    let expected = [
        (r#"{"c":1}"#, Some("payload.c > 10")),
        (r#"{"c":50}"#, Some("payload.c < 40")),
    ];
    assert_eq!(reasons, expected);
    assert!(rules.misses("none").is_err());
}

#[test]
fn every_step_has_its_numbers_and_knows_where_it_leads() {
    let page = "from = \"s/{room}\"\n[[step]]\nwhen = \"payload.c > 40\"\nthen = \"page\"\n[[step]]\nfilter = \"false\"\n\
        [[chain.page.step]]\npublish = \"page/{room}\"\n[[test]]\nname = \"n\"\ngiven = { topic = \"s/a\", payload = { c = 50 } }\n\
        expect = [{ topic = \"page/a\" }]\n";
    let (rules, mut chains) = deployed(&[("page", page)]);
    for payload in [r#"{"c":50}"#, r#"{"c":1}"#, r#"{"c":2}"#, r#"{"d":1}"#] {
        drop(through(&mut chains, &message("s/a", payload)));
    }
    // One of so many is timed, in each thread.
    for _ in 0..200 {
        drop(through(&mut chains, &message("s/a", r#"{"c":50}"#)));
    }
    let steps = rules.info("page").unwrap().steps;
    let counts: Vec<_> = (steps.iter())
        .map(|step| (step.kind, step.passed, step.ended, step.failed))
        .collect();
    let expected = [
        ("when", 203, 0, 1),
        ("filter", 0, 2, 0),
        ("publish", 201, 0, 0),
    ];
    assert_eq!(counts, expected, "what the file's tests did is not counted");
    let ways: Vec<_> = (steps.iter())
        .map(|step| (step.index, step.next, step.then, step.chain.as_deref()))
        .collect();
    let expected = [
        (1, Some(2), Some(3), None),
        (2, None, None, None),
        (3, None, None, Some("page")),
    ];
    assert_eq!(ways, expected);
    assert!(steps[0].quantiles_us[0] > 0.0, "{:?}", steps[0]);
    assert_eq!(steps[0].errors.len(), 1);
    let changed = page.replace("payload.c > 40", "payload.c > 41");
    rules.apply("page.toml", &changed, false).unwrap();
    let info = rules.info("page").unwrap();
    assert_eq!(info.matched, 204, "those of the chain go on");
    assert_eq!(info.steps[0].passed, 0, "those of its steps begin anew");
}
