//! `witmq rule import`: a rule of EMQX becomes a file, the file a chain that serves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use serde_json::{Value, json};
use witmq_e2e::Broker;
use witmq_e2e::client::{connect, options};

const STRICT: i32 = 1;

/// As EMQX's API exports it.
fn exported() -> String {
    json!({
        "id": "hot",
        "sql": "SELECT topic, payload.t as t FROM \"rooms/+\" WHERE payload.t > 30",
        "actions": [{
            "function": "republish",
            "args": { "topic": "hot/${topic}", "payload": "${t}", "qos": 1 }
        }]
    })
    .to_string()
}

#[tokio::test]
async fn an_exported_rule_becomes_a_chain_that_serves() {
    let broker = Broker::dev(&["--no-demo"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hot.toml");
    let path = file.to_str().unwrap();
    let import = ["rule", "import", "emqx-sql", "-", "-o", path];
    drop(broker.ok(&import, &exported()));
    drop(broker.ok(&["rule", "apply", path], ""));

    let mut client = connect(options(broker.address("tcp"), "sensor"))
        .await
        .unwrap();
    client.subscribe("hot/#", QoS::AtLeastOnce).await;
    for (topic, t) in [("rooms/1", 20), ("rooms/2", 40), ("rooms/3", 31)] {
        let publish = client.sender.publish(
            topic,
            QoS::AtLeastOnce,
            false,
            json!({ "t": t }).to_string(),
        );
        publish.await.unwrap();
    }
    for (topic, t) in [("hot/rooms/2", 40), ("hot/rooms/3", 31)] {
        let message = client.message().await;
        assert_eq!(message.topic, topic);
        let payload: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(payload, json!(t));
    }
}

#[test]
fn what_cannot_be_carried_over_is_said_and_with_strict_nothing_is_written() {
    let broker = Broker::dev(&["--no-demo"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rule.toml");
    let path = file.to_str().unwrap();
    let sql = "SELECT no_such_function(payload.t) as t FROM \"rooms/+\"";
    let words = ["rule", "import", "emqx-sql", "--sql", sql, "-o", path];

    let said = broker.fails(&[&words[..], &["--strict"]].concat(), STRICT);
    assert!(
        said.contains("1:8") && said.contains("nothing is written"),
        "{said}"
    );
    assert!(said.contains("no_such_function"), "{said}");
    assert!(!file.exists());

    let said = broker.ok(&words, "");
    assert!(said.contains("not carried over"), "{said}");
    drop(broker.ok(&["rule", "check", path], ""));

    // A statement that is none is refused with its place, strict or not.
    let broken = ["rule", "import", "emqx-sql", "--sql", "SELECT FROM"];
    let said = broker.fails(&broken, STRICT);
    assert!(said.contains("1:8"), "{said}");
}
