//! The main job: who may connect, what a component makes of messages, and its replacement under load.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, PubAckReason};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::{Broker, component};

const HELLO: &str = "mode = \"transform\"\nfrom = \"hello/#\"\n[[step]]\nplugin = \"hello\"\n";

/// The same component with another custom section: another digest, another version.
fn variant(broker: &Broker, mark: u8) -> PathBuf {
    let mut wasm = std::fs::read(component("hello_transform")).unwrap();
    wasm.extend([0, 3, 1, b'v', mark]);
    let path = broker.folder().join(format!("variant-{mark}.wasm"));
    std::fs::write(&path, wasm).unwrap();
    path
}

fn install(broker: &Broker, wasm: &std::path::Path, greeting: &str) {
    let config = format!("{{\"greeting\":\"{greeting}\"}}");
    let words = [
        "plugin",
        "install",
        wasm.to_str().unwrap(),
        "--name",
        "hello",
        "--config",
        &config,
    ];
    let said = broker.ok(&words, "");
    assert!(said.contains("serves on every shard"), "{said}");
}

#[tokio::test]
async fn users_rights_and_a_json_transformation() {
    let broker = Broker::dev(&["--no-demo", "--no-anonymous"]);
    let tcp = broker.address("tcp");
    drop(broker.ok(
        &[
            "user",
            "add",
            "ada",
            "--password-stdin",
            "--pub",
            "room/#",
            "--sub",
            "room/#",
        ],
        "right",
    ));
    for (user, password, expected) in [
        (Some("ada"), "wrong", ConnectReturnCode::BadUserNamePassword), // 0x86
        (Some("eve"), "right", ConnectReturnCode::BadUserNamePassword),
        (None, "", ConnectReturnCode::NotAuthorized), // 0x87
    ] {
        let mut wanted = options(tcp, "c");
        if let Some(user) = user {
            wanted.set_credentials(user, password);
        }
        assert_eq!(
            connect(wanted).await.err(),
            Some(expected),
            "{user:?} {password}"
        );
    }
    let mut wanted = options(tcp, "ada-1");
    wanted.set_credentials("ada", "right");
    let mut ada = connect(wanted).await.unwrap();
    let wasm = component("celsius_to_fahrenheit");
    drop(broker.ok(&["plugin", "install", wasm.to_str().unwrap()], ""));
    broker.chain(
        "convert",
        "mode = \"transform\"\nfrom = \"room/{room}/temp\"\n[[step]]\nplugin = \"celsius-to-fahrenheit\"\n\
         [[step]]\nset = { room = \"topic.room\", \"$user.by\" = \"'convert'\" }\n",
    );
    ada.subscribe("room/#", QoS::AtLeastOnce).await;
    ada.sender
        .publish("room/7/temp", QoS::AtLeastOnce, false, r#"{"c":41.5}"#)
        .await
        .unwrap();
    let message = ada.message().await;
    assert_eq!(message.payload, r#"{"c":41.5,"f":106.7,"room":"7"}"#);
    let user = message.properties.unwrap().user_properties;
    assert_eq!(user, [("by".to_owned(), "convert".to_owned())]);
    // Not JSON: the step's failure policy refuses it and says so.
    ada.sender
        .publish("room/7/temp", QoS::AtLeastOnce, false, "warm")
        .await
        .unwrap();
    let reason = ada.wait(puback_failure).await;
    assert_eq!(reason, PubAckReason::ImplementationSpecificError);
    // dev allows what no rule says, so a denial needs a rule of its own.
    let words = ["plugin", "config", "auth-file"];
    let mut config: serde_json::Value = serde_json::from_str(&broker.ok(&words, "")).unwrap();
    config["default"] = "deny".into();
    drop(broker.ok(&["plugin", "config", "auth-file", &config.to_string()], ""));
    let mut wanted = options(tcp, "ada-2");
    wanted.set_credentials("ada", "right");
    let mut ada = connect(wanted).await.unwrap();
    ada.sender
        .publish("elsewhere", QoS::AtLeastOnce, false, "x")
        .await
        .unwrap();
    assert_eq!(ada.wait(puback_failure).await, PubAckReason::NotAuthorized); // 0x87
}

fn puback_failure(packet: Packet) -> Option<PubAckReason> {
    match packet {
        Packet::PubAck(ack) if ack.reason as u8 >= 0x80 || !is_good(ack.reason) => Some(ack.reason),
        _ => None,
    }
}

fn is_good(reason: PubAckReason) -> bool {
    matches!(
        reason,
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers
    )
}

const PUBLISHERS: usize = 4;
const PER_SECOND: u32 = 500;
const SWAPS: usize = 20;

/// Publishes numbered messages at a steady rate until told to end; how many.
async fn publish(
    client: Client,
    number: usize,
    mut stop: tokio::sync::watch::Receiver<bool>,
) -> (Client, u32) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
    let mut sent = 0;
    while !*stop.borrow_and_update() {
        ticks.tick().await;
        let payload = format!("{number}:{sent}");
        client
            .sender
            .publish(format!("hello/{number}"), QoS::AtLeastOnce, false, payload)
            .await
            .unwrap();
        sent += 1;
    }
    (client, sent)
}

/// What came of each publisher: its count and the version that greeted it.
type Got = BTreeMap<usize, Vec<(u32, usize)>>;

/// Collects until every publisher's end mark came.
async fn collect(mut subscriber: Client) -> Got {
    let mut got = Got::new();
    let mut ended = 0;
    while ended < PUBLISHERS {
        let text = subscriber.text().await;
        if text.ends_with("end") {
            ended += 1;
            continue;
        }
        let (greeting, rest) = text.split_once(", ").expect("exactly one version greets");
        let version: usize = greeting.strip_prefix('v').unwrap().parse().unwrap();
        let (number, count) = rest.split_once(':').expect("greeted once");
        got.entry(number.parse().unwrap())
            .or_default()
            .push((count.parse().unwrap(), version));
    }
    got
}

fn check(publisher: usize, sent: u32, got: &[(u32, usize)]) {
    let numbers = got.iter().map(|(count, _)| *count);
    assert!(
        numbers.eq(0..sent),
        "publisher {publisher}: all, exactly once, in order"
    );
    let versions: Vec<usize> = got.iter().map(|(_, version)| *version).collect();
    assert!(
        versions.is_sorted(),
        "a message saw a version that was replaced before it: {versions:?}"
    );
    let seen: BTreeSet<_> = versions.into_iter().collect();
    assert!(
        seen.len() > SWAPS / 2,
        "the swaps took effect under load: {seen:?}"
    );
}

#[tokio::test]
async fn a_component_is_replaced_twenty_times_under_load_and_nothing_is_lost() {
    let broker = Broker::dev(&["--no-demo"]);
    let tcp = broker.address("tcp");
    let variants = [variant(&broker, b'a'), variant(&broker, b'b')];
    install(&broker, &variants[0], "v0");
    broker.chain("hello", HELLO);
    let mut wanted = options(tcp, "subscriber");
    wanted.set_receive_maximum(Some(1000));
    let mut subscriber = connect(wanted).await.unwrap();
    subscriber.subscribe("hello/#", QoS::AtLeastOnce).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut tasks = Vec::new();
    for number in 0..PUBLISHERS {
        let client = connect(options(tcp, &format!("publisher-{number}")))
            .await
            .unwrap();
        tasks.push(tokio::spawn(publish(client, number, stopped.clone())));
    }
    let swapping = tokio::task::spawn_blocking(move || {
        for swap in 1..=SWAPS {
            install(&broker, &variants[swap % 2], &format!("v{swap}"));
            std::thread::sleep(Duration::from_millis(200));
        }
        broker
    });
    let collecting = tokio::spawn(collect(subscriber));
    let started = Instant::now();
    let broker = swapping.await.unwrap();
    stop.send(true).unwrap();
    let mut sent = Vec::new();
    for task in tasks {
        sent.push(task.await.unwrap());
    }
    let took = started.elapsed();
    // Each publisher's end mark comes behind everything it sent [MQTT-4.6.0-5].
    for (number, (client, _)) in sent.iter().enumerate() {
        let topic = format!("hello/{number}");
        client
            .sender
            .publish(topic, QoS::AtLeastOnce, false, "end")
            .await
            .unwrap();
    }
    let got = collecting.await.unwrap();
    let total: u32 = sent.iter().map(|(_, count)| count).sum();
    println!("{total} messages in {took:.1?} over {SWAPS} swaps");
    for (number, (_, count)) in sent.iter().enumerate() {
        check(number, *count, &got[&number]);
    }
    let said = broker.ok(&["plugin", "rollback", "hello"], "");
    assert!(said.contains("20"), "{said}");
}

/// Round trips of a client that has nothing to do with the component, sorted.
async fn round_trips(
    mut client: Client,
    mut stop: tokio::sync::watch::Receiver<bool>,
) -> Vec<Duration> {
    let mut took = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    while !*stop.borrow_and_update() {
        ticks.tick().await;
        let start = Instant::now();
        client
            .sender
            .publish("ping", QoS::AtMostOnce, false, "x")
            .await
            .unwrap();
        client.message().await;
        took.push(start.elapsed());
    }
    took.sort();
    took
}

/// Each failure policy, three times, for one misdeed.
async fn misbehave(broker: &Broker, victim: &mut Client, mode: &str) {
    let config = format!("{{\"mode\":\"{mode}\"}}");
    drop(broker.ok(&["plugin", "config", "bad", &config], ""));
    for number in 0..3 {
        victim
            .sender
            .publish("bad", QoS::AtLeastOnce, false, format!("{mode} {number}"))
            .await
            .unwrap();
        let reason = victim.wait(puback_failure).await;
        assert_eq!(
            reason,
            PubAckReason::ImplementationSpecificError,
            "{mode}: refused by default"
        );
        victim
            .sender
            .publish(
                "skip",
                QoS::AtLeastOnce,
                false,
                format!("{mode} or {number}"),
            )
            .await
            .unwrap();
        let expected = format!("{mode} or {number}");
        assert_eq!(
            victim.text().await,
            expected,
            "`continue` passes the message"
        );
    }
}

#[tokio::test]
async fn misbehaving_components_are_contained_while_others_go_on() {
    let broker = Broker::serve(
        "[limits]\nplugin_deadline_ms = 5\nplugin_memory_bytes = 16777216\nplugin_probation_s = 0\n",
    );
    let anonymous = r#"{"anonymous":"allow","default":"allow"}"#;
    drop(broker.ok(&["plugin", "config", "auth-file", anonymous], ""));
    let tcp = broker.address("tcp");
    let guest = component("witmq_test_guests");
    let guest = guest.to_str().unwrap();
    drop(broker.ok(
        &[
            "plugin",
            "install",
            guest,
            "--name",
            "bad",
            "--config",
            r#"{"mode":"pass"}"#,
            "--grant",
            "publish:made/by/#",
            "--grant",
            "secret:token",
        ],
        "",
    ));
    broker.chain(
        "bad",
        "mode = \"transform\"\nfrom = \"bad\"\n[[step]]\nplugin = \"bad\"\n",
    );
    broker.chain("skip", "mode = \"transform\"\nfrom = \"skip\"\n[[step]]\nplugin = \"bad\"\non_error = \"continue\"\n");
    let mut victim = connect(options(tcp, "victim")).await.unwrap();
    victim.subscribe("skip", QoS::AtLeastOnce).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut bystander = connect(options(tcp, "bystander")).await.unwrap();
    bystander.subscribe("ping", QoS::AtMostOnce).await;
    let unrelated = tokio::spawn(round_trips(bystander, stopped));
    for mode in ["trap", "loop", "eat", "garbage-topic"] {
        misbehave(&broker, &mut victim, mode).await;
    }
    let said = broker.fails(&["plugin", "config", "bad", r#"{"mode":"refuse-init"}"#], 4);
    assert!(said.contains("init"), "{said}");
    stop.send(true).unwrap();
    let took = unrelated.await.unwrap();
    let p99 = took[took.len() * 99 / 100];
    println!(
        "bystander: {} round trips, p50 {:?}, p99 {p99:?}",
        took.len(),
        took[took.len() / 2]
    );
    assert!(p99 <= Duration::from_millis(20), "p99 {p99:?}");
    let list = broker.ok(&["plugin", "ls", "--json"], "");
    for kind in ["trap", "deadline", "memory", "answer"] {
        assert!(list.contains(kind), "{list}");
    }
}
