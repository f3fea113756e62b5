//! Revisions, history, roll back, pause; several chains as one.

use super::*;
use std::fs;
use std::sync::atomic::AtomicBool;
use witmq_broker::ports::Named;
use witmq_broker::ports::control::{ChainFile, DeployOptions, Deployment, Expected};

fn file(name: &str, source: impl Into<String>) -> ChainFile {
    ChainFile {
        file: format!("rules/{name}.toml"),
        source: source.into(),
    }
}

/// A rule chain that publishes `text`, with a test of it.
fn says(text: &str) -> String {
    format!(
        "from = \"t\"\n[[step]]\npublish = \"said\"\npayload = \"'{text}'\"\n[[test]]\nname = \"n\"\n\
         given = {{ topic = \"t\", payload = 1 }}\nexpect = [{{ payload = \"{text}\" }}]\n"
    )
}

fn said(chains: &mut ShardChains) -> Vec<String> {
    let run = through(chains, &message("t", "x"));
    run.emissions
        .iter()
        .map(|message| String::from_utf8_lossy(&message.payload).into_owned())
        .collect()
}

fn revisions(deployment: &Deployment) -> Vec<(&str, u64)> {
    let rules = deployment.rules.iter();
    rules.map(|info| (&*info.name, info.revision)).collect()
}

fn in_folder(dir: &std::path::Path) -> (Rules, Vec<String>) {
    Rules::new(RulesConfig {
        dir: Some(dir.to_owned()),
        revisions: 3,
        ..RulesConfig::default()
    })
}

fn plain() -> DeployOptions {
    DeployOptions::default()
}

#[test]
fn chains_survive_a_restart_with_revision_history_and_pause() {
    let dir = tempfile::tempdir().unwrap();
    let (rules, _) = in_folder(dir.path());
    for number in 1..=5 {
        rules
            .apply("hot.toml", &says(&number.to_string()), false)
            .unwrap();
    }
    rules.apply("gone.toml", &says("x"), false).unwrap();
    rules.remove("gone").unwrap();
    assert!(matches!(
        rules.remove("gone"),
        Err(ControlError::NotFound(_))
    ));
    rules.set_paused("hot", true).unwrap();
    let kept = fs::read_dir(dir.path().join("revisions/hot")).unwrap();
    assert_eq!(kept.count(), 3, "no more than the setting says");
    let (again, problems) = in_folder(dir.path());
    assert!(problems.is_empty(), "{problems:?}");
    let mut chains = again.shard_chains();
    let list = again.list();
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].revision, list[0].state), (5, "paused"));
    assert!(said(&mut chains).is_empty(), "it stays paused");
    assert_eq!(again.set_paused("hot", false).unwrap().state, "running");
    assert_eq!(said(&mut chains), ["5"]);
    let history = again.history("hot").unwrap();
    let words: Vec<(&str, u64, bool)> = (history.iter())
        .map(|change| (&*change.what, change.revision, change.is_kept))
        .collect();
    let expected = [
        ("applied", 5, true),
        ("paused", 5, true),
        ("resumed", 5, true),
    ];
    assert_eq!(words, expected, "as many changes as revisions are kept");
    assert!(
        history
            .iter()
            .all(|change| change.at_ms > 1_500_000_000_000)
    );
    assert_eq!(history[0].text, "hot.toml");
}

#[test]
fn a_chain_that_no_longer_compiles_is_left_out_and_not_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (rules, _) = in_folder(dir.path());
    let files = [file("good", says("a")), file("bad", says("b"))];
    rules.deploy(&files, &plain()).unwrap();
    let text = dir.path().join("revisions/bad/1.toml");
    let before = fs::read_to_string(&text).unwrap();
    fs::write(&text, "from = ").unwrap();
    let (rules, problems) = in_folder(dir.path());
    assert!(
        problems.len() == 1 && problems[0].contains("`bad` is left out"),
        "{problems:?}"
    );
    rules.apply("good.toml", &says("c"), false).unwrap();
    fs::write(&text, before).unwrap();
    let (rules, _) = in_folder(dir.path());
    let names: Vec<String> = rules.list().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["bad", "good"]);
}

