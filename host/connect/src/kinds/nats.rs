//! `nats`: a bridge to NATS. `out` publishes there what chains hand over, to a stream of JetStream if that is asked for;
//! `in` subscribes there.
//!
//! Owns: the file's keys. The protocol is spoken here: what a client of others calls flushed is written, not taken.

mod access;
mod inward;
mod link;
mod outward;
mod subject;
mod turn;
mod wire;

pub(super) use inward::receive;
pub(super) use outward::Outward;

use self::access::Access;
use self::subject::{Template, is_subject};
use self::turn::Turn;
use super::Means;
use super::arrivals::under_way;
use crate::keys::Keys;
use crate::place::SinkError;
use crate::secret::Text;
use witmq_proto::packet::QoS;

/// Servers of one bridge.
const SERVERS: usize = 50;
/// Subjects of one source.
const SUBJECTS: usize = 100;

/// A sink of this kind, and what it reaches.
#[derive(Clone)]
pub(super) struct Bridge {
    pub(super) settings: Settings,
    pub(super) name: String,
    pub(super) means: Means,
    turn: Turn,
}

impl Bridge {
    pub(super) fn new(settings: Settings, name: String, means: Means) -> Self {
        let turn = Turn::default();
        Self {
            settings,
            name,
            means,
            turn,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Any of them does; they are tried in turn.
    servers: Vec<Server>,
    is_tls: bool,
    access: Access,
    ca: Option<Text>,
    out: Option<Out>,
    inward: Option<Inward>,
}

/// Where one is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    host: String,
    port: u16,
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
        let (servers, is_tls) = servers(keys)?;
        let settings = Self {
            servers,
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
}

impl Server {
    /// One of `url`, and whether it speaks TLS; what is wrong with it otherwise.
    fn parse(url: &str) -> Result<(Self, bool), &'static str> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let is_tls = match scheme {
            "nats" => false,
            "tls" => true,
            _ => return Err("begins with nats:// or tls://"),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| "has a port that is none")?)
            }
            _ => (rest, 4222),
        };
        if host.is_empty() || host.contains(['/', '@']) {
            return Err("is nats://HOST:PORT, without a user and a path");
        }
        let host = host.to_owned();
        Ok((Self { host, port }, is_tls))
    }

    fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// The servers of `url`, with commas in between, and whether they speak TLS.
fn servers(keys: &mut Keys<'_>) -> Result<(Vec<Server>, bool), SinkError> {
    let (url, at) = keys.needed("url", "\"tls://nats.example.com\"")?;
    let wrong = |text: &str| keys.error_at(at, format!("`url` {text}"));
    let all = url.split(',').map(|one| Server::parse(one.trim()));
    let all = all.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if all.len() > SERVERS {
        return Err(wrong(&format!("names more than {SERVERS} servers")));
    }
    let is_tls = all.iter().all(|(_, is_tls)| *is_tls);
    if !is_tls && all.iter().any(|(_, is_tls)| *is_tls) {
        return Err(wrong(
            "has servers with TLS and without: all begin with tls://, or none",
        ));
    }
    let servers = all.into_iter().map(|(server, _)| server).collect();
    Ok((servers, is_tls))
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
    use crate::kinds::Kind;
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

    #[test]
    fn there_may_be_several_servers_up_to_a_bound() {
        let of = |url: &str| {
            let text = format!("kind = \"nats\"\nurl = \"{url}\"\nout = {{ subject = \"a\" }}");
            let sink = Sink::parse("n.toml", &text).map_err(|error| error.to_string())?;
            let Kind::Nats(settings) = sink.kind else {
                panic!("{:?}", sink.kind);
            };
            let places = settings.servers.iter().map(super::Server::place);
            Ok((places.collect::<Vec<_>>(), settings.is_tls))
        };
        let places = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let three = of("nats://a, nats://b:1/,nats://[::1]:2");
        let wanted = places(&["a:4222", "b:1", "[::1]:2"]);
        assert_eq!(three, Ok((wanted, false)));
        let secured = of("tls://a,tls://b");
        assert_eq!(secured, Ok((places(&["a:4222", "b:4222"]), true)));
        let many = |count: usize| vec!["nats://h"; count].join(",");
        let most = of(&many(super::SERVERS)).map(|(places, _)| places.len());
        assert_eq!(most, Ok(super::SERVERS));
        let too_many = many(super::SERVERS + 1);
        for (url, wanted) in [
            (too_many.as_str(), "names more than 50 servers"),
            ("nats://a,b", "begins with nats:// or tls://"),
            ("nats://a,", "begins with nats:// or tls://"),
            ("nats://a,nats://b:x", "has a port that is none"),
            (
                "tls://a,nats://b",
                "has servers with TLS and without: all begin with tls://, or none",
            ),
        ] {
            assert_eq!(of(url), Err(format!("n.toml:2:7: `url` {wanted}")));
        }
    }
}
