//! A chain in a broker whose step waits for a service: its publisher waits in order, and nobody else does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::site::{Site, ok};
use witmq_e2e::{Broker, component};

fn install(broker: &Broker) {
    let guest = component("witmq_test_guests_http");
    let words = [
        "plugin",
        "install",
        guest.to_str().unwrap(),
        "--name",
        "ask",
        "--grant",
        "http:127.0.0.1",
        "--grant",
        "publish:made/by/#",
    ];
    drop(broker.ok(&words, ""));
    let chain = "mode = \"transform\"\nfrom = \"ask/#\"\n[[step]]\nplugin = \"ask\"\n";
    broker.chain("ask", chain);
}

async fn publish(client: &Client, topic: &str, payload: impl Into<Vec<u8>>) {
    let publish = client
        .sender
        .publish(topic, QoS::AtLeastOnce, false, payload.into());
    publish.await.unwrap();
}

async fn acknowledged(client: &mut Client) -> PubAckReason {
    client
        .wait(|packet| match packet {
            Packet::PubAck(ack) => Some(ack.reason),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn its_publisher_waits_in_order_and_nobody_else_does() {
    let (let_go, may_go) = channel::<()>();
    let may_go = Mutex::new(may_go);
    let site = Site::start(move |asked| {
        may_go.lock().unwrap().recv().unwrap();
        ok(asked.path.clone())
    });
    let broker = Broker::serve_open("");
    install(&broker);
    let mut subscriber = connect(options(broker.address("tcp"), "s")).await.unwrap();
    subscriber.subscribe("#", QoS::AtLeastOnce).await;
    let mut publisher = connect(options(broker.address("tcp"), "p")).await.unwrap();
    let mut bystander = connect(options(broker.address("tcp"), "b")).await.unwrap();
    for n in 0..3 {
        let order = format!("{{\"url\":\"http://{}/{n}\"}}", site.address);
        publish(&publisher, "ask/it", order).await;
    }
    publish(&publisher, "other", "behind").await;
    // The service answers nothing yet.
    publish(&bystander, "other", "by the way").await;
    assert_eq!(acknowledged(&mut bystander).await, PubAckReason::Success);
    assert_eq!(subscriber.text().await, "by the way");
    for n in 0..3 {
        let_go.send(()).unwrap();
        assert_eq!(subscriber.text().await, format!("200 /{n}"));
        assert_eq!(acknowledged(&mut publisher).await, PubAckReason::Success);
    }
    assert_eq!(subscriber.text().await, "behind"); // [MQTT-4.6.0-5]
    let metrics = broker.ok(&["plugin", "stats", "ask"], "");
    assert!(metrics.contains("transform"), "{metrics}");
}

#[tokio::test]
async fn a_service_that_never_answers_is_a_failure_of_the_step() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = Broker::serve_open("[limits]\nplugin_timeout_ms = 300\n");
    install(&broker);
    let mut publisher = connect(options(broker.address("tcp"), "p")).await.unwrap();
    let order = format!("{{\"url\":\"http://{}/\"}}", silent.local_addr().unwrap());
    publish(&publisher, "ask/it", order.clone()).await;
    let failed = PubAckReason::ImplementationSpecificError;
    assert_eq!(acknowledged(&mut publisher).await, failed);
    let chain = "mode = \"transform\"\nfrom = \"ask/#\"\n[[step]]\nplugin = \"ask\"\non_error = \"continue\"\n";
    broker.chain("ask", chain);
    let mut subscriber = connect(options(broker.address("tcp"), "s")).await.unwrap();
    subscriber.subscribe("#", QoS::AtLeastOnce).await;
    publish(&publisher, "ask/it", order.clone()).await;
    assert_eq!(subscriber.text().await, order);
    assert_eq!(acknowledged(&mut publisher).await, PubAckReason::Success);
}
