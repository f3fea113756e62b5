//! `mqtt`: a bridge to another broker, MQTT 5. `out` publishes there what chains hand over; `in` subscribes there.
//!
//! Owns: the file's keys, the way there, how topics change, and the mark that ends loops. Each direction has a
//! connection of its own: what is sent begins a new session each time, so that no packet identifier of an earlier one
//! is taken for a duplicate; what is received has a session that waits while the broker is away.

mod inward;
mod outward;

pub(super) use inward::receive;
pub(super) use outward::Outward;

use super::Means;
use super::tls::trust;
use super::via::mark;
use crate::keys::Keys;
use crate::place::SinkError;
use crate::secret::Text;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS as Level;
use rumqttc::{TlsConfiguration, Transport};
use std::time::Duration;
use witmq_proto::TopicFilter;
use witmq_proto::packet::QoS;

/// Filters of one bridge.
const FILTERS: usize = 100;
/// What the other broker may send at once: a longer message it drops, as MQTT 5 says.
const PACKET_BYTES: u32 = 16 * 1024 * 1024;

/// A sink of this kind, and what it reaches.
#[derive(Clone)]
pub(super) struct Bridge {
    pub(super) settings: Settings,
    pub(super) name: String,
    pub(super) means: Means,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    host: String,
    port: u16,
    is_tls: bool,
    client: Option<String>,
    username: Option<String>,
    password: Option<Text>,
    ca: Option<Text>,
    keep_alive: Duration,
    out: Option<Way>,
    inward: Option<Inward>,
}

/// How messages change on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    /// Taken from the beginning of a topic, where it is there.
    strip: String,
    /// Put before it then.
    add: String,
    /// `None`: as it comes.
    qos: Option<QoS>,
    keeps_retain: bool,
}

#[derive(Clone, Debug)]
struct Inward {
    filters: Vec<String>,
    way: Way,
    /// How long the other broker keeps messages while this one is away.
    expiry_s: u32,
}

impl Settings {
    pub(super) fn parse(keys: &mut Keys<'_>) -> Result<Self, SinkError> {
        let (url, at) = keys.needed("url", "\"mqtts://example.com\"")?;
        let wrong = |text: &str| keys.error_at(at, format!("`url` {text}"));
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("begins with mqtt:// or mqtts://"))?;
        let is_tls = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            _ => return Err(wrong("begins with mqtt:// or mqtts://")),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (
                host,
                port.parse().map_err(|_| wrong("has a port that is none"))?,
            ),
            _ => (rest, if is_tls { 8883 } else { 1883 }),
        };
        if host.is_empty() || host.contains(['/', '@']) {
            return Err(wrong("is mqtt://HOST:PORT, without a user and a path"));
        }
        let settings = Self {
            host: host.to_owned(),
            port,
            is_tls,
            client: keys.text("client_id")?.map(|(client, _)| client),
            username: keys.text("username")?.map(|(name, _)| name),
            password: keys.private("password")?,
            ca: keys.private("ca")?,
            keep_alive: Duration::from_secs(keys.number("keep_alive_s", 30, 5..=65_535)?),
            out: keys.given("out")?.map(Way::parse).transpose()?,
            inward: keys.given("in")?.map(Inward::parse).transpose()?,
        };
        if settings.out.is_none() && settings.inward.is_none() {
            return Err(keys
                .error("`out` and `in` are missing")
                .hint("`out = {}` publishes there what chains hand over"));
        }
        Ok(settings)
    }

    /// Whether chains can hand something over.
    pub(super) fn takes(&self) -> bool {
        self.out.is_some()
    }

    /// Whether something comes from there.
    pub(super) fn gives(&self) -> bool {
        self.inward.is_some()
    }

    fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// What a connection begins with.
    fn options(&self, name: &str, means: &Means) -> Result<MqttOptions, String> {
        let client = match &self.client {
            Some(client) => format!("{client}-{name}"),
            None => format!("witmq-{}-{name}", means.origin),
        };
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let mut options = MqttOptions::new(client, host, self.port);
        options.set_keep_alive(self.keep_alive);
        options.set_max_packet_size(Some(PACKET_BYTES));
        if let Some(username) = &self.username {
            let password = self
                .password
                .as_ref()
                .map(|password| password.reveal(&means.secrets));
            options.set_credentials(username, password.transpose()?.unwrap_or_default());
        }
        if self.is_tls {
            let ca = self.ca.as_ref().map(|ca| ca.reveal(&means.secrets));
            let trusted = trust(ca.transpose()?.as_deref())?;
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(
                trusted,
            )));
        }
        Ok(options)
    }
}

