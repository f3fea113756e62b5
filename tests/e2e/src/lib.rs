//! The release binary as a child process, and small clients around rumqttc: what the end-to-end tests share.
//!
//! Owns: starting and ending brokers (by their own process), finding tools. Must not: know the broker's insides.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

pub mod api;
pub mod certificates;
pub mod client;
pub mod faults;
pub mod kafka;
pub mod load;
pub mod mosquitto;
pub mod nats;
pub mod nkeys;
pub mod one_by_one;
pub mod postgres;
pub mod raw;
pub mod scram;
pub mod sinks;
pub mod site;
pub mod wire;

use anyhow::{Context as _, Result, bail};
use faults::Faults;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The workspace.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// The release binary.
#[must_use]
pub fn binary() -> PathBuf {
    let path = std::env::var_os("WITMQ_BIN")
        .map_or_else(|| root().join("target/release/witmq"), PathBuf::from);
    assert!(
        path.is_file(),
        "{} is missing: cargo build --release --package witmq",
        path.display()
    );
    path
}

/// A component built by `cargo xtask guests`.
#[must_use]
pub fn component(name: &str) -> PathBuf {
    let folder = std::env::var_os("WITMQ_GUESTS").map_or_else(
        || root().join("target/guests/wasm32-wasip2/guest"),
        PathBuf::from,
    );
    let path = folder.join(format!("{name}.wasm"));
    assert!(
        path.is_file(),
        "{} is missing: cargo xtask guests",
        path.display()
    );
    path
}

/// The Python with the clients.
#[must_use]
pub fn python() -> PathBuf {
    std::env::var_os("WITMQ_PYTHON")
        .map_or_else(|| root().join("target/venv/bin/python"), PathBuf::from)
}

/// Where Chromium is: playwright wants the whole path.
///
/// # Panics
/// It is not installed.
#[must_use]
pub fn chromium() -> String {
    let path = std::env::var("PATH").unwrap();
    let places = path
        .split(':')
        .flat_map(|folder| ["chromium", "chromium-browser"].map(|name| format!("{folder}/{name}")));
    let found = places.into_iter().find(|place| Path::new(place).is_file());
    found.expect("Chromium is installed (Debian: chromium)")
}

/// A running broker with its folder; ended when dropped.
pub struct Broker {
    child: Child,
    folder: tempfile::TempDir,
    listeners: BTreeMap<String, SocketAddr>,
    /// Lines of its log.
    pub log: Receiver<String>,
    /// Lines of its log before it listened.
    pub said: Vec<String>,
    /// What `serve` is started with.
    environment: Vec<(String, String)>,
}

impl Broker {
    /// Starts `witmq dev` on free ports in a folder of its own.
    #[must_use]
    pub fn dev(flags: &[&str]) -> Self {
        Self::dev_with(flags, &[])
    }

