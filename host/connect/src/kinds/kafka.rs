//! `kafka`: what chains hand over is produced to topics of a Kafka cluster, by the partitions of its keys.
//!
//! Owns: the file's keys. The bytes of the protocol are rskafka's; who leads what, and what is sent again, is decided
//! here (ADR 0033).

mod cluster;
mod entry;
mod link;
mod outward;

pub(super) use outward::Outward;

use self::entry::is_name;
use super::Means;
use super::template::Template;
use crate::keys::Keys;
use crate::place::SinkError;
use crate::secret::Text;

/// Addresses of brokers.
const BROKERS: usize = 50;
/// Headers of the file.
const HEADERS: usize = 50;

/// A sink of this kind, and what it reaches.
#[derive(Clone)]
pub(super) struct Bridge {
    pub(super) settings: Settings,
    pub(super) name: String,
    pub(super) means: Means,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Any of them tells of the others.
    brokers: Vec<(String, u16)>,
    tls: Option<Tls>,
    access: Option<Access>,
    topic: Template,
    key: Option<Template>,
    /// Taken from the beginning of a topic, where it is there.
    strip: String,
    headers: Vec<(String, Template)>,
    value: What,
    /// What has no topic there is a dead letter, rather than waiting for it.
    buries: bool,
    /// A broker that makes topics by itself may do so.
    creates: bool,
}

#[derive(Clone, Debug)]
struct Tls {
    ca: Option<Text>,
    cert: Option<Text>,
    key: Option<Text>,
}

#[derive(Clone, Debug)]
struct Access {
    mechanism: Mechanism,
    username: String,
    password: Text,
}

#[derive(Clone, Copy, Debug)]
enum Mechanism {
    Plain,
    Scram256,
    Scram512,
}

/// What a record holds.
#[derive(Clone, Copy, Debug)]
enum What {
    Payload,
    Message,
}

impl Settings {
    pub(super) fn parse(keys: &mut Keys<'_>) -> Result<Self, SinkError> {
        let brokers = brokers(keys)?;
        let (topic, at) = keys.needed("topic", "\"mqtt.{level.0}\"")?;
        let topic = Template::parse(&topic)
            .and_then(|topic| match is_name(&topic.with(|_| Ok("x".into()))?) {
                true => Ok(topic),
                false => Err("is no name of a topic: letters, digits, `.`, `_` and `-`".into()),
            })
            .map_err(|error| keys.error_at(at, format!("`topic` {error}")))?;
        let key = match keys.text("key")? {
            Some((key, at)) => {
                let key = Template::parse(&key);
                Some(key.map_err(|error| keys.error_at(at, format!("`key` {error}")))?)
            }
            None => None,
        };
        let buries = keys.word("unknown_topic", &["wait", "dead-letter"])? == Some("dead-letter");
        let value = match keys.word("value", &["payload", "message"])? {
            Some("message") => What::Message,
            _ => What::Payload,
        };
        let settings = Self {
            brokers,
            tls: Tls::parse(keys)?,
            access: Access::parse(keys)?,
            topic,
            key,
            strip: keys.text("strip")?.unwrap_or_default().0,
            headers: headers(keys)?,
            value,
            buries,
            creates: keys.flag("create_topics", false)?,
        };
        if settings.buries && settings.creates {
            let text = "`unknown_topic` and `create_topics` exclude each other: a topic that is being made is not there yet";
            return Err(keys.error(text));
        }
        Ok(settings)
    }
}

