//! The release binary against every case, over every transport.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Duration;
use witmq_conformance::stream::{Target, Transport};
use witmq_conformance::{manifest, report, run};
use witmq_e2e::Broker;

#[test]
fn every_statement_holds_over_tcp_tls_and_websocket() {
    let broker = Broker::dev(&["--no-demo"]);
    let target = |listener, transport| Target {
        address: broker.address(listener),
        transport,
        patience: Duration::from_secs(10),
        login: None,
    };
    let targets = [
        target("tcp", Transport::Tcp),
        target("tls", Transport::Tls(broker.ca())),
        target("ws", Transport::Ws("/mqtt".to_owned())),
    ];
    let outcomes = run::run(&targets, "", |_| {});
    let statements = manifest::read().expect("a manifest");
    let text = report::text(&statements, &outcomes);
    println!("{text}");
    assert!(
        outcomes.iter().all(|outcome| outcome.failure.is_none()),
        "{text}"
    );
}