    /// The same with variables of the environment.
    #[must_use]
    pub fn dev_with(flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = [
            "--port",
            "--tls-port",
            "--ws-port",
            "--wss-port",
            "--http-port",
        ];
        // As many descriptors as the machine allows: ten thousand clients are one test.
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -n $(ulimit -Hn); exec \"$0\" \"$@\""])
            .arg(binary())
            .arg("dev")
            .arg(folder.path())
            .args(ports.iter().flat_map(|port| [*port, "0"]))
            .args(flags);
        without_ours(&mut command);
        let mut child = command
            .envs(environment.iter().copied())
            .env("WITMQ_LOG", "info")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = lines(child.stderr.take().unwrap());
        let said = lines(child.stdout.take().unwrap());
        let mut banner = Vec::new();
        while banner
            .last()
            .is_none_or(|line: &String| !line.contains("Ctrl-C"))
        {
            match said.recv_timeout(PATIENCE) {
                Ok(line) => banner.push(line),
                Err(_) => panic!(
                    "no banner: {banner:?} {:?}",
                    log.try_iter().collect::<Vec<_>>()
                ),
            }
        }
        let listeners = addresses(&banner.join("\n"));
        Self {
            child,
            folder,
            listeners,
            log,
            said: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Starts `witmq serve` with extra configuration on free ports.
    #[must_use]
    pub fn serve(extra: &str) -> Self {
        Self::serve_at(0, extra, None)
    }

    /// The same on a port that stays the same when it is started again; everybody may do everything.
    #[must_use]
    pub fn serve_open(extra: &str) -> Self {
        Self::serve_with(extra, None)
    }

    /// The same on a disk that fails when it is told to.
    #[must_use]
    pub fn serve_with(extra: &str, disk: Option<&Faults>) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let broker = Self::serve_at(port, extra, disk);
        let open = "{\"anonymous\":\"allow\",\"default\":\"allow\"}";
        let _said = broker.ok(&["plugin", "config", "auth-file", open], "");
        broker
    }

    fn serve_at(port: u16, extra: &str, disk: Option<&Faults>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("witmq.toml");
        let data = folder.path().join(".witmq");
        let text = format!(
            "data_dir = {data:?}\n{extra}\n[[listener]]\nname = \"tcp\"\nkind = \"tcp\"\n\
             bind = \"127.0.0.1:{port}\"\n[http]\nbind = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n"
        );
        std::fs::write(&config, text).unwrap();
        let environment = disk.map(|disk| disk.environment(&data));
        Self::start(folder, environment.unwrap_or_default())
    }

    /// Ends it without a warning, as a crash would, and starts it again on the same folder.
    pub fn kill_9_and_start_again(&mut self) {
        self.kill_9();
        self.start_again();
    }

    /// Ends it without a warning, as a crash would.
    pub fn kill_9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ended by itself.
    pub fn wait_for_end(&mut self) {
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "it did not end");
            std::thread::yield_now();
        }
    }

    /// Starts it again on the same folder, after it ended.
    pub fn start_again(&mut self) {
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        let environment = std::mem::take(&mut self.environment);
        *self = Self::start(folder, environment);
    }

    /// Starts it again on the same folder, which it must refuse to do. What it printed.
    #[must_use]
    pub fn refuses_to_start(&self) -> String {
        let output = run(serve(self.folder.path(), &self.environment), "").unwrap();
        assert!(!output.status.success(), "it started");
        text(&output)
    }

    fn start(folder: tempfile::TempDir, environment: Vec<(String, String)>) -> Self {
        let mut child = serve(folder.path(), &environment)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let log = lines(child.stderr.take().unwrap());
        let (mut listeners, mut said) = (BTreeMap::new(), Vec::new());
        while !listeners.contains_key("http") {
            let line = log
                .recv_timeout(PATIENCE)
                .expect("it says where it listens");
            said.push(line.clone());
            let Ok(line) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            if let (Some(name), Some(address)) =
                (line["listener"].as_str(), line["address"].as_str())
            {
                listeners.insert(name.to_owned(), address.parse().unwrap());
            }
        }
        Self {
            child,
            folder,
            listeners,
            log,
            said,
            environment,
        }
    }

    /// From now on (or no longer) the disk takes nothing more from it: no file may grow.
    pub fn fill_disk(&self, is_full: bool) {
        let limit = if is_full {
            "1:unlimited"
        } else {
            "unlimited:unlimited"
        };
        let pid = self.child.id().to_string();
        let status = Command::new("prlimit")
            .args(["--pid", &pid, &format!("--fsize={limit}")])
            .status();
        assert!(status.unwrap().success());
    }

    /// Waits until its log says this; other tasks go on meanwhile.
    pub async fn wait_for_log(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match self.log.try_recv() {
                Ok(line) if line.contains(text) => return,
                Ok(_) => {}
                Err(_) => tokio::task::yield_now().await,
            }
        }
        panic!("the log does not say {text:?}");
    }

    /// Where a listener is: `tcp`, `tls`, `ws`, `wss` or `http`.
    #[must_use]
    pub fn address(&self, listener: &str) -> SocketAddr {
        self.listeners[listener]
    }

    /// Its folder: `rules/`, `plugins/`, `.witmq/`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The certificate to trust.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder().join(".witmq/ca.pem")
    }

    /// Runs `witmq` against this broker.
    #[must_use]
    pub fn witmq(&self, words: &[&str], input: &str) -> Output {
        let mut command = Command::new(binary());
        command
            .args(words)
            .env("WITMQ_URL", format!("http://{}", self.address("http")))
            .env("WITMQ_DATA_DIR", self.folder().join(".witmq"))
            .current_dir(root());
        run(command, input).unwrap()
    }

    /// The same; it must succeed. What it printed.
    #[must_use]
    pub fn ok(&self, words: &[&str], input: &str) -> String {
        let output = self.witmq(words, input);
        assert!(
            output.status.success(),
            "witmq {words:?}: {}",
            text(&output)
        );
        text(&output)
    }

    /// The same; it must fail with this exit code. What it printed.
    #[must_use]
    pub fn fails(&self, words: &[&str], code: i32) -> String {
        let output = self.witmq(words, "");
        assert_eq!(
            output.status.code(),
            Some(code),
            "witmq {words:?}: {}",
            text(&output)
        );
        text(&output)
    }

    /// Puts a chain into the broker.
    pub fn chain(&self, name: &str, source: &str) {
        let path = self.folder().join(format!("{name}.toml"));
        std::fs::write(&path, source).unwrap();
        let said = self.ok(&["rule", "apply", path.to_str().unwrap()], "");
        assert!(said.contains("runs on every shard"), "{said}");
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, KiB.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    }

    /// Ends it by SIGTERM; its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        Command::new("kill").arg(&pid).status().unwrap();
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

