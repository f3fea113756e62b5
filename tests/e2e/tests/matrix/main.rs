//! The matrix: clients nobody here wrote, in every version, over every transport, at every QoS.
//!
//! Owns: the list of clients with what each can do. A cell of it that was not run is a failure like one that failed.
//! A cell: connect with a will, subscribe, publish, receive, a retained message, disconnect without the will.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod programs;
mod rust;
mod scripts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use witmq_e2e::raw::{Incoming, Raw};
use witmq_e2e::{Broker, PATIENCE};

/// What a cell or a step of it ends with.
type Verdict<T = ()> = Result<T, String>;

/// Version and QoS of a cell.
type Spot = (u8, u8);

/// A client and what it can do.
struct Client {
    name: &'static str,
    versions: &'static [u8],
    transports: &'static [&'static str],
    run: fn(&Job) -> Vec<(Spot, Verdict)>,
}

const ALL: &[u8] = &[3, 4, 5];
const NEWER: &[u8] = &[4, 5];
const EVERYWHERE: &[&str] = &["tcp", "ws", "tls", "wss"];
const SOCKETS: &[&str] = &["tcp", "tls"];
const QOS: [u8; 3] = [0, 1, 2];

const CLIENTS: [Client; 10] = [
    client("paho-mqtt", ALL, EVERYWHERE, scripts::paho),
    client("aiomqtt", ALL, EVERYWHERE, scripts::aiomqtt),
    client("gmqtt", NEWER, SOCKETS, scripts::gmqtt),
    client("mqtt.js", ALL, EVERYWHERE, scripts::node),
    client("async-mqtt", ALL, EVERYWHERE, scripts::node),
    client("chromium", ALL, &["ws", "wss"], scripts::chromium),
    client("mosquitto", ALL, SOCKETS, programs::mosquitto),
    client("mosquitto_rr", NEWER, SOCKETS, programs::mosquitto_rr),
    client("paho_cs", ALL, EVERYWHERE, programs::paho_cs),
    client("rumqttc", NEWER, EVERYWHERE, rust::rumqttc),
];

/// This one closes its connection without a DISCONNECT once it has its answer: its will is published.
const WITHOUT_DISCONNECT: &str = "mosquitto_rr";

const fn client(
    name: &'static str,
    versions: &'static [u8],
    transports: &'static [&'static str],
    run: fn(&Job) -> Vec<(Spot, Verdict)>,
) -> Client {
    Client {
        name,
        versions,
        transports,
        run,
    }
}

/// Cells of one client over one transport.
struct Job {
    client: &'static str,
    transport: &'static str,
    address: SocketAddr,
    /// Where the broker is without TLS and WebSocket.
    tcp: SocketAddr,
    ca: PathBuf,
    cells: Vec<Spot>,
}

impl Job {
    /// Topics of a cell are below this and its version and QoS.
    fn prefix(&self) -> String {
        format!("matrix/{}/{}", self.client, self.transport)
    }

    fn topic(&self, (version, qos): Spot) -> String {
        format!("{}/{version}/{qos}", self.prefix())
    }

    fn is_tls(&self) -> bool {
        ["tls", "wss"].contains(&self.transport)
    }

    /// Where it is, with these schemes for tcp, ws, tls and wss.
    fn url(&self, [tcp, ws, tls, wss]: [&str; 4]) -> String {
        let (scheme, path) = match self.transport {
            "ws" => (ws, "/mqtt"),
            "wss" => (wss, "/mqtt"),
            "tls" => (tls, ""),
            _ => (tcp, ""),
        };
        format!("{scheme}://{}{path}", self.address)
    }

    /// Runs cell by cell.
    fn each(&self, run: impl Fn(Spot) -> Verdict) -> Vec<(Spot, Verdict)> {
        let cells = self.cells.iter();
        cells.map(|spot| (*spot, run(*spot))).collect()
    }
}

fn jobs(client: &Client, broker: &Broker) -> Vec<Job> {
    let cells = client
        .versions
        .iter()
        .flat_map(|version| QOS.map(|qos| (*version, qos)));
    let cells: Vec<Spot> = cells.collect();
    let job = |transport: &&'static str| Job {
        client: client.name,
        transport,
        address: broker.address(transport),
        tcp: broker.address("tcp"),
        ca: broker.ca(),
        cells: cells.clone(),
    };
    client.transports.iter().map(job).collect()
}

