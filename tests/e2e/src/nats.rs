//! NATS as a child process, and a small client of its protocol that shares nothing with the broker's.

use crate::PATIENCE;
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A running `nats-server` with its folder; killed when dropped.
pub struct NatsServer {
    child: Child,
    folder: tempfile::TempDir,
    flags: Vec<String>,
    /// Where it listens, also after it was started again.
    pub address: SocketAddr,
}

impl NatsServer {
    /// Starts it on a free port, with these lines of configuration.
    #[must_use]
    pub fn start(configuration: &str) -> Self {
        Self::run(configuration, false)
    }

    /// The same with JetStream, which keeps what it took.
    #[must_use]
    pub fn with_streams(configuration: &str) -> Self {
        Self::run(configuration, true)
    }

    fn run(configuration: &str, has_streams: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let path = folder.path().join("nats.conf");
        fs::write(&path, configuration).unwrap();
        let place = |name: &str| folder.path().join(name).display().to_string();
        let mut flags = vec!["-c".to_owned(), place("nats.conf")];
        flags.extend(["-a", "127.0.0.1", "-p"].map(str::to_owned));
        flags.push(address.port().to_string());
        if has_streams {
            flags.extend(["-js".to_owned(), "-sd".to_owned(), place("streams")]);
        }
        let child = run(&folder, &flags, address);
        Self {
            child,
            folder,
            flags,
            address,
        }
    }

    /// Ends it at once, as a crash would.
    pub fn kill_9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same folder and port, after it ended.
    pub fn start_again(&mut self) {
        self.child = run(&self.folder, &self.flags, self.address);
    }

    /// The same, unless it runs.
    pub fn start_again_if_gone(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            self.start_again();
        }
    }

    /// A client that is let in without a name.
    #[must_use]
    pub fn client(&self) -> Nats {
        Nats::connect(self.address, "{}")
    }
}

fn run(folder: &tempfile::TempDir, flags: &[String], address: SocketAddr) -> Child {
    let log = folder.path().join("log");
    let child = Command::new("nats-server")
        .args(flags)
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .expect("NATS is installed (Debian: nats-server)");
    let end = Instant::now() + PATIENCE;
    // It listens before it is ready: streams are read first.
    while !fs::read_to_string(&log).is_ok_and(|said| said.contains("Server is ready")) {
        let said = fs::read_to_string(&log);
        assert!(Instant::now() < end, "it is not ready: {said:?}");
        std::thread::yield_now();
    }
    assert!(TcpStream::connect(address).is_ok());
    child
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _is_gone = self.child.kill().is_err();
        let _is_gone = self.child.wait().is_err();
    }
}

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// Where it was published.
    pub subject: String,
    /// Its headers as they came, without the first line.
    pub headers: String,
    /// As text.
    pub payload: String,
}

/// A client.
pub struct Nats {
    stream: BufReader<TcpStream>,
    inboxes: u64,
}

impl Nats {
    /// Connects; `fields`: more of what CONNECT says.
    ///
    /// # Panics
    /// It is not let in.
    #[must_use]
    pub fn connect(address: SocketAddr, fields: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said: Value = serde_json::from_str(fields).unwrap();
        for key in ["headers", "no_responders"] {
            said[key] = true.into();
        }
        for key in ["verbose", "pedantic"] {
            said[key] = false.into();
        }
        let mut client = Self {
            stream: BufReader::new(stream),
            inboxes: 0,
        };
        assert!(client.line().starts_with("INFO "));
        client.say(&format!("CONNECT {said}\r\n"));
        client.flush();
        client
    }

    fn say(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        assert!(line.ends_with("\r\n"), "the connection lives: {line:?}");
        line.trim_end().to_owned()
    }

    /// Waits until the server did what it was told.
    pub fn flush(&mut self) {
        self.say("PING\r\n");
        loop {
            match self.line().as_str() {
                "PONG" => return,
                "PING" => self.say("PONG\r\n"),
                other => assert!(other.starts_with("INFO "), "{other}"),
            }
        }
    }

    /// Subscribes, alone or in a group.
    pub fn subscribe(&mut self, subject: &str) {
        self.say(&format!("SUB {subject} 1\r\n"));
        self.flush();
    }

    /// Publishes with headers, each of which ends with a line break.
    pub fn publish(&mut self, subject: &str, headers: &str, payload: &str) {
        let head = format!("NATS/1.0\r\n{headers}\r\n");
        let (length, whole) = (head.len(), head.len() + payload.len());
        self.say(&format!(
            "HPUB {subject} {length} {whole}\r\n{head}{payload}\r\n"
        ));
    }

    /// The next message.
    pub fn message(&mut self) -> Got {
        loop {
            let line = self.line();
            let words: Vec<&str> = line.split(' ').collect();
            let (head, whole) = match words[0] {
                "MSG" => (0, words[words.len() - 1]),
                "HMSG" => (
                    words[words.len() - 2].parse().unwrap(),
                    words[words.len() - 1],
                ),
                "PING" => {
                    self.say("PONG\r\n");
                    continue;
                }
                _ => panic!("{line}"),
            };
            let mut bytes = vec![0; whole.parse::<usize>().unwrap() + 2];
            self.stream.read_exact(&mut bytes).unwrap();
            bytes.truncate(bytes.len() - 2);
            let payload = bytes.split_off(head);
            let headers = String::from_utf8(bytes).unwrap();
            let headers = headers.split_once("\r\n").unwrap_or_default().1;
            return Got {
                subject: words[1].to_owned(),
                headers: headers.trim_end().to_owned(),
                payload: String::from_utf8(payload).unwrap(),
            };
        }
    }

    /// Asks JetStream; what it answers.
    ///
    /// # Panics
    /// It says that something is wrong.
    pub fn ask(&mut self, subject: &str, question: &Value) -> Value {
        self.inboxes += 1;
        let inbox = format!("_INBOX.test.{}", self.inboxes);
        let question = question.to_string();
        self.say(&format!("SUB {inbox} {}\r\n", self.inboxes + 1));
        let length = question.len();
        self.say(&format!(
            "PUB $JS.API.{subject} {inbox} {length}\r\n{question}\r\n"
        ));
        let got = self.message();
        assert_eq!(got.subject, inbox);
        let said: Value = serde_json::from_str(&got.payload).unwrap();
        assert!(said["error"].is_null(), "{subject} {question}: {said}");
        said
    }
}
