//! One run: a fresh process of a participant, the generator against it, its end.
//!
//! Owns: processes. Each is ended by its own id, whatever happens.

use crate::calls;
use crate::cases::{Case, Way};
use crate::peers::{Kind, NAMED, Peer};
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a participant may take to listen.
const START: Duration = Duration::from_secs(20);
/// How long it may take to end before it is killed.
const END: Duration = Duration::from_secs(10);
/// How often both are looked at.
const PACE: Duration = Duration::from_millis(20);

/// What a run gave.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) case: String,
    pub(crate) peer: String,
    /// What `mqload` printed.
    pub(crate) values: Map<String, Value>,
}

impl Run {
    /// A number of it.
    pub(crate) fn number(&self, field: &str) -> Option<f64> {
        self.values.get(field)?.as_f64()
    }

    /// Why it counts for less than it seems.
    pub(crate) fn failure(&self) -> Option<String> {
        let of = |field| self.number(field).unwrap_or(0.0);
        if let Some(error) = self.values.get("error").and_then(Value::as_str) {
            return Some(error.to_owned());
        }
        let wrong: Vec<String> = [
            ("lost", "lost"),
            ("dups_or_reordered", "twice or out of order"),
            ("gaps", "missing before a later one"),
            ("malformed", "malformed"),
            ("refused_filters", "filters refused"),
        ]
        .iter()
        .filter(|(field, _)| of(field) > 0.0)
        .map(|(field, name)| format!("{:.0} {name}", of(field)))
        .collect();
        let is_ok = self.values.get("ok") == Some(&Value::Bool(true));
        match wrong.as_slice() {
            [] if is_ok => None,
            [] => Some("not all came".to_owned()),
            wrong => Some(format!(
                "{} of {:.0} delivered",
                wrong.join(", "),
                of("delivered")
            )),
        }
    }

    /// The first figure, for a progress line.
    pub(crate) fn line(&self, case: &Case) -> String {
        let figure = case.figures.first();
        let number = figure.and_then(|figure| self.number(figure.field));
        let number =
            number.map_or_else(|| "nothing".to_owned(), |number| format!("{number:.2} µs"));
        match self.failure() {
            None => number,
            Some(failure) => format!("{number}, {failure}"),
        }
    }
}

/// Runs, one after the other.
pub(crate) struct Play {
    generator: PathBuf,
    file: PathBuf,
    lines: File,
    seconds: f64,
}

impl Play {
    /// `file` is written anew.
    pub(crate) fn new(generator: PathBuf, file: PathBuf, seconds: f64) -> Result<Self> {
        let lines =
            File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self {
            generator,
            file,
            lines,
            seconds,
        })
    }

    /// The file with all runs.
    pub(crate) fn runs(&self) -> &Path {
        &self.file
    }

    /// One run. A participant that fails is a result, not an error.
    pub(crate) fn run(&mut self, peer: &Peer, case: &Case, round: usize) -> Result<Run> {
        let values = self.values(&peer.dressed(case.way), case.words, case.way);
        self.note(&peer.name, case.name, round, values)
    }

    /// The same of a case that has no name in the list.
    pub(crate) fn play(
        &mut self,
        peer: &Peer,
        name: &str,
        words: &str,
        round: usize,
    ) -> Result<Run> {
        let values = self.values(peer, words, Way::Plain);
        self.note(&peer.name, name, round, values)
    }

    fn note(
        &mut self,
        peer: &str,
        case: &str,
        round: usize,
        values: Result<Map<String, Value>>,
    ) -> Result<Run> {
        let mut values = values.unwrap_or_else(|error| {
            Map::from_iter([
                ("error".to_owned(), json!(format!("{error:#}"))),
                ("ok".to_owned(), json!(false)),
            ])
        });
        values.insert("case".to_owned(), json!(case));
        values.insert("label".to_owned(), json!(peer));
        values.insert("round".to_owned(), json!(round));
        writeln!(self.lines, "{}", serde_json::to_string(&values)?)?;
        self.lines.flush()?;
        Ok(Run {
            case: case.to_owned(),
            peer: peer.to_owned(),
            values,
        })
    }

    fn values(&self, peer: &Peer, words: &str, way: Way) -> Result<Map<String, Value>> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let (port, second) = free_ports(peer.port)?;
        let fill = |text: &str| {
            text.replace("{port}", &port.to_string())
                .replace("{port2}", &second.to_string())
                .replace("{folder}", &folder.path().display().to_string())
        };
        let config = ("config".to_owned(), peer.config.clone());
        for (name, text) in peer.files.iter().chain([&config]) {
            let file = folder.path().join(name);
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(file, fill(text))?;
        }
        let mut child = Started::new(&peer.command, folder.path(), fill)?;
        child.wait_for(port)?;
        if !peer.prepare.is_empty() {
            child.wait_for(second)?;
        }
        for words in &peer.prepare {
            let output = command(words, fill).output()?;
            if !output.status.success() {
                bail!(
                    "not prepared: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                );
            }
        }
        let mut load = Command::new(&self.generator);
        load.args(words.split(' '));
        load.args(["--addr", &format!("127.0.0.1:{port}")]);
        load.args(["--pid", &child.id().to_string(), "--warm", "0.4"]);
        match way {
            Way::WebSocket => load.args(["--ws", "/mqtt"]),
            Way::Named => load.args(["--user", NAMED, "--password", NAMED]),
            _ => &mut load,
        };
        if peer.kind == Kind::Floor {
            load.arg("--floor");
        }
        let values = match way {
            Way::Counted => calls::count(&load, child.id(), folder.path(), self.seconds),
            _ => printed(load.args(["--secs", &self.seconds.to_string()])),
        };
        child.check()?;
        values
    }
}