/// Every other `WITMQ_` variable is a key of the configuration.
fn without_ours(command: &mut Command) {
    for ours in ["WITMQ_BIN", "WITMQ_GUESTS", "WITMQ_PYTHON"] {
        command.env_remove(ours);
    }
}

/// `witmq serve` with the configuration in this folder.
fn serve(folder: &Path, environment: &[(String, String)]) -> Command {
    // A file that may not grow is an error of the write then, not the end of the process.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(binary());
    without_ours(&mut command);
    let config = folder.join("witmq.toml");
    command.arg("serve").arg("-c").arg(config);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Lines of a pipe, as they come.
pub fn lines(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Addresses in the banner of `witmq dev`.
fn addresses(banner: &str) -> BTreeMap<String, SocketAddr> {
    let after = |mark: &str| {
        let rest = banner
            .split(mark)
            .nth(1)
            .unwrap_or_else(|| panic!("no {mark} in {banner}"));
        rest.split(['/', ' ', '\n'])
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    let mut all = BTreeMap::new();
    all.insert("http".to_owned(), after("http://"));
    all.insert("tcp".to_owned(), after("mqtt://"));
    all.insert("tls".to_owned(), after("mqtts://"));
    all.insert("wss".to_owned(), after("wss://"));
    let ws = banner
        .split("ws://")
        .nth(2)
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    all.insert("ws".to_owned(), ws.parse().unwrap());
    all
}

/// Runs a command with this input; gives up after a while.
///
/// # Errors
/// It cannot be started or does not end.
pub fn run(mut command: Command, input: &str) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    child
        .stdin
        .take()
        .context("stdin")?
        .write_all(input.as_bytes())?;
    let id = child.id();
    let (done, ended) = channel();
    let watch = std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE * 15).is_err() {
            drop(Command::new("kill").arg("-9").arg(id.to_string()).status());
        }
    });
    let output = child.wait_with_output()?;
    let _is_over = done.send(()).is_err();
    drop(watch.join());
    if output.status.code().is_none() {
        bail!("{command:?} did not end: {}", text(&output));
    }
    Ok(output)
}

/// Everything a command printed.
#[must_use]
pub fn text(output: &Output) -> String {
    let all = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8_lossy(&all).into_owned()
}
