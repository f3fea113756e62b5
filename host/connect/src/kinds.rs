//! The kinds of connectors there are; each has a file of its own.

mod arrivals;
mod file;
mod kafka;
mod mqtt;
mod nats;
mod postgres;
mod template;
mod tls;
mod via;
mod webhook;

use crate::keys::Keys;
use crate::outlet::{Later, Outlet};
use crate::place::SinkError;
use crate::secret::Secret;
use crate::settings::Settings as Sink;
use crate::state::State;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use witmq_broker::ports::Take;

/// What connectors reach beyond themselves, as the operator allows it.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) secrets: Secret,
    /// Files are written below this folder.
    pub(crate) exports: PathBuf,
    /// This broker, among others.
    pub(crate) origin: String,
    /// Into the broker.
    pub(crate) take: Take,
}

/// Settings of one kind.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    File(file::Settings),
    Webhook(Box<webhook::Settings>),
    Mqtt(Box<mqtt::Settings>),
    Postgres(Box<postgres::Settings>),
    Nats(Box<nats::Settings>),
    Kafka(Box<kafka::Settings>),
}

/// As `kind` names them.
const NAMES: [&str; 6] = ["file", "webhook", "mqtt", "postgres", "nats", "kafka"];

impl Kind {
    pub(crate) fn parse(name: &str, keys: &mut Keys<'_>) -> Result<Self, SinkError> {
        match keys.word("kind", &NAMES)? {
            Some("file") => Ok(Self::File(file::Settings::parse(name, keys)?)),
            Some("webhook") => Ok(Self::Webhook(Box::new(webhook::Settings::parse(keys)?))),
            Some("mqtt") => Ok(Self::Mqtt(Box::new(mqtt::Settings::parse(keys)?))),
            Some("postgres") => Ok(Self::Postgres(Box::new(postgres::Settings::parse(keys)?))),
            Some("nats") => Ok(Self::Nats(Box::new(nats::Settings::parse(keys)?))),
            Some("kafka") => Ok(Self::Kafka(Box::new(kafka::Settings::parse(keys)?))),
            _ => {
                let error = keys.error("`kind` is missing");
                Err(error.hint(format!("there are {}", NAMES.join(", "))))
            }
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Webhook(_) => "webhook",
            Self::Mqtt(_) => "mqtt",
            Self::Postgres(_) => "postgres",
            Self::Nats(_) => "nats",
            Self::Kafka(_) => "kafka",
        }
    }

    /// Connects to nobody yet.
    pub(crate) fn outlet(&self, sink: &Sink, means: &Means) -> Box<dyn Outlet> {
        let name = &sink.name;
        match self {
            Self::File(settings) => Box::new(file::File::new(settings.clone(), means)),
            Self::Webhook(settings) => Box::new(webhook::Webhook::new((**settings).clone(), means)),
            Self::Mqtt(settings) => {
                Box::new(mqtt::Outward::new(mqtt_bridge(settings, name, means)))
            }
            Self::Nats(settings) => {
                Box::new(nats::Outward::new(nats_bridge(settings, name, means)))
            }
            Self::Postgres(settings) => {
                Box::new(postgres::Postgres::new((**settings).clone(), means))
            }
            Self::Kafka(settings) => {
                let bridge = kafka::Bridge {
                    settings: (**settings).clone(),
                    name: name.clone(),
                    means: means.clone(),
                };
                Box::new(kafka::Outward::new(bridge, sink.timeout))
            }
        }
    }

    /// Where it writes: nobody else may.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::File(settings) => Some(settings.folder()),
            _ => None,
        }
    }

    /// Whether chains can hand something over.
    pub(crate) fn takes(&self) -> bool {
        match self {
            Self::Mqtt(settings) => settings.takes(),
            Self::Nats(settings) => settings.takes(),
            _ => true,
        }
    }

    /// Whether something comes from the other side.
    pub(crate) fn gives(&self) -> bool {
        match self {
            Self::Mqtt(settings) => settings.gives(),
            Self::Nats(settings) => settings.gives(),
            _ => false,
        }
    }

    /// What brings messages from the other side, if this kind does; runs until it is dropped.
    pub(crate) fn source(
        &self,
        sink: &Sink,
        means: &Means,
        state: &Arc<State>,
    ) -> Option<Later<'static, ()>> {
        match self {
            Self::Mqtt(settings) if settings.gives() => {
                let bridge = mqtt_bridge(settings, &sink.name, means);
                Some(Box::pin(mqtt::receive(bridge, sink.retry, state.clone())))
            }
            Self::Nats(settings) if settings.gives() => {
                let bridge = nats_bridge(settings, &sink.name, means);
                Some(Box::pin(nats::receive(bridge, sink.retry, state.clone())))
            }
            _ => None,
        }
    }
}

fn mqtt_bridge(settings: &mqtt::Settings, name: &str, means: &Means) -> mqtt::Bridge {
    mqtt::Bridge {
        settings: settings.clone(),
        name: name.to_owned(),
        means: means.clone(),
    }
}

fn nats_bridge(settings: &nats::Settings, name: &str, means: &Means) -> nats::Bridge {
    nats::Bridge::new(settings.clone(), name.to_owned(), means.clone())
}
