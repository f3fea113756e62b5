//! Steps that wait: the message stands still in the middle of its chains, and goes on with the answer.

use super::{NOBODY, deployed, message, text};
use crate::rules::ShardChains;
use bytes::Bytes;
use std::sync::Arc;
use witmq_broker::ports::chains::{Emit, Patch};
use witmq_broker::ports::{
    ChainOutcome, ChainProgress, ChainRun, Chains, Publisher, Rest, RuleControl, StepAnswer,
    StepFailure, StepOutcome, Transform,
};
use witmq_proto::packet::PublishProperties;
use witmq_proto::{Message, ReasonCode};

/// One plugin, `slow`, that is asked. Another, `two`, makes two of one at once.
#[derive(Default)]
struct Slow {
    asked: Vec<String>,
    is_full: bool,
}

impl Transform for Slow {
    fn transform(
        &mut self,
        plugin: &str,
        _: Publisher<'_>,
        message: &Message,
    ) -> Result<StepOutcome, StepFailure> {
        let part = |end: &str| {
            let mut payload = message.payload.to_vec();
            payload.extend_from_slice(end.as_bytes());
            emit(message, &payload)
        };
        match plugin {
            "two" => Ok(StepOutcome::Split(vec![part(".1"), part(".2")])),
            _ => Err(StepFailure::Waits(plugin.to_owned())),
        }
    }

    fn ask(
        &mut self,
        plugin: &str,
        _: Publisher<'_>,
        message: &Arc<Message>,
    ) -> Result<StepAnswer, StepFailure> {
        if self.is_full {
            return Err(StepFailure::Full(plugin.to_owned()));
        }
        self.asked.push(text(message));
        Ok(Box::pin(std::future::pending()))
    }
}

fn emit(message: &Message, payload: &[u8]) -> Emit {
    Emit {
        topic: message.topic.as_byte_string().clone(),
        payload: Bytes::copy_from_slice(payload),
        properties: PublishProperties::default(),
        qos: message.qos,
        retain: false,
    }
}

fn changed(payload: &str) -> Result<StepOutcome, StepFailure> {
    Ok(StepOutcome::Modify(Patch {
        payload: Some(Bytes::copy_from_slice(payload.as_bytes())),
        ..Patch::default()
    }))
}

fn waits(progress: ChainProgress) -> Rest {
    match progress {
        ChainProgress::Waits { rest, .. } => rest,
        ChainProgress::Done(run) => panic!("{run:?}"),
    }
}

fn done(progress: ChainProgress) -> ChainRun {
    match progress {
        ChainProgress::Done(run) => run,
        ChainProgress::Waits { .. } => panic!("it waits"),
    }
}

fn texts(outcome: &ChainOutcome) -> Vec<String> {
    match outcome {
        ChainOutcome::Replaced(message) => vec![text(message)],
        ChainOutcome::Split(parts) => parts.iter().map(|part| text(part)).collect(),
        other => panic!("{other:?}"),
    }
}

/// A chain with steps of the given plugins, each followed by one that marks what passed.
fn chain(mode: &str, plugins: &[&str]) -> String {
    let steps = plugins.iter().map(|plugin| {
        format!(
            "[[step]]\nplugin = \"{plugin}\"\n[[step]]\nset = {{ \"$payload\" = \"payload + '!'\" }}\n"
        )
    });
    format!(
        "mode = \"{mode}\"\nfrom = \"t\"\n{}",
        steps.collect::<String>()
    )
}

fn begun(chains: &mut ShardChains, slow: &mut Slow) -> Rest {
    waits(chains.run(slow, NOBODY, &message("t", "x")))
}

#[test]
fn the_message_goes_on_with_the_answer_through_the_steps_that_follow() {
    let (_, mut chains) = deployed(&[("c", &chain("transform", &["slow"]))]);
    let mut slow = Slow::default();
    let rest = begun(&mut chains, &mut slow);
    assert_eq!(slow.asked, ["t x"]);
    let run = done(chains.resume(&mut slow, NOBODY, rest, changed("y")));
    assert_eq!(texts(&run.outcome), ["t y!"]);
}

