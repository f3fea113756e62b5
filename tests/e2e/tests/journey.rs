//! The way of a plugin's author, with a stopwatch: from `plugin new` in an empty folder to a change that is swapped into a
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
struct Stopwatch(Instant);

impl Stopwatch {
    fn lap(&mut self, what: &str) {
        println!("{:6.1} s  {what}", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
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

#[tokio::test]
async fn from_an_empty_folder_to_a_change_that_is_swapped_in() {
    let broker = Broker::dev(&["--no-demo"]);
    let mut client = connect(options(broker.address("tcp"), "c")).await.unwrap();
    client.subscribe("shout/#", QoS::AtLeastOnce).await;
    let folder = tempfile::tempdir().unwrap();
    let mut watch = Stopwatch(Instant::now());
    let sdk = root();
    let words = ["plugin", "new", "shout", "--sdk", sdk.to_str().unwrap()];
    let output = run(witmq(&broker, folder.path(), &words), "").unwrap();
    assert!(output.status.success(), "{}", text(&output));
    watch.lap("witmq plugin new");
    let project = folder.path().join("shout");
    let watching = Watching::start(&broker, &project);
    let (watching, said) = turn(watching).await;
    assert!(
        said.contains("shout: version 1 serves on every shard"),
        "{said}"
    );
    watch.lap("witmq plugin watch: tested, built, installed for the first time");
    broker.chain(
        "shout",
        "mode = \"transform\"\nfrom = \"shout/#\"\n[[step]]\nplugin = \"shout\"\n",
    );
    let first = answer(&mut client, "shout/a").await;
    assert_eq!(first, "hello!");
    let source = project.join("src/lib.rs");
    let good = std::fs::read_to_string(&source).unwrap();
    watch.0 = Instant::now();
    let bad = good.replace("self.config.suffix)", "\"?\")");
    std::fs::write(&source, bad).unwrap();
    let (watching, said) = turn(watching).await;
    assert!(
        !said.contains("version 2 serves"),
        "its own test fails: {said}"
    );
    assert_eq!(
        answer(&mut client, "shout/a").await,
        first,
        "the version before serves on"
    );
    watch.lap("a change that fails its test: the old version serves on");
    std::fs::write(&source, good.replace("Ok(Outcome", "Ok(Outcom")).unwrap();
    let (watching, said) = turn(watching).await;
    assert!(said.contains("the version before serves on"), "{said}");
    assert_eq!(answer(&mut client, "shout/a").await, first);
    watch.lap("a change that does not compile: the old version serves on");
    let better = good.replace("\"!\"", "\"?\"").replace("hello!", "hello?");
    std::fs::write(&source, better).unwrap();
    let (_watching, said) = turn(watching).await;
    assert!(
        said.contains("shout: version 2 serves on every shard"),
        "{said}"
    );
    assert_eq!(answer(&mut client, "shout/a").await, "hello?");
    watch.lap("a change, swapped in");
}
