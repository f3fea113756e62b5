//! Who is measured, and how each is started.
//!
//! Owns: commands and configuration files, so that nobody drops by policy, writes to disk or logs, and everybody sends
//! at once (TCP_NODELAY). Must not: start anything (`play` does).

use crate::cases::{Case, Way};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Daemons that Debian keeps out of a user's PATH.
const DAEMONS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// What a participant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The broker of this repository.
    Own,
    /// The same on one shard, as the others are one thread.
    Single,
    /// Another broker.
    Other,
    /// A forwarder without MQTT.
    Floor,
}

/// A participant.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// As the table says it.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Words of its command; `{port}`, `{port2}` and `{folder}` are filled in.
    pub(crate) command: Vec<String>,
    /// Its configuration, written to `{folder}/config` with the same words filled in.
    pub(crate) config: String,
    /// Other files of its folder: name and contents, filled in too.
    pub(crate) files: Vec<(String, String)>,
    /// Commands that are run once it listens.
    pub(crate) prepare: Vec<Vec<String>>,
    /// A port that cannot be chosen.
    pub(crate) port: Option<u16>,
}

const WITMQ: &str = r#"
data_dir = "{folder}/data"

[[listener]]
name = "tcp"
kind = "tcp"
bind = "127.0.0.1:{port}"

[http]
bind = "127.0.0.1:{port2}"

[limits]
queue_messages = 1000000
queue_bytes = 4294967296
max_subscriptions = 1000000
auth_queue = 20000
retained_messages = 2000000

[storage]
durability = "none"

[log]
level = "error"
"#;

/// Where the commands of WitMQ find the broker.
const ADMIN: [&str; 4] = [
    "--admin",
    "http://127.0.0.1:{port2}",
    "--data-dir",
    "{folder}/data",
];

/// Name and password of [`Way::Named`].
pub(crate) const NAMED: &str = "bench";

/// The component of [`Way::Step`], below the folder of the sources; `cargo xtask guests` builds it.
const GUEST: &str = "target/guests/wasm32-wasip2/guest/witmq_test_guests_bench.wasm";

const STEP: &str = r##"mode = "transform"
from = "#"

[[step]]
plugin = "nothing"
"##;

const MOSQUITTO: &str = "
listener {port} 127.0.0.1
allow_anonymous true
max_queued_messages 0
max_inflight_messages 1000
set_tcp_nodelay true
persistence false
log_type none
";

impl Peer {
    /// Whether it can be measured with a case.
    pub(crate) fn plays(&self, case: &Case) -> bool {
        match case.way {
            Way::Plain => self.kind != Kind::Floor || !case.is_state(),
            Way::Counted => true,
            // Debian's mosquitto does not open a WebSocket on loopback only.
            Way::WebSocket | Way::Named | Way::Step | Way::Synced => self.kind == Kind::Own,
        }
    }

    /// A command of WitMQ that asks the running broker.
    pub(crate) fn command_of(&self, words: &[&str]) -> Vec<String> {
        let program = self.command.first().map(String::as_str);
        let all = program.into_iter().chain(words.iter().copied());
        all.chain(ADMIN).map(str::to_owned).collect()
    }

