//! What a plugin keeps survives everything that the plugin and the broker go through.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::{Broker, component};

const COUNT: &str = r#"{"mode":"count"}"#;

fn install(broker: &Broker) {
    let guest = component("witmq_test_guests");
    let guest = guest.to_str().unwrap();
    let words = [
        "plugin",
        "install",
        guest,
        "--name",
        "counter",
        "--config",
        COUNT,
        "--grant",
        "publish:made/by/#",
        "--grant",
        "secret:token",
    ];
    drop(broker.ok(&words, ""));
}

/// Publishes with QoS 1 and waits for the acknowledgement.
async fn publish(client: &mut Client) {
    let sent = client.sender.publish("count", QoS::AtLeastOnce, false, "x");
    sent.await.unwrap();
    client
        .wait(|packet| matches!(packet, Packet::PubAck(_)).then_some(()))
        .await;
}

/// What the counter says to one more message.
async fn next(broker: &Broker, name: &str) -> String {
    let mut client = connect(options(broker.address("tcp"), name)).await.unwrap();
    client.subscribe("count", QoS::AtMostOnce).await;
    let sent = client.sender.publish("count", QoS::AtMostOnce, false, "x");
    sent.await.unwrap();
    client.text().await
}

#[tokio::test]
async fn a_counter_survives_a_swap_kill_9_and_a_restart_and_goes_with_its_plugin() {
    let mut broker = Broker::serve_open("shards = 2\n");
    install(&broker);
    broker.chain(
        "count",
        "mode = \"transform\"\nfrom = \"count\"\n[[step]]\nplugin = \"counter\"\n",
    );
    let mut client = connect(options(broker.address("tcp"), "first"))
        .await
        .unwrap();
    for _ in 0..10 {
        publish(&mut client).await;
    }
    drop(client);
    install(&broker); // the same component as another version: a swap
    let mut client = connect(options(broker.address("tcp"), "second"))
        .await
        .unwrap();
    for _ in 0..10 {
        publish(&mut client).await;
    }
    // Acknowledged means stored, with nobody subscribed: [MQTT-4.3.2-4] for what plugins keep.
    broker.kill_9_and_start_again();
    drop(client);
    let said = next(&broker, "third").await;
    assert_eq!(said, "21");
    assert_eq!(broker.stop(), Some(0));
    broker.kill_9_and_start_again(); // it has ended: this starts it
    let said = next(&broker, "fourth").await;
    assert_eq!(said, "22");
    drop(broker.ok(&["plugin", "rm", "counter"], ""));
    install(&broker);
    let said = next(&broker, "fifth").await;
    assert_eq!(said, "1");
}
