//! A revision beside the one that runs: for a share of the clients, or for nobody.

use super::{Plugins, message, text};
use crate::{BreakerLimits, Rules, RulesConfig, ShardChains};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use witmq_broker::kv::Spaces;
use witmq_broker::ports::control::{ChainFile, DeployOptions, Deployment, Expected, TrialKind};
use witmq_broker::ports::kv::PluginKv;
use witmq_broker::ports::{
    ChainOutcome, ChainProgress, ChainRun, Chains, ControlError, Publisher, RuleControl,
};

const CANARY: Option<TrialKind> = Some(TrialKind::Canary(2000));
const SHADOW: Option<TrialKind> = Some(TrialKind::Shadow);

fn apply(rules: &Rules, text: &str, trial: Option<TrialKind>) -> Result<Deployment, ControlError> {
    let file = ChainFile {
        file: "c.toml".to_owned(),
        source: text.to_owned(),
    };
    let options = DeployOptions {
        trial,
        ..DeployOptions::default()
    };
    rules.deploy(&[file], &options)
}

fn from(client: &str) -> Publisher<'_> {
    Publisher {
        client_id: client,
        username: None,
        attributes: &[],
        session: 1,
    }
}

fn run(chains: &mut ShardChains, client: &str, topic: &str, payload: &str) -> ChainRun {
    match chains.run(&mut Plugins, from(client), &message(topic, payload)) {
        ChainProgress::Done(run) => run,
        ChainProgress::Waits { .. } => panic!("a step waits"),
    }
}

/// Who of a hundred clients hears what.
fn says(chains: &mut ShardChains) -> Vec<String> {
    let hears = |client: usize| {
        let run = run(chains, &client.to_string(), "t", "1");
        let said = run.emissions.iter().map(|it| text(it));
        said.collect::<Vec<_>>().join(" ")
    };
    (0..100).map(hears).collect()
}

fn says_text(text: &str) -> String {
    format!("from = 't'\n[[step]]\npublish = 'said'\npayload = \"'{text}'\"\n")
}

fn with(dir: Option<&Path>) -> Rules {
    let (rules, problems) = Rules::new(RulesConfig {
        dir: dir.map(Path::to_owned),
        ..RulesConfig::default()
    });
    assert!(problems.is_empty(), "{problems:?}");
    rules
}

fn many(said: &[String], text: &str) -> usize {
    said.iter().filter(|said| *said == text).count()
}

#[test]
fn a_canary_runs_for_the_same_clients_on_all_shards_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let rules = with(Some(dir.path()));
    apply(&rules, &says_text("old"), None).unwrap();
    let deployed = apply(&rules, &says_text("new"), CANARY).unwrap();
    let info = &deployed.rules[0];
    let trial = info.trial.as_ref().unwrap();
    assert_eq!((info.revision, trial.rule.revision), (1, 2));
    assert_eq!((trial.kind, trial.percent), ("canary", Some(20.0)));
    let first = says(&mut rules.shard_chains());
    let (old, new) = (many(&first, "said old"), many(&first, "said new"));
    assert_eq!(old + new, 100);
    assert!((8..35).contains(&new), "{new} of a hundred");
    assert_eq!(says(&mut rules.shard_chains()), first, "another shard");
    let info = rules.info("c").unwrap();
    let counts = (info.matched, info.trial.unwrap().rule.matched);
    assert_eq!(counts, (2 * old as u64, 2 * new as u64));

    let rules = with(Some(dir.path()));
    let mut chains = rules.shard_chains();
    assert_eq!(says(&mut chains), first, "after a restart");
    apply(&rules, &says_text("new"), Some(TrialKind::Canary(10_000))).unwrap();
    let info = rules.info("c").unwrap();
    assert_eq!(
        info.trial.unwrap().rule.revision,
        2,
        "another share of the same"
    );
    assert_eq!(many(&says(&mut chains), "said new"), 100);
    let what: Vec<(String, u64)> = (rules.history("c").unwrap().into_iter())
        .map(|change| (change.what, change.revision))
        .collect();
    let expected = [("applied", 1), ("canary", 2), ("canary", 2)];
    assert_eq!(what, expected.map(|(what, of)| (what.to_owned(), of)));
}