    /// The same with what a case asks for.
    pub(crate) fn dressed(&self, way: Way) -> Self {
        let mut peer = self.clone();
        let own = |words: &[&str]| self.command_of(words);
        match way {
            Way::Plain | Way::Counted => {}
            Way::WebSocket => {
                peer.config = peer.config.replace(r#"kind = "tcp""#, r#"kind = "ws""#);
            }
            Way::Synced => {
                let (none, synced) = (r#"durability = "none""#, r#"durability = "fsync""#);
                peer.config = peer.config.replace(none, synced);
            }
            Way::Named => {
                let rights = ["--pub", "#", "--sub", "#", "--password-stdin", "--no-scram"];
                let add = own(&[&["user", "add", NAMED], &rights[..]].concat());
                let shell = ["sh", "-c", r#"printf %s "$0" | "$@""#, NAMED].map(str::to_owned);
                peer.prepare = vec![[shell.to_vec(), add].concat()];
            }
            Way::Step => {
                peer.files.push(("step.toml".to_owned(), STEP.to_owned()));
                peer.prepare
                    .push(own(&["plugin", "install", GUEST, "--name", "nothing"]));
                peer.prepare
                    .push(own(&["rule", "apply", "{folder}/step.toml"]));
            }
        }
        peer
    }

    fn new(name: &str, kind: Kind, command: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            config: String::new(),
            files: Vec::new(),
            prepare: Vec::new(),
            port: None,
        }
    }
}

/// WitMQ, the same on one shard, mosquitto where it is installed, those of the command line, the floors.
///
/// # Errors
/// When a program that was built here is missing, or one of the command line reads wrong.
pub(crate) fn all(
    tools: &Path,
    broker: &Path,
    given: &[String],
    all_floors: bool,
) -> Result<Vec<Peer>> {
    let mut peers = vec![own(broker)?];
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
        peers.extend(peers.first().map(single));
    }
    match which("mosquitto") {
        Some(program) => peers.push(mosquitto(&program)),
        None => println!("note: mosquitto is not installed, so it is not measured"),
    }
    for text in given {
        peers.push(parse(text)?);
    }
    let floor = |program: &str| tools.join(program).display().to_string();
    let (epoll, tokio) = (floor("floor-epoll"), floor("floor-tokio"));
    peers.push(Peer::new("floor", Kind::Floor, &[&epoll, "{port}"]));
    if all_floors {
        for (name, threads) in [("floor, tokio", "0"), ("floor, tokio, 2 threads", "2")] {
            peers.push(Peer::new(name, Kind::Floor, &[&tokio, "{port}", threads]));
        }
    }
    Ok(peers)
}

fn own(broker: &Path) -> Result<Peer> {
    if !broker.is_file() {
        bail!(
            "{} is missing: `cargo xtask build` makes it",
            broker.display()
        );
    }
    let program = broker.display().to_string();
    let mut peer = Peer::new(
        "WitMQ",
        Kind::Own,
        &[&program, "serve", "-c", "{folder}/config"],
    );
    peer.config = WITMQ.to_owned();
    // Production denies clients without a name; mosquitto is measured without names too.
    let words = [
        &program,
        "plugin",
        "config",
        "auth-file",
        r#"{"anonymous":"allow","default":"allow"}"#,
    ];
    let words = words.into_iter().chain(ADMIN).map(str::to_owned);
    peer.prepare = vec![words.collect()];
    Ok(peer)
}

fn single(own: &Peer) -> Peer {
    Peer {
        name: "WitMQ, one shard".to_owned(),
        kind: Kind::Single,
        config: format!("shards = 1\n{}", own.config),
        ..own.clone()
    }
}

fn mosquitto(program: &Path) -> Peer {
    let help = Command::new(program).arg("-h").output();
    let help = help.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let first = help.lines().next().unwrap_or_default();
    let name = first.replacen("mosquitto version", "mosquitto", 1);
    let name = if name.is_empty() {
        "mosquitto".to_owned()
    } else {
        name
    };
    let program = program.display().to_string();
    let mut peer = Peer::new(&name, Kind::Other, &[&program, "-c", "{folder}/config"]);
    peer.config = MOSQUITTO.to_owned();
    peer
}

/// `NAME=COMMAND` or `NAME@PORT=COMMAND`.
fn parse(text: &str) -> Result<Peer> {
    let (name, command) = text
        .split_once('=')
        .with_context(|| format!("--peer {text}: is to read NAME=COMMAND"))?;
    let (name, port) = match name.split_once('@') {
        None => (name, None),
        Some((name, port)) => {
            let port = port.parse();
            (
                name,
                Some(port.with_context(|| format!("--peer {text}: the port"))?),
            )
        }
    };
    let words: Vec<&str> = command.split_whitespace().collect();
    if name.is_empty() || words.is_empty() {
        bail!("--peer {text}: is to read NAME=COMMAND");
    }
    if port.is_none() && !command.contains("{port}") {
        bail!(
            "--peer {text}: nothing says its port: write {{port}} in the command or {name}@PORT=…"
        );
    }
    let mut peer = Peer::new(name, Kind::Other, &words);
    peer.port = port;
    Ok(peer)
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(DAEMONS.map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::{Peer, WITMQ, own, parse};
    use crate::cases::{CASES, Way};
    use crate::peers::Kind;

    #[test]
    fn a_way_changes_what_it_is_about() {
        let broker = std::env::current_exe().unwrap();
        let peer = own(&broker).unwrap();
        let prepared = |way| peer.dressed(way).prepare;
        assert_eq!(prepared(Way::Plain), peer.prepare);
        assert!(prepared(Way::Named)[0].contains(&"--password-stdin".to_owned()));
        assert_eq!(prepared(Way::Step)[1][3], super::GUEST);
        let of_step = peer.dressed(Way::Step);
        assert_eq!(of_step.prepare[2][3], "{folder}/step.toml");
        assert_eq!(of_step.files[0].0, "step.toml");
        assert_ne!(peer.dressed(Way::WebSocket).config, WITMQ);
    }

    #[test]
    fn who_cannot_do_a_thing_does_not_play_it() {
        let case = |way| CASES.iter().find(|case| case.way == way).unwrap();
        let given = parse("other=/x {port}").unwrap();
        assert!(given.plays(case(Way::Plain)) && !given.plays(case(Way::WebSocket)));
        assert!(!given.plays(case(Way::Step)) && !given.plays(case(Way::Named)));
        let one = super::single(&own(&std::env::current_exe().unwrap()).unwrap());
        assert!(one.plays(case(Way::Plain)) && !one.plays(case(Way::Step)));
        let floor = Peer::new("floor", Kind::Floor, &["floor"]);
        assert!(floor.plays(case(Way::Counted)) && !floor.plays(case(Way::WebSocket)));
    }

    #[test]
    fn a_peer_is_a_name_a_command_and_perhaps_a_port() {
        let peer = parse("other=/x/y --listen {port}").unwrap();
        assert_eq!((peer.name.as_str(), peer.port), ("other", None));
        assert_eq!(peer.command, ["/x/y", "--listen", "{port}"]);
        assert_eq!(parse("other@1884=/x/y -c a=b").unwrap().port, Some(1884));
    }

    #[test]
    fn what_is_missing_is_said() {
        for (text, wanted) in [
            ("other", "NAME=COMMAND"),
            ("=x {port}", "NAME=COMMAND"),
            ("other=x", "nothing says its port"),
            ("other@x=y", "the port"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
