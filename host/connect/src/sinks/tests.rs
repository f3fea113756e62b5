//! Sinks of the kind `file`, applied and removed in a folder of the test.

use super::*;
use crate::record::tests::{message, publisher};
use std::time::{Duration, Instant};
use witmq_broker::ports::{StepFailure, Transform};
use witmq_broker::testing::NoHooks;

const PATIENCE: Duration = Duration::from_secs(20);

fn config(folder: &Path) -> SinksConfig {
    SinksConfig {
        data_dir: folder.to_owned(),
        sinks: 2,
        publish: Arc::new(|_| true),
        take: Arc::new(|_| Box::pin(async { Err(witmq_broker::ports::NotTaken::Busy) })),
        secrets: Arc::new(|_| None),
        is_plugin: Arc::new(|name| name == "plugin"),
    }
}

fn opened(folder: &Path) -> Sinks {
    let (sinks, problems) = Sinks::new(config(folder));
    assert_eq!(problems, Vec::<String>::new());
    sinks
}

/// Hands numbers over as a shard does.
fn deliver(sinks: &Sinks, name: &str, numbers: std::ops::Range<u64>) -> Result<(), StepFailure> {
    let mut hooks = sinks.shard_hooks(NoHooks);
    for number in numbers {
        let message = Arc::new(message("t", &number.to_string()));
        hooks.deliver(name, publisher(), &message)?;
    }
    Ok(())
}

fn one(sinks: &Sinks) -> SinkInfo {
    sinks.list().into_iter().next().expect("there is one")
}

fn wait_until_empty(sinks: &Sinks) {
    let end = Instant::now() + PATIENCE;
    while one(sinks).queued_messages > 0 {
        assert!(Instant::now() < end, "{:?}", one(sinks));
        std::thread::yield_now();
    }
}

/// The numbers in the files of a folder, in the order of their names.
fn written(folder: &Path) -> Vec<u64> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let text: String = paths
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let payload = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["payload"]
            .as_u64()
            .unwrap()
    };
    text.lines().map(payload).collect()
}

#[test]
fn what_waits_is_written_after_a_restart_and_the_pause_outlives_it() {
    let folder = tempfile::tempdir().unwrap();
    let sinks = opened(folder.path());
    let info = sinks
        .apply("out.toml", "kind = \"file\"\npaused = true", false)
        .unwrap();
    assert_eq!(
        (&*info.name, info.kind, info.state),
        ("out", "file", "paused")
    );
    deliver(&sinks, "out", 0..10).unwrap();
    sinks.stop();
    drop(sinks);
    let sinks = opened(folder.path());
    assert_eq!(
        (one(&sinks).queued_messages, one(&sinks).state),
        (10, "paused")
    );
    deliver(&sinks, "out", 10..20).unwrap();
    assert_eq!(sinks.pause("out", false).unwrap().state, "healthy");
    wait_until_empty(&sinks);
    assert_eq!(
        written(&folder.path().join("exports/out")),
        (0..20).collect::<Vec<_>>()
    );
    sinks.stop();
    let sinks = opened(folder.path());
    assert_eq!(
        (one(&sinks).state, one(&sinks).queued_messages),
        ("healthy", 0)
    );
    assert_eq!(
        sinks.source("out").unwrap(),
        "kind = \"file\"\npaused = true"
    );
}

#[test]
fn files_are_finished_by_their_size_and_go_on_after_a_torn_line() {
    let folder = tempfile::tempdir().unwrap();
    let exports = folder.path().join("exports/out");
    fs::create_dir_all(&exports).unwrap();
    fs::write(exports.join("out.jsonl.part"), "{\"payload\":0}\n{\"payl").unwrap();
    let sinks = opened(folder.path());
    let text = "kind = \"file\"\nrotate_bytes = 300\nbatch = { messages = 1 }";
    sinks.apply("out.toml", text, false).unwrap();
    deliver(&sinks, "out", 1..10).unwrap();
    wait_until_empty(&sinks);
    sinks.stop();
    let mut numbers = written(&exports);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    let entries = fs::read_dir(&exports).unwrap().map(|entry| entry.unwrap());
    let sizes: Vec<u64> = entries
        .map(|entry| entry.metadata().unwrap().len())
        .collect();
    assert!(
        sizes.len() > 3 && sizes.iter().all(|size| *size <= 300),
        "{sizes:?}"
    );
}

#[test]
fn a_full_queue_fails_the_step_and_other_bounds_let_it_on() {
    let folder = tempfile::tempdir().unwrap();
    let sinks = opened(folder.path());
    let text = "kind = \"file\"\npaused = true\nqueue_messages = 3";
    sinks.apply("out.toml", text, false).unwrap();
    assert_eq!(
        deliver(&sinks, "out", 0..4),
        Err(StepFailure::Full("out".to_owned()))
    );
    assert_eq!((one(&sinks).queued_messages, one(&sinks).dropped), (3, 1));
    sinks
        .apply("out.toml", "kind = \"file\"\nqueue_messages = 4", false)
        .unwrap();
    wait_until_empty(&sinks);
    assert_eq!(written(&folder.path().join("exports/out")), [0, 1, 2]);
    let nobody = deliver(&sinks, "other", 0..1);
    assert_eq!(nobody, Err(StepFailure::NoSink("other".to_owned())));
}

