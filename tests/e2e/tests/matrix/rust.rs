//! rumqttc, whose two versions are two modules with the same shapes.

use super::{Job, Spot, Verdict};
use rumqttc::{TlsConfiguration, Transport};
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
            use super::{Duration, Job, Spot, Verdict, place};
            use $($root)::+::mqttbytes::$name::{LastWill, Packet, Publish};
            use $($root)::+::mqttbytes::QoS;
            use $($root)::+::{AsyncClient, Event, EventLoop, MqttOptions};

            fn qos(number: u8) -> QoS {
                [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(number)]
            }

            /// The next packet that `pick` takes.
            async fn wait<T>(
                events: &mut EventLoop,
                pick: impl Fn(Packet) -> Option<T>,
            ) -> Verdict<T> {
                loop {
                    let event = events.poll().await.map_err(|error| error.to_string())?;
                    if let Event::Incoming(packet) = event
                        && let Some(found) = pick(packet)
                    {
                        return Ok(found);
                    }
                }
            }

            fn publish(packet: Packet) -> Option<Publish> {
                if let Packet::Publish(publish) = packet {
                    Some(publish)
                } else {
                    None
                }
            }

            async fn receive(events: &mut EventLoop, wanted: (&str, &str, u8, bool)) -> Verdict {
                let got = wait(events, publish).await?;
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

            async fn subscribe(
                client: &AsyncClient,
                events: &mut EventLoop,
                filter: &str,
                level: u8,
            ) -> Verdict {
                let sent = client.subscribe(filter, qos(level)).await;
                sent.map_err(|error| error.to_string())?;
                wait(events, |packet| {
                    matches!(packet, Packet::SubAck(_)).then_some(())
                })
                .await
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
                let (client, mut events) = AsyncClient::new(options, 16);
                let events = &mut events;
                let (live, kept) = (format!("{topic}/live"), format!("{topic}/kept"));
                subscribe(&client, events, &format!("{topic}/#"), level).await?;
                for (name, payload, retain) in
                    [(&live, "from rumqttc", false), (&kept, "kept", true)]
                {
                    let sent = client.publish(name, qos(level), retain, payload).await;
                    sent.map_err(|error| error.to_string())?;
                    receive(events, (name, payload, level, false)).await?;
                }
                subscribe(&client, events, &kept, level).await?;
                receive(events, (&kept, "kept", level, true)).await?;
                let sent = client.publish(&kept, qos(level), true, "").await;
                sent.map_err(|error| error.to_string())?;
                receive(events, (&kept, "", level, false)).await?;
                client
                    .disconnect()
                    .await
                    .map_err(|error| error.to_string())?;
                while events.poll().await.is_ok() {} // until the broker has closed
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
