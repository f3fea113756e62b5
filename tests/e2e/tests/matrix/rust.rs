//! rumqttc, whose two versions are two modules with the same shapes.

use super::{Job, Spot, Verdict};
use rumqttc::{TlsConfiguration, Transport};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::timeout;
use witmq_e2e::PATIENCE;

/// Where and how.
fn place(job: &Job) -> (String, u16, Transport) {
    let tls = || TlsConfiguration::Simple {
        ca: std::fs::read(&job.ca).unwrap(),
        alpn: None,
        client_auth: None,
    };
    let transport = match job.transport {
        "ws" => Transport::Ws,
        "tls" => Transport::Tls(tls()),
        "wss" => Transport::Wss(tls()),
        _ => Transport::Tcp,
    };
    let host = match job.transport {
        "ws" | "wss" => job.url(["", "ws", "", "wss"]),
        _ => job.address.ip().to_string(),
    };
    (host, job.address.port(), transport)
}

/// A cell, in one of the two modules: its options, its packets, its QoS, and how it makes a will.
macro_rules! speak {
    ($name:ident, $($root:ident)::+, $will:expr) => {
        mod $name {
            use super::{Duration, Job, Spot, VecDeque, Verdict, place};
            use $($root)::+::mqttbytes::$name::{LastWill, Packet, Publish};
            use $($root)::+::mqttbytes::QoS;
            use $($root)::+::{AsyncClient, Event, EventLoop, MqttOptions};

            fn qos(number: u8) -> QoS {
                [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(number)]
            }

            /// A connection, and messages that nobody asked for yet: one may come before a SUBACK.
            struct Talk {
                client: AsyncClient,
                events: EventLoop,
                inbox: VecDeque<Publish>,
            }

            impl Talk {
                /// Takes one event; whether it was a SUBACK.
                async fn step(&mut self) -> Verdict<bool> {
                    let event = self.events.poll().await;
                    match event.map_err(|error| error.to_string())? {
                        Event::Incoming(Packet::Publish(publish)) => self.inbox.push_back(publish),
                        Event::Incoming(Packet::SubAck(_)) => return Ok(true),
                        _ => {}
                    }
                    Ok(false)
                }

                async fn receive(&mut self, wanted: (&str, &str, u8, bool)) -> Verdict {
                    let got = loop {
                        if let Some(got) = self.inbox.pop_front() {
                            break got;
                        }
                        self.step().await?;
                    };
                    let topic: &[u8] = got.topic.as_ref();
                    let (name, payload, level, retain) = wanted;
                    let is_same = topic == name.as_bytes()
                        && got.payload == payload.as_bytes()
                        && got.qos == qos(level)
                        && got.retain == retain;
                    is_same
                        .then_some(())
                        .ok_or_else(|| format!("{got:?} came where {wanted:?} was expected"))
                }

                async fn subscribe(&mut self, filter: &str, level: u8) -> Verdict {
                    let sent = self.client.subscribe(filter, qos(level)).await;
                    sent.map_err(|error| error.to_string())?;
                    while !self.step().await? {}
                    Ok(())
                }

                /// Publishes, and is given it as a subscriber.
                async fn publish(
                    &mut self,
                    topic: &str,
                    payload: &str,
                    level: u8,
                    retain: bool,
                ) -> Verdict {
                    let payload_sent = payload.to_owned();
                    let sent = self.client.publish(topic, qos(level), retain, payload_sent).await;
                    sent.map_err(|error| error.to_string())?;
                    self.receive((topic, payload, level, false)).await
                }
            }

            pub(super) async fn cell(job: &Job, spot: Spot) -> Verdict {
                let (host, port, transport) = place(job);
                let (topic, level) = (job.topic(spot), spot.1);
                let mut options = MqttOptions::new(topic.replace('/', "-"), host, port);
                options
                    .set_transport(transport)
                    .set_keep_alive(Duration::from_secs(30));
                let make: fn(String) -> LastWill = $will;
                options.set_last_will(make(format!("{topic}/will")));
                let (client, events) = AsyncClient::new(options, 16);
                let inbox = VecDeque::new();
                let mut talk = Talk {
                    client,
                    events,
                    inbox,
                };
                let kept = format!("{topic}/kept");
                talk.subscribe(&format!("{topic}/#"), level).await?;
                talk.publish(&format!("{topic}/live"), "from rumqttc", level, false)
                    .await?;
                talk.publish(&kept, "kept", level, true).await?;
                talk.subscribe(&kept, level).await?;
                talk.receive((&kept, "kept", level, true)).await?;
                talk.publish(&kept, "", level, true).await?;
                let left = talk.client.disconnect().await;
                left.map_err(|error| error.to_string())?;
                while talk.events.poll().await.is_ok() {} // until the broker has closed
                Ok(())
            }
        }
    };
}

speak!(v4, rumqttc, |topic| LastWill::new(
    topic,
    "last words",
    QoS::AtLeastOnce,
    false
));
speak!(v5, rumqttc::v5, |topic| {
    LastWill::new(topic, "last words", QoS::AtLeastOnce, false, None)
});

pub(super) fn rumqttc(job: &Job) -> Vec<(Spot, Verdict)> {
    // rumqttc is built without one; installing it twice is an error that means nothing.
    let _is_installed = rustls::crypto::ring::default_provider()
        .install_default()
        .is_err();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.unwrap();
    job.each(|spot| {
        runtime.block_on(async {
            let cell = async {
                match spot.0 {
                    5 => v5::cell(job, spot).await,
                    _ => v4::cell(job, spot).await,
                }
            };
            let in_time = timeout(PATIENCE, cell).await;
            in_time.unwrap_or_else(|_| Err("it takes too long".to_owned()))
        })
    })
}
