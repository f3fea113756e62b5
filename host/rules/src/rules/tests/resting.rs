//! A chain that fails rests: what becomes of messages meanwhile, and how it comes back.

use super::{message, text, through};
use crate::{BreakerLimits, ExpressionLimits, Rules, RulesConfig, ShardChains, Turn};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use witmq_broker::ports::control::{ChainFile, DeployOptions, TrialKind};
use witmq_broker::ports::{ChainOutcome, ChainRun, RuleControl};

const LIMITS: BreakerLimits = BreakerLimits {
    failures: 3,
    per_mille: 1000,
    overruns: 2,
    window_ms: 10_000,
    message: Duration::from_secs(3600),
    rest_ms: 1_000,
    longest_ms: 4_000,
};

type Told = Arc<Mutex<Vec<(String, u64, Turn)>>>;

fn rules(breaker: BreakerLimits, files: &[(&str, &str)]) -> (Rules, ShardChains, Told) {
    let (rules, _) = Rules::new(RulesConfig {
        breaker,
        expression: ExpressionLimits {
            iterations: 3,
            ..ExpressionLimits::default()
        },
        ..RulesConfig::default()
    });
    let told = Told::default();
    let notes = told.clone();
    rules.on_rest(move |chain, revision, turn| {
        let note = (chain.to_owned(), revision, turn.clone());
        notes.lock().unwrap().push(note);
    });
    for (name, text) in files {
        rules.apply(&format!("{name}.toml"), text, false).unwrap();
    }
    let chains = rules.shard_chains();
    (rules, chains, told)
}

fn at(chains: &mut ShardChains, payload: &str, received_ms: u64) -> ChainRun {
    let mut message = message("t", payload);
    Arc::make_mut(&mut message).received_ms = received_ms;
    through(chains, &message)
}

fn state(rules: &Rules) -> &'static str {
    rules.list()[0].state
}

const FILTER: &str = "from = 't'\n[[step]]\nfilter = 'payload.c > 1'\n[[step]]\npublish = 'u'\n";

#[test]
fn it_rests_doubles_and_runs_again_and_that_is_told() {
    let (rules, mut chains, told) = rules(LIMITS, &[("c", FILTER)]);
    for now in [0, 1] {
        at(&mut chains, "bad", now);
    }
    assert_eq!(state(&rules), "running", "two of three");
    at(&mut chains, "bad", 2);
    assert_eq!(state(&rules), "resting");
    let good = r#"{"c":2}"#;
    let run = at(&mut chains, good, 1001);
    assert!(run.emissions.is_empty() && matches!(run.outcome, ChainOutcome::Untouched));
    at(&mut chains, "bad", 1002); // the probe: two seconds now
    assert!(at(&mut chains, good, 3001).emissions.is_empty());
    assert_eq!(at(&mut chains, good, 3002).emissions.len(), 1, "well again");
    assert_eq!(at(&mut chains, good, 3003).emissions.len(), 1);
    let info = &rules.list()[0];
    assert_eq!((info.rests, info.rested, info.matched), (2, 2, 6));
    assert_eq!((info.state, &info.resting), ("running", &None));
    let told = told.lock().unwrap();
    let rests = |rest_ms| Turn::Rests {
        rest_ms,
        why: "3 of 3 messages failed within 10 s".to_owned(),
    };
    let turns = [rests(1000), rests(2000), Turn::Runs];
    assert_eq!(*told, turns.map(|turn| ("c".to_owned(), 1, turn)));
}

#[test]
fn a_failure_now_and_then_is_no_reason_and_what_continues_is_none() {
    let (rules, mut chains, _) = rules(LIMITS, &[("c", FILTER)]);
    for now in 0..20 {
        at(&mut chains, "bad", 3 * now);
        at(&mut chains, "{\"c\":0}", 3 * now + 1);
    }
    assert_eq!((state(&rules), rules.list()[0].failed), ("running", 20));
    let lenient = FILTER.replace(
        "[[step]]\npublish",
        "on_error = 'continue'\n[[step]]\npublish",
    );
    rules.apply("c.toml", &lenient, false).unwrap();
    for now in 100..120 {
        assert_eq!(at(&mut chains, "bad", now).emissions.len(), 1);
    }
    assert_eq!(state(&rules), "running");
}