#[test]
fn a_canary_is_promoted_with_its_number_or_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let rules = with(Some(dir.path()));
    let mut chains = rules.shard_chains();
    let options = DeployOptions::default();
    apply(&rules, &says_text("one"), None).unwrap();
    assert!(matches!(
        rules.promote("c", None, &options),
        Err(ControlError::NotFound(_))
    ));
    apply(&rules, &says_text("two"), CANARY).unwrap();
    let ended = rules.rollback("c", None, &options).unwrap();
    assert_eq!((ended.rules[0].revision, &ended.rules[0].trial), (1, &None));
    assert_eq!(many(&says(&mut chains), "said one"), 100);
    apply(&rules, &says_text("three"), CANARY).unwrap();
    says(&mut chains);
    let dry = DeployOptions {
        is_dry_run: true,
        ..DeployOptions::default()
    };
    assert_eq!(
        rules.promote("c", Some(3), &dry).unwrap().rules[0].revision,
        3
    );
    assert_eq!(
        rules.rollback("c", None, &dry).unwrap().rules[0].revision,
        1
    );
    assert!(rules.info("c").unwrap().trial.is_some(), "nothing happened");
    assert!(matches!(
        rules.promote("c", Some(2), &options),
        Err(ControlError::Changed(_))
    ));
    let wrong = DeployOptions {
        expected: Some(Expected::Revision(3)),
        ..DeployOptions::default()
    };
    assert!(matches!(
        rules.promote("c", None, &wrong),
        Err(ControlError::Changed(_))
    ));
    assert!(matches!(
        rules.rollback("c", None, &wrong),
        Err(ControlError::Changed(_))
    ));
    let promoted = rules.promote("c", Some(3), &options).unwrap();
    assert_eq!(
        (promoted.rules[0].revision, &promoted.rules[0].trial),
        (3, &None)
    );
    assert_eq!(many(&says(&mut chains), "said three"), 100);
    assert_eq!(
        rules.info("c").unwrap().matched,
        300,
        "what the canary counted too"
    );

    let rules = with(Some(dir.path()));
    let mut chains = rules.shard_chains();
    assert_eq!(many(&says(&mut chains), "said three"), 100);
    let back = rules.rollback("c", None, &options).unwrap();
    assert_eq!(back.rules[0].revision, 4);
    assert_eq!(
        many(&says(&mut chains), "said one"),
        100,
        "two never ran for everybody"
    );
}

#[test]
fn a_new_text_for_everybody_ends_it_and_what_cannot_be_tried_is_refused() {
    let rules = with(None);
    let code = |result: Result<Deployment, ControlError>| match result {
        Err(ControlError::Invalid { code, .. }) => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(apply(&rules, &says_text("x"), CANARY)), "nothing-runs");
    apply(&rules, &says_text("one"), None).unwrap();
    let transform = "mode = 'transform'\nfrom = 't'\n[[step]]\nfilter = 'true'\n";
    assert_eq!(code(apply(&rules, transform, SHADOW)), "other-place");
    let later = format!("order = 1\n{}", says_text("x"));
    assert_eq!(code(apply(&rules, &later, CANARY)), "other-place");
    let same = apply(&rules, &says_text("one"), CANARY).unwrap();
    assert_eq!(same.unchanged, ["c"]);
    apply(&rules, &says_text("two"), CANARY).unwrap();
    apply(&rules, &says_text("one"), None).unwrap();
    assert!(
        rules.info("c").unwrap().trial.is_some(),
        "what runs is as it was"
    );
    let next = apply(&rules, &says_text("three"), None).unwrap();
    assert_eq!((next.rules[0].revision, &next.rules[0].trial), (3, &None));
}

#[test]
fn a_canary_with_other_topics_runs_on_them_for_its_clients_alone() {
    let rules = with(None);
    apply(&rules, &says_text("old"), None).unwrap();
    let moved = says_text("new").replace("'t'", "'u'");
    apply(&rules, &moved, Some(TrialKind::Canary(10_000))).unwrap();
    let mut chains = rules.shard_chains();
    let heard = |chains: &mut ShardChains, topic| run(chains, "a", topic, "1").emissions.len();
    assert_eq!((heard(&mut chains, "t"), heard(&mut chains, "u")), (0, 1));
    apply(&rules, &moved, Some(TrialKind::Canary(1))).unwrap();
    assert_eq!((heard(&mut chains, "t"), heard(&mut chains, "u")), (1, 0));
}

const FEED: &str = "from = 't'\n[[step]]\ndedup = { key = 'payload.id', for = '10s' }\n\
     [[step]]\nstore = { table = 'seen', key = 'payload.id', value = 'true' }\n[[step]]\npublish = 'once'\n";

#[test]
fn a_shadow_is_compared_and_nothing_of_it_is_applied() {
    let spaces = Arc::new(Spaces::default());
    let (rules, _) = Rules::new(RulesConfig {
        tables: crate::Tables::new(spaces.clone()),
        ..RulesConfig::default()
    });
    apply(&rules, FEED, None).unwrap();
    let other = FEED
        .replace("'once'", "'twice'")
        .replace("'seen'", "'shade'");
    apply(&rules, &other, SHADOW).unwrap();
    let mut chains = rules.shard_chains();
    let published = |chains: &mut ShardChains, payload: &str| -> Vec<String> {
        let run = run(chains, "a", "t", payload);
        run.emissions
            .iter()
            .map(|it| it.topic.to_string())
            .collect()
    };
    assert_eq!(published(&mut chains, "{\"id\":1}"), ["once"]);
    assert!(
        published(&mut chains, "{\"id\":1}").is_empty(),
        "both hold it back"
    );
    assert!(published(&mut chains, "{}").is_empty(), "both fail");
    let info = rules.info("c").unwrap();
    let trial = info.trial.unwrap();
    assert_eq!(
        (trial.kind, trial.same, trial.different, trial.failed_alone),
        ("shadow", 2, 1, 0)
    );
    let words = "a t {\"id\":1}: what runs publishes once {\"id\":1}, the shadow publishes twice {\"id\":1}";
    assert_eq!(trial.differences, [words]);
    assert_eq!((info.matched, trial.rule.matched), (3, 3));
    let shade = spaces.space("table/shade");
    assert!(shade.scan("", None, 10, 0).is_empty());
    let names: Vec<String> = spaces
        .plugins()
        .iter()
        .map(|name| name.to_string())
        .collect();
    let filled = names
        .iter()
        .filter(|name| !spaces.space(name).scan("", None, 9, 0).is_empty());
    assert_eq!(filled.count(), 1, "only what runs stores: {names:?}");
    // Begun now, its steps remember nothing of what came before.
    apply(&rules, &other.replace("'twice'", "'third'"), SHADOW).unwrap();
    assert!(published(&mut chains, "{\"id\":1}").is_empty());
    let trial = rules.info("c").unwrap().trial.unwrap();
    assert_eq!((trial.same, trial.different), (0, 1));
}

