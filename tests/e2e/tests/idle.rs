//! What an idle connection costs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use witmq_e2e::{Broker, python, root};

const CONNECTIONS: u64 = 10_000;
/// More than this for each, and something owns a buffer that should not.
const BOUND_KIB: u64 = 16;

#[test]
fn ten_thousand_idle_connections() {
    let broker = Broker::dev(&["--no-demo"]);
    let before = broker.resident_kib();
    let address = broker.address("tcp");
    let mut idle = Command::new(python())
        .arg(root().join("tests/e2e/clients/idle.py"))
        .args([
            address.ip().to_string(),
            address.port().to_string(),
            CONNECTIONS.to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(idle.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert_eq!(said, "open\n");
    let kib = broker.resident_kib() - before;
    println!(
        "{CONNECTIONS} idle connections: {kib} KiB, {} bytes each",
        kib * 1024 / CONNECTIONS
    );
    assert!(
        broker
            .ok(&["status"], "")
            .contains("\"connections\": 10000")
    );
    assert!(kib <= BOUND_KIB * CONNECTIONS, "{kib} KiB");
    idle.stdin.take().unwrap().write_all(b"end\n").unwrap();
    assert!(idle.wait().unwrap().success());
}