#[test]
fn a_folder_without_an_index_is_adopted_and_a_damaged_index_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("revisions/hot")).unwrap();
    fs::write(dir.path().join("revisions/hot/7.toml"), says("old")).unwrap();
    fs::write(dir.path().join("hot.toml"), says("old")).unwrap();
    let (rules, problems) = in_folder(dir.path());
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(rules.info("hot").unwrap().revision, 7);
    rules.set_paused("hot", true).unwrap();
    fs::write(dir.path().join("deployed.json"), "{").unwrap();
    let (rules, problems) = in_folder(dir.path());
    assert!(rules.list().is_empty());
    assert!(
        problems[0].contains("deployed.damaged.json"),
        "{problems:?}"
    );
    assert!(dir.path().join("deployed.damaged.json").is_file());
    let info = rules.apply("hot.toml", &says("new"), false).unwrap();
    assert_eq!(info.revision, 8, "no number is used twice");
}

#[test]
fn rolling_back_makes_a_new_revision_with_the_old_text() {
    let (rules, mut chains) = deployed(&[]);
    for text in ["one", "two", "three"] {
        rules.apply("c.toml", &says(text), false).unwrap();
    }
    let back = rules.rollback("c", None, &plain()).unwrap();
    assert_eq!(revisions(&back), [("c", 4)]);
    assert_eq!(said(&mut chains), ["two"]);
    let back = rules.rollback("c", Some(1), &plain()).unwrap();
    assert_eq!(
        (revisions(&back), said(&mut chains)),
        (vec![("c", 5)], vec!["one".to_owned()])
    );
    assert_eq!(rules.source("c", None).unwrap(), says("one"));
    assert_eq!(rules.source("c", Some(3)).unwrap(), says("three"));
    let last = rules.history("c").unwrap().pop().unwrap();
    assert_eq!((&*last.what, last.revision), ("rolled-back", 5));
    assert!(last.text.contains("revision 1"));
    let ControlError::NotFound(text) = rules.rollback("c", Some(9), &plain()).unwrap_err() else {
        panic!("another error")
    };
    assert!(
        text.contains("no revision 9; there are 1, 2, 3, 4, 5"),
        "{text}"
    );
    rules.apply("first.toml", &says("x"), false).unwrap();
    assert!(matches!(
        rules.rollback("first", None, &plain()),
        Err(ControlError::NotFound(_))
    ));
    assert!(matches!(
        rules.source("none", None),
        Err(ControlError::NotFound(_))
    ));
}

#[test]
fn several_files_are_deployed_together_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (rules, _) = in_folder(dir.path());
    let mut chains = rules.shard_chains();
    let first = [file("b", says("b1")), file("a", says("a1"))];
    let dry = DeployOptions {
        is_dry_run: true,
        ..plain()
    };
    let shown = rules.deploy(&first, &dry).unwrap();
    assert_eq!(revisions(&shown), [("a", 1), ("b", 1)], "in running order");
    assert!(rules.list().is_empty() && !dir.path().join("revisions").exists());
    rules.deploy(&first, &plain()).unwrap();
    let failing = says("b2").replace("payload = \"b2\"", "payload = \"other\"");
    for bad in ["from = ".to_owned(), failing] {
        let files = [
            file("a", says("a2")),
            file("new", says("n")),
            file("b", bad),
        ];
        let ControlError::Invalid { message, .. } = rules.deploy(&files, &plain()).unwrap_err()
        else {
            panic!("another error")
        };
        assert!(message.starts_with("rules/b.toml:"), "{message}");
        assert_eq!(said(&mut chains), ["a1", "b1"]);
        assert!(
            !dir.path().join("revisions/new").exists(),
            "nothing is kept"
        );
        assert_eq!(rules.info("a").unwrap().revision, 1);
    }
    let twice = [file("a", says("x")), file("other/a", says("y"))];
    assert!(matches!(
        rules.deploy(&twice, &plain()),
        Err(ControlError::Invalid {
            code: "named-twice",
            ..
        })
    ));
    let second = [file("b", says("b1")), file("a", says("a2"))];
    let deployment = rules.deploy(&second, &plain()).unwrap();
    assert_eq!(revisions(&deployment), [("a", 2), ("b", 1)]);
    assert_eq!(
        deployment.unchanged,
        ["b"],
        "the same text keeps its revision"
    );
    assert_eq!(said(&mut chains), ["a2", "b1"]);
}

