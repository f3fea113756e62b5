//! Everything a plugin can do to its host, while another client goes on as if there were no plugin.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::{Broker, component};

/// What the other client's 99th of a hundred may be.
const BYSTANDER: Duration = Duration::from_millis(20);
/// Ended by the host, each time.
const ENDED: [&str; 10] = [
    "trap",
    "loop",
    "drip",
    "eat",
    "recurse",
    "leak",
    "sleep",
    "huge",
    "huge-failure",
    "garbage-topic",
];
/// Refused to the guest, or more than its time: it may come to an end, or not.
const BOUNDED: [&str; 4] = ["kv-flood", "publish-loop", "log", "print"];
/// Not taken at all.
const REFUSED: [&str; 3] = ["refuse-init", "trap-init", "sick"];

const LIMITS: &str = "[limits]\nplugin_deadline_ms = 5\nplugin_memory_bytes = 16777216\n\
                      plugin_probation_s = 0\nplugin_timeout_ms = 1000\n";

/// Round trips of a client that has nothing to do with the component, sorted.
async fn round_trips(mut client: Client, stop: watch::Receiver<bool>) -> Vec<Duration> {
    let mut took = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !*stop.borrow() {
        ticks.tick().await;
        let start = Instant::now();
        let publish = client.sender.publish("ping", QoS::AtMostOnce, false, "x");
        publish.await.unwrap();
        drop(client.message().await);
        took.push(start.elapsed());
    }
    took.sort();
    took
}

/// What the publisher of a message is told.
async fn told(victim: &mut Client, topic: &str, payload: String) -> PubAckReason {
    let publish = victim
        .sender
        .publish(topic, QoS::AtLeastOnce, false, payload);
    publish.await.unwrap();
    let reason = victim.wait(|packet| match packet {
        Packet::PubAck(ack) => Some(ack.reason),
        _ => None,
    });
    reason.await
}

fn configure(broker: &Broker, mode: &str) {
    let config = format!("{{\"mode\":\"{mode}\"}}");
    drop(broker.ok(&["plugin", "config", "bad", &config], ""));
}

/// Three times refused, and three times passed where the chain says so.
async fn ends(broker: &Broker, victim: &mut Client, mode: &str) {
    configure(broker, mode);
    for number in 0..3 {
        let reason = told(victim, "bad", format!("{mode} {number}")).await;
        let refused = PubAckReason::ImplementationSpecificError;
        assert_eq!(reason, refused, "{mode}: refused by default");
        let text = format!("{mode} or {number}");
        let publish = (victim.sender).publish("skip", QoS::AtLeastOnce, false, text.clone());
        publish.await.unwrap();
        assert_eq!(victim.text().await, text, "`continue` passes the message");
    }
}

/// The component with other names at its border, of the same length.
fn renamed(broker: &Broker, from: &str, to: &str) -> String {
    assert_eq!(from.len(), to.len());
    let mut wasm = std::fs::read(component("witmq_test_guests")).unwrap();
    let places: Vec<usize> = (0..wasm.len() - from.len())
        .filter(|place| wasm[*place..].starts_with(from.as_bytes()))
        .collect();
    assert!(!places.is_empty(), "{from}");
    for place in places {
        wasm[place..place + to.len()].copy_from_slice(to.as_bytes());
    }
    let path = broker.folder().join("renamed.wasm");
    std::fs::write(&path, wasm).unwrap();
    path.to_str().unwrap().to_owned()
}

fn install(broker: &Broker) {
    let guest = component("witmq_test_guests");
    let words = [
        "plugin",
        "install",
        guest.to_str().unwrap(),
        "--name",
        "bad",
        "--config",
        r#"{"mode":"pass"}"#,
        "--grant",
        "publish:made/by/#",
        "--grant",
        "secret:token",
    ];
    drop(broker.ok(&words, ""));
    let chain = "mode = \"transform\"\nfrom = \"bad\"\n[[step]]\nplugin = \"bad\"\n";
    broker.chain("bad", chain);
    let chain = chain.replace("\"bad\"\n[[", "\"skip\"\n[[");
    broker.chain("skip", &format!("{chain}on_error = \"continue\"\n"));
}

/// A client that has nothing to do with what goes on.
struct Bystander {
    stop: watch::Sender<bool>,
    trips: tokio::task::JoinHandle<Vec<Duration>>,
}

