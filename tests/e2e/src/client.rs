//! A rumqttc MQTT 5 client with its events in a queue.

use crate::PATIENCE;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, Publish};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, Incoming, MqttOptions};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;

/// A connected client.
pub struct Client {
    /// For publish and subscribe.
    pub sender: AsyncClient,
    events: Receiver<Incoming>,
    task: tokio::task::JoinHandle<()>,
}

/// Options for a broker.
#[must_use]
pub fn options(broker: SocketAddr, id: &str) -> MqttOptions {
    let mut options = MqttOptions::new(id, broker.ip().to_string(), broker.port());
    options.set_keep_alive(Duration::from_secs(30));
    options
}

/// Tries to connect; the reason if it is refused.
///
/// # Errors
/// The code of CONNACK.
pub async fn connect(options: MqttOptions) -> Result<Client, ConnectReturnCode> {
    let (sender, mut events) = AsyncClient::new(options, 256);
    let first = timeout(PATIENCE, events.poll())
        .await
        .expect("an answer to CONNECT");
    match first {
        Ok(Event::Incoming(Packet::ConnAck(_))) => {}
        Err(ConnectionError::ConnectionRefused(code)) => return Err(code),
        other => panic!("{other:?}"),
    }
    let (queue, queued) = channel(100_000);
    let task = tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            if let Event::Incoming(packet) = event
                && queue.send(packet).await.is_err()
            {
                return;
            }
        }
    });
    Ok(Client {
        sender,
        events: queued,
        task,
    })
}

impl Client {
    /// The next packet that `pick` takes.
    pub async fn wait<R>(&mut self, mut pick: impl FnMut(Incoming) -> Option<R>) -> R {
        let found = timeout(PATIENCE, async {
            loop {
                let packet = self.events.recv().await.expect("the connection lives");
                if let Some(found) = pick(packet) {
                    return found;
                }
            }
        });
        found.await.expect("the packet comes in time")
    }

    /// Subscribes and waits for SUBACK.
    pub async fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.sender.subscribe(filter, qos).await.unwrap();
        self.wait(|packet| matches!(packet, Packet::SubAck(_)).then_some(()))
            .await;
    }

    /// The next message.
    pub async fn message(&mut self) -> Publish {
        self.wait(|packet| {
            if let Packet::Publish(publish) = packet {
                Some(publish)
            } else {
                None
            }
        })
        .await
    }

    /// Its payload as text.
    pub async fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.message().await.payload).into_owned()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}