impl Way {
    fn parse(mut keys: Keys<'_>) -> Result<Self, SinkError> {
        let way = Self::of(&mut keys)?;
        keys.finish()?;
        Ok(way)
    }

    fn of(keys: &mut Keys<'_>) -> Result<Self, SinkError> {
        let mut part = |key| -> Result<String, SinkError> {
            let (text, at) = keys.text(key)?.unwrap_or_default();
            match text.contains(['+', '#', '\0']) {
                true => Err(keys.error_at(
                    at,
                    format!("`{key}` is a part of a topic, without wildcards"),
                )),
                false => Ok(text),
            }
        };
        Ok(Self {
            strip: part("strip")?,
            add: part("add")?,
            qos: match keys.number("qos", 3, 0..=2)? {
                0 => Some(QoS::AtMostOnce),
                1 => Some(QoS::AtLeastOnce),
                2 => Some(QoS::ExactlyOnce),
                _ => None,
            },
            keeps_retain: keys.flag("retain", true)?,
        })
    }

    fn topic(&self, topic: &str) -> String {
        let rest = topic.strip_prefix(&self.strip).unwrap_or(topic);
        format!("{}{rest}", self.add)
    }
}

impl Inward {
    fn parse(mut keys: Keys<'_>) -> Result<Self, SinkError> {
        let mut filters = Vec::new();
        for (filter, at) in keys.texts("filters")? {
            TopicFilter::new(filter.as_str())
                .map_err(|error| keys.error_at(at, format!("`{filter}`: {error}")))?;
            filters.push(filter);
        }
        if filters.is_empty() || filters.len() > FILTERS {
            let text = format!("`in.filters` has 1 to {FILTERS} topic filters");
            return Err(keys
                .error(text)
                .hint("for example `filters = [\"commands/#\"]`"));
        }
        let way = Way::of(&mut keys)?;
        if way.qos == Some(QoS::ExactlyOnce) {
            return Err(keys.error("`in.qos` is 0 or 1: messages are taken at least once"));
        }
        let expiry_s = keys.number("session_expiry_s", 86_400, 0..=u64::from(u32::MAX))?;
        keys.finish()?;
        Ok(Self {
            filters,
            way,
            expiry_s: u32::try_from(expiry_s).unwrap_or(u32::MAX),
        })
    }
}

fn level(qos: QoS) -> Level {
    match qos {
        QoS::AtMostOnce => Level::AtMostOnce,
        QoS::AtLeastOnce => Level::AtLeastOnce,
        QoS::ExactlyOnce => Level::ExactlyOnce,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings as Sink;

    fn error(text: &str) -> Option<String> {
        let text = format!("kind = \"mqtt\"\n{text}");
        Sink::parse("b.toml", &text)
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn a_bridge_says_where_to_and_which_way() {
        assert_eq!(error("url = \"mqtt://h\"\nout = {}"), None);
        assert_eq!(
            error("url = \"mqtts://[::1]:99/\"\nin = { filters = [\"a/#\"], qos = 1 }"),
            None
        );
        for (text, wanted) in [
            (
                "url = \"mqtt://h\"",
                "b.toml:1:1: `out` and `in` are missing",
            ),
            (
                "url = \"http://h\"\nout = {}",
                "b.toml:2:7: `url` begins with mqtt:// or mqtts://",
            ),
            (
                "url = \"mqtt://u@h\"\nout = {}",
                "b.toml:2:7: `url` is mqtt://HOST:PORT, without a user and a path",
            ),
            (
                "url = \"mqtt://h:x\"\nout = {}",
                "b.toml:2:7: `url` has a port that is none",
            ),
            (
                "url = \"mqtt://h\"\nout = { add = \"a/#\" }",
                "b.toml:3:15: `add` is a part of a topic, without wildcards",
            ),
            (
                "url = \"mqtt://h\"\nin = {}",
                "b.toml:3:6: `in.filters` has 1 to 100 topic filters",
            ),
            (
                "url = \"mqtt://h\"\nin = { filters = [\"a\"], qos = 2 }",
                "b.toml:3:6: `in.qos` is 0 or 1: messages are taken at least once",
            ),
        ] {
            assert_eq!(error(text).as_deref(), Some(wanted));
        }
    }

    #[test]
    fn topics_change_at_their_beginning() {
        let way = Way {
            strip: "local/".to_owned(),
            add: "site/".to_owned(),
            qos: None,
            keeps_retain: true,
        };
        assert_eq!(
            (way.topic("local/a"), way.topic("a/local/")),
            ("site/a".to_owned(), "site/a/local/".to_owned())
        );
    }
}
