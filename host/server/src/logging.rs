//! Log lines: for people on a terminal, JSON otherwise; and broker events as log lines.

use crate::config::{Log, LogFormat};
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;
use witmq_broker::ports::{BrokerEvent, Events};

/// Starts logging to standard error.
///
/// # Errors
/// The level is no filter.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level)
        .map_err(|e| anyhow::anyhow!("log.level = {:?} is no filter: {e}", log.level))?;
    let human = match log.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = if human {
        builder.with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    started.map_err(|e| anyhow::anyhow!("cannot start logging: {e}"))
}

/// Broker events as log lines.
pub(crate) struct LogEvents;

impl Events for LogEvents {
    fn emit(&mut self, event: BrokerEvent) {
        match event {
            BrokerEvent::Connected {
                client_id,
                username,
                peer,
                transport,
                version,
                session_present,
            } => {
                tracing::info!(%client_id, username = username.as_deref().unwrap_or(""), %peer, ?transport, ?version, session_present, "connected");
            }
            BrokerEvent::Refused {
                client_id,
                peer,
                reason,
                text,
            } => {
                tracing::warn!(%client_id, %peer, %reason, hint = hint_for(reason), "connection refused: {text}");
            }
            BrokerEvent::Disconnected {
                client_id,
                reason,
                text,
            } => {
                tracing::info!(%client_id, %reason, "disconnected: {text}");
            }
            BrokerEvent::Denied {
                client_id,
                action,
                topic,
            } => {
                tracing::warn!(%client_id, action, %topic, hint = "give the user a rule: `witmq user add NAME --pub FILTER --sub FILTER`", "denied");
            }
            BrokerEvent::Dropped { client_id, cause } => {
                tracing::warn!(%client_id, cause, "messages dropped");
            }
            BrokerEvent::SessionEnded { client_id } => tracing::debug!(%client_id, "session ended"),
            other => tracing::debug!(?other, "event"),
        }
    }
}

fn hint_for(reason: witmq_proto::ReasonCode) -> &'static str {
    use witmq_proto::ReasonCode;
    match reason {
        ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized => {
            "make a user: `witmq user add NAME`"
        }
        ReasonCode::ServerBusy => "too many at once; see `limits` in the configuration",
        _ => "",
    }
}