#[test]
fn what_costs_too_much_makes_it_rest_even_where_the_step_continues() {
    let step = "from = 't'\n[[step]]\nfilter = 'payload.all(x, x > 0)'\non_error = 'continue'\n";
    let (rules, mut chains, _) = rules(LIMITS, &[("c", step)]);
    at(&mut chains, "[1,2,3,4]", 0);
    for now in 1..50 {
        at(&mut chains, "[1,2,3]", now);
    }
    assert_eq!(state(&rules), "running", "one of two");
    at(&mut chains, "[1,2,3,4]", 50);
    let why = rules.list()[0].resting.clone().unwrap();
    assert_eq!(
        why,
        (
            1050,
            "2 messages cost more than they may within 10 s".to_owned()
        )
    );
}

#[test]
fn time_is_such_a_cost() {
    let hasty = BreakerLimits {
        message: Duration::ZERO,
        ..LIMITS
    };
    for (limits, expected) in [(hasty, "resting"), (LIMITS, "running")] {
        let (rules, mut chains, _) = rules(limits, &[("c", FILTER)]);
        at(&mut chains, "{\"c\":2}", 0);
        at(&mut chains, "{\"c\":2}", 1);
        assert_eq!(state(&rules), expected);
    }
}

#[test]
fn the_clock_is_read_for_steps_that_may_take_long() {
    for (step, is_quick) in [
        ("filter = 'payload.c > 1 && topic.name != client.id'", true),
        ("filter = 'payload.l.all(x, x > 1)'", false),
        ("filter = '1 in payload.l'", false),
        ("filter = 'size(payload.l) > 1'", false),
        ("set = { a = 'payload.b + 1' }\ndelete = ['c']", true),
        ("set = { a = 'payload.b', c = 'lower(payload.b)' }", false),
        ("publish = 'u/{payload.b}'", true),
        ("publish = 'u/{lower(payload.b)}'", false),
        ("publish = 'u'\nqos = 'int(payload.q)'", false),
        ("plugin = 'upper'", false),
        ("sink = 'hook'", false),
        ("dedup = { key = 'payload.c', for = '1s' }", false),
    ] {
        let text = format!("from = 't'\n[[step]]\n{step}\n");
        let chain = crate::check::compile("c.toml", &text).unwrap();
        assert_eq!(chain.steps[0].is_quick, is_quick, "{step}");
    }
}

#[test]
fn on_error_of_the_chain_says_what_becomes_of_messages_meanwhile() {
    let outcome = |head: &str| {
        let text = format!(
            "mode = 'transform'\n{head}from = 't'\n[[step]]\nset = {{ a = 'payload.b' }}\n"
        );
        let (_rules, mut chains, _) = rules(LIMITS, &[("c", &text)]);
        (0..3).for_each(|now| drop(at(&mut chains, "bad", now)));
        at(&mut chains, "{\"b\":1}", 3)
    };
    let ChainOutcome::Refused { text: said, .. } = outcome("").outcome else {
        panic!("it is the default to refuse");
    };
    assert_eq!(said.as_deref(), Some("chain c rests after failures"));
    for head in ["on_error = 'stop'\n", "on_error = 'continue'\n"] {
        // `continue` of a step is no failure of the chain: nothing rests there.
        let is_stop = head.contains("stop");
        let untouched = matches!(outcome(head).outcome, ChainOutcome::Untouched);
        assert_eq!(untouched, is_stop);
    }
    let buried = outcome("on_error = 'dead-letter'\n");
    assert!(matches!(buried.outcome, ChainOutcome::Consumed));
    let letters: Vec<String> = buried.emissions.iter().map(|it| text(it)).collect();
    assert_eq!(letters, ["$dead-letter/chain/c {\"b\":1}"]);
    let user = &buried.emissions[0].properties.user;
    assert!(user.iter().any(|(_, value)| value == "the chain rests"));
}

