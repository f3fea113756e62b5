//! Files that are refused: each of `broken/` says on its first lines where, why, and what to do, and what ran goes on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use witmq_broker::ports::{
    ChainProgress, Chains, ControlError, Publisher, RuleControl, StepFailure, StepOutcome,
    Transform,
};
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{ByteString, Bytes, Message, TopicName};
use witmq_rules::{Rules, RulesConfig};

/// What runs when the broken file comes.
const RUNNING: &str = "from = 'in'\n[[step]]\npublish = 'out'\n";

/// Words for machines that a refused file comes with.
const CODES: [&str; 9] = [
    "bad-file",
    "bad-name",
    "bad-step",
    "bad-template",
    "cel-error",
    "chain-circle",
    "not-yet",
    "test-failed",
    "unknown-chain",
];

struct NoPlugins;

impl Transform for NoPlugins {
    fn transform(
        &mut self,
        plugin: &str,
        _: Publisher<'_>,
        _: &Message,
    ) -> Result<StepOutcome, StepFailure> {
        Err(StepFailure::Unknown(plugin.to_owned()))
    }
}

/// How many messages the running chain publishes for one.
fn published(rules: &Rules) -> usize {
    let message = Arc::new(Message {
        topic: TopicName::new("in").unwrap(),
        payload: Bytes::new(),
        qos: QoS::AtMostOnce,
        retain: false,
        properties: PublishProperties::default(),
        expires_at: None,
        publisher: ByteString::new(),
        received_ms: 0,
        hops: 0,
    });
    let publisher = Publisher {
        client_id: "c",
        username: None,
        attributes: &[],
        session: 1,
    };
    match rules
        .shard_chains()
        .run(&mut NoPlugins, publisher, &message)
    {
        ChainProgress::Done(run) => run.emissions.len(),
        ChainProgress::Waits { .. } => panic!("nothing waits"),
    }
}

/// The first lines of the file as they should be, and the code.
fn refused(name: &str, text: &str) -> (String, &'static str) {
    let (rules, problems) = Rules::new(RulesConfig::default());
    assert!(problems.is_empty());
    let file = format!("rules/{name}");
    let stem = name.strip_suffix(".toml").unwrap();
    let running = if stem.contains(' ') {
        "running.toml"
    } else {
        name
    };
    rules.apply(running, RUNNING, false).unwrap();
    let error = rules.apply(&file, text, false).unwrap_err();
    let ControlError::Invalid {
        code,
        message,
        hint,
    } = error
    else {
        panic!("{name}: {error:?}")
    };
    let listed = rules.list();
    assert_eq!((listed.len(), listed[0].revision), (1, 1), "{name}");
    assert_eq!(published(&rules), 1, "{name}: what ran goes on");
    let place = message.strip_prefix(&format!("{file}:")).unwrap();
    let (place, message) = place.split_once(": ").unwrap();
    let mut lines = format!("# expect: {place} {code} {}\n", message.replace('\n', " "));
    if let Some(hint) = hint {
        writeln!(lines, "# hint: {hint}").unwrap();
    }
    (lines, code)
}

/// Whether the first lines of the file are these; what is listed at the end of an error may be left out.
fn says(text: &str, lines: &str) -> bool {
    let mut written = text.lines();
    lines.lines().all(|line| {
        let written = written.next().unwrap_or_default();
        let is_whole = !line.starts_with("# expect: ");
        written.len() > 24 && line.starts_with(written) && (!is_whole || line == written)
    }) && !written.next().unwrap_or_default().starts_with("# hint: ")
}

#[test]
fn every_broken_file_is_refused_where_it_says_and_what_ran_goes_on() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let (mut codes, mut count, mut wrong) = (BTreeSet::new(), 0, String::new());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let (lines, code) = refused(&name, &text);
        if !says(&text, &lines) {
            write!(wrong, "{name}\n{lines}").unwrap();
        }
        codes.insert(code);
        count += 1;
    }
    assert!(wrong.is_empty(), "these say something else:\n{wrong}");
    assert!(count >= 30, "{count} files");
    assert_eq!(codes, BTreeSet::from(CODES), "each class of errors once");
}
