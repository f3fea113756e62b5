//! The kind `mqtt`: bridges to Mosquitto and to another WitMQ, which go away in mid-stream and come back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use witmq_e2e::Broker;
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::mosquitto::{Mosquitto, USER};
use witmq_e2e::sinks::{apply, publish, sink, wait_for_sink};

const CHAIN: &str = "from = \"out/#\"\n[[step]]\nsink = \"far\"\n";
const RETRY: &str = "retry = { first_ms = 20, longest_ms = 100 }\n";

/// Options of a client whose session stays.
fn lasting(broker: SocketAddr, id: &str) -> MqttOptions {
    let mut options = options(broker, id);
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(3600));
    options
}

/// A user that Mosquitto knows.
fn known(mut options: MqttOptions) -> MqttOptions {
    options.set_credentials(USER.0, USER.1);
    options.set_max_packet_size(Some(1024 * 1024));
    options
}

/// Waits until all of these numbers came; some may come twice.
async fn all(client: &mut Client, end: u64) {
    let mut missing: BTreeSet<String> = (0..end).map(|number| number.to_string()).collect();
    while !missing.is_empty() {
        let text = client.text().await;
        missing.remove(&text);
    }
}

#[tokio::test]
async fn what_goes_out_is_not_lost_when_the_other_broker_is_killed() {
    let mut far = Broker::serve_open("");
    let near = Broker::serve_open("");
    let text = format!(
        "kind = \"mqtt\"\nurl = \"mqtt://{}\"\nout = {{ strip = \"out/\", add = \"site/\" }}\n{RETRY}",
        far.address("tcp")
    );
    drop(apply(&near, "far", &text));
    near.chain("out", CHAIN);
    let mut listener = connect(lasting(far.address("tcp"), "l")).await.unwrap();
    listener.subscribe("site/#", QoS::AtLeastOnce).await;
    drop(listener);

    let mut client = connect(options(near.address("tcp"), "p")).await.unwrap();
    publish(&mut client, "out/a", 0..200).await;
    far.kill_9();
    publish(&mut client, "out/a", 200..300).await;
    wait_for_sink(&near, "far", |sink| sink["state"] == "failing");
    far.start_again();
    publish(&mut client, "out/a", 300..400).await;
    let mut listener = connect(lasting(far.address("tcp"), "l")).await.unwrap();
    all(&mut listener, 400).await;
    wait_for_sink(&near, "far", |sink| {
        sink["queued_messages"] == 0 && sink["state"] == "healthy" && sink["delivered"] == 400
    });
}

#[tokio::test]
async fn what_comes_in_is_not_lost_whoever_is_killed() {
    let mut far = Broker::serve_open("");
    let mut near = Broker::serve_open("");
    let text = format!(
        "kind = \"mqtt\"\nurl = \"mqtt://{}\"\nin = {{ filters = [\"down/#\"], add = \"far/\" }}\n{RETRY}",
        far.address("tcp")
    );
    drop(apply(&near, "far", &text));
    wait_for_sink(&near, "far", |sink| sink["state"] == "healthy");
    let mut listener = connect(lasting(near.address("tcp"), "l")).await.unwrap();
    listener.subscribe("far/down/#", QoS::AtLeastOnce).await;
    drop(listener);
    let mut client = connect(options(far.address("tcp"), "p")).await.unwrap();
    publish(&mut client, "down/a", 0..1).await;
    wait_for_sink(&near, "far", |sink| sink["received"] == 1);

    publish(&mut client, "down/a", 1..200).await;
    near.kill_9();
    publish(&mut client, "down/a", 200..300).await;
    near.start_again();
    far.kill_9();
    wait_for_sink(&near, "far", |sink| sink["state"] == "failing");
    far.start_again();
    let mut client = connect(options(far.address("tcp"), "p")).await.unwrap();
    publish(&mut client, "down/a", 300..400).await;
    let mut listener = connect(lasting(near.address("tcp"), "l")).await.unwrap();
    all(&mut listener, 400).await;
    wait_for_sink(&near, "far", |sink| sink["state"] == "healthy");
}

/// Both ways, between the same topics: what would run in a circle anywhere else.
#[tokio::test]
async fn mosquitto_gets_and_gives_everything_once() {
    let mut far = Mosquitto::start();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), USER.1).unwrap();
    let near = Broker::serve_open(&format!("[secrets]\nfar = {:?}\n", secret.path()));
    let base = format!(
        "kind = \"mqtt\"\nurl = \"mqtt://{}\"\nusername = \"{}\"\nout = {{}}\n\
         in = {{ filters = [\"out/#\"] }}\n{RETRY}",
        far.address, USER.0
    );
    let path = near.folder().join("far.toml");
    std::fs::write(&path, format!("{base}password = \"wrong\"\n")).unwrap();
    let said = near.fails(&["sink", "check", path.to_str().unwrap()], 4);
    assert!(said.contains("far.toml: "), "{said}");
    let text = format!("{base}password = {{ secret = \"far\" }}\n");
    std::fs::write(&path, &text).unwrap();
    let said = near.ok(&["sink", "check", path.to_str().unwrap()], "");
    assert!(said.contains("lets this broker in"), "{said}");
    drop(apply(&near, "far", &text));
    near.chain("out", CHAIN);

    let mut there = connect(known(lasting(far.address, "there"))).await.unwrap();
    there.subscribe("out/#", QoS::ExactlyOnce).await;
    let mut here = connect(options(near.address("tcp"), "here")).await.unwrap();
    let sent = here
        .sender
        .publish("out/a", QoS::ExactlyOnce, true, vec![b'x'; 100_000]);
    sent.await.unwrap();
    let message = there.message().await;
    assert_eq!(
        (message.qos, message.payload.len()),
        (QoS::ExactlyOnce, 100_000)
    );
    wait_for_sink(&near, "far", |sink| sink["looped"] == 1);
    let mut late = connect(known(options(far.address, "late"))).await.unwrap();
    late.subscribe("out/#", QoS::AtMostOnce).await;
    assert!(late.message().await.retain, "it is kept there, too");

    here.subscribe("out/b", QoS::AtLeastOnce).await;
    publish(&mut late, "out/b", 7..8).await; // who waits for an acknowledgement passes over messages
    assert_eq!(here.text().await, "7");
    assert_eq!(there.text().await, "7");
    wait_for_sink(&near, "far", |sink| sink["received"] == 1);

    far.stop();
    drop(there);
    publish(&mut here, "out/c", 0..100).await;
    wait_for_sink(&near, "far", |sink| sink["state"] == "failing");
    far.start_again();
    let mut there = connect(known(lasting(far.address, "there"))).await.unwrap();
    for number in 0..100 {
        assert_eq!(there.text().await, number.to_string());
    }
    wait_for_sink(&near, "far", |sink| {
        sink["state"] == "healthy" && sink["delivered"] == 101 && sink["looped"] == 101
    });
    let metrics = near.metrics();
    for counter in ["looped", "received"] {
        let wanted = format!("witmq_sink_{counter}_total{{");
        assert!(metrics.contains(&wanted), "{metrics}");
    }
    assert_eq!(sink(&near, "far")["dead"], 0);
}
