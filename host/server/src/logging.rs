//! Log lines: for people on a terminal, JSON otherwise; and broker events as log lines.

use crate::config::{Log, LogFormat};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;
use witmq_broker::ports::{BrokerEvent, Events};
use witmq_runtime::Observers;

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

/// Lines a shard writes about clients in one [`WINDOW`], per kind: a client that is denied on every message
/// must not fill the disk or slow its neighbours.
const LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);

/// One kind's lines in the window that is open.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    since: Option<Instant>,
    lines: u32,
    hidden: u64,
}

impl Window {
    /// Whether one more line may be written at `now`; with the lines hidden in the window before, if a new
    /// one begins.
    fn admit(&mut self, now: Instant) -> (bool, u64) {
        let is_new = self.since.is_none_or(|since| now >= since + WINDOW);
        let mut hidden = 0;
        if is_new {
            hidden = self.hidden;
            *self = Self {
                since: Some(now),
                ..Self::default()
            };
        }
        let is_shown = self.lines < LINES;
        if is_shown {
            self.lines += 1;
        } else {
            self.hidden += 1;
        }
        (is_shown, hidden)
    }
}

/// Broker events as log lines, at most [`LINES`] of a kind in a second; and all of them for plugins that look on.
#[derive(Debug)]
pub(crate) struct LogEvents {
    windows: [Window; 7],
    observers: Observers,
}

impl LogEvents {
    pub(crate) fn new(observers: Observers) -> Self {
        Self {
            windows: Default::default(),
            observers,
        }
    }
}

/// Place of an event's window, and its name in the line about hidden ones.
fn kind(event: &BrokerEvent) -> (usize, &'static str) {
    match event {
        BrokerEvent::Connected { .. } => (0, "connected"),
        BrokerEvent::Refused { .. } => (1, "refused"),
        BrokerEvent::Disconnected { .. } => (2, "disconnected"),
        BrokerEvent::Denied { .. } => (3, "denied"),
        BrokerEvent::Dropped { .. } => (4, "dropped"),
        BrokerEvent::Tolerated { .. } => (5, "tolerated"),
        _ => (6, "other"),
    }
}

impl Events for LogEvents {
    fn emit(&mut self, event: BrokerEvent) {
        self.observers.emit(&event);
        if matches!(
            event,
            BrokerEvent::Subscribed { .. } | BrokerEvent::Unsubscribed { .. }
        ) {
            return tracing::debug!(?event, "event"); // everyday: no line, and none about lines not written
        }
        let (place, name) = kind(&event);
        let Some(window) = self.windows.get_mut(place) else {
            return;
        };
        let (is_shown, hidden) = window.admit(Instant::now());
        if hidden > 0 {
            tracing::warn!(hidden, "more `{name}` lines were not written");
        }
        if !is_shown {
            return;
        }
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
            BrokerEvent::Tolerated { client_id, rule } => {
                tracing::warn!(%client_id, "tolerated: {rule}");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_so_many_lines_a_second_and_then_says_how_many_were_hidden() {
        let (mut window, start) = (Window::default(), Instant::now());
        for _ in 0..LINES {
            assert_eq!(window.admit(start), (true, 0));
        }
        let late = start + WINDOW - Duration::from_millis(1);
        assert_eq!(window.admit(start), (false, 0));
        assert_eq!(window.admit(late), (false, 0));
        assert_eq!(window.admit(start + WINDOW), (true, 2));
        assert_eq!(window.admit(start + WINDOW), (true, 0));
    }
}
