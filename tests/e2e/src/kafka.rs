//! A Kafka cluster as a child process: the one that librdkafka comes with (`clients/kafka_mock.py`).

use crate::root;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// Its key, if it has one.
    pub key: Option<String>,
    /// As text.
    pub value: String,
    /// In order.
    pub headers: Vec<(String, String)>,
    /// Milliseconds since 1970.
    pub time_ms: i64,
}

/// Codes of errors, as the protocol numbers them.
pub mod code {
    /// There is no such topic.
    pub const UNKNOWN_TOPIC: u16 = 3;
    /// Another broker leads.
    pub const NOT_LEADER: u16 = 6;
    /// The replicas did not say in time that they have it.
    pub const TIMED_OUT: u16 = 7;
    /// Larger than a broker takes.
    pub const TOO_LARGE: u16 = 10;
    /// This user may not.
    pub const NOT_ALLOWED: u16 = 29;
}

/// A running cluster; ended when dropped. Its brokers are numbered from 1.
pub struct Kafka {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Where its brokers listen.
    pub places: Vec<String>,
}

impl Kafka {
    /// Starts one of so many brokers.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start(brokers: usize) -> Self {
        let mut child = Command::new("python3")
            .arg(root().join("tests/e2e/clients/kafka_mock.py"))
            .arg(brokers.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let places: Vec<String> = line.trim().split(',').map(str::to_owned).collect();
        assert!(
            places.len() == brokers && places.iter().all(|place| place.starts_with("127.0.0.1:")),
            "a cluster starts (Debian: librdkafka1) and listens on loopback: {line:?}"
        );
        Self {
            child,
            commands,
            answers,
            places,
        }
    }

    /// Tells it something; what it answers.
    ///
    /// # Panics
    /// It says that something is wrong.
    pub fn ask(&mut self, command: &str) -> String {
        let commands = self.commands.as_mut().unwrap();
        writeln!(commands, "{command}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let line = line.trim();
        assert!(
            !line.is_empty() && !line.starts_with("error"),
            "{command}: {line}"
        );
        line.to_owned()
    }

    /// Makes a topic.
    pub fn topic(&mut self, name: &str, partitions: usize) {
        drop(self.ask(&format!("topic {name} {partitions}")));
    }

    /// Makes a broker the leader of a partition.
    pub fn lead(&mut self, topic: &str, partition: usize, broker: usize) {
        drop(self.ask(&format!("lead {topic} {partition} {broker}")));
    }

    /// The next requests to produce are answered with these errors.
    pub fn fail(&mut self, codes: &[u16]) {
        let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
        drop(self.ask(&format!("fail PRODUCE {}", codes.join(" "))));
    }

    /// Everything in a partition, in order.
    pub fn read(&mut self, topic: &str, partition: usize) -> Vec<Got> {
        let answer = self.ask(&format!("read {topic} {partition}"));
        let read: Vec<Value> = serde_json::from_str(&answer).unwrap();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let header = |pair: &Value| (text(&pair[0]).unwrap(), text(&pair[1]).unwrap());
        let got = read.iter().map(|record| Got {
            key: text(&record["key"]),
            value: text(&record["value"]).expect("a value"),
            headers: record["headers"]
                .as_array()
                .unwrap()
                .iter()
                .map(header)
                .collect(),
            time_ms: record["time"].as_i64().unwrap(),
        });
        got.collect()
    }

    /// Where Kafka's own clients put a key.
    pub fn partition(&mut self, partitions: usize, key: &str) -> usize {
        self.ask(&format!("partition {partitions} {key}"))
            .parse()
            .unwrap()
    }
}

/// Who a [`Guard`] lets in.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Folder with its `cert.pem` and `key.pem`, for `localhost`.
    pub own: &'a Path,
    /// Folder with the `ca.pem` of clients, if they have to show a certificate.
    pub clients: Option<&'a Path>,
    /// Ways to show who one is; none: nobody is asked.
    pub mechanisms: &'a [&'a str],
}

/// User and password that a [`Guard`] knows.
pub const USER: (&str, &str) = ("witmq", "p,ss=word");

/// TLS and SASL before a cluster (`clients/kafka_guard.py`); ended when dropped.
pub struct Guard {
    child: Child,
    /// Where it listens, one address for each broker.
    pub places: Vec<String>,
}

impl Guard {
    /// Starts one.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start(kafka: &Kafka, entry: Entry<'_>) -> Self {
        let place = |name: &str| entry.own.join(name).display().to_string();
        let client_ca = entry.clients.map(|folder| folder.join("ca.pem"));
        let config = serde_json::json!({
            "places": kafka.places, "cert": place("cert.pem"), "key": place("key.pem"), "client_ca": client_ca,
            "user": USER.0, "password": USER.1, "mechanisms": entry.mechanisms,
        });
        let mut child = Command::new("python3")
            .arg(root().join("tests/e2e/clients/kafka_guard.py"))
            .arg(config.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert!(line.starts_with("localhost:"), "a guard starts: {line:?}");
        let places = line.trim().split(',').map(str::to_owned).collect();
        Self { child, places }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _is_gone = self.child.kill().is_err();
        let _is_gone = self.child.wait().is_err();
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        drop(self.commands.take()); // it ends with its input
        let _is_gone = self.child.kill().is_err();
        let _is_gone = self.child.wait().is_err();
    }
}
