//! The queue of a sink, and the kind `file`: what was acknowledged is written, whatever happens to the broker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use serde_json::Value;
use std::path::Path;
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::sinks::{apply, publish, sink, wait_for_sink};
use witmq_e2e::{Broker, component};

const CHAIN: &str = "from = \"out/#\"\n[[step]]\nsink = \"out\"\n";

/// The numbers in the files of the sink `out`, smallest first.
fn written(broker: &Broker) -> Vec<u64> {
    let folder = broker.folder().join(".witmq/exports/out");
    let text: String = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let number = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (line["topic"].as_str(), line["client"].as_str()),
            (Some("out/numbers"), Some("p"))
        );
        line["payload"].as_u64().unwrap()
    };
    let mut numbers: Vec<u64> = text.lines().map(number).collect();
    numbers.sort_unstable();
    numbers
}

async fn client(broker: &Broker) -> Client {
    connect(options(broker.address("tcp"), "p")).await.unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_is_written_though_the_broker_was_killed() {
    let mut broker = Broker::serve_open("");
    let paused = "kind = \"file\"\npaused = true\n";
    assert!(apply(&broker, "out", paused).contains("out: applied (file), paused"));
    broker.chain("out", CHAIN);
    let mut p = client(&broker).await;
    publish(&mut p, "out/numbers", 0..500).await;
    assert_eq!(sink(&broker, "out")["queued_messages"], 500);
    broker.kill_9_and_start_again();
    let now = sink(&broker, "out");
    assert_eq!(
        (&now["queued_messages"], &now["state"]),
        (&500.into(), &"paused".into())
    );
    drop(broker.ok(&["sink", "resume", "out"], ""));
    // Killed again, somewhere in the middle of writing and taking.
    let mut p = client(&broker).await;
    publish(&mut p, "out/numbers", 500..600).await;
    broker.kill_9_and_start_again();
    wait_for_sink(&broker, "out", |sink| sink["queued_messages"] == 0);
    let mut numbers = written(&broker);
    numbers.dedup(); // at least once
    assert_eq!(numbers, (0..600).collect::<Vec<_>>());
    assert_eq!(sink(&broker, "out")["state"], "healthy");
    let metrics = broker.metrics();
    assert!(
        metrics.contains("witmq_sink_queued_messages{sink=\"out\",kind=\"file\"} 0"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_full_queue_refuses_the_publisher_where_the_chain_says_so() {
    let broker = Broker::serve_open("");
    let text = "kind = \"file\"\npaused = true\nqueue_messages = 2\n";
    drop(apply(&broker, "out", text));
    broker.chain("out", &format!("mode = \"transform\"\n{CHAIN}"));
    let mut p = client(&broker).await;
    publish(&mut p, "out/numbers", 0..2).await;
    let sent = p
        .sender
        .publish("out/numbers", QoS::AtLeastOnce, false, "2");
    sent.await.unwrap();
    let reason = p.wait(|packet| match packet {
        Packet::PubAck(ack) => Some(ack.reason),
        _ => None,
    });
    assert_eq!(reason.await, PubAckReason::ImplementationSpecificError);
    assert_eq!(sink(&broker, "out")["dropped"], 1);
}

#[tokio::test]
async fn the_disk_is_full_and_nothing_acknowledged_is_lost() {
    let broker = Broker::serve_open("");
    drop(apply(&broker, "out", "kind = \"file\"\npaused = true\n"));
    broker.chain("out", &format!("mode = \"transform\"\n{CHAIN}"));
    let mut p = client(&broker).await;
    publish(&mut p, "out/numbers", 0..10).await;
    broker.fill_disk(true);
    for number in 10..20 {
        let payload = number.to_string();
        let sent = p
            .sender
            .publish("out/numbers", QoS::AtLeastOnce, false, payload);
        sent.await.unwrap();
    }
    for _ in 10..20 {
        let reason = p.wait(|packet| match packet {
            Packet::PubAck(ack) => Some(ack.reason),
            _ => None,
        });
        assert_eq!(reason.await, PubAckReason::ImplementationSpecificError);
    }
    broker.fill_disk(false);
    publish(&mut p, "out/numbers", 20..30).await;
    drop(broker.ok(&["sink", "resume", "out"], ""));
    wait_for_sink(&broker, "out", |sink| sink["queued_messages"] == 0);
    let expected: Vec<u64> = (0..10).chain(20..30).collect();
    assert_eq!(written(&broker), expected);
}

#[test]
fn the_verbs_say_what_they_did_and_what_is_wrong() {
    let broker = Broker::serve_open("");
    let folder = broker.folder();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let wrong = file("wrong.toml", "kind = \"file\"\nque_bytes = 5\n");
    let said = broker.fails(&["sink", "apply", &wrong], 4);
    assert!(
        said.contains("wrong.toml:2:1: unknown key `que_bytes`"),
        "{said}"
    );
    assert!(said.contains("did you mean `queue_bytes`?"), "{said}");
    let right = file("right.toml", "kind = \"file\"\n");
    let said = broker.ok(&["sink", "check", &right], "");
    assert!(said.contains("can be written"), "{said}");
    let said = broker.ok(&["sink", "apply", "--dry-run", &right], "");
    assert!(said.contains("would be applied"), "{said}");
    assert!(!broker.ok(&["sink", "ls"], "").contains("right"));
    drop(broker.ok(&["sink", "apply", &right], ""));
    assert!(
        broker
            .ok(&["sink", "get", "right"], "")
            .contains("\"source\": \"kind = ")
    );
    assert!(
        broker
            .ok(&["sink", "pause", "right"], "")
            .contains("paused")
    );
    assert!(broker.ok(&["sink", "ls"], "").contains("paused"));
    assert!(
        broker
            .ok(&["sink", "resume", "right"], "")
            .contains("sends again")
    );
    assert!(broker.ok(&["sink", "rm", "right"], "").contains("removed"));
    drop(broker.fails(&["sink", "get", "right"], 3));
}

#[test]
fn a_name_is_a_connector_or_a_plugin_and_never_both() {
    let broker = Broker::serve_open("");
    let wasm = component("webhook");
    let wasm = wasm.to_str().unwrap();
    let words = |name| {
        [
            "plugin",
            "install",
            wasm,
            "--name",
            name,
            "--grant",
            "http:127.0.0.1",
        ]
    };
    let config = [
        "--config",
        "{\"endpoint\":{\"url\":\"http://127.0.0.1:9/\"}}",
    ];
    let install = |name| [&words(name)[..], &config].concat();
    drop(apply(&broker, "taken", "kind = \"file\"\n"));
    let said = broker.fails(&install("taken"), 4);
    assert!(said.contains("a connector is called so"), "{said}");
    drop(broker.ok(&install("hook"), ""));
    let path = broker.folder().join("hook.toml");
    std::fs::write(&path, "kind = \"file\"\n").unwrap();
    let said = broker.fails(&["sink", "apply", path.to_str().unwrap()], 4);
    assert!(
        said.contains("a plugin with a sink is called `hook`"),
        "{said}"
    );
}

#[test]
fn dev_applies_what_is_saved_and_removes_what_is_taken_away() {
    let broker = Broker::dev(&["--no-demo"]);
    let path = broker.folder().join("sinks/kept.toml");
    std::fs::write(&path, "kind = \"file\"\n").unwrap();
    let names = |broker: &Broker| broker.ok(&["sink", "ls", "--json"], "");
    let wait = |is_there: bool| {
        let end = std::time::Instant::now() + witmq_e2e::PATIENCE;
        while names(&broker).contains("\"kept\"") != is_there {
            assert!(std::time::Instant::now() < end, "{}", names(&broker));
        }
    };
    wait(true);
    std::fs::remove_file(&path).unwrap();
    wait(false);
}

#[test]
fn the_examples_are_what_they_say() {
    let folder = witmq_e2e::root().join("examples/chains");
    let broker = Broker::serve_open("");
    let is_toml = |path: &Path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    };
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| is_toml(path))
        .collect();
    paths.sort();
    for path in paths {
        drop(broker.ok(&["rule", "apply", "--dry-run", path.to_str().unwrap()], ""));
    }
    for entry in std::fs::read_dir(witmq_e2e::root().join("examples/sinks")).unwrap() {
        let path = entry.unwrap().path();
        drop(broker.ok(&["sink", "apply", "--dry-run", path.to_str().unwrap()], ""));
    }
}