impl Bystander {
    async fn begin(broker: &Broker, id: &str) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut client = connect(options(broker.address("tcp"), id)).await.unwrap();
        client.subscribe("ping", QoS::AtMostOnce).await;
        let trips = tokio::spawn(round_trips(client, stopped));
        Self { stop, trips }
    }

    /// It noticed nothing.
    async fn end(self, beside: &str) {
        self.stop.send(true).unwrap();
        let took = self.trips.await.unwrap();
        let p99 = took[took.len() * 99 / 100];
        let (count, p50) = (took.len(), took[took.len() / 2]);
        println!("bystander of {beside}: {count} round trips, p50 {p50:?}, p99 {p99:?}");
        assert!(p99 <= BYSTANDER, "p99 {p99:?} beside {beside}");
    }
}

/// Sends requests to a service that takes connections and never answers; the host ends each call.
async fn hang(broker: &Broker, victim: &mut Client) {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let guest = component("witmq_test_guests_http");
    let words = [
        "plugin",
        "install",
        guest.to_str().unwrap(),
        "--name",
        "hang",
        "--grant",
        "http:127.0.0.1",
        "--grant",
        "publish:made/by/#",
    ];
    drop(broker.ok(&words, ""));
    broker.chain(
        "hang",
        "mode = \"rule\"\nfrom = \"hang\"\n[[step]]\nsink = \"hang\"\n",
    );
    let bystander = Bystander::begin(broker, "another").await;
    let order = format!("{{\"url\":\"http://{}/\"}}", silent.local_addr().unwrap());
    for _ in 0..3 {
        let reason = told(victim, "hang", order.clone()).await;
        let refused = PubAckReason::ImplementationSpecificError;
        assert_ne!(reason, refused, "it is taken all the same");
    }
    victim
        .subscribe("$dead-letter/hang", QoS::AtLeastOnce)
        .await;
    let letter = victim.message().await;
    assert_eq!(letter.payload, order, "what ended two calls is given up");
    bystander.end("a service that never answers").await;
}

/// A component for another host, one that wants what there is not, and others that are none.
fn refusals(broker: &Broker) {
    let cases = [
        (
            "witmq:plugin/lifecycle@1.0.0",
            "witmq:plugin/lifecycle@9.0.0",
            "unknown-abi",
        ),
        (
            "witmq:plugin/host-kv@1.0.0",
            "witmq:plugin/host-qq@1.0.0",
            "host-qq",
        ),
    ];
    for (from, to, expected) in cases {
        let path = renamed(broker, from, to);
        let said = broker.fails(&["plugin", "install", &path, "--name", "bad"], 4);
        assert!(said.contains(expected) || said.contains("1.0"), "{said}");
    }
    for mode in REFUSED {
        let config = format!("{{\"mode\":\"{mode}\"}}");
        drop(broker.fails(&["plugin", "config", "bad", &config], 4));
    }
}

#[tokio::test]
async fn every_misdeed_is_contained_while_others_go_on() {
    let broker = Broker::serve_open(LIMITS);
    let open = r##"{"anonymous":"allow","acl":[{"allow":true,"topics":["#","$dead-letter/#"]}]}"##;
    drop(broker.ok(&["plugin", "config", "auth-file", open], ""));
    let tcp = broker.address("tcp");
    install(&broker);
    let mut victim = connect(options(tcp, "victim")).await.unwrap();
    victim.subscribe("skip", QoS::AtLeastOnce).await;
    let bystander = Bystander::begin(&broker, "bystander").await;
    for mode in ENDED {
        ends(&broker, &mut victim, mode).await;
    }
    for mode in BOUNDED {
        configure(&broker, mode);
        for number in 0..3 {
            let _either_way = told(&mut victim, "bad", format!("{mode} {number}")).await;
        }
    }
    refusals(&broker);
    // The third call ends it, the fourth has a new instance.
    let config = r#"{"mode":"trap-nth","nth":3}"#;
    drop(broker.ok(&["plugin", "config", "bad", config], ""));
    for is_good in [true, true, false, true] {
        let reason = told(&mut victim, "bad", format!("nth {is_good}")).await;
        let is_success = reason != PubAckReason::ImplementationSpecificError;
        assert_eq!(is_success, is_good, "{reason:?}");
    }
    configure(&broker, "pass");
    let reason = told(&mut victim, "bad", "well".to_owned()).await;
    assert_ne!(
        reason,
        PubAckReason::ImplementationSpecificError,
        "it is well again"
    );
    bystander.end("misdeeds").await;
    hang(&broker, &mut victim).await;
    let list = broker.ok(&["plugin", "ls", "--json"], "");
    for kind in ["trap", "deadline", "memory", "answer"] {
        assert!(list.contains(kind), "{list}");
    }
}