#[test]
fn a_shadow_is_told_what_plugins_said_and_fails_alone_only_if_the_other_does_not() {
    let rules = with(None);
    let chain = |steps: &str| format!("mode = 'transform'\nfrom = 't'\n{steps}");
    let upper = "[[step]]\nplugin = 'upper'\n";
    apply(&rules, &chain(upper), None).unwrap();
    let mut chains = rules.shard_chains();
    let numbers = |rules: &Rules| {
        let trial = rules.info("c").unwrap().trial.unwrap();
        (trial.same, trial.different, trial.failed_alone)
    };
    for (steps, expected) in [
        (
            "[[step]]\nfilter = 'true'\n[[step]]\nplugin = 'upper'\n",
            (1, 0, 0),
        ),
        ("[[step]]\nfilter = 'true'\n", (0, 1, 0)),
        (
            "[[step]]\nplugin = 'upper'\n[[step]]\nset = { a = '1/0' }\n",
            (0, 0, 1),
        ),
        (
            "[[step]]\nplugin = 'upper'\n[[step]]\npublish = 'more'\n",
            (0, 1, 0),
        ),
    ] {
        apply(&rules, &chain(steps), SHADOW).unwrap();
        let run = run(&mut chains, "a", "t", "x");
        let ChainOutcome::Replaced(message) = run.outcome else {
            panic!("{steps}");
        };
        assert_eq!((text(&message), run.emissions.len()), ("t X".to_owned(), 0));
        assert_eq!(numbers(&rules), expected, "{steps}");
    }
    rules.promote("c", None, &DeployOptions::default()).unwrap();
    assert_eq!(
        run(&mut chains, "a", "t", "x").emissions.len(),
        1,
        "it runs now"
    );
}

#[test]
fn a_shadow_that_fails_again_and_again_rests_alone_and_differences_are_bounded() {
    let (rules, _) = Rules::new(RulesConfig {
        breaker: BreakerLimits {
            failures: 20,
            message: Duration::from_secs(3600),
            ..BreakerLimits::default()
        },
        ..RulesConfig::default()
    });
    apply(&rules, &says_text("fine"), None).unwrap();
    apply(
        &rules,
        "from = 't'\n[[step]]\nfilter = 'payload.a.b'\n",
        SHADOW,
    )
    .unwrap();
    let mut chains = rules.shard_chains();
    for _ in 0..30 {
        assert_eq!(run(&mut chains, "a", "t", "1").emissions.len(), 1);
    }
    let info = rules.info("c").unwrap();
    let trial = info.trial.unwrap();
    assert_eq!(
        (info.state, trial.failed_alone, trial.rule.rested),
        ("running", 20, 10)
    );
    assert_eq!(trial.differences.len(), 8);
}

#[test]
fn a_canary_shares_what_steps_remember_and_a_timed_window_is_its_own() {
    let rules = with(None);
    let window = "[[step]]\nwindow = { time = '1m' }\n";
    apply(&rules, FEED, None).unwrap();
    let mut chains = rules.shard_chains();
    assert_eq!(run(&mut chains, "a", "t", "{\"id\":1}").emissions.len(), 1);
    let next = format!("{FEED}{window}[[step]]\npublish = 'late'\n");
    apply(&rules, &next, Some(TrialKind::Canary(10_000))).unwrap();
    let again = run(&mut chains, "a", "t", "{\"id\":1}");
    assert!(again.emissions.is_empty(), "the same step of both");
    rules.promote("c", None, &DeployOptions::default()).unwrap();
    run(&mut chains, "a", "t", "{\"id\":2}");
    let entries = |rules: &Rules| rules.info("c").unwrap().state_entries;
    assert_eq!(entries(&rules), 3, "two keys and a window");
    let last = next.replace("'late'", "'later'");
    apply(&rules, &last, CANARY).unwrap();
    let trial = rules.info("c").unwrap().trial.unwrap();
    assert_eq!(
        trial.rule.state_entries, 2,
        "the open window stays with what runs"
    );
    let late = chains.due(&mut Plugins, 120_000);
    let topics: Vec<String> = late.iter().map(|it| it.topic.to_string()).collect();
    assert_eq!(topics, ["late"]);
}
