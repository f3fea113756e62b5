//! Plugins in Python and JavaScript, from `plugin new` to messages that pass through them in a running broker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::{Broker, binary, run, text};

/// A language, and a line of its template that is made to fail at one message.
struct Guest {
    lang: &'static str,
    source: &'static str,
    before: &'static str,
    failing: &'static str,
}

const PYTHON: Guest = Guest {
    lang: "python",
    source: "plugin.py",
    before: "        return witmq.modify",
    failing: "        if m.payload == b\"boom\":\n            raise ValueError(\"boom it is\")\n",
};
const JAVASCRIPT: Guest = Guest {
    lang: "js",
    source: "plugin.js",
    before: "    return { tag: \"modify\"",
    failing: "    if (message.payload.length === 4) throw new Error(\"boom it is\");\n",
};

/// Runs `witmq …` in a folder; what it said.
fn ok(broker: &Broker, folder: &Path, words: &[&str]) -> String {
    let mut command = Command::new(binary());
    command
        .args(words)
        .current_dir(folder)
        .env("WITMQ_URL", format!("http://{}", broker.address("http")))
        .env("WITMQ_DATA_DIR", broker.folder().join(".witmq"))
        .env("XDG_CACHE_HOME", folder.join("build"));
    let output = run(command, "").unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{words:?}: {said}");
    said
}

#[tokio::test]
async fn a_plugin_in_python_serves() {
    serves(&PYTHON).await;
}

#[tokio::test]
async fn a_plugin_in_javascript_serves() {
    serves(&JAVASCRIPT).await;
}

async fn serves(guest: &Guest) {
    let broker = Broker::dev(&["--no-demo"]);
    let folder = tempfile::tempdir().unwrap();
    let hooks = ["transform", "sink", "events", "timer"].map(|hook| ["--hook", hook]);
    let mut words = vec!["plugin", "new", "hallo", "--lang", guest.lang];
    words.extend(hooks.as_flattened());
    ok(&broker, folder.path(), &words);
    let project = folder.path().join("hallo");
    let source = project.join(guest.source);
    let whole = std::fs::read_to_string(&source).unwrap();
    let failing = format!("{}{}", guest.failing, guest.before);
    assert!(whole.contains(guest.before), "{whole}");
    std::fs::write(&source, whole.replace(guest.before, &failing)).unwrap();

    let said = ok(&broker, &project, &["plugin", "build"]);
    for expected in ["build/hallo.wasm", "hooks: transform, sink, events, timer"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let said = ok(&broker, &project, &["plugin", "test"]);
    assert!(said.contains("3 passed, 0 failed"), "{said}");
    assert!(said.contains("compiled before"), "it was built: {said}");
    let said = ok(&broker, &project, &["plugin", "check"]);
    assert!(said.contains("a broker of this version takes it"), "{said}");
    let config = r#"{"every_s":1,"suffix":"?"}"#;
    let install = ["plugin", "install", ".", "--config", config];
    let said = ok(&broker, &project, &install);
    assert!(said.contains("version 1 serves on every shard"), "{said}");
    messages(&broker, &project).await;
}

/// What comes out of a chain with the plugin; what is in its log.
async fn messages(broker: &Broker, project: &Path) {
    let step = "[[step]]\nplugin = \"hallo\"\n";
    broker.chain(
        "hallo",
        &format!("mode = \"transform\"\nfrom = \"hallo/#\"\n{step}"),
    );
    broker.chain(
        "out",
        "mode = \"rule\"\nfrom = \"out/#\"\n[[step]]\nsink = \"hallo\"\n",
    );
    let mut client = connect(options(broker.address("tcp"), "c")).await.unwrap();
    client.subscribe("hallo/#", QoS::AtLeastOnce).await;
    publish(&mut client, "hallo/a", "grüße").await;
    assert_eq!(client.text().await, "grüße?", "changed, as configured");
    let reason = publish(&mut client, "hallo/a", "boom").await;
    assert_eq!(
        reason,
        PubAckReason::ImplementationSpecificError,
        "the exception fails the step"
    );
    publish(&mut client, "hallo/a", "again").await;
    assert_eq!(client.text().await, "again?", "another instance");
    publish(&mut client, "out/b", "away").await;
    let stats = ok(broker, project, &["plugin", "stats", "hallo"]);
    assert!(stats.contains("trap 1"), "{stats}");
    let (mut logs, end) = (String::new(), Instant::now() + Duration::from_secs(30));
    for expected in ["boom it is", "a beat was due at", "out/b: "] {
        while !logs.contains(expected) {
            assert!(Instant::now() < end, "{expected}: {logs}");
            logs = ok(broker, project, &["plugin", "logs", "hallo"]);
        }
    }
}

/// Publishes and waits; the reason code of PUBACK.
async fn publish(client: &mut Client, topic: &str, payload: &str) -> PubAckReason {
    let payload = payload.to_owned();
    let publish = client
        .sender
        .publish(topic, QoS::AtLeastOnce, false, payload);
    publish.await.unwrap();
    client
        .wait(|packet| match packet {
            Packet::PubAck(ack) => Some(ack.reason),
            _ => None,
        })
        .await
}