/// The line of JSON that the generator prints.
pub(crate) fn printed(load: &mut Command) -> Result<Map<String, Value>> {
    let output = load.output().context("cannot start mqload")?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim())
        .with_context(|| format!("mqload: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

fn command(words: &[String], fill: impl Fn(&str) -> String) -> Command {
    let mut words = words.iter().map(|word| fill(word));
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).stdin(Stdio::null());
    command
}

/// A process that ends with this value.
struct Started {
    child: Child,
    log: PathBuf,
}

impl Started {
    fn new(words: &[String], folder: &Path, fill: impl Fn(&str) -> String) -> Result<Self> {
        let log = folder.join("log");
        let file = File::create(&log)?;
        let mut command = command(words, fill);
        command.current_dir(folder);
        command.stdout(file.try_clone()?).stderr(file);
        let child = command.spawn();
        let child = child.with_context(|| format!("cannot start {}", words.join(" ")))?;
        Ok(Self { child, log })
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    fn wait_for(&mut self, port: u16) -> Result<()> {
        let begin = Instant::now();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        while TcpStream::connect_timeout(&address, START).is_err() {
            self.check()?;
            if begin.elapsed() > START {
                bail!("nothing listens at port {port} after {} s", START.as_secs());
            }
            std::thread::sleep(PACE);
        }
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let last = log.lines().next_back().unwrap_or_default();
            bail!("it ended by itself: {status}: {last}");
        }
        Ok(())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| matches!(self.child.try_wait(), Ok(None))) {
            // What cannot be asked to end is killed below.
            kill_process(pid, Signal::TERM).ok();
        }
        let begin = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begin.elapsed() > END {
                self.child.kill().ok();
                self.child.wait().ok();
                return;
            }
            std::thread::sleep(PACE);
        }
    }
}

/// Two ports that nobody has at present.
fn free_ports(fixed: Option<u16>) -> Result<(u16, u16)> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port");
    let (one, two) = (listen()?, listen()?);
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    Ok((fixed.map_or_else(|| port(&one), Ok)?, port(&two)?))
}

#[cfg(test)]
mod tests {
    use super::{Play, Run, Started, free_ports};
    use crate::cases::CASES;
    use crate::peers::{Kind, Peer};
    use serde_json::json;

    fn run(values: serde_json::Value) -> Run {
        Run {
            case: "c".to_owned(),
            peer: "p".to_owned(),
            values: values.as_object().unwrap().clone(),
        }
    }

    #[test]
    fn what_went_wrong_is_said() {
        assert_eq!(run(json!({ "ok": true, "lost": 0 })).failure(), None);
        let lost = run(json!({ "ok": false, "lost": 2, "gaps": 1, "delivered": 98 }));
        let text = "2 lost, 1 missing before a later one of 98 delivered";
        assert_eq!(lost.failure().as_deref(), Some(text));
        let failed = run(json!({ "ok": false, "error": "refused" }));
        assert_eq!(failed.failure().as_deref(), Some("refused"));
        assert_eq!(
            run(json!({ "ok": false })).failure().as_deref(),
            Some("not all came")
        );
    }

    #[test]
    fn a_peer_that_ends_by_itself_is_a_result() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runs");
        let mut play = Play::new("mqload".into(), file.clone(), 0.1).unwrap();
        let peer = Peer {
            name: "brief".to_owned(),
            kind: Kind::Other,
            command: ["sh", "-c", "echo no reason; exit 3"]
                .map(str::to_owned)
                .to_vec(),
            config: String::new(),
            files: Vec::new(),
            prepare: Vec::new(),
            port: None,
        };
        let run = play.run(&peer, &CASES[0], 1).unwrap();
        let failure = run.failure().unwrap();
        assert!(failure.contains("exit status: 3: no reason"), "{failure}");
        let line = std::fs::read_to_string(&file).unwrap();
        assert!(
            line.contains("\"label\":\"brief\"") && line.ends_with("}\n"),
            "{line}"
        );
    }

    #[test]
    fn a_process_ends_with_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let words = ["sleep", "1000"].map(str::to_owned);
        let started = Started::new(&words, folder.path(), str::to_owned).unwrap();
        let task = format!("/proc/{}", started.id());
        assert!(std::path::Path::new(&task).exists());
        drop(started);
        assert!(!std::path::Path::new(&task).exists());
    }

    #[test]
    fn a_fixed_port_is_kept() {
        assert_eq!(free_ports(Some(1)).unwrap().0, 1);
        let (one, two) = free_ports(None).unwrap();
        assert_ne!(one, two);
    }
}
