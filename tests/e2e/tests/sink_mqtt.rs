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
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::mosquitto::{Mosquitto, USER};
use witmq_e2e::sinks::{apply, publish, sink, wait_for_sink};
use witmq_e2e::{Broker, certificates};

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

/// The same over MQTT 3.1.1, which has no properties that could end a circle: a file that makes one is refused.
#[tokio::test]
async fn mosquitto_is_spoken_to_in_the_older_version_too() {
    let mut far = Mosquitto::start();
    let near = Broker::serve_open("");
    let base = format!(
        "kind = \"mqtt\"\nversion = \"3.1.1\"\nurl = \"mqtt://{}\"\nusername = \"{}\"\npassword = \"{}\"\n{RETRY}",
        far.address, USER.0, USER.1
    );
    let circle = format!("{base}out = {{ add = \"up/\" }}\nin = {{ filters = [\"+/out/#\"] }}\n");
    let path = near.folder().join("far.toml");
    std::fs::write(&path, circle).unwrap();
    let said = near.fails(&["sink", "apply", path.to_str().unwrap()], 4);
    assert!(
        said.contains("which takes what `out` publishes there"),
        "{said}"
    );
    let text = format!("{base}out = {{ add = \"up/\" }}\nin = {{ filters = [\"down/#\"] }}\n");
    drop(apply(&near, "far", &text));
    near.chain("out", CHAIN);
    wait_for_sink(&near, "far", |sink| sink["state"] == "healthy");

    let mut there = connect(known(lasting(far.address, "there"))).await.unwrap();
    there.subscribe("up/#", QoS::ExactlyOnce).await;
    let mut here = connect(lasting(near.address("tcp"), "here")).await.unwrap();
    here.subscribe("down/#", QoS::AtLeastOnce).await;
    let sent = here
        .sender
        .publish("out/a", QoS::ExactlyOnce, true, vec![b'x'; 100_000]);
    sent.await.unwrap();
    let message = there.message().await;
    let seen = (&message.topic[..], message.qos, message.payload.len());
    assert_eq!(seen, (&b"up/out/a"[..], QoS::ExactlyOnce, 100_000));
    publish(&mut there, "down/a", 0..1).await;
    assert_eq!(here.text().await, "0");

    far.stop();
    drop((there, here));
    let mut here = connect(options(near.address("tcp"), "p")).await.unwrap();
    publish(&mut here, "out/b", 0..100).await;
    wait_for_sink(&near, "far", |sink| sink["state"] == "failing");
    far.start_again();
    let mut there = connect(known(lasting(far.address, "there"))).await.unwrap();
    for number in 0..100 {
        assert_eq!(there.text().await, number.to_string());
    }
    publish(&mut there, "down/b", 1..300).await;
    let mut here = connect(lasting(near.address("tcp"), "here")).await.unwrap();
    for number in 1..300 {
        assert_eq!(here.text().await, number.to_string(), "in order");
    }
    wait_for_sink(&near, "far", |sink| {
        sink["state"] == "healthy" && sink["delivered"] == 101 && sink["received"] == 300
    });
    assert_eq!(sink(&near, "far")["dead"], 0);
}