#[test]
fn what_may_not_be_applied_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let sinks = opened(folder.path());
    let code = |result: Result<SinkInfo, ControlError>| match result {
        Err(ControlError::Invalid { code, .. }) => code,
        Err(ControlError::LimitReached(_)) => "limit",
        other => panic!("{other:?}"),
    };
    assert_eq!(
        code(sinks.apply("plugin.toml", "kind = \"file\"", false)),
        "name-taken"
    );
    assert_eq!(
        code(sinks.apply("out.toml", "kind = \"nothing\"", false)),
        "bad-sink"
    );
    assert_eq!(
        code(sinks.apply("out.toml", "kind = \"file\"\nfolder = \"../x\"", false)),
        "bad-sink"
    );
    assert_eq!(
        code(sinks.apply("out.toml", &" ".repeat(FILE_BYTES + 1), false)),
        "limit"
    );
    sinks.apply("dry.toml", "kind = \"file\"", true).unwrap();
    assert!(sinks.list().is_empty() && !sinks.has("dry"));
    for name in ["a.toml", "b.toml"] {
        sinks.apply(name, "kind = \"file\"", false).unwrap();
    }
    assert_eq!(
        code(sinks.apply("c.toml", "kind = \"file\"", false)),
        "limit"
    );
    sinks.apply("b.toml", "kind = \"file\"", false).unwrap();
}

#[test]
fn a_folder_belongs_to_one_sink() {
    let folder = tempfile::tempdir().unwrap();
    let sinks = opened(folder.path());
    let text = "kind = \"file\"\nfolder = \"x/a\"";
    sinks.apply("a.toml", text, false).unwrap();
    sinks.apply("a.toml", text, false).unwrap();
    let text = "kind = \"file\"\nfolder = \"x//a/\"\nprefix = \"b\"";
    let said = [
        sinks.apply("b.toml", text, false).unwrap_err(),
        sinks.apply("b.toml", text, true).unwrap_err(),
        sinks.check("b.toml", text).unwrap_err(),
    ];
    for error in said {
        let text = error.to_string();
        assert!(
            text.contains("b.toml: the sink `a` writes to the folder `x/"),
            "{text}"
        );
    }
    let text = "kind = \"file\"\nfolder = \"x\"";
    sinks.apply("b.toml", text, false).unwrap();
}

#[test]
fn a_bridge_that_only_receives_is_no_sink_of_chains() {
    let folder = tempfile::tempdir().unwrap();
    let sinks = opened(folder.path());
    let text = "kind = \"mqtt\"\nurl = \"mqtt://127.0.0.1:1\"\npaused = true\n";
    let inward = format!("{text}in = {{ filters = [\"a\"] }}\n");
    sinks.apply("far.toml", &inward, false).unwrap();
    assert!(matches!(
        deliver(&sinks, "far", 0..1),
        Err(StepFailure::NoSink(_))
    ));
    let both = format!("{inward}out = {{}}\n");
    sinks.apply("far.toml", &both, false).unwrap();
    deliver(&sinks, "far", 0..1).unwrap();
    assert_eq!(one(&sinks).queued_messages, 1);
    sinks.stop();
}

#[test]
fn a_queue_is_not_thrown_away_unless_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let sinks = opened(folder.path());
    sinks
        .apply("out.toml", "kind = \"file\"\npaused = true", false)
        .unwrap();
    deliver(&sinks, "out", 0..1).unwrap();
    let refused = sinks.remove("out", false);
    assert!(
        matches!(
            refused,
            Err(ControlError::Invalid {
                code: "not-empty",
                ..
            })
        ),
        "{refused:?}"
    );
    sinks.remove("out", true).unwrap();
    assert!(matches!(
        sinks.remove("out", true),
        Err(ControlError::NotFound(_))
    ));
    let left = fs::read_dir(folder.path().join("sinks")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["origin"]);
}

#[test]
fn a_check_says_what_is_wrong_without_applying_it() {
    let folder = tempfile::tempdir().unwrap();
    let sinks = opened(folder.path());
    assert!(
        sinks
            .check("out.toml", "kind = \"file\"")
            .unwrap()
            .contains("can be written")
    );
    fs::write(folder.path().join("exports/taken"), "").unwrap();
    let said = sinks.check("out.toml", "kind = \"file\"\nfolder = \"taken\"");
    assert!(
        matches!(
            said,
            Err(ControlError::Invalid {
                code: "not-reached",
                ..
            })
        ),
        "{said:?}"
    );
    assert!(sinks.list().is_empty());
}
