//! What chains remember, in a running broker: windows that end with nobody publishing, and tables that survive kill -9.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use witmq_e2e::Broker;
use witmq_e2e::client::{Client, connect, options};

async fn client(broker: &Broker, id: &str) -> Client {
    connect(options(broker.address("tcp"), id)).await.unwrap()
}

/// Publishes with QoS 1 and waits for the acknowledgement.
async fn publish(client: &mut Client, topic: &str, payload: &str) {
    let sent = (client.sender).publish(topic, QoS::AtLeastOnce, false, payload.to_owned());
    sent.await.unwrap();
    client
        .wait(|packet| matches!(packet, Packet::PubAck(_)).then_some(()))
        .await;
}

#[tokio::test]
async fn a_window_of_publishers_on_all_shards_ends_by_itself() {
    let broker = Broker::serve_open("shards = 2\n");
    // Longer than the test publishes for, in all likelihood; if not, there are two windows, and their sum is the same.
    broker.chain(
        "sum",
        "from = \"n\"\n[[step]]\nwindow = { time = \"2s\", value = \"payload\" }\n[[step]]\npublish = \"sum\"\npayload = \"[window.sum, window.count]\"\n",
    );
    let mut listener = client(&broker, "listener").await;
    listener.subscribe("sum", QoS::AtMostOnce).await;
    for number in 1..=8 {
        let mut publisher = client(&broker, &format!("p{number}")).await;
        publish(&mut publisher, "n", &number.to_string()).await;
    }
    let (mut sum, mut count) = (0.0, 0);
    while count < 8 {
        let (more, messages): (f64, u64) = serde_json::from_str(&listener.text().await).unwrap();
        (sum, count) = (sum + more, count + messages);
    }
    assert_eq!((sum, count), (36.0, 8));
}

#[tokio::test]
async fn tables_are_filled_by_a_topic_the_api_and_files_and_survive_kill_9() {
    let mut broker = Broker::serve_open("shards = 2\n[limits]\ntable_keys = 5\n");
    let table = |broker: &Broker, words: &[&str]| broker.ok(&[&["table"], words].concat(), "");
    broker.chain(
        "feed",
        "from = \"devices/{id}\"\n[[step]]\nstore = { table = \"devices\", key = \"topic.id\", value = \"payload\" }\n",
    );
    let mut publisher = client(&broker, "publisher").await;
    publish(&mut publisher, "devices/a/b", "1").await; // does not match
    publish(&mut publisher, "devices/7", r#"{"site":"ams"}"#).await;
    drop(table(&broker, &["put", "devices", "a/b c", "\"by hand\""]));
    let file = broker.folder().join("more.csv");
    std::fs::write(&file, "id,site\n8,bru\n9,\"a, b\"\n").unwrap();
    let said = table(&broker, &["load", "devices", file.to_str().unwrap()]);
    assert!(said.contains("devices: 2 keys set"), "{said}");

    broker.kill_9_and_start_again();
    assert!(table(&broker, &["get", "devices", "7"]).contains(r#"{"site":"ams"}"#));
    assert!(table(&broker, &["get", "devices", "a/b c"]).contains("by hand"));
    let listed = table(&broker, &["ls", "devices"]);
    let keys: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    assert_eq!(keys, ["7", "8", "9", "a/b c"]);
    drop(table(&broker, &["put", "devices", "10", "null"]));
    let full = broker.fails(&["table", "put", "devices", "11", "1"], 1);
    assert!(
        full.contains("table `devices` is full (table_keys)"),
        "{full}"
    );
    drop(table(&broker, &["rm", "devices", "7"]));
    let gone = broker.fails(&["table", "get", "devices", "7"], 3);
    assert!(gone.contains("no key `7`"), "{gone}");

    broker.chain(
        "named",
        "mode = \"transform\"\nfrom = \"s/{id}\"\n[[step]]\nlookup = { table = \"devices\", key = \"topic.id\", as = \"device\" }\n[[step]]\nset = { \"$payload\" = \"device.site\" }\n",
    );
    let mut client = client(&broker, "client").await;
    client.subscribe("s/9", QoS::AtMostOnce).await;
    publish(&mut client, "s/9", "x").await;
    assert_eq!(client.text().await, "a, b");
    let said = table(&broker, &["rm", "devices", "--all"]);
    assert!(said.contains("devices: 4 keys removed"), "{said}");
}
