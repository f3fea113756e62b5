//! A chain in a broker whose step waits for a service: its publisher waits in order, and nobody else does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::raw::{Incoming, Raw};
use witmq_e2e::site::{Site, ok};
use witmq_e2e::{Broker, PATIENCE, component};

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

/// Packets until the connection ends.
fn rest_of(client: &mut Raw) -> Vec<Incoming> {
    let mut all = Vec::new();
    while let Ok(Some(packet)) = client.next(PATIENCE) {
        all.push(packet);
    }
    all
}

/// The next packet that `pick` takes.
fn next<R>(client: &mut Raw, mut pick: impl FnMut(&Incoming) -> Option<R>) -> R {
    loop {
        let packet = client.next(PATIENCE).unwrap().unwrap();
        if let Some(found) = pick(&packet) {
            return found;
        }
    }
}

/// Killed while a message is parked at a plugin that waits, and (each second time) in the moment of its answer.
#[test]
fn what_was_parked_at_a_plugin_that_waits_is_not_lost_by_kill_9() {
    let (let_go, may_go) = channel::<()>();
    let may_go = Mutex::new(may_go);
    let (came, coming) = channel::<String>();
    let site = Site::start(move |asked| {
        came.send(asked.path.clone()).unwrap();
        let _is_over = may_go.lock().unwrap().recv().is_err();
        ok(asked.path.clone())
    });
    let mut broker = Broker::serve_open("");
    install(&broker);
    let address = broker.address("tcp");
    let (mut subscriber, _) = Raw::connect(address, "s", false, None).unwrap();
    subscriber.subscribe("ask/it", 1, 1).unwrap();
    next(&mut subscriber, |packet| {
        (*packet == Incoming::Suback(1)).then_some(())
    });
    for round in 0..6_u16 {
        let id = round + 1;
        let order = format!("{{\"url\":\"{}/{round}\"}}", site.url());
        let (mut publisher, _) = Raw::connect(address, "p", false, None).unwrap();
        let first = (1, false, false);
        publisher
            .publish("ask/it", order.as_bytes(), first, id)
            .unwrap();
        // It is there: the plugin waits for its answer.
        assert_eq!(coming.recv_timeout(PATIENCE).unwrap(), format!("/{round}"));
        let is_answered = round % 2 == 1;
        if is_answered {
            let_go.send(()).unwrap();
        }
        broker.kill_9();
        let is_acknowledged = rest_of(&mut publisher).contains(&Incoming::Puback(id));
        assert!(
            is_answered || !is_acknowledged,
            "nobody knows what becomes of it"
        );
        drop(rest_of(&mut subscriber));
        broker.start_again();
        let (again, is_known) = Raw::connect(address, "s", false, None).unwrap();
        assert!(is_known);
        subscriber = again;
        if !is_answered {
            let_go.send(()).unwrap(); // to the broker that is gone
        }
        if !is_acknowledged {
            let (again, _) = Raw::connect(address, "p", false, None).unwrap();
            publisher = again;
            let second = (1, false, true);
            publisher
                .publish("ask/it", order.as_bytes(), second, id)
                .unwrap();
            let_go.send(()).unwrap();
            coming.recv_timeout(PATIENCE).unwrap();
            next(&mut publisher, |packet| {
                (*packet == Incoming::Puback(id)).then_some(())
            });
        }
        let expected = format!("200 /{round}");
        let id = next(&mut subscriber, |packet| match packet {
            Incoming::Publish { payload, id, .. } if *payload == expected.as_bytes() => Some(*id),
            _ => None,
        });
        subscriber.acknowledge(0x40, id).unwrap();
    }
}
