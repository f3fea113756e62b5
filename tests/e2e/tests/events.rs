//! Chains that begin with an event, with real clients: what is told of a client's life and of a message's way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use serde_json::Value as Json;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::raw::{Raw, V5};
use witmq_e2e::{Broker, PATIENCE, component};

/// Everything that happens to others than the watcher is published as it is.
const ALL: &str = r#"
from = "$events/{what...}"
[[step]]
filter = "payload.client != 'watcher'"
[[step]]
publish = "seen"
payload = "payload"
qos = 1
[[test]]
name = "a client is in"
given = { topic = "$events/client/connected", payload = { client = "c" } }
expect = [{ topic = "seen", payload = { client = "c" } }]
"#;

/// A broker whose events are published, and a client that sees them.
async fn watched(limits: &str) -> (Broker, Client) {
    let broker = Broker::serve_open(limits);
    let mut watcher = connect(options(broker.address("tcp"), "watcher"))
        .await
        .unwrap();
    watcher.subscribe("seen", QoS::AtLeastOnce).await;
    broker.chain("all", ALL);
    (broker, watcher)
}

/// The next event of this kind.
async fn next(watcher: &mut Client, kind: &str) -> Json {
    loop {
        let event: Json = serde_json::from_str(&watcher.text().await).unwrap();
        if event["event"] == kind {
            return event;
        }
    }
}

fn v5(broker: SocketAddr, expiry: u32) -> Raw {
    let how = V5 {
        is_clean: false,
        expiry,
        will: None,
    };
    Raw::connect_v5(broker, "c", how).unwrap().0
}

