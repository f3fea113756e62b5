//! Both ways through chains: a message comes to the same on the short one as on the one that somebody looks at.

use super::{NOBODY, message, text};
use crate::rules::{Rules, RulesConfig};
use bytes::Bytes;
use bytestring::ByteString;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use witmq_broker::ports::chains::{Emit, Patch};
use witmq_broker::ports::{
    ChainOutcome, ChainProgress, ChainRun, Chains, Publisher, RuleControl, StepAnswer, StepFailure,
    StepOutcome, Transform,
};
use witmq_proto::packet::PublishProperties;
use witmq_proto::{Message, ReasonCode};

/// Answers what the payload says, or as the plugin is called.
struct Said;

fn answer(word: &str, message: &Message) -> Result<StepOutcome, StepFailure> {
    let emit = |topic: &str| Emit {
        topic: ByteString::from(topic),
        payload: message.payload.clone(),
        properties: PublishProperties::default(),
        qos: message.qos,
        retain: false,
    };
    Ok(match word {
        "payload" => StepOutcome::Modify(Patch {
            payload: Some(Bytes::from_static(br#"{"c":2}"#)),
            ..Patch::default()
        }),
        "moved" => StepOutcome::Modify(Patch {
            topic: Some(ByteString::from_static("moved")),
            ..Patch::default()
        }),
        "split" => StepOutcome::Split(vec![emit("t"), emit("moved"), emit("t")]),
        "none" => StepOutcome::Split(Vec::new()),
        "refuse" => StepOutcome::Refuse {
            reason: ReasonCode::NotAuthorized,
            text: Some("no".to_owned()),
        },
        "consume" => StepOutcome::Consume,
        "withhold" => StepOutcome::Withhold,
        "stop" => StepOutcome::Stop,
        "jump" => StepOutcome::Jump("aside".to_owned()),
        "waits" => return Err(StepFailure::Waits("p".to_owned())),
        "fails" => return Err(StepFailure::Deadline("p".to_owned())),
        _ => StepOutcome::Pass,
    })
}

impl Transform for Said {
    fn transform(
        &mut self,
        plugin: &str,
        _: Publisher<'_>,
        message: &Message,
    ) -> Result<StepOutcome, StepFailure> {
        match plugin {
            "said" => answer(&String::from_utf8_lossy(&message.payload), message),
            other => answer(other, message),
        }
    }

    fn ask(
        &mut self,
        _: &str,
        _: Publisher<'_>,
        _: &Arc<Message>,
    ) -> Result<StepAnswer, StepFailure> {
        Ok(Box::pin(async { Ok(StepOutcome::Pass) }))
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn described(run: &ChainRun) -> String {
    let outcome = match &run.outcome {
        ChainOutcome::Replaced(one) => format!("replaced {}", text(one)),
        ChainOutcome::Split(parts) => {
            let parts: Vec<_> = parts.iter().map(|one| text(one)).collect();
            format!("split {parts:?}")
        }
        other => format!("{other:?}"),
    };
    let emissions: Vec<_> = run.emissions.iter().map(|one| text(one)).collect();
    format!("{outcome} {emissions:?}")
}

/// Everything that comes of these payloads, and what is counted.
fn all(files: &[(&str, &str)], payloads: &[&str], is_looked_at: bool) -> Vec<String> {
    let (rules, _) = Rules::new(RulesConfig::default());
    for (name, text) in files {
        rules.apply(&format!("{name}.toml"), text, false).unwrap();
    }
    let mut chains = rules.shard_chains();
    let mut came = Vec::new();
    for payload in payloads {
        for (name, _) in files.iter().filter(|_| is_looked_at) {
            rules.tap(name, None).unwrap();
        }
        let mut given = message("t", payload);
        Arc::make_mut(&mut given).received_ms = now_ms();
        let mut progress = chains.run(&mut Said, NOBODY, &given);
        let run = loop {
            match progress {
                ChainProgress::Done(run) => break run,
                ChainProgress::Waits { rest, .. } => {
                    came.push("waits".to_owned());
                    let passed = Ok(StepOutcome::Pass);
                    progress = chains.resume(&mut Said, NOBODY, rest, passed);
                }
            }
        };
        came.push(format!("{payload}: {}", described(&run)));
    }
    came.extend(counted(&rules));
    came
}

fn counted(rules: &Rules) -> impl Iterator<Item = String> {
    rules.list().into_iter().map(|info| {
        let steps = info.steps.iter();
        let steps = steps.map(|one| (one.passed, one.ended, one.failed, one.last_error.clone()));
        let steps: Vec<_> = steps.collect();
        let counts = (info.matched, info.filtered, info.failed, info.limited);
        format!("{}: {counts:?} {steps:?} {:?}", info.name, info.last_error)
    })
}

const WORDS: &[&str] = &[
    "pass", "payload", "moved", "split", "none", "refuse", "consume", "withhold", "stop", "jump",
    "waits", "fails",
];

/// A chain of a mode in which the plugin says what the payload says, with what may stand around it.
fn files(mode: &str, around: (&str, &str), on_error: &str) -> Vec<(String, String)> {
    let file = |mode: &str, from: &str, steps: &str| {
        format!(
            "mode = '{mode}'\nfrom = '{from}'\non_error = '{on_error}'\n{steps}[[chain.aside.step]]\nfilter = 'true'\n"
        )
    };
    let (before, behind) = around;
    let said = format!("{before}[[step]]\nplugin = 'said'\n{behind}");
    let jump = "[[step]]\nplugin = 'jump'\n"; // the chain aside has to be reached somehow
    let last = "[[step]]\nfilter = \"topic.name == 't'\"\n[[step]]\npublish = 'out'\n";
    vec![
        ("a".to_owned(), file(mode, "t", &said)),
        ("b".to_owned(), file("transform", "#", jump)),
        (
            "c".to_owned(),
            file("rule", "#", &format!("{last}{jump}")).replace("'refuse'", "'stop'"),
        ),
    ]
}

#[test]
fn both_ways_come_to_the_same_and_count_the_same() {
    let nothing = "";
    let set = "[[step]]\nset = { 'payload.d' = '1' }\n";
    let bare = "[[step]]\nfilter = 'qos == 1'\n";
    let never = "[[step]]\nfilter = 'qos == 0'\n";
    let wrong = "[[step]]\nfilter = 'qos'\n";
    let reads = "[[step]]\nfilter = 'payload.c > 1'\n";
    let raw = "[[step]]\nfilter = 'size(raw) > 4'\n";
    let publish = "[[step]]\npublish = 'seen'\n";
    let payloads: Vec<_> = WORDS.iter().copied().chain([r#"{"c":3}"#]).collect();
    let mut on_error = ["continue", "stop", "dead-letter", "refuse"].iter().cycle();
    for mode in ["transform", "rule"] {
        for before in [nothing, bare, never, wrong, reads, raw, publish, set] {
            for behind in [nothing, bare, never, reads, publish, set, raw] {
                let on_error = match on_error.next().unwrap() {
                    &"refuse" if mode == "rule" => "stop", // it has nothing to refuse
                    other => other,
                };
                let files = files(mode, (before, behind), on_error);
                let files = files.iter().map(|(name, text)| (&**name, &**text));
                let files: Vec<_> = files.collect();
                let (short, long) = (all(&files, &payloads, false), all(&files, &payloads, true));
                assert_eq!(short, long, "{mode} {on_error} {before} {behind}");
            }
        }
    }
}