fn brokers(keys: &mut Keys<'_>) -> Result<Vec<(String, u16)>, SinkError> {
    let mut brokers = Vec::new();
    for (place, at) in keys.texts("brokers")? {
        let wrong = |text: &str| keys.error_at(at, format!("`{place}` {text}"));
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().ok().filter(|port| *port > 0);
                (host, port.ok_or_else(|| wrong("has a port that is none"))?)
            }
            _ => (&*place, 9092),
        };
        if host.is_empty() || host.contains(['/', '@', ',']) {
            return Err(wrong("is no HOST:PORT"));
        }
        brokers.push((host.to_owned(), port));
    }
    if brokers.is_empty() || brokers.len() > BROKERS {
        let text = format!("`brokers` has 1 to {BROKERS} addresses");
        return Err(keys
            .error(text)
            .hint("for example `brokers = [\"kafka-1.example.com:9092\"]`; any of them tells of the others"));
    }
    Ok(brokers)
}

fn headers(keys: &mut Keys<'_>) -> Result<Vec<(String, Template)>, SinkError> {
    let mut headers = Vec::new();
    for (name, value, at) in keys.map("headers")? {
        let wrong = |text: &str| keys.error_at(at, format!("`headers.{name}` {text}"));
        let Text::Plain(value) = value else {
            return Err(wrong("is a text: headers are no place for secrets"));
        };
        headers.push((
            name.clone(),
            Template::parse(&value).map_err(|error| wrong(&error))?,
        ));
    }
    match headers.len() > HEADERS {
        true => Err(keys.error(format!("`headers` has at most {HEADERS} entries"))),
        false => Ok(headers),
    }
}

impl Tls {
    fn parse(keys: &mut Keys<'_>) -> Result<Option<Self>, SinkError> {
        let is_on = keys.flag("tls", false)?;
        let tls = Self {
            ca: keys.private("ca")?,
            cert: keys.private("client_cert")?,
            key: keys.private("client_key")?,
        };
        if tls.cert.is_some() != tls.key.is_some() {
            return Err(keys.error("`client_cert` and `client_key` come together"));
        }
        if !is_on && (tls.ca.is_some() || tls.cert.is_some()) {
            let text = "`ca`, `client_cert` and `client_key` are for TLS, which is off";
            return Err(keys.error(text).hint("`tls = true`"));
        }
        Ok(is_on.then_some(tls))
    }
}