#[test]
fn nothing_runs_that_cannot_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (rules, _) = in_folder(dir.path());
    let mut chains = rules.shard_chains();
    rules.apply("a.toml", &says("a1"), false).unwrap();
    // A folder where the index is to be written stands for a disk that refuses.
    fs::create_dir(dir.path().join("deployed.new")).unwrap();
    let files = [file("a", says("a2")), file("b", says("b1"))];
    for refused in [
        rules.deploy(&files, &plain()).map(drop),
        rules.set_paused("a", true).map(drop),
        rules.remove("a"),
    ] {
        assert!(
            matches!(refused, Err(ControlError::Internal(_))),
            "{refused:?}"
        );
    }
    assert_eq!(said(&mut chains), ["a1"]);
    assert!(!dir.path().join("revisions/a/2.toml").exists());
    fs::remove_dir(dir.path().join("deployed.new")).unwrap();
    rules.deploy(&files, &plain()).unwrap();
    assert_eq!(said(&mut chains), ["a2", "b1"]);
}

#[test]
fn nobody_overwrites_what_they_have_not_seen() {
    let (rules, _chains) = deployed(&[("c", &says("one"))]);
    let put = |name: &str, text: &str, expected| {
        let options = DeployOptions {
            expected: Some(expected),
            ..plain()
        };
        rules.deploy(&[file(name, says(text))], &options)
    };
    for (name, expected) in [
        ("c", Expected::Absent),
        ("c", Expected::Revision(2)),
        ("d", Expected::Any),
        ("d", Expected::Revision(1)),
    ] {
        let refused = put(name, "two", expected);
        assert!(
            matches!(refused, Err(ControlError::Changed(_))),
            "{expected:?}"
        );
    }
    assert_eq!(
        revisions(&put("c", "two", Expected::Revision(1)).unwrap()),
        [("c", 2)]
    );
    assert_eq!(
        revisions(&put("c", "three", Expected::Any).unwrap()),
        [("c", 3)]
    );
    assert_eq!(
        revisions(&put("d", "two", Expected::Absent).unwrap()),
        [("d", 1)]
    );
    assert!(matches!(
        rules.remove_expected("c", Some(Expected::Revision(2))),
        Err(ControlError::Changed(_))
    ));
    rules
        .remove_expected("c", Some(Expected::Revision(3)))
        .unwrap();
    assert_eq!(rules.list().len(), 1);
}

#[test]
fn whoever_waits_is_told_when_all_shards_have_the_table() {
    let (rules, chains) = deployed(&[]);
    let waiting = DeployOptions {
        waits: true,
        ..plain()
    };
    let chains = Arc::new(Mutex::new(chains));
    let woken = chains.clone();
    rules.wake_with(move || woken.lock().unwrap().refresh());
    let deployment = rules.deploy(&[file("c", says("x"))], &waiting).unwrap();
    assert_eq!(deployment.behind, Some(0));
    assert_eq!(chains.lock().unwrap().table.chains.len(), 1);
    let not_asked = rules.deploy(&[file("c", says("y"))], &plain()).unwrap();
    assert_eq!(not_asked.behind, None);
}

