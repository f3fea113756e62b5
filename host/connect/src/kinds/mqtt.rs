//! `mqtt`: a bridge to another broker, MQTT 5 or 3.1.1. `out` publishes there what chains hand over; `in` subscribes there.
//!
//! Owns: the file's keys, the way there, how topics change, and which of them may not run in a circle. Each direction has
//! a connection of its own: what is sent begins a new session each time, so that no packet identifier of an earlier one
//! is taken for a duplicate; what is received has a session that waits while the broker is away.

mod five;
mod four;
mod inward;
mod link;
mod outward;

pub(super) use inward::receive;
pub(super) use outward::Outward;

use self::link::Use;
use super::Means;
use super::arrivals::under_way;
use super::tls::trust;
use crate::keys::Keys;
use crate::place::SinkError;
use crate::secret::Text;
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

/// Of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// 3.1.1.
    Four,
    Five,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    host: String,
    port: u16,
    is_tls: bool,
    version: Version,
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
    /// Messages on their way in at a time.
    under_way: u16,
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
        let version = match keys.word("version", &["5", "3.1.1"])? {
            Some("3.1.1") => Version::Four,
            _ => Version::Five,
        };
        let settings = Self {
            host: host.to_owned(),
            port,
            is_tls,
            version,
            client: keys.text("client_id")?.map(|(client, _)| client),
            username: keys.text("username")?.map(|(name, _)| name),
            password: keys.private("password")?,
            ca: keys.private("ca")?,
            keep_alive: Duration::from_secs(keys.number("keep_alive_s", 30, 5..=65_535)?),
            out: keys.given("out")?.map(Way::parse).transpose()?,
            inward: keys
                .given("in")?
                .map(|keys| Inward::parse(keys, version))
                .transpose()?,
        };
        if settings.out.is_none() && settings.inward.is_none() {
            return Err(keys
                .error("`out` and `in` are missing")
                .hint("`out = {}` publishes there what chains hand over"));
        }
        settings.refuse_circles(keys)?;
        Ok(settings)
    }

    /// MQTT 3.1.1 has nothing that a message could carry to tell that it was here: nothing that goes out may come in.
    fn refuse_circles(&self, keys: &Keys<'_>) -> Result<(), SinkError> {
        let (Version::Four, Some(out), Some(inward)) = (self.version, &self.out, &self.inward)
        else {
            return Ok(());
        };
        let both = (inward.filters.iter()).find(|filter| meets(&out.add, filter));
        let Some(filter) = both else { return Ok(()) };
        let text = format!(
            "`in.filters` has `{filter}`, which takes what `out` publishes there as `{}…`: with version 3.1.1 it would come back",
            out.add
        );
        Err(keys
            .error(text)
            .hint("give `out.add` a beginning that no filter takes, or speak version 5"))
    }

    /// Without the brackets of an IPv6 address.
    fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
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
}

impl Bridge {
    fn client_id(&self, purpose: Use) -> String {
        let begin = match &self.settings.client {
            Some(client) => client.clone(),
            None => format!("witmq-{}", self.means.origin),
        };
        format!("{begin}-{}-{}", self.name, purpose.word())
    }

    fn credentials(&self) -> Result<Option<(String, String)>, String> {
        let Some(username) = &self.settings.username else {
            return Ok(None);
        };
        let password = self.settings.password.as_ref();
        let password = password.map(|password| password.reveal(&self.means.secrets));
        Ok(Some((
            username.clone(),
            password.transpose()?.unwrap_or_default(),
        )))
    }

    /// `None`: without TLS.
    fn transport(&self) -> Result<Option<Transport>, String> {
        if !self.settings.is_tls {
            return Ok(None);
        }
        let ca = self.settings.ca.as_ref();
        let ca = ca.map(|ca| ca.reveal(&self.means.secrets));
        let trusted = trust(ca.transpose()?.as_deref())?;
        let trusted = TlsConfiguration::Rustls(trusted);
        Ok(Some(Transport::tls_with_config(trusted)))
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
    fn parse(mut keys: Keys<'_>, version: Version) -> Result<Self, SinkError> {
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
        let expiry_s = match version {
            Version::Five => keys.number("session_expiry_s", 86_400, 0..=u64::from(u32::MAX))?,
            Version::Four => 0, // there the other broker says how long
        };
        let under_way = under_way(&mut keys)?;
        keys.finish()?;
        Ok(Self {
            filters,
            way,
            under_way,
            expiry_s: u32::try_from(expiry_s).unwrap_or(u32::MAX),
        })
    }
}

/// Whether a filter takes a topic that begins with `start`.
fn meets(start: &str, filter: &str) -> bool {
    let shared = filter
        .strip_prefix("$share/")
        .and_then(|rest| rest.split_once('/'));
    let mut levels = shared.map_or(filter, |(_, filter)| filter).split('/');
    let mut parts = start.split('/').peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match levels.next() {
            Some("#") => return true,
            Some("+") => {}
            Some(level) if level == part || is_last && level.starts_with(part) => {}
            _ => return false,
        }
    }
    true
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
            (
                "url = \"mqtt://h\"\nin = { filters = [\"a\"], under_way = 0 }",
                "b.toml:3:37: `in.under_way` is a number from 1 to 10000",
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

    #[test]
    fn with_the_older_version_nothing_that_goes_out_may_come_in() {
        let both = |version, add, filter| {
            error(&format!(
                "url = \"mqtt://h\"\nversion = \"{version}\"\nout = {{ add = \"{add}\" }}\nin = {{ filters = [\"{filter}\"] }}"
            ))
        };
        assert_eq!(both("5", "", "a/#"), None);
        assert_eq!(both("3.1.1", "up/", "down/#"), None);
        let wrong = both("3.1.1", "up/", "+/x");
        let wrong = wrong.expect("`up/x` comes back");
        assert!(
            wrong.starts_with("b.toml:1:1: `in.filters` has `+/x`"),
            "{wrong}"
        );
        let wrong = error(
            "url = \"mqtt://h\"\nversion = \"3.1.1\"\nin = { filters = [\"a\"], session_expiry_s = 1 }",
        );
        assert_eq!(
            wrong.as_deref(),
            Some("b.toml:4:25: unknown key `in.session_expiry_s`")
        );
        assert!(error("url = \"mqtt://h\"\nversion = \"4\"\nout = {}").is_some());
    }

    #[test]
    fn a_filter_meets_topics_that_begin_so() {
        for (start, filter, is_met) in [
            ("", "a", true),
            ("a", "ab/c", true),
            ("ab", "a", false),
            ("a/", "a/#", true),
            ("a/", "a", false),
            ("a", "a/#", true),
            ("a/b", "+/bc", true),
            ("a/b/", "+/bc", false),
            ("a/b", "a/+", true),
            ("a/b/", "a/+", false),
            ("a/", "b/#", false),
            ("a/", "$share/g/a/x", true),
            ("a/", "$share/g/b/x", false),
            ("a/b", "#", true),
        ] {
            assert_eq!(meets(start, filter), is_met, "{start} {filter}");
        }
    }
}
