//! The way of a plugin's author in each language, with a stopwatch: from `plugin new` in an empty folder to a change that is swapped into a
//! running broker because a file was saved.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::{Broker, binary, lines, root, run, text};

/// Building from nothing takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// `witmq …` in a folder, against a broker.
fn witmq(broker: &Broker, folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(words)
        .current_dir(folder)
        .env("WITMQ_URL", format!("http://{}", broker.address("http")))
        .env("WITMQ_DATA_DIR", broker.folder().join(".witmq"));
    command
}

/// The seconds of each step.
struct Stopwatch {
    lang: &'static str,
    start: Instant,
}

impl Stopwatch {
    fn lap(&mut self, what: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        println!("{:6} {seconds:6.1} s  {what}", self.lang);
        self.start = Instant::now();
    }
}

/// `witmq plugin watch`, ended with the test.
struct Watching {
    child: Child,
    said: Receiver<String>,
}

impl Watching {
    fn start(broker: &Broker, folder: &Path) -> Self {
        let mut child = witmq(broker, folder, &["plugin", "watch"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = lines(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// Waits for a turn to end; everything that was said in it.
    fn turn(&self) -> String {
        let end = Instant::now() + PATIENCE;
        let mut all = String::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.said.recv_timeout(left).expect("the turn ends in time");
            if line.starts_with("watching ") {
                return all;
            }
            all.push_str(&line);
            all.push('\n');
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _is_gone = self.child.kill().is_err();
        let _is_reaped = self.child.wait().is_err();
    }
}

/// Waits for a turn while the client goes on.
async fn turn(watching: Watching) -> (Watching, String) {
    let waiting = tokio::task::spawn_blocking(move || {
        let said = watching.turn();
        (watching, said)
    });
    waiting.await.unwrap()
}

async fn answer(client: &mut Client, topic: &str) -> String {
    let publish = client
        .sender
        .publish(topic, QoS::AtLeastOnce, false, "hello");
    publish.await.unwrap();
    client.text().await
}

/// A change of a file.
#[derive(Clone, Copy)]
struct Edit {
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

impl Edit {
    fn save(&self, project: &Path) {
        let path = project.join(self.file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(self.from), "{}: {text}", self.from);
        std::fs::write(&path, text.replace(self.from, self.to)).unwrap();
    }

    fn undo(&self, project: &Path) {
        let Self { file, from, to } = *self;
        let (from, to) = (to, from);
        Self { file, from, to }.save(project);
    }
}

/// A language, and what its author does.
struct Author {
    lang: &'static str,
    /// It fails a test of its own.
    wrong: Option<Edit>,
    /// It does not build.
    broken: Edit,
    /// Its tests agree with it; the last one is saved last.
    better: &'static [Edit],
}

/// Tests of the template that speak of its suffix.
const TEST: Edit = Edit {
    file: "witmq.json",
    from: "hello!",
    to: "hello?",
};

#[tokio::test]
async fn rust_from_an_empty_folder_to_a_change_that_is_swapped_in() {
    let file = "src/lib.rs";
    let (from, to) = ("self.config.suffix)", "\"-\")");
    journey(&Author {
        lang: "rust",
        wrong: Some(Edit { file, from, to }),
        broken: Edit {
            file,
            from: "Ok(Outcome",
            to: "Ok(Outcom",
        },
        better: &[
            Edit {
                file: "tests.json",
                ..TEST
            },
            Edit {
                file: "src/lib.rs",
                from: "hello!",
                to: "hello?",
            },
            Edit {
                file: "src/lib.rs",
                from: "\"!\"",
                to: "\"?\"",
            },
        ],
    })
    .await;
}

#[tokio::test]
async fn python_from_an_empty_folder_to_a_change_that_is_swapped_in() {
    journey(&Author {
        lang: "python",
        wrong: None, // it takes long to build, and differs in nothing from JavaScript
        broken: Edit {
            file: "plugin.py",
            from: "def on_message",
            to: "deff on_message",
        },
        better: &[
            TEST,
            Edit {
                file: "plugin.py",
                from: "\"!\"",
                to: "\"?\"",
            },
        ],
    })
    .await;
}

#[tokio::test]
async fn javascript_from_an_empty_folder_to_a_change_that_is_swapped_in() {
    let file = "plugin.js";
    let (from, to) = ("+ witmq.config.suffix", "+ \"-\"");
    journey(&Author {
        lang: "js",
        wrong: Some(Edit { file, from, to }),
        broken: Edit {
            file,
            from: "onMessage(",
            to: "onMessage((",
        },
        better: &[
            TEST,
            Edit {
                file: "plugin.js",
                from: "\"!\"",
                to: "\"?\"",
            },
        ],
    })
    .await;
}

async fn journey(author: &Author) {
    let broker = Broker::dev(&["--no-demo"]);
    let mut client = connect(options(broker.address("tcp"), "c")).await.unwrap();
    client.subscribe("shout/#", QoS::AtLeastOnce).await;
    let folder = tempfile::tempdir().unwrap();
    let mut watch = Stopwatch {
        lang: author.lang,
        start: Instant::now(),
    };
    let sdk = root();
    let sdk = sdk.to_str().unwrap();
    let words = [
        "plugin",
        "new",
        "shout",
        "--lang",
        author.lang,
        "--sdk",
        sdk,
    ];
    let output = run(witmq(&broker, folder.path(), &words), "").unwrap();
    assert!(output.status.success(), "{}", text(&output));
    watch.lap("witmq plugin new");
    let project = folder.path().join("shout");
    let watching = Watching::start(&broker, &project);
    let (mut watching, said) = turn(watching).await;
    assert!(
        said.contains("shout: version 1 serves on every shard"),
        "{said}"
    );
    watch.lap("witmq plugin watch: tested, built, installed for the first time");
    broker.chain(
        "shout",
        "mode = \"transform\"\nfrom = \"shout/#\"\n[[step]]\nplugin = \"shout\"\n",
    );
    assert_eq!(answer(&mut client, "shout/a").await, "hello!");
    let bad = [
        (&author.wrong, "a change that fails its test"),
        (&Some(author.broken), "a change that does not build"),
    ];
    for (edit, what) in bad {
        let Some(edit) = edit else { continue };
        watch.start = Instant::now();
        edit.save(&project);
        let (then, said) = turn(watching).await;
        assert!(said.contains("the version before serves on"), "{said}");
        assert_eq!(answer(&mut client, "shout/a").await, "hello!");
        watch.lap(&format!("{what}: the old version serves on"));
        edit.undo(&project);
        let (then, said) = turn(then).await;
        assert!(said.contains("serves on every shard"), "{said}");
        watching = then;
    }
    watch.start = Instant::now();
    author.better.iter().for_each(|edit| edit.save(&project));
    let (_watching, said) = turn(watching).await;
    assert!(said.contains("serves on every shard"), "{said}");
    assert_eq!(answer(&mut client, "shout/a").await, "hello?");
    watch.lap("a change, swapped in");
}
