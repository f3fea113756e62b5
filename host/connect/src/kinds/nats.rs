//! `nats`: a bridge to NATS. `out` publishes there what chains hand over, to a stream of JetStream if that is asked for;
//! `in` subscribes there.
//!
//! Owns: the file's keys. The protocol is spoken here: what a client of others calls flushed is written, not taken.

mod access;
mod inward;
mod link;
mod outward;
mod subject;
mod wire;

pub(super) use inward::receive;
pub(super) use outward::Outward;

use self::access::Access;
use self::subject::{Template, is_subject};
use super::Means;
use super::arrivals::under_way;
use crate::keys::Keys;
use crate::place::SinkError;
use crate::secret::Text;
use witmq_proto::packet::QoS;

/// Subjects of one source.
const SUBJECTS: usize = 100;

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
    access: Access,
    ca: Option<Text>,
    out: Option<Out>,
    inward: Option<Inward>,
}

#[derive(Clone, Debug)]
struct Out {
    /// Taken from the beginning of a topic, where it is there.
    strip: String,
    subject: Template,
    /// A message is done when a stream has it.
    is_stream: bool,
}

#[derive(Clone, Debug)]
struct Inward {
    subjects: Vec<String>,
    /// Of several with the same one gets a message.
    queue: Option<String>,
    strip: String,
    /// Put before each topic then.
    add: String,
    qos: QoS,
    /// Messages on their way in at a time.
    under_way: u16,
}

impl Settings {
    pub(super) fn parse(keys: &mut Keys<'_>) -> Result<Self, SinkError> {
        let (url, at) = keys.needed("url", "\"tls://nats.example.com\"")?;
        let wrong = |text: &str| keys.error_at(at, format!("`url` {text}"));
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let is_tls = match scheme {
            "nats" => false,
            "tls" => true,
            _ => return Err(wrong("begins with nats:// or tls://")),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (
                host,
                port.parse().map_err(|_| wrong("has a port that is none"))?,
            ),
            _ => (rest, 4222),
        };
        if host.is_empty() || host.contains(['/', '@', ',']) {
            return Err(wrong("is nats://HOST:PORT, without a user and a path"));
        }
        let settings = Self {
            host: host.to_owned(),
            port,
            is_tls,
            access: Access::parse(keys)?,
            ca: keys.private("ca")?,
            out: keys.given("out")?.map(Out::parse).transpose()?,
            inward: keys.given("in")?.map(Inward::parse).transpose()?,
        };
        if settings.out.is_none() && settings.inward.is_none() {
            return Err(keys.error("`out` and `in` are missing").hint(
                "`out = { subject = \"mqtt.{topic}\" }` publishes there what chains hand over",
            ));
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
}

/// Text that stands before topics.
fn beginning(keys: &mut Keys<'_>, key: &'static str) -> Result<String, SinkError> {
    let (text, at) = keys.text(key)?.unwrap_or_default();
    match text.contains(['+', '#', '\0']) {
        true => Err(keys.error_at(
            at,
            format!("`{key}` is a part of a topic, without wildcards"),
        )),
        false => Ok(text),
    }
}

impl Out {
    fn parse(mut keys: Keys<'_>) -> Result<Self, SinkError> {
        let (subject, at) = keys.needed("subject", "\"mqtt.{topic}\"")?;
        let subject = Template::parse(&subject)
            .map_err(|error| keys.error_at(at, format!("`out.subject` {error}")))?;
        let out = Self {
            strip: beginning(&mut keys, "strip")?,
            subject,
            is_stream: keys.flag("jetstream", false)?,
        };
        keys.finish()?;
        Ok(out)
    }
}

impl Inward {
    fn parse(mut keys: Keys<'_>) -> Result<Self, SinkError> {
        let mut subjects = Vec::new();
        for (subject, at) in keys.texts("subjects")? {
            if !is_subject(&subject, true) {
                return Err(keys.error_at(at, format!("`{subject}` is no subject")));
            }
            subjects.push(subject);
        }
        if subjects.is_empty() || subjects.len() > SUBJECTS {
            let text = format!("`in.subjects` has 1 to {SUBJECTS} subjects");
            return Err(keys
                .error(text)
                .hint("for example `subjects = [\"commands.>\"]`"));
        }
        let queue = keys.text("queue")?;
        if let Some((queue, at)) = &queue
            && !is_subject(queue, false)
        {
            return Err(keys.error_at(*at, format!("`{queue}` is no name of a queue group")));
        }
        let inward = Self {
            subjects,
            queue: queue.map(|(queue, _)| queue),
            strip: beginning(&mut keys, "strip")?,
            add: beginning(&mut keys, "add")?,
            qos: match keys.number("qos", 1, 0..=2)? {
                0 => QoS::AtMostOnce,
                1 => QoS::AtLeastOnce,
                _ => QoS::ExactlyOnce,
            },
            under_way: under_way(&mut keys)?,
        };
        keys.finish()?;
        Ok(inward)
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::Settings as Sink;

    fn error(text: &str) -> Option<String> {
        let text = format!("kind = \"nats\"\n{text}");
        Sink::parse("n.toml", &text)
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn a_bridge_says_where_to_and_which_way() {
        assert_eq!(
            error("url = \"nats://h\"\nout = { subject = \"a.{topic}\" }"),
            None
        );
        assert_eq!(
            error(
                "url = \"tls://[::1]:9/\"\ntoken = \"t\"\nin = { subjects = [\"a.>\"], queue = \"q\" }"
            ),
            None
        );
        for (text, wanted) in [
            (
                "url = \"nats://h\"",
                "n.toml:1:1: `out` and `in` are missing",
            ),
            (
                "url = \"http://h\"\nout = {}",
                "n.toml:2:7: `url` begins with nats:// or tls://",
            ),
            (
                "url = \"nats://u@h\"\nout = {}",
                "n.toml:2:7: `url` is nats://HOST:PORT, without a user and a path",
            ),
            (
                "url = \"nats://h:x\"\nout = {}",
                "n.toml:2:7: `url` has a port that is none",
            ),
            (
                "url = \"nats://h\"\nout = {}",
                "n.toml:3:7: `out.subject` is missing",
            ),
            (
                "url = \"nats://h\"\nout = { subject = \"a b\" }",
                "n.toml:3:19: `out.subject` is no subject: parts with a `.` in between, without blanks and wildcards",
            ),
            (
                "url = \"nats://h\"\nin = { subjects = [\"a.>.b\"] }",
                "n.toml:3:20: `a.>.b` is no subject",
            ),
            (
                "url = \"nats://h\"\nin = {}",
                "n.toml:3:6: `in.subjects` has 1 to 100 subjects",
            ),
            (
                "url = \"nats://h\"\nin = { subjects = [\"a\"], queue = \"a b\" }",
                "n.toml:3:34: `a b` is no name of a queue group",
            ),
            (
                "url = \"nats://h\"\nin = { subjects = [\"a\"], under_way = 10_001 }",
                "n.toml:3:38: `in.under_way` is a number from 1 to 10000",
            ),
            (
                "url = \"nats://h\"\npassword = \"p\"\nout = { subject = \"a\" }",
                "n.toml:1:1: `password` needs a `username`",
            ),
            (
                "url = \"nats://h\"\ntoken = \"p\"\nnkey = \"n\"\nout = { subject = \"a\" }",
                "n.toml:1:1: there is more than one of `username`, `token`, `nkey`, `creds`",
            ),
        ] {
            assert_eq!(error(text).as_deref(), Some(wanted));
        }
    }
}
