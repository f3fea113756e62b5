//! The demo traffic of `witmq dev`: a thermometer, connected as a client like any other, so that its messages go
//! through chains and plugins.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, MqttOptions};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::oneshot;

/// Ends the traffic when dropped.
pub(crate) struct Demo {
    _stop: oneshot::Sender<()>,
}

const TOPIC: &str = "demo/room/1/temp";
const EVERY: Duration = Duration::from_secs(1);

/// Starts a thread that publishes a temperature every second.
pub(crate) fn start(broker: Option<SocketAddr>) -> Option<Demo> {
    let broker = broker?;
    let (stop, stopped) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::warn!(%error, "no demo traffic");
            return None;
        }
    };
    let run = move || runtime.block_on(publish(broker, stopped));
    match std::thread::Builder::new()
        .name("demo".to_owned())
        .spawn(run)
    {
        Ok(_) => Some(Demo { _stop: stop }),
        Err(error) => {
            tracing::warn!(%error, "no demo traffic");
            None
        }
    }
}

async fn publish(broker: SocketAddr, mut stopped: oneshot::Receiver<()>) {
    let mut options = MqttOptions::new("demo-thermometer", broker.ip().to_string(), broker.port());
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = AsyncClient::new(options, 16);
    let mut ticks = tokio::time::interval(EVERY);
    let mut count = 0u32;
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            polled = events.poll() => {
                if let Err(error) = polled {
                    tracing::debug!(%error, "the demo thermometer is disconnected");
                    tokio::time::sleep(EVERY).await;
                }
            }
            _ = ticks.tick() => {
                count = count.wrapping_add(1);
                // A day of 24 seconds: 21 degrees, four up and down.
                let celsius = 21.0 + 4.0 * (f64::from(count % 24) / 24.0 * std::f64::consts::TAU).sin();
                let payload = format!("{{\"c\":{:.1}}}", celsius);
                if let Err(error) = client.try_publish(TOPIC, QoS::AtMostOnce, false, payload) {
                    tracing::debug!(%error, "the demo thermometer waits");
                }
            }
        }
    }
}
