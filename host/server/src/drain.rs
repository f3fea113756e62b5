//! Sends the clients of the node elsewhere, for the admin API.

use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use witmq_admin::DrainControl;
use witmq_broker::ports::ControlError;
use witmq_broker::redirect::Referral;
use witmq_broker::{ShardId, Shared};
use witmq_net::Node;

/// Fastest drain: disconnects a second.
const FASTEST: u32 = 100_000;

/// Asks the shards.
pub(crate) struct Drain {
    pub(crate) node: Arc<Node>,
    pub(crate) shared: Arc<Shared>,
    /// The configuration redirects: what it says is not overridden.
    pub(crate) is_configured: bool,
}

impl Drain {
    fn check_configured(&self) -> Result<(), ControlError> {
        if !self.is_configured {
            return Ok(());
        }
        Err(ControlError::Invalid {
            code: "configured",
            message: "this broker sends its clients elsewhere by its configuration".to_owned(),
            hint: Some(
                "take `redirect.server` out of the configuration and start it again".to_owned(),
            ),
        })
    }
}

impl DrainControl for Drain {
    fn status(&self) -> Value {
        let counters = (0..self.node.shards()).map(ShardId).map(|shard| {
            let counters = self.node.inspect(shard, |shard, _| shard.counters());
            counters.map_or(0, |counters| counters.connections)
        });
        let connections: u64 = counters.sum();
        let present = self.shared.redirect.present();
        json!({
            "server": present.as_ref().map(|referral| referral.server.to_string()),
            "permanent": present.as_ref().is_some_and(|referral| referral.is_permanent),
            "connections": connections,
        })
    }

    fn start(&self, server: &str, permanent: bool, per_second: u32) -> Result<(), ControlError> {
        self.check_configured()?;
        let referral = Referral::new(server, permanent).map_err(|error| ControlError::Invalid {
            code: "not-a-server",
            message: format!("`{server}`: {error}"),
            hint: None,
        })?;
        if per_second == 0 || per_second > FASTEST {
            return Err(ControlError::Invalid {
                code: "not-a-pace",
                message: format!(
                    "{per_second} disconnects a second: at least 1, at most {FASTEST}"
                ),
                hint: None,
            });
        }
        self.shared.redirect.set(Some(referral));
        // Every shard at its share of the pace, one after the other within it.
        let every = Duration::from_secs(1) / per_second;
        let pace = every * u32::from(self.node.shards());
        for shard in 0..self.node.shards() {
            let delay = every * u32::from(shard);
            self.node
                .inspect(ShardId(shard), move |shard, now| {
                    shard.drain(now, delay, pace)
                })
                .ok_or_else(|| {
                    ControlError::Internal(format!(
                        "shard {shard} did not answer: its clients stay; try again"
                    ))
                })?;
        }
        tracing::info!(
            server,
            permanent,
            per_second,
            "clients are sent to another server"
        );
        Ok(())
    }

    fn stop(&self) -> Result<(), ControlError> {
        self.check_configured()?;
        self.shared.redirect.set(None);
        tracing::info!("clients are served again");
        Ok(())
    }
}
