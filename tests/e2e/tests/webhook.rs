//! The bundled `webhook` in a broker: messages reach a service in order and none is lost while the service is away.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::site::{Asked, Said, Site, ok, status};
use witmq_e2e::{Broker, PATIENCE, component};

/// Installs it with a configuration and what it needs, and leads `out/#` there.
fn install(broker: &Broker, config: &Value) {
    let wasm = component("webhook");
    let config = config.to_string();
    let words = [
        "plugin",
        "install",
        wasm.to_str().unwrap(),
        "--name",
        "webhook",
        "--config",
        &config,
        "--grant",
        "http:127.0.0.1",
        "--grant",
        "secret:hook",
    ];
    drop(broker.ok(&words, ""));
    let chain = "mode = \"rule\"\nfrom = \"out/#\"\n[[step]]\nsink = \"webhook\"\n";
    broker.chain("out", chain);
}

/// Publishes numbers and waits until each is acknowledged.
async fn publish(client: &mut Client, numbers: std::ops::Range<u64>) {
    let count = numbers.end - numbers.start;
    for number in numbers {
        let payload = number.to_string();
        let publish = client
            .sender
            .publish("out/numbers", QoS::AtLeastOnce, false, payload);
        publish.await.unwrap();
    }
    for _ in 0..count {
        client
            .wait(|packet| matches!(packet, Packet::PubAck(_)).then_some(()))
            .await;
    }
}

/// The numbers of a request's array.
fn numbers(asked: &Asked) -> Vec<u64> {
    let body = asked.json();
    let all = body.as_array().unwrap().iter();
    all.map(|one| one["payload"].as_u64().unwrap()).collect()
}

/// A service that takes everything.
fn takes(taken: Sender<u64>) -> impl Fn(&Asked) -> Said + Send + Sync {
    move |asked| {
        assert_eq!(
            (asked.method.as_str(), asked.path.as_str()),
            ("POST", "/in/numbers")
        );
        assert_eq!(asked.header("authorization"), "Bearer let me in");
        numbers(asked)
            .into_iter()
            .for_each(|number| taken.send(number).unwrap());
        ok("thanks")
    }
}

/// The next numbers up to this one. What came twice came before.
fn in_order(broker: &Broker, taken: &Receiver<u64>, next: &mut u64, end: u64) {
    while *next < end {
        let Ok(number) = taken.recv_timeout(PATIENCE) else {
            let said = broker.ok(&["plugin", "logs", "webhook"], "");
            panic!("{next} does not come: {said}");
        };
        assert!(number <= *next, "{number} came before {next}");
        *next = (*next).max(number + 1);
    }
}

/// Waits until the plugin's log says this.
fn wait_for_line(broker: &Broker, text: &str) {
    let end = Instant::now() + PATIENCE;
    while !broker.ok(&["plugin", "logs", "webhook"], "").contains(text) {
        assert!(Instant::now() < end, "the plugin does not say {text:?}");
    }
}

#[tokio::test]
async fn order_is_kept_and_nothing_lost_while_the_service_is_away() {
    let (taken, comes) = channel();
    let site = Site::start(takes(taken.clone()));
    let address = site.address;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "let me in\n").unwrap();
    let broker = Broker::serve_open(&format!("[secrets]\nhook = {:?}\n", secret.path()));
    let url = format!("http://{address}/in/{{2}}");
    let endpoint = json!({ "url": url, "authorization": { "secret": "hook" } });
    let config = json!({ "endpoint": endpoint, "body": "batch", "batch_messages": 20 });
    install(&broker, &config);
    let mut client = connect(options(broker.address("tcp"), "p")).await.unwrap();
    let mut next = 0;
    publish(&mut client, 0..100).await;
    in_order(&broker, &comes, &mut next, 100);

    drop(site);
    publish(&mut client, 100..200).await;
    wait_for_line(&broker, "messages come again");

    // It is back, and not well yet.
    let failures = AtomicU32::new(0);
    let well = takes(taken);
    let site = Site::start_at(address, move |asked| {
        match failures.fetch_add(1, Ordering::SeqCst) {
            0 | 2 => (503, "Retry-After: 1".to_owned(), Vec::new()),
            _ => well(asked),
        }
    });
    publish(&mut client, 200..300).await;
    in_order(&broker, &comes, &mut next, 300);
    wait_for_line(&broker, "the service said 503");
    drop(site);
    assert!(comes.try_iter().all(|number| number < 300));
}

#[tokio::test]
async fn what_the_service_refuses_is_a_dead_letter_with_its_words() {
    let site = Site::start(|asked| match asked.path.as_str() {
        "/good" => ok(""),
        _ => status(422, "no such thing"),
    });
    let broker = Broker::serve_open("");
    let open = r##"{"anonymous":"allow","acl":[{"allow":true,"topics":["#","$dead-letter/#"]}]}"##;
    drop(broker.ok(&["plugin", "config", "auth-file", open], ""));
    install(
        &broker,
        &json!({ "endpoint": { "url": format!("{}/{{2}}", site.url()) } }),
    );
    let mut client = connect(options(broker.address("tcp"), "p")).await.unwrap();
    client
        .subscribe("$dead-letter/webhook", QoS::AtLeastOnce)
        .await;
    for (topic, reason) in [
        ("out/bad", "422: no such thing"),
        ("out/..", "another path"),
    ] {
        let publish = client.sender.publish(topic, QoS::AtLeastOnce, false, "x");
        publish.await.unwrap();
        let letter = client.message().await;
        let user = letter.properties.unwrap().user_properties;
        let has =
            |name: &str, value: &str| user.iter().any(|(n, v)| n == name && v.contains(value));
        assert!(has("topic", topic) && has("reason", reason), "{user:?}");
    }
    let publish = (client.sender).publish("out/good", QoS::AtLeastOnce, false, "x");
    publish.await.unwrap();
    client
        .wait(|packet| matches!(packet, Packet::PubAck(_)).then_some(()))
        .await;
    while site.asked.recv_timeout(PATIENCE).unwrap().path != "/good" {}
}