/// Every cell by client, transport, version and QoS.
type Found = BTreeMap<(&'static str, &'static str, u8, u8), Verdict>;

fn run_all(broker: &Broker) -> Found {
    let found = Mutex::new(Found::new());
    std::thread::scope(|scope| {
        for client in &CLIENTS {
            for job in jobs(client, broker) {
                let found = &found;
                scope.spawn(move || {
                    for ((version, qos), verdict) in (client.run)(&job) {
                        let cell = (job.client, job.transport, version, qos);
                        found.lock().unwrap().insert(cell, verdict);
                    }
                });
            }
        }
    });
    found.into_inner().unwrap()
}

/// Who watches for wills: a cell that ends with DISCONNECT has none.
struct Watch(Raw);

impl Watch {
    fn begin(broker: &Broker) -> Self {
        let (mut raw, _) = Raw::connect(broker.address("tcp"), "watch", true, None).unwrap();
        raw.subscribe("matrix/+/+/+/+/will", 0, 1).unwrap();
        while !matches!(receive(&mut raw), Incoming::Suback(_)) {}
        Self(raw)
    }

    /// Topics of the wills that came.
    fn end(mut self) -> BTreeSet<String> {
        let (qos, retain, dup) = (0, false, false);
        self.0
            .publish("matrix/the/end/0/0/will", b"", (qos, retain, dup), 0)
            .unwrap();
        let mut wills = BTreeSet::new();
        loop {
            let Incoming::Publish { topic, .. } = receive(&mut self.0) else {
                continue;
            };
            if topic.starts_with("matrix/the/end") {
                return wills;
            }
            wills.insert(topic);
        }
    }
}

fn receive(raw: &mut Raw) -> Incoming {
    raw.next(PATIENCE).unwrap().expect("a packet in time")
}

/// A line for each client and transport, a column for each version: `012` are the QoS that passed.
fn table(found: &Found) -> String {
    let mut text = format!(
        "{:<14}{:<6}{:<7}{:<7}5.0\n",
        "client", "over", "3.1", "3.1.1"
    );
    for client in &CLIENTS {
        for transport in client.transports {
            let _is_written = write!(text, "{:<14}{transport:<6}", client.name);
            for version in ALL {
                let mark = |qos: u8| match found.get(&(client.name, *transport, *version, qos)) {
                    _ if !client.versions.contains(version) => '-',
                    Some(Ok(())) => char::from(b'0' + qos),
                    Some(Err(_)) => 'X',
                    None => '?',
                };
                let marks: String = QOS.map(mark).iter().collect();
                let _is_written = write!(text, "{marks:<7}");
            }
            text.push('\n');
        }
    }
    text
}

#[test]
fn every_client_speaks_every_version_over_every_transport_at_every_qos() {
    let broker = Broker::dev(&["--no-demo"]);
    let watch = Watch::begin(&broker);
    let found = run_all(&broker);
    let mut wrong: Vec<String> = Vec::new();
    let (mut count, mut expected) = (0, BTreeSet::new());
    for job in CLIENTS.iter().flat_map(|client| jobs(client, &broker)) {
        for (version, qos) in &job.cells {
            count += 1;
            let cell = (job.client, job.transport, *version, *qos);
            match found.get(&cell) {
                Some(Ok(())) => {}
                Some(Err(error)) => wrong.push(format!("{cell:?}: {error}")),
                None => wrong.push(format!("{cell:?} was not run")),
            }
        }
    }
    for job in CLIENTS.iter().flat_map(|client| jobs(client, &broker)) {
        let leaves = job.client != WITHOUT_DISCONNECT;
        let cells = job.cells.iter().filter(|_| !leaves);
        expected.extend(cells.map(|spot| format!("{}/will", job.topic(*spot))));
    }
    let wills = watch.end();
    let differ = wills.symmetric_difference(&expected);
    wrong.extend(differ.map(|topic| format!("the will at {topic} came or is missing")));
    println!("{}{count} cells, {} wrong", table(&found), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(found.len(), count, "cells that nobody asked for");
}
