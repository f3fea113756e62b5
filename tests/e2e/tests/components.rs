//! The bundled components, each installed into a real broker and met by real clients.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use serde_json::{Value, json};
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::{Broker, component};

/// A broker with a component in a chain over every topic below `in`.
fn broker(plugin: &str, config: &Value) -> Broker {
    let broker = Broker::dev(&["--no-demo"]);
    let wasm = component(&plugin.replace('-', "_"));
    let config = config.to_string();
    let words = [
        "plugin",
        "install",
        wasm.to_str().unwrap(),
        "--config",
        &config,
    ];
    drop(broker.ok(&words, ""));
    let chain = format!(
        "mode = \"transform\"\nfrom = \"in/{{rest...}}\"\n[[step]]\nplugin = \"{plugin}\"\n"
    );
    broker.chain("component", &chain);
    broker
}

/// A client that hears everything.
async fn client(broker: &Broker) -> Client {
    let mut client = connect(options(broker.address("tcp"), "c")).await.unwrap();
    client.subscribe("#", QoS::AtLeastOnce).await;
    client
}

async fn publish(client: &Client, topic: &str, payload: impl Into<Vec<u8>>) {
    let sent = client
        .sender
        .publish(topic, QoS::AtLeastOnce, false, payload.into());
    sent.await.unwrap();
}

/// Publishes what is refused: the reason.
async fn refused(client: &mut Client, topic: &str, payload: impl Into<Vec<u8>>) -> PubAckReason {
    publish(client, topic, payload).await;
    let refusal = |packet| match packet {
        Packet::PubAck(ack) => Some(ack.reason),
        _ => None,
    };
    let is_refusal = |reason: &PubAckReason| {
        !matches!(
            reason,
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers
        )
    };
    client
        .wait(|packet| refusal(packet).filter(is_refusal))
        .await
}

#[tokio::test]
async fn deadband_lets_changes_pass_and_forgets_nothing_at_a_swap() {
    let config = json!({"absolute": 0.5, "not_a_number": "refuse"});
    let broker = broker("deadband", &config);
    let mut client = client(&broker).await;
    for value in ["20", "20.5", "21"] {
        publish(&client, "in/temp", value).await;
    }
    assert_eq!([client.text().await, client.text().await], ["20", "21"]);
    // Another configuration is another instance, which was handed what passed.
    let config = json!({"absolute": 2, "not_a_number": "refuse"}).to_string();
    drop(broker.ok(&["plugin", "config", "deadband", &config], ""));
    for value in ["23", "19", "23.5"] {
        publish(&client, "in/temp", value).await;
    }
    assert_eq!(client.text().await, "23.5");
    let reason = refused(&mut client, "in/temp", "warm").await;
    assert_eq!(reason, PubAckReason::PayloadFormatInvalid);
}