/// Two chains are deployed and rolled back together, again and again, while threads run messages: none of them meets
/// chains of two deployments.
#[test]
fn a_message_never_meets_two_deployments() {
    const THREADS: usize = 4;
    const ROUNDS: u64 = 200;
    let (rules, _chains) = deployed(&[]);
    let both = |number: u64| {
        let text = number.to_string();
        [file("one", says(&text)), file("two", says(&text))]
    };
    rules.deploy(&both(0), &plain()).unwrap();
    let is_over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let look = || {
            let (mut chains, mut seen) = (rules.shard_chains(), Vec::new());
            // Once more after the end: the last deployment has to be met.
            loop {
                let is_last = is_over.load(Ordering::SeqCst);
                let said = said(&mut chains);
                assert_eq!(said.len(), 2);
                assert_eq!(said[0], said[1], "chains of two deployments");
                seen.push(said[0].parse::<u64>().unwrap());
                if is_last {
                    return seen;
                }
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(look)).collect();
        for number in 1..=ROUNDS {
            rules.deploy(&both(number), &plain()).unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    for seen in seen {
        assert!(seen.is_sorted(), "no way back");
        assert_eq!(seen.last(), Some(&ROUNDS));
    }
}

#[test]
fn what_chains_name_is_the_same_until_the_version_changes() {
    let (rules, mut chains) = deployed(&[("hot", HOT)]);
    let first = chains.version();
    assert!(first.is_some());
    let is_named = |chains: &mut ShardChains, topic: &str| chains.names(topic).is_some();
    assert!(is_named(&mut chains, "sensors/a/b/temp") && !is_named(&mut chains, "other"));
    assert_eq!(chains.version(), first);
    rules.set_paused("hot", true).unwrap();
    let second = chains.version();
    assert_ne!(second, first);
    assert!(!is_named(&mut chains, "sensors/a/b/temp"));
    rules.set_paused("hot", false).unwrap();
    assert!(
        is_named(&mut chains, "sensors/a/b/temp"),
        "also before it is asked"
    );
    assert_ne!(chains.version(), second);
    // While somebody records every message has to be seen.
    let begun: serde_json::Value =
        serde_json::from_str(&rules.record("#", 60_000, 10).unwrap()).unwrap();
    assert_eq!(chains.version(), None);
    rules.end_recording(begun["id"].as_u64().unwrap()).unwrap();
    assert!(chains.version().is_some());
}

#[test]
fn what_was_named_is_taken_at_its_word_for_one_message_and_one_version() {
    let (rules, mut chains) = deployed(&[("hot", HOT)]);
    let hot = message("sensors/a/b/temp", r#"{"c":50}"#);
    let other = message("elsewhere/a/b/temp", r#"{"c":50}"#);
    let version = chains.version().unwrap();
    let named = chains.names(&hot.topic);
    assert_eq!(chains.names(&other.topic), Named::NONE);
    let emitted = |chains: &mut ShardChains, message| through(chains, message).emissions.len();
    assert_eq!(emitted(&mut chains, &hot), 1);
    for (message, named, expected) in [(&hot, named, 1), (&other, named, 1), (&hot, Named::SOME, 1)]
    {
        chains.expect(version, named);
        assert_eq!(emitted(&mut chains, message), expected, "{named:?}");
        assert_eq!(
            emitted(&mut chains, &other),
            0,
            "it was said of the one before"
        );
    }
    chains.expect(version, Named::NONE);
    assert!(through(&mut chains, &hot).is_untouched());
    rules.set_paused("hot", true).unwrap();
    chains.expect(version, named);
    assert!(
        through(&mut chains, &hot).is_untouched(),
        "of another version"
    );
}

#[test]
fn one_chain_is_named_by_its_number_and_several_are_looked_for() {
    let rest = "from = 'sensors/#'\n[[step]]\npublish = 'copy'\n";
    let (_rules, mut chains) = deployed(&[("hot", HOT), ("rest", rest)]);
    assert!(chains.names("sensors/a").single().is_some());
    let both = chains.names("sensors/a/b/temp");
    assert!(both.is_some() && both.single().is_none());
    assert!(!chains.names("other").is_some());
    let version = chains.version().unwrap();
    chains.expect(version, both);
    let hot = message("sensors/a/b/temp", r#"{"c":50}"#);
    assert_eq!(through(&mut chains, &hot).emissions.len(), 2);
}