#[test]
fn another_revision_and_whoever_resumes_it_end_the_rest() {
    let (rules, mut chains, _) = rules(LIMITS, &[("c", FILTER)]);
    let fail = |chains: &mut ShardChains| (0..3).for_each(|now| drop(at(chains, "bad", now)));
    fail(&mut chains);
    assert_eq!(state(&rules), "resting");
    rules
        .apply("c.toml", &FILTER.replace("'u'", "'v'"), false)
        .unwrap();
    assert_eq!(state(&rules), "running");
    fail(&mut chains);
    assert_eq!(state(&rules), "resting");
    rules.set_paused("c", true).unwrap();
    assert_eq!(state(&rules), "paused");
    rules.set_paused("c", false).unwrap();
    assert_eq!(state(&rules), "running");
    assert_eq!(rules.list()[0].rests, 2, "counts go on");
}

#[test]
fn another_version_of_a_plugin_ends_the_rests_of_chains_that_call_it() {
    let calls = "from = 't'\n[[step]]\nplugin = 'p'\n";
    let (rules, mut chains, told) = rules(LIMITS, &[("c", calls), ("other", FILTER)]);
    let states = |rules: &Rules| rules.list().into_iter().map(|info| info.state).collect();
    // Nobody answers for `p` here, and the payload is none that the other chain understands.
    for now in 0..2 {
        at(&mut chains, "bad", now);
    }
    rules.plugin_changed("p");
    for now in 2..4 {
        at(&mut chains, "bad", now);
    }
    let both: Vec<_> = states(&rules);
    assert_eq!(both, ["running", "resting"], "two are forgotten");
    at(&mut chains, "bad", 4);
    let both: Vec<_> = states(&rules);
    assert_eq!(both, ["resting", "resting"]);
    rules.plugin_changed("q");
    let both: Vec<_> = states(&rules);
    assert_eq!(both, ["resting", "resting"], "nobody calls that one");
    rules.plugin_changed("p");
    let both: Vec<_> = states(&rules);
    assert_eq!(both, ["running", "resting"]);
    let last = told.lock().unwrap().last().cloned();
    assert_eq!(last, Some(("c".to_owned(), 1, Turn::Runs)));
}

#[test]
fn a_canary_that_rests_is_taken_back_and_the_history_says_why() {
    let (rules, mut chains, told) = rules(LIMITS, &[("c", FILTER)]);
    let beside = |trial, text: &str| {
        let file = ChainFile {
            file: "c.toml".to_owned(),
            source: text.to_owned(),
        };
        let options = DeployOptions {
            trial: Some(trial),
            ..DeployOptions::default()
        };
        rules.deploy(&[file], &options).unwrap();
    };
    let failing = FILTER.replace("payload.c > 1", "payload.none > 1");
    let good = r#"{"c":2}"#;
    beside(TrialKind::Shadow, &failing);
    for now in 0..3 {
        at(&mut chains, good, now);
    }
    let last = |told: &Told| told.lock().unwrap().last().cloned();
    let (chain, revision, turn) = last(&told).unwrap();
    assert!(matches!(&turn, Turn::Rests { .. }) && revision == 2);
    assert!(!rules.take_back(&chain, revision, "").unwrap(), "a shadow");

    beside(TrialKind::Canary(10_000), &failing);
    for now in 10..13 {
        assert!(at(&mut chains, good, now).emissions.is_empty());
    }
    let (chain, revision, turn) = last(&told).unwrap();
    let Turn::Rests { why, .. } = turn else {
        panic!("{turn:?}")
    };
    assert_eq!((chain.as_str(), revision), ("c", 3));
    assert!(
        !rules.take_back("c", 1, &why).unwrap(),
        "what runs is no canary"
    );
    assert!(rules.take_back(&chain, revision, &why).unwrap());
    assert!(!rules.take_back(&chain, revision, &why).unwrap(), "once");
    assert_eq!(at(&mut chains, good, 13).emissions.len(), 1);
    let info = rules.info("c").unwrap();
    assert_eq!((info.revision, &info.trial), (1, &None));
    let change = rules.history("c").unwrap().pop().unwrap();
    assert_eq!((&*change.what, change.revision), ("taken-back", 3));
    assert_eq!(change.text, "3 of 3 messages failed within 10 s");
}
