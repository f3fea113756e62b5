//! `witmq rule record` and `rule test --replay`: messages as they came, and what a chain would have made of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use serde_json::json;
use std::path::PathBuf;
use witmq_e2e::Broker;
use witmq_e2e::api::Api;
use witmq_e2e::client::{connect, options};
/// Two of three messages to `r/…`, as the API gives them, in a file.
async fn recorded(broker: &Broker) -> PathBuf {
    let mut api = Api::of(broker);
    let begun = api.post(
        "recordings",
        &json!({ "filter": "r/#", "for_ms": 60_000, "messages": 2 }),
    );
    let id = begun["id"].as_u64().unwrap();
    let busy = broker.fails(&["rule", "record", "r/#", "--for", "1s"], 1);
    assert!(busy.contains("one recording at a time"), "{busy}");
    let mut client = connect(options(broker.address("tcp"), "sensor"))
        .await
        .unwrap();
    client.subscribe("#", QoS::AtLeastOnce).await;
    for (topic, payload) in [
        ("r/1", "{\"c\":50}"),
        ("q", "x"),
        ("r/2", "{\"c\":20}"),
        ("r/3", "{\"c\":60}"),
    ] {
        let publish = client
            .sender
            .publish(topic, QoS::AtLeastOnce, false, payload);
        publish.await.unwrap();
        drop(client.message().await);
    }
    let page = api.ask("GET", &format!("recordings/{id}"), "", "").json();
    assert_eq!(
        (&page["recorded"], &page["skipped_messages"]),
        (&json!(2), &json!(1))
    );
    let messages = page["messages"].as_array().unwrap();
    assert_eq!(messages[0]["client"], json!("sensor"));
    let lines: String = messages
        .iter()
        .map(|message| format!("{message}\n"))
        .collect();
    assert_eq!(
        api.ask("DELETE", &format!("recordings/{id}"), "", "")
            .status,
        204
    );
    assert_eq!(
        api.ask("GET", &format!("recordings/{id}"), "", "").status,
        404
    );
    let recording = broker.folder().join("r.jsonl");
    std::fs::write(&recording, lines).unwrap();
    recording
}

#[tokio::test]
async fn what_was_recorded_is_replayed_through_files_and_they_are_compared() {
    let broker = Broker::serve_open("");
    let recording = recorded(&broker).await;
    let chain = |name: &str, above: u32| {
        let text = format!(
            "from = \"r/{{n}}\"\n[[step]]\nfilter = \"payload.c > {above}\"\n[[step]]\npublish = \"hot/{{n}}\"\n"
        );
        let file = broker.folder().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (hot, warm) = (chain("hot.toml", 40), chain("warm.toml", 10));
    let words = [
        "rule",
        "test",
        &hot,
        "--replay",
        recording.to_str().unwrap(),
    ];
    let said = broker.ok(&words, "");
    assert!(
        said.contains("2 messages, 2 matched: 1 published"),
        "{said}"
    );
    let said = broker.fails(&[&words[..], &["--against", &warm]].concat(), 1);
    assert!(said.contains("1 differ from"), "{said}");
    assert!(
        said.contains("this does nothing, the other publishes hot/2"),
        "{said}"
    );
}

#[test]
fn the_verb_writes_a_file_of_its_own_and_no_other() {
    let broker = Broker::serve_open("");
    let said = broker.fails(&["rule", "record", "r/#/x", "--for", "1s"], 4);
    assert!(said.contains("`r/#/x` is no filter"), "{said}");
    let out = broker.folder().join("empty.jsonl");
    let words = [
        "rule",
        "record",
        "none",
        "--for",
        "1s",
        "--out",
        out.to_str().unwrap(),
    ];
    let said = broker.ok(&words, "");
    assert!(said.contains("0 recorded, 0 skipped"), "{said}");
    let line = "{\"witmq_recording\":1,\"filter\":\"none\"}\n";
    assert_eq!(std::fs::read_to_string(&out).unwrap(), line);
    drop(broker.fails(&words, 4));
}