#[tokio::test]
async fn the_life_of_a_client_is_seen() {
    let (broker, mut watcher) = watched("").await;
    let address = broker.address("tcp");
    let mut first = v5(address, 1);
    let event = next(&mut watcher, "client.connected").await;
    assert_eq!(
        (&event["client"], &event["protocol"], &event["transport"]),
        (&"c".into(), &5.into(), &"tcp".into())
    );
    assert_eq!(event["session_present"], false);
    assert!(event["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    first.subscribe("a/+", 1, 1).unwrap();
    let event = next(&mut watcher, "session.subscribed").await;
    assert_eq!((&event["topic"], &event["qos"]), (&"a/+".into(), &1.into()));
    first.unsubscribe("a/+", 2).unwrap();
    let event = next(&mut watcher, "session.unsubscribed").await;
    assert_eq!(event["topic"], "a/+");

    let second = v5(address, 1);
    let event = next(&mut watcher, "client.disconnected").await;
    assert_eq!(event["code"], 0x8E, "taken over: {event}");
    let event = next(&mut watcher, "client.connected").await;
    assert_eq!(event["session_present"], true);
    second.disconnect().unwrap();
    let event = next(&mut watcher, "client.disconnected").await;
    assert_eq!(
        (&event["code"], &event["reason"]),
        (&0.into(), &"normal disconnection".into())
    );
    let event = next(&mut watcher, "session.expired").await;
    assert_eq!(event["client"], "c");
}

#[tokio::test]
async fn a_client_that_falls_silent_is_seen() {
    let (broker, mut watcher) = watched("").await;
    let mut socket = TcpStream::connect(broker.address("tcp")).unwrap();
    // MQTT 5, clean start, a keep-alive of one second, client identifier `c`; and nothing more.
    let connect = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x01\x00\x00\x01c";
    socket.write_all(connect).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.read_exact(&mut [0; 2]).unwrap();
    let event = next(&mut watcher, "client.disconnected").await;
    assert_eq!(
        (&event["client"], &event["code"], &event["reason"]),
        (&"c".into(), &0x8D.into(), &"keep alive timeout".into())
    );
}

#[tokio::test]
async fn the_way_of_a_message_is_seen() {
    let (broker, mut watcher) = watched("[limits]\nqueue_messages = 4\n").await;
    let mut subscriber = v5(broker.address("tcp"), 60);
    subscriber.subscribe("t/+", 1, 1).unwrap();
    drop(next(&mut watcher, "session.subscribed").await);
    let publish = |payload| {
        watcher
            .sender
            .publish("t/1", QoS::AtLeastOnce, false, payload)
    };
    publish("{\"n\":1}").await.unwrap();
    let event = next(&mut watcher, "message.delivered").await;
    assert_eq!(
        (&event["client"], &event["from"], &event["topic"]),
        (&"c".into(), &"watcher".into(), &"t/1".into())
    );
    assert_eq!(
        (&event["payload"]["n"], &event["qos"]),
        (&1.into(), &1.into())
    );
    subscriber.acknowledge(0x40, 1).unwrap();
    let event = next(&mut watcher, "message.acked").await;
    assert_eq!(
        (&event["payload"]["n"], &event["code"]),
        (&1.into(), &0.into())
    );

    subscriber.disconnect().unwrap();
    drop(next(&mut watcher, "client.disconnected").await);
    for n in 2..=6 {
        let payload = format!("{{\"n\":{n}}}");
        let sent = watcher
            .sender
            .publish("t/1", QoS::AtLeastOnce, false, payload);
        sent.await.unwrap();
    }
    let event = next(&mut watcher, "message.dropped").await;
    assert_eq!(
        (&event["payload"]["n"], &event["reason"], &event["client"]),
        (&6.into(), &"queue-full".into(), &"c".into())
    );
    let said = broker.ok(&["rule", "ls"], "");
    assert!(said.contains("$events/{what...}"), "{said}");
}

#[tokio::test]
async fn events_are_looked_at_as_messages_are() {
    let (broker, mut watcher) = watched("").await;
    let folder = broker.folder().join("chains");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("all.toml");
    std::fs::write(&path, ALL).unwrap();
    let path = path.to_str().unwrap();
    drop(broker.ok(&["rule", "check", path], ""));
    assert!(broker.ok(&["rule", "test", path], "").contains("1 passed"));
    let message = r#"{"topic":"$events/client/connected","payload":{"client":"x"}}"#;
    let said = broker.ok(&["rule", "run", path, "--msg", message], "");
    assert!(said.contains("1 published (not sent)"), "{said}");

    // The watcher's own event ends at the filter, and `why` says so.
    watcher.subscribe("other", QoS::AtMostOnce).await;
    let said = broker.ok(&["rule", "why", "all"], "");
    assert!(said.contains("$events/session/subscribed"), "{said}");
}

/// The next alarm: of which version, what, and why.
async fn alarm(watcher: &mut Client) -> (Json, String, String) {
    let event = next(watcher, "plugin.alarm").await;
    assert_eq!(
        (&event["plugin"], &event["client"], &event["user"]),
        (&"bad".into(), &"".into(), &Json::Null)
    );
    assert!(event["at_ms"].as_u64().unwrap() > 0);
    let words = |field: &str| event[field].as_str().unwrap().to_owned();
    (event["version"].clone(), words("kind"), words("text"))
}

#[tokio::test]
async fn the_alarms_of_a_plugin_are_seen() {
    let limits = "[limits]\nplugin_breaker_failures = 2\nplugin_breaker_rest_ms = 50\n\
                  plugin_probation_failures = 3\n";
    let (broker, mut watcher) = watched(limits).await;
    let guest = component("witmq_test_guests");
    let mut install = vec!["plugin", "install", guest.to_str().unwrap()];
    install.extend(["--name", "bad", "--config", r#"{"mode":"pass"}"#]);
    install.extend(["--grant", "publish:made/by/#", "--grant", "secret:token"]);
    drop(broker.ok(&install, ""));
    let chain = "mode = \"transform\"\nfrom = \"bad\"\n[[step]]\nplugin = \"bad\"\n";
    broker.chain("bad", chain);
    drop(broker.ok(&["plugin", "config", "bad", r#"{"mode":"trap"}"#], ""));
    let sender = watcher.sender.clone();
    let send = |text: &'static str| sender.publish("bad", QoS::AtLeastOnce, false, text);
    send("one").await.unwrap();
    send("two").await.unwrap();
    let (version, kind, text) = alarm(&mut watcher).await;
    assert_eq!((version, &*kind), (1.into(), "breaker-open"));
    assert!(text.contains("bad"), "{text}");

    let end = std::time::Instant::now() + PATIENCE;
    while !broker.ok(&["plugin", "get", "bad"], "").contains("serving") {
        assert!(std::time::Instant::now() < end, "it rests for ever");
    }
    let (_, kind, text) = alarm(&mut watcher).await;
    assert_eq!((&*kind, &*text), ("breaker-closed", "its rest is over"));

    send("three").await.unwrap();
    let (version, kind, text) = alarm(&mut watcher).await;
    assert_eq!((version, &*kind), (1.into(), "rolled-back"));
    assert!(text.contains("version 1 serves again"), "{text}");
    watcher.subscribe("bad", QoS::AtLeastOnce).await;
    send("four").await.unwrap();
    assert_eq!(watcher.text().await, "four");
}