#[test]
fn a_step_may_wait_after_another_and_every_part_of_a_message_waits_in_order() {
    let (_, mut chains) = deployed(&[("c", &chain("transform", &["slow", "two", "slow"]))]);
    let mut slow = Slow::default();
    let rest = begun(&mut chains, &mut slow);
    let rest = waits(chains.resume(&mut slow, NOBODY, rest, changed("y")));
    let rest = waits(chains.resume(&mut slow, NOBODY, rest, Ok(StepOutcome::Pass)));
    assert_eq!(slow.asked, ["t x", "t y!.1!", "t y!.2!"]);
    let run = done(chains.resume(&mut slow, NOBODY, rest, changed("z")));
    assert_eq!(texts(&run.outcome), ["t y!.1!!", "t z!"]);
}

#[test]
fn refused_consumed_withheld_or_failed_it_ends_as_at_once() {
    let (rules, mut chains) = deployed(&[("c", &chain("transform", &["slow"]))]);
    let mut slow = Slow::default();
    let mut outcome = |answer| {
        let rest = begun(&mut chains, &mut slow);
        done(chains.resume(&mut slow, NOBODY, rest, answer)).outcome
    };
    let refuse = StepOutcome::Refuse {
        reason: ReasonCode::NotAuthorized,
        text: None,
    };
    assert!(matches!(
        outcome(Ok(refuse)),
        ChainOutcome::Refused {
            reason: ReasonCode::NotAuthorized,
            ..
        }
    ));
    assert!(matches!(
        outcome(Ok(StepOutcome::Consume)),
        ChainOutcome::Consumed
    ));
    assert!(matches!(
        outcome(Ok(StepOutcome::Withhold)),
        ChainOutcome::Withheld
    ));
    let late = Err(StepFailure::Deadline("slow".to_owned()));
    assert!(matches!(outcome(late), ChainOutcome::Refused { .. }));
    assert_eq!(rules.list()[0].failed, 1);
    slow.is_full = true;
    let run = done(chains.run(&mut slow, NOBODY, &message("t", "x")));
    assert!(matches!(run.outcome, ChainOutcome::Refused { .. }));
    assert_eq!(rules.list()[0].failed, 2);
}

#[test]
fn a_rule_chain_that_waits_leaves_the_message_alone_and_the_next_chain_runs_after_it() {
    let first = format!("{}[[step]]\npublish = \"one\"\n", chain("rule", &["slow"]));
    let second = "from = \"t\"\norder = 1\n[[step]]\npublish = \"two\"\n";
    let (_, mut chains) = deployed(&[("a", &first), ("b", second)]);
    let mut slow = Slow::default();
    let rest = begun(&mut chains, &mut slow);
    let run = done(chains.resume(&mut slow, NOBODY, rest, changed("y")));
    assert!(matches!(run.outcome, ChainOutcome::Untouched));
    let published: Vec<String> = run
        .emissions
        .iter()
        .map(|emission| text(emission))
        .collect();
    assert_eq!(published, ["one y!", "two x"]);
}

#[test]
fn what_waits_ends_in_the_chains_it_began_in() {
    let (rules, mut chains) = deployed(&[("c", &chain("transform", &["slow"]))]);
    let mut slow = Slow::default();
    let rest = begun(&mut chains, &mut slow);
    let other = chain("transform", &["slow"]).replace('!', "?");
    rules.apply("c.toml", &other, false).unwrap();
    let fresh = begun(&mut chains, &mut slow);
    let run = done(chains.resume(&mut slow, NOBODY, fresh, Ok(StepOutcome::Pass)));
    assert_eq!(texts(&run.outcome), ["t x?"]);
    rules.remove("c").unwrap();
    let run = done(chains.resume(&mut slow, NOBODY, rest, Ok(StepOutcome::Pass)));
    assert_eq!(texts(&run.outcome), ["t x!"]);
}