impl Access {
    fn parse(keys: &mut Keys<'_>) -> Result<Option<Self>, SinkError> {
        let words = ["plain", "scram-sha-256", "scram-sha-512"];
        let word = keys.word("sasl", &words)?;
        let username = keys.text("username")?;
        let password = keys.private("password")?;
        let mechanism = match word {
            Some("plain") => Mechanism::Plain,
            Some("scram-sha-256") => Mechanism::Scram256,
            Some(_) => Mechanism::Scram512,
            None if username.is_none() && password.is_none() => return Ok(None),
            None => {
                let error = keys.error("`username` and `password` need `sasl`");
                return Err(error.hint(format!("one of {}", words.join(", "))));
            }
        };
        match (username, password) {
            (Some((username, _)), Some(password)) if !username.is_empty() => Ok(Some(Self {
                mechanism,
                username,
                password,
            })),
            _ => Err(keys.error("`sasl` needs a `username` and a `password`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;
    use crate::kinds::Kind;
    use crate::settings::Settings as Sink;

    fn read(text: &str) -> Result<Sink, String> {
        let text = format!("kind = \"kafka\"\n{text}");
        Sink::parse("k.toml", &text).map_err(|error| error.to_string())
    }

    /// Settings with these keys.
    pub(super) fn settings(text: &str) -> Settings {
        let read = read(&format!("brokers = [\"h\"]\n{text}"));
        match read.map(|sink| sink.kind) {
            Ok(Kind::Kafka(settings)) => *settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_sink_says_where_to_and_as_whom() {
        let all = "brokers = [\"a\", \"b:1\", \"[::1]:2\"]\ntopic = \"t.{topic}\"\nkey = \"{client}\"\nstrip = \"x/\"\n\
            headers = { a = \"{level.0}\" }\nvalue = \"message\"\nunknown_topic = \"dead-letter\"\n\
            tls = true\nca = { secret = \"c\" }\nclient_cert = \"c\"\nclient_key = { secret = \"k\" }\n\
            sasl = \"scram-sha-512\"\nusername = \"u\"\npassword = { secret = \"p\" }";
        let Ok(Kind::Kafka(all)) = read(all).map(|sink| sink.kind) else {
            panic!("it is right");
        };
        let wanted = [("a", 9092), ("b", 1), ("[::1]", 2)];
        assert_eq!(
            all.brokers,
            wanted.map(|(host, port)| (host.to_owned(), port))
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let base = "brokers = [\"h\"]\ntopic = \"t\"\n";
        for (text, wanted) in [
            (
                "topic = \"t\"",
                "k.toml:1:1: `brokers` has 1 to 50 addresses",
            ),
            (
                "brokers = [\"a\", \"b:0\"]\ntopic = \"t\"",
                "k.toml:2:17: `b:0` has a port that is none",
            ),
            (
                "brokers = [\"kafka://a\"]\ntopic = \"t\"",
                "k.toml:2:12: `kafka://a` has a port that is none",
            ),
            (
                "brokers = [\"a/b\"]\ntopic = \"t\"",
                "k.toml:2:12: `a/b` is no HOST:PORT",
            ),
            ("brokers = [\"a\"]", "k.toml:1:1: `topic` is missing"),
            (
                "brokers = [\"a\"]\ntopic = \"a/{topic}\"",
                "k.toml:3:9: `topic` is no name of a topic: letters, digits, `.`, `_` and `-`",
            ),
            (
                &format!("{base}key = \"{{x}}\""),
                "k.toml:4:7: `key` names `{x}`; there are {topic}, {level.0}, {level.1} …, {client}, {username}",
            ),
            (
                &format!("{base}headers = {{ a = \"{{x\" }}"),
                "k.toml:4:13: `headers.a` has a `{` without a `}`",
            ),
            (
                &format!("{base}headers = {{ a = {{ secret = \"s\" }} }}"),
                "k.toml:4:13: `headers.a` is a text: headers are no place for secrets",
            ),
            (
                &format!("{base}ca = \"c\""),
                "k.toml:1:1: `ca`, `client_cert` and `client_key` are for TLS, which is off",
            ),
            (
                &format!("{base}tls = true\nclient_cert = \"c\""),
                "k.toml:1:1: `client_cert` and `client_key` come together",
            ),
            (
                &format!("{base}username = \"u\""),
                "k.toml:1:1: `username` and `password` need `sasl`",
            ),
            (
                &format!("{base}sasl = \"plain\""),
                "k.toml:1:1: `sasl` needs a `username` and a `password`",
            ),
            (
                &format!("{base}sasl = \"scram\"\nusername = \"u\"\npassword = \"p\""),
                "k.toml:4:8: `sasl` is one of plain, scram-sha-256, scram-sha-512, not `scram`",
            ),
            (
                &format!("{base}unknown_topic = \"dead-letter\"\ncreate_topics = true"),
                "k.toml:1:1: `unknown_topic` and `create_topics` exclude each other: a topic that is being made is not there yet",
            ),
        ] {
            assert_eq!(read(text).map(|_| ()), Err(wanted.to_owned()), "{text}");
        }
    }

    #[test]
    fn lists_have_a_bound() {
        let places =
            |count: usize| format!("brokers = [{}]\ntopic = \"t\"", "\"h\",".repeat(count));
        assert!(read(&places(super::BROKERS)).is_ok());
        assert!(read(&places(super::BROKERS + 1)).is_err());
        let headers = |count: usize| {
            let headers: String = (0..count)
                .map(|number| format!("h{number} = \"x\", "))
                .collect();
            format!("brokers = [\"h\"]\ntopic = \"t\"\nheaders = {{ {headers} }}")
        };
        assert!(read(&headers(super::HEADERS)).is_ok());
        assert!(read(&headers(super::HEADERS + 1)).is_err());
    }
}