#[tokio::test]
async fn a_broker_that_is_not_trusted_gets_nothing() {
    let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates::make(own.path(), "localhost");
    certificates::make(other.path(), "localhost");
    let far = Mosquitto::secured(own.path());
    let near = Broker::serve_open(&format!(
        "[secrets]\nca = {:?}\nother = {:?}\n",
        own.path().join("ca.pem"),
        other.path().join("ca.pem")
    ));
    let text = format!(
        "kind = \"mqtt\"\nurl = \"mqtts://localhost:{}\"\nusername = \"{}\"\npassword = \"{}\"\n\
         ca = {{ secret = \"ca\" }}\nout = {{ add = \"up/\" }}\nin = {{ filters = [\"down/#\"] }}\n{RETRY}",
        far.address.port(),
        USER.0,
        USER.1
    );
    let path = near.folder().join("far.toml");
    let signed = "nobody who is trusted signed its certificate";
    for (text, wanted) in [
        (text.replace("\"ca\" }", "\"other\" }"), signed),
        (text.replace("ca = { secret = \"ca\" }\n", ""), signed),
        (
            text.replace("localhost", "127.0.0.1"),
            "its certificate is for another name",
        ),
    ] {
        for version in ["5", "3.1.1"] {
            let text = format!("version = \"{version}\"\n{text}");
            std::fs::write(&path, text).unwrap();
            let said = near.fails(&["sink", "check", path.to_str().unwrap()], 4);
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
    }
    let old = format!("version = \"3.1.1\"\n{text}");
    for text in [&old, &text] {
        std::fs::write(&path, text).unwrap();
        let said = near.ok(&["sink", "check", path.to_str().unwrap()], "");
        assert!(said.contains("lets this broker in"), "{said}");
    }
    drop(apply(&near, "far", &text));
    near.chain("out", CHAIN);
    let mut here = connect(options(near.address("tcp"), "p")).await.unwrap();
    publish(&mut here, "out/a", 0..10).await;
    wait_for_sink(&near, "far", |sink| {
        sink["delivered"] == 10 && sink["state"] == "healthy"
    });
}

/// The other broker keeps what is not acknowledged, and who looks sees that it waits, and for what.
#[tokio::test]
async fn what_comes_in_waits_while_the_disk_takes_nothing() {
    let far = Broker::serve_open("");
    let mut near = Broker::serve_open("[limits]\nsys_interval_s = 1\n");
    let text = format!(
        "kind = \"mqtt\"\nurl = \"mqtt://{}\"\nin = {{ filters = [\"down/#\"], under_way = 3 }}\n{RETRY}",
        far.address("tcp")
    );
    drop(apply(&near, "far", &text));
    wait_for_sink(&near, "far", |sink| sink["state"] == "healthy");
    let mut listener = connect(lasting(near.address("tcp"), "l")).await.unwrap();
    listener.subscribe("down/#", QoS::AtLeastOnce).await;
    drop(listener);
    let mut client = connect(options(far.address("tcp"), "p")).await.unwrap();
    publish(&mut client, "down/a", 0..100).await;
    wait_for_sink(&near, "far", |sink| sink["received"] == 100);

    near.fill_disk(true);
    publish(&mut client, "down/a", 100..101).await;
    near.wait_for_log("the storage takes nothing").await;
    publish(&mut client, "down/a", 101..300).await;
    wait_for_sink(&near, "far", |sink| {
        let said = sink["last_error"].as_str().unwrap_or_default();
        sink["state"] == "failing" && said.contains("disk takes nothing") && sink["held"] == 1
    });
    assert_eq!(sink(&near, "far")["received"], 100);
    near.fill_disk(false);
    wait_for_sink(&near, "far", |sink| {
        sink["state"] == "healthy" && sink["received"] == 300
    });
    let crowded = sink(&near, "far")["crowded"].as_u64().unwrap();
    assert!(crowded > 0, "three at a time are fewer than come");
    near.kill_9_and_start_again();
    let mut listener = connect(lasting(near.address("tcp"), "l")).await.unwrap();
    for number in 0..300 {
        assert_eq!(
            listener.text().await,
            number.to_string(),
            "in order, and once"
        );
    }
    let metrics = near.metrics();
    assert!(metrics.contains("witmq_sink_held_total{"), "{metrics}");
    assert!(metrics.contains("witmq_sink_crowded_total{"), "{metrics}");
    let mut watcher = connect(options(near.address("tcp"), "w")).await.unwrap();
    watcher
        .subscribe("$SYS/broker/sinks/far/state", QoS::AtMostOnce)
        .await;
    assert_eq!(watcher.text().await, "healthy");
    drop(near.ok(&["sink", "rm", "far"], ""));
    while !watcher.text().await.is_empty() {}
}
