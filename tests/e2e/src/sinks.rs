//! Sinks of a broker: applied, published to, looked at, waited for.

use crate::client::Client;
use crate::{Broker, PATIENCE};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::ops::Range;
use std::time::Instant;

/// Applies a sink file. What `witmq` printed.
#[must_use]
pub fn apply(broker: &Broker, name: &str, text: &str) -> String {
    let path = broker.folder().join(format!("{name}.toml"));
    std::fs::write(&path, text).unwrap();
    broker.ok(&["sink", "apply", path.to_str().unwrap()], "")
}

/// How a sink fares.
///
/// # Panics
/// There is none of this name.
#[must_use]
pub fn sink(broker: &Broker, name: &str) -> Value {
    let list: Value = serde_json::from_str(&broker.ok(&["sink", "ls", "--json"], "")).unwrap();
    let found = list
        .as_array()
        .unwrap()
        .iter()
        .find(|sink| sink["name"] == name);
    found.expect("the sink is there").clone()
}

/// Waits until a sink is as it should be.
pub fn wait_for_sink(broker: &Broker, name: &str, is_so: impl Fn(&Value) -> bool) {
    let end = Instant::now() + PATIENCE;
    loop {
        let now = sink(broker, name);
        if is_so(&now) {
            return;
        }
        assert!(Instant::now() < end, "{now}");
    }
}

/// Publishes numbers with QoS 1 and waits until each is acknowledged as taken.
pub async fn publish(client: &mut Client, topic: &str, numbers: Range<u64>) {
    let mut waiting = 0;
    for number in numbers {
        let sent = client
            .sender
            .publish(topic, QoS::AtLeastOnce, false, number.to_string());
        sent.await.unwrap();
        waiting += 1;
    }
    for _ in 0..waiting {
        let reason = client.wait(|packet| match packet {
            Packet::PubAck(ack) => Some(ack.reason),
            _ => None,
        });
        let reason = reason.await;
        let is_taken = matches!(
            reason,
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers
        );
        assert!(is_taken, "{reason:?}");
    }
}

impl Broker {
    /// The page of metrics.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.address("http")).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }
}
