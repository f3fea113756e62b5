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

/// Many idle connections of a transport; more than `bound_kib` for each, and something owns a buffer that should not.
fn idle(transport: &str, connections: u64, bound_kib: u64) {
    let broker = Broker::dev(&["--no-demo"]);
    let before = broker.resident_kib();
    let address = broker.address(transport);
    let mut idle = Command::new(python())
        .arg(root().join("tests/e2e/clients/idle.py"))
        .args([
            address.ip().to_string(),
            address.port().to_string(),
            connections.to_string(),
            transport.to_owned(),
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
        "{connections} idle connections by {transport}: {kib} KiB, {} bytes each",
        kib * 1024 / connections
    );
    let wanted = format!("\"connections\": {connections}");
    assert!(broker.ok(&["status"], "").contains(&wanted));
    assert!(kib <= bound_kib * connections, "{kib} KiB");
    idle.stdin.take().unwrap().write_all(b"end\n").unwrap();
    assert!(idle.wait().unwrap().success());
}

#[test]
fn ten_thousand_idle_connections() {
    idle("tcp", 10_000, 16);
}

#[test]
fn idle_connections_by_websocket() {
    idle("ws", 4_000, 16);
}

#[test]
fn idle_connections_by_tls() {
    idle("tls", 2_000, 32);
}
